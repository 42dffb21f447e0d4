"""Finite mixtures: exact responsibilities, trained by gradient or by EM."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._stored import made_again, objects_config
from tfvae._tracing import outputs_of
from tfvae._typing import Tensor, register
from tfvae.graph.checks import check_distribution
from tfvae.graph.graph import Graph
from tfvae.graph.parts import Network, Root
from tfvae.graph.posteriors import Networks
from tfvae.learning.expectation_maximisation import EMResult, expectation_maximisation
from tfvae.models.clusters import k_means, set_clusters
from tfvae.models.components import Mixture, Responsibilities, checked_weights, with_table
from tfvae.models.one_prior import OnePriorModel
from tfvae.priors import OneHot, Prior

__all__ = ["FiniteMixture"]


@register
class FiniteMixture(OnePriorModel):
    """p(x) = sum_k p(k) p(x|k), its posterior the exact responsibilities.

        q(k|x) = p(k) p(x|k) / sum_j p(j) p(x|j)

    With them the ELBO is log p(x), and so is what `fit` maximises; `fit_em` alternates exact steps
    instead. For a mixture whose posterior is a network, which needs one pass for any number of
    components, give `tfvae.VAE` an encoder that ends in `OneHotCategorical`.

    Args:
        component: A distribution layer, each component having parameters of its own; or a Keras
            model from one-hot `[B, K]` to a distribution over one example of `x`.
        num_components: Number of components, K.
        prior: p(k), over one-hot vectors; by default `OneHot()`, learned.
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Raises:
        ValueError: `num_components` is smaller than 1, or does not fit `component`, which takes no
            parameters; or the prior is none over one-hot vectors, or made of posteriors.
        TypeError: `component` is neither a layer nor a model.

    Example:
        >>> mixture = tfvae.FiniteMixture(tfvae.layers.IndependentBernoulli(8), 3, seed=0)
        >>> bits = np.random.default_rng(0).integers(0, 2, (50, 8)).astype("float32")
        >>> result = mixture.fit_em(bits, max_iterations=10)
        >>> result.log_likelihood[-1] >= result.log_likelihood[0]
        True
        >>> mixture.encode(bits).mean().shape  # responsibilities
        TensorShape([50, 3])

    Reference: Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster et al., 1977),
    https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
    """

    def __init__(
        self,
        component: Any,
        num_components: int,
        prior: Prior | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_count("num_components", num_components)
        self.num_components = int(num_components)
        decoder = with_table(component, self.num_components, seed)
        super().__init__(seed=seed, **kwargs)
        prior = checked_weights(OneHot() if prior is None else prior, self.num_components)
        encoder = Responsibilities(lambda x: self._mixture.log_joint(x), self.num_components)
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self._component = component
        p_x = Network(
            decoder, "component", ["z"], ["z"], "IndependentBernoulli", second_is_context=True
        )
        q = Network(encoder, "responsibilities", ["x"], ["x"])
        factors = {"x": p_x, "z": Root(prior, "prior")}
        graph = Graph(factors, Networks({"z": q}), max_states=self.num_components)
        spec = tf.TensorSpec([self.num_components] * 2, keras.config.floatx())
        shape = outputs_of(self._components, spec).shape
        self._set_graph(graph)
        if not self.built:
            self.build((None, *shape[1:]))

    def fit_em(
        self,
        x: Any,
        *,
        max_iterations: int = 100,
        tolerance: float = 1e-6,
        batch_size: int = 1000,
        gradient_steps: int = 20,
    ) -> EMResult:
        """Raises log p(x) by expectation maximisation; it never falls.

        The E step takes exact responsibilities of all points. The M step has a closed form for
        the weights of the mixture where they are those of `OneHot`, and for components that are a
        layer of one of the families Bernoulli, categorical, Poisson and diagonal Gaussian. Other
        components, and other priors, take gradient steps on the expected log-likelihood instead,
        undone and shortened where they went too far. What is frozen (`trainable = False`) stays.

        Args:
            x: Array `[N, *x_event]`, all of which each iteration reads.
            max_iterations: Most iterations.
            tolerance: Ends where the mean log-likelihood rises by less, nats.
            batch_size: Rows at once; does not change the result.
            gradient_steps: Of each M step without a closed form.

        Returns:
            `EMResult`.

        Raises:
            ValueError: The data is not what the model is for, a number is smaller than 1, or all
                that could learn is frozen.
        """
        max_iterations = check_count("max_iterations", max_iterations)
        self.check_data(x, "x")
        return expectation_maximisation(
            self._mixture,
            np.asarray(x, keras.config.floatx()),
            max_iterations=max_iterations,
            tolerance=tolerance,
            batch_size=check_count("batch_size", batch_size),
            gradient_steps=check_count("gradient_steps", gradient_steps),
            functions=self.functions,
        )

    def start_from(self, x: Any, labels: Any = None, *, seed: int = 0) -> FiniteMixture:
        """Sets the components to clusters of data, and the weights to their sizes.

        Components that start at random are often too far from all points to ever get any: they
        stay dead, under gradients above all. `expected_counts` says how many points each has.

        Args:
            x: Array `[N, *x_event]`.
            labels: Cluster of each point, whole numbers `[N]` from 0 to K - 1, such as those of
                scikit-learn's `KMeans`; by default those of k-means here.
            seed: Of the points that k-means starts from.

        Returns:
            The model itself.

        Raises:
            ValueError: The components are a network, the data is not what the model is for, or has
                fewer points than there are components; or `labels` are not one number for each.

        Reference: k-means++ (Arthur and Vassilvitskii, 2007),
        https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf
        """
        self.check_data(x, "x")
        x = np.asarray(x, np.float64)
        labels = k_means(x, self.num_components, seed) if labels is None else np.asarray(labels)
        set_clusters(self._mixture, x, labels)
        return self

    def expected_counts(self, x: Any, batch_size: int = 1000) -> np.ndarray:
        """Returns how many points each component has, `[K]`: the sums of the responsibilities.

        One with less than a point is dead.
        """
        self.check_data(x, "x")
        x = np.asarray(x, keras.config.floatx())
        size = check_count("batch_size", batch_size)
        chunks = (x[start : start + size] for start in range(0, len(x), size))
        sums = [np.sum(self.encode(chunk).probs_parameter(), axis=0) for chunk in chunks]
        return np.sum(sums, axis=0)

    def with_prior(self, prior: Prior) -> FiniteMixture:
        """See `OnePriorModel.with_prior`."""
        return FiniteMixture(self.decoder, self.num_components, prior, seed=self.seed)

    @property
    def parts_beside_prior(self) -> tuple[keras.layers.Layer, ...]:
        """See `OnePriorModel.parts_beside_prior`."""
        return (self.decoder,)

    def replace_prior(self, prior: Prior) -> None:
        """Sets another prior as it is: the responsibilities follow it."""
        super().replace_prior(checked_weights(prior, self.num_components))

    def gain_of_prior(
        self, new: OnePriorModel, batch: dict[str, Tensor], num_samples: int, seed: Tensor
    ) -> Tensor:
        """Returns log p_new(x) - log p(x) `[B]`, nats: with the prior its posterior is another."""
        del num_samples, seed
        exact: Any = new.exact_log_p_x(**batch)
        return exact - self.exact_log_p_x(**batch)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        return {
            **super().get_config(),
            **objects_config(component=self._component, prior=self.prior),
            "num_components": self.num_components,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FiniteMixture:
        """Makes the model again from the output of `get_config`, without its weights."""
        return cls(**made_again(config, "component", "prior", custom_objects=custom_objects))

    @property
    def _mixture(self) -> Mixture:
        return Mixture(self._component, self.decoder, self.prior, self.num_components)

    def _components(self, states: Tensor) -> Tensor:
        p_x = self.decoder(states)
        return check_distribution(
            p_x, "component", "one example of `x`", "IndependentBernoulli"
        ).sample(seed=[0, 0])
