"""The base of all models: fit, evaluate, predict, save and export on top of `terms`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import stateless_seed
from tfvae._tracing import outputs_of, unconverted
from tfvae._typing import Distribution, Seed, Shape, Tensor
from tfvae.data.checks import check_context, check_event_shape
from tfvae.data.spec import CONTEXT, with_context
from tfvae.distributions.statistics import centre
from tfvae.export.folders import whole_file
from tfvae.learning import Scheme
from tfvae.models.building import GraphModel
from tfvae.models.exporting import Exporting
from tfvae.objectives import Objective
from tfvae.terms import Terms
from tfvae.training.guard import not_finite, not_finite_weights

__all__ = ["LatentVariableModel"]


class LatentVariableModel(Exporting, GraphModel):
    """Abstract model p(x) = E_p(z) p(x|z) with an approximate posterior q(z|x).

    A subclass is a constructor: it makes the `Graph` of its factors, which draws and scores, and
    hands it to `_set_graph`. Data, training, evaluation, prediction, saving and export are the same
    for all.

    A model of p(x|c) takes its data as `{"x": x, "context": c}` wherever data is one argument
    (`fit`, `evaluate`, `predict`, evaluations), and as `context=` beside `x` elsewhere.

    Logged for training and validation, each a mean over data points in nats:

        elbo = -(distortion + rate)                       never weighted
        rate = mutual_information + marginal_kl           estimates within the batch
        loss = -objective, plus the losses of layers      what is minimised

    and what objective and scheme change from step to step, as it stands (`objective_state`,
    `scheme_state`). Of a context c that encoder or decoder read, but not the prior, the mutual
    information is I[(x, c); z]. A prior p(z|c) is to be compared with q(z|c), which takes several
    points of each c: the last line but one is then left out, and `tfvae.decompose` has it.

    Args:
        seed: Seed of all draws of this model; None takes one from Python's generator, which
            `keras.utils.set_random_seed` sets.
        **kwargs: `name`, `dtype` and the other arguments of `keras.Model`.

    Attributes:
        objective: The objective set by `compile`.
        scheme: The learning scheme set by `compile`.
        data: What comes in: names, shapes, types and supports, a `tfvae.data.spec.DataSpec`.
        graph: The factors of p and q, a `tfvae.graph.graph.Graph`.
        latent_shape: Shape of one latent, `E`.
    """

    objective: Objective
    scheme: Scheme

    # The distributions.

    @unconverted
    def encode(
        self, x: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns q(z|x), batch shape `[B]`, event shape `E`.

        Args:
            x: `[B, *x_event]`, or data by name with its context, as `fit` takes it.
            context: `[B, *context_shape]`, for a model with one.
            training: Whether layers run in training mode.
        """
        return self.graph.q(self._given(x, context), training=training)

    @unconverted
    def decode(
        self, z: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns p(x|z), batch shape `[...]`, event shape that of one example.

        Of several observed nodes it is their product; `data.observed_parts` takes draws apart.

        Args:
            z: `[..., *E]`.
            context: `[B, *context_shape]` or `[1, *context_shape]`, for a model with one, where B
                is the last of the leading axes of `z`.
            training: Whether layers run in training mode.
        """
        self._refuse_surplus(context)
        z, latent = tf.convert_to_tensor(z), self.latent_shape
        num_leading = z.shape.rank - len(latent)
        if num_leading < 1 or not z.shape[num_leading:].is_compatible_with(latent):
            raise ValueError(
                "`z` does not have the shape of this model's latents. "
                f"Expected: [..., {', '.join(map(str, latent))}] with a batch axis in front. "
                f"Received: {list(z.shape)}."
            )
        reads = any(CONTEXT in self.graph.generative[name].reads for name in self.graph.observed)
        return self.graph.likelihood(z, self._context(context, reads), training=training)

    @unconverted
    def prior_distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns p(z), event shape `E`: batch shape `[]`, or `[B]` where it reads a context.

        Raises:
            ValueError: z depends on parts of the data; `prior_of` takes their values.
        """
        self._refuse_surplus(context)
        self._check_built()
        found = [name for name in self.graph.conditions if name != CONTEXT]
        if found:
            raise ValueError(
                f"In this model latent nodes depend on observed ones, on {', '.join(found)}: there "
                "is a prior for given data alone. Use `prior_of(batch)`."
            )
        return self.graph.p(self._context(context, CONTEXT in self.graph.conditions))

    @unconverted
    def prior_of(self, batch: Mapping[str, Tensor]) -> Distribution:
        """Returns the prior that a batch is scored with, batch shape `[]` or `[B]`."""
        self._check_built()
        self._refuse_surplus(batch.get(CONTEXT))
        given = self._context(batch.get(CONTEXT), CONTEXT in self.graph.conditions)
        return self.graph.p(self.data.as_parts(batch) if "x" in batch else given)

    @unconverted
    def terms(
        self,
        x: Tensor,
        num_samples: int = 1,
        seed: Seed = None,
        *,
        context: Tensor | None = None,
        posterior: Distribution | None = None,
        prior: Distribution | None = None,
        objective: Objective | None = None,
        training: bool = False,
    ) -> Terms:
        """Scores `x` at draws of z: the only place where training and evaluation sample z.

        Args:
            x: Data `[B, ...]`.
            num_samples: Draws per data point, S.
            seed: Int or pair of ints; None advances the model's seed generator.
            context: `[B, ...]`, for a model of p(x|c).
            posterior: q(z|x) to draw from, in place of `encode(x, context)`.
            prior: p(z) to score with, in place of `prior_distribution(context)`.
            objective: Where gradients of an objective are to be taken, that objective: it says
                how draws carry them, and whether all of few states will do in place of draws.
                A hierarchy draws each level by it.
            training: Whether layers run in training mode.

        Returns:
            `Terms` of shape `[S, B]`. Where nodes of few states are summed over there are S rows
            for each of their joint states, and one where all are.
        """
        graph = self.graph
        if not tf.is_tensor(num_samples):
            num_samples = check_count("num_samples", num_samples)
        data = self._given(x, context, posterior is None or self._p_reads_context)
        return graph.terms(
            data,
            num_samples,
            self.make_seed(seed) if graph.latents else tf.constant([0, 0]),
            q_z=graph.q(data, training=training) if posterior is None else posterior,
            p_z=graph.p(data, training=training) if prior is None else prior,
            objective=objective,
            training=training,
        )

    @unconverted
    def exact_log_p_x(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        """Returns log p(x) `[B]`, nats, where it is a sum that can be done; None elsewhere."""
        return self.graph.log_evidence(self._given(x, context))

    @property
    def latent_shape(self) -> Shape:
        """Shape of one latent, `E`.

        Raises:
            ValueError: The model has seen neither data nor the shape of it.
        """
        self._check_built()
        return self.graph.latent_shape

    @unconverted
    def split(self, z: Tensor) -> dict[str, Tensor]:
        """Returns the latent nodes `[..., *E_k]` of latents `[..., *E]`, by name."""
        self._check_built()
        return self.graph.split(tf.convert_to_tensor(z))

    # What follows for all models.

    def call(self, x: Any, training: bool = False) -> Distribution:
        """Returns p(x|z) at one draw z ~ q(z|x), batch shape `[B]`."""
        batch = self.data.as_batch(self.data.named(x))
        z = self.encode(**batch, training=training).sample(seed=self.make_seed())
        return self.decode(z, batch.get("context"), training=training)

    @unconverted
    def sample(
        self, num_samples: int, seed: Seed = None, *, context: Tensor | None = None
    ) -> Tensor:
        """Draws new data: z ~ p(z), x ~ p(x|z).

        Args:
            num_samples: Number of draws, N.
            seed: Int or pair of ints; None advances the model's seed generator.
            context: What each draw is made for, `[N, ...]` or `[1, ...]`, for a model of p(x|c).

        Returns:
            x: `[N, ...]`, by name where there are several observed nodes. For the means of p(x|z),
                decode draws of the prior yourself:
                `model.decode(model.prior_distribution().sample(N)).mean()`.

        Raises:
            ValueError: `num_samples` is smaller than 1, or `context` has other rows, or is given
                to a model that reads none.
        """
        num_samples = check_count("num_samples", num_samples)
        if context is not None:
            self._refuse_surplus(context)
            context = tf.convert_to_tensor(context)
            if context.shape.rank == 0 or context.shape[0] not in (1, num_samples):
                raise ValueError(
                    "`context` must have one row per draw, or one row for all. Received: "
                    f"num_samples={num_samples}, context of shape {list(context.shape)}"
                )
            context = tf.broadcast_to(context, [num_samples, *context.shape[1:]])
        drawn = self.generate(num_samples, self.make_seed(seed), context)
        return self._alone({name: drawn[name] for name in self.graph.observed})

    @unconverted
    def generate(
        self, num_samples: int | Tensor, seed: Seed = None, context: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Returns draws of all nodes `[N, ...]` by name, and of observed ones the means, `x_mean`.

        For unordered categories the most probable one stands in for the mean, and the draw where
        there is neither.

        Args:
            num_samples: Number of draws, N.
            seed: Int or pair of ints; None advances the model's seed generator.
            context: `[N, ...]`, for a model of p(x|c).
        """
        if not tf.is_tensor(num_samples):
            num_samples = check_count("num_samples", num_samples)
        seed = self.make_seed(seed)
        self._check_built()
        self._refuse_surplus(context)
        given = self._context(context, self._p_reads_context)
        draws, means = self.graph.generate(num_samples, seed, given)
        found = {name: draws[name] for name in self.graph.observed}
        found |= {f"{name}_mean": mean for name, mean in means.items()}
        if self.graph.tells_latents_apart:
            return {**found, **{name: draws[name] for name in self.graph.latents}}
        return {**found, "z": self._joined(draws, num_samples)}

    @unconverted
    def reconstruct(self, x: Any, seed: Seed = None, *, context: Tensor | None = None) -> Any:
        """Returns the mean of p(x|z), `[B, ...]`, by name where there are several observed nodes.

        Args:
            x: Data in a form that `fit` takes.
            seed: Where given, z is a draw from q(z|x); None takes the posterior mean.
            context: `[B, ...]`, where `x` is no dict that holds it.
        """
        parts = self.data.named(with_context(x, context))
        self._build_from(parts)
        batch = self.data.as_batch(parts)
        q_z = self.encode(**batch)
        z = centre(q_z) if seed is None else q_z.sample(seed=stateless_seed(seed))
        return self._alone(self.data.observed_parts(centre(self.decode(z, batch.get(CONTEXT)))))

    def save(
        self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any
    ) -> None:
        """Saves the model as `keras.Model.save` does, to a file that is whole at any time.

        A `.keras` file is written beside its place and put there when it is complete: a process
        that is killed, or a disk that is full, leaves the file that was there before. Weights that
        are not finite are saved with a warning.

        Args:
            filepath: `.keras` file.
            overwrite: Whether to replace what is there; otherwise Keras asks.
            zipped: As in `keras.Model.save`.
            **kwargs: As in `keras.Model.save`.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "Models are saved to `.keras` files, which hold distributions and their states; "
                f"HDF5 does not. Received: {filepath}. Use `.keras`, or `save_weights` with a name "
                "that ends in `.weights.h5`."
            )
        names = not_finite(self) if self.built else []
        if names:
            text = not_finite_weights(names, "What is saved is of no use")
            warnings.warn(text, UserWarning, stacklevel=2)
        may_replace = overwrite and zipped is not False
        with whole_file(filepath, ".keras", may_replace) as path:
            super().save(path, overwrite=overwrite, zipped=zipped, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves the weights as `keras.Model.save_weights` does, to a whole file as `save` does.

        Args:
            filepath: `.weights.h5` file.
            overwrite: Whether to replace what is there; otherwise Keras asks.
            **kwargs: As in `keras.Model.save_weights`.
        """
        with whole_file(filepath, ".weights.h5", overwrite and not kwargs) as path:
            super().save_weights(path, overwrite=overwrite, **kwargs)

    def _check_objective(self, objective: Objective) -> None:
        """Checks that gradients of `objective` can come to the encoder, by tracing it."""

        def check(**batch: Tensor) -> None:
            q_z = self.encode(**batch)
            objective.check_family(q_z)
            if not self.graph.latents:
                return
            objective.check_prior(self.prior_of(batch))
            sums = objective.takes_all_states and self.graph.sums_over_all(q_z)
            if len(self.graph.latents) == 1 and not sums:
                objective.check_posterior(q_z)
            else:
                levels, seed = self.graph.levels(q_z), tf.constant([0, 0])
                self.graph.draw(levels, objective.num_samples, seed, objective)

        outputs_of(check, **self.data.batch_specs())

    @property
    def _p_reads_context(self) -> bool:
        return any(CONTEXT in part.reads for part in self.graph.generative.values())

    def _given(self, x: Any, context: Any, reads_context: bool = True) -> dict[str, Tensor]:
        """Returns the data of a batch by name, of shapes that the model is for."""
        self._check_built()
        if isinstance(x, Mapping):
            batch = self.data.as_batch(self.data.named(x))
            x, context = batch["x"], batch.get(CONTEXT) if context is None else context
        x = tf.convert_to_tensor(x)
        context = None if context is None else tf.convert_to_tensor(context)
        check_event_shape(x, self.data.event_shape)
        if reads_context or context is not None:
            check_context(x, context, context_shape=self.data.context_shape)
        return self.data.as_parts({"x": x} if context is None else {"x": x, CONTEXT: context})

    def _context(self, context: Any, is_read: bool) -> dict[str, Tensor]:
        """Returns the context by name, for what reads one."""
        if not is_read:
            return {}
        if context is None:
            check_context(None, None, context_shape=self.data.context_shape or ())
        given: Any = context
        return {CONTEXT: tf.convert_to_tensor(given)}

    def _alone(self, parts: dict[str, Tensor]) -> Any:
        """Returns observed nodes in the form in which `fit` takes them."""
        return parts if len(parts) > 1 else parts[self.graph.observed[0]]

    def _joined(self, draws: Mapping[str, Tensor], num_samples: int | Tensor) -> Tensor:
        """Returns latent nodes by name as z."""
        return self.graph.join(draws) if self.graph.latents else tf.zeros([num_samples, 0])

    def _refuse_surplus(self, context: Any) -> None:
        """Checks that a context is given to a model that reads one.

        Raises:
            ValueError: It is not: what is computed would be the same for any.
        """
        if context is not None and self.data.shapes and self.data.context_shape is None:
            check_context(None, tf.convert_to_tensor(context), context_shape=None)
