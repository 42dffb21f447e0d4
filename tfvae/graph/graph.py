"""The graph of a model, which draws, scores and adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfvae._shapes import of_each
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.distributions.kl import closed_form_kl
from tfvae.distributions.labelled import Labelled
from tfvae.distributions.level_rates import level_rates
from tfvae.distributions.levels import LevelDraws
from tfvae.graph.factors import Factors
from tfvae.graph.nothing import terms_without_latents
from tfvae.graph.parts import CONTEXT
from tfvae.objectives import Objective
from tfvae.objectives.draws import plain_draws
from tfvae.objectives.levels import draw_levels, rates_have_gradients
from tfvae.terms import Draws, Observed, Reach, Terms

__all__ = ["Graph"]

Values = Mapping[str, Tensor]


class Graph(Factors):
    """The factors of a model, and what z is drawn, scored and added up by.

    It alone does so, sums over nodes of few states, labels, levels and contexts included, for every
    model. Arguments and attributes are those of `Factors`.
    """

    def terms(
        self,
        data: Values,
        num_samples: int | Tensor,
        seed: Tensor,
        *,
        q_z: Distribution,
        p_z: Distribution,
        objective: Objective | None = None,
        training: bool = False,
    ) -> Terms:
        """Draws z and scores it: the only place of the package that does.

        Args:
            data: By name, each `[B, ...]`.
            num_samples: Draws per data point, S. Where nodes are summed over there are S rows for
                each of their joint states; where all are, one.
            seed: Int32 pair `[2]`.
            q_z: Posterior, batch shape `[B]`.
            p_z: Prior, batch shape `[]` or `[B]`.
            objective: See `LatentVariableModel.terms`.
            training: Whether layers run in training mode.
        """
        if len(self.latents) == 0:
            observed = self._observed(data, {}, training=training)
            log_p = self._scored(observed)
            terms = terms_without_latents(_total(log_p), num_samples)
            return terms._replace(log_p=log_p, log_q={}, observed=observed)
        if len(self.latents) > 1 and not all(isinstance(d, Hierarchy) for d in (q_z, p_z)):
            draw = plain_draws if objective is None else objective.draw
            return self._joint_terms(data, draw(q_z, num_samples, seed), q_z, p_z, training)
        q, p = self.levels(q_z), self.levels(p_z)
        draws = self.draw(q, num_samples, seed, objective)
        scores = level_rates(q, p, draws)
        rates = scores.rates
        closed = scores.closed and rates_have_gradients(scores, draws, objective)
        several = len(self.latents) > 1
        # Where labels are given, the states of a node are not the same for all points.
        same = [name for name in draws.summed if name not in self.partly_observed]
        observed = self._observed(data, draws.values, same, training=training)
        log_p_observed = self._scored(observed)
        log_q_z = tf.add_n(list(draws.log_probs.values()))
        return Terms(
            log_p_x=_in_rows(_total(log_p_observed), tf.shape(log_q_z)),
            log_p_z=tf.add_n(list(scores.log_p.values())),
            log_q_z=log_q_z,
            kl=tf.add_n(list(rates.values())) if closed else None,
            z=q.join(draws.values) if several else draws.values[self.latents[0]],
            q_z=q_z,
            p_z=p_z,
            log_weights=draws.log_weights,
            gradient_scale=draws.extra,
            level_rates=tf.stack([rates[n] for n in self.latents], -1) if self.rate_names else None,
            log_q_labels=self._log_q_labels(draws),
            log_measure=draws.log_measure,
            log_p={**log_p_observed, **scores.log_p},
            log_q=draws.log_probs,
            observed=observed,
            reach=self._reach(q, p) if several else None,
        )

    def _reach(self, q: Hierarchy, p: Hierarchy) -> dict[str, Reach]:
        """Returns which scores the draw of each latent node may change, by name."""
        reads = {name: {name, *p.parents(name)} for name in self.latents}
        reads |= {name: set(self.generative[name].reads) for name in self.observed}
        found = {}
        for name in self.latents:
            moved = frozenset({name, *q.descendants(name)})
            found[name] = Reach(frozenset(n for n in reads if reads[n] & moved), moved)
        return found

    def _joint_terms(
        self, data: Values, draws: Draws, q_z: Distribution, p_z: Distribution, training: bool
    ) -> Terms:
        """Returns `terms` where a posterior or prior of somebody's own does not know the nodes."""
        observed = self._observed(data, self.split(draws.z), training=training)
        log_p = self._scored(observed)
        return Terms(
            log_p_x=_in_rows(_total(log_p), tf.shape(draws.log_q_z)),
            log_p_z=p_z.log_prob(draws.z),
            log_q_z=draws.log_q_z,
            kl=closed_form_kl(q_z, p_z),
            z=draws.z,
            q_z=q_z,
            p_z=p_z,
            gradient_scale=draws.gradient_scale,
            log_p=log_p,
            observed=observed,
        )

    def draw(
        self, q: Hierarchy, num_samples: int | Tensor, seed: Tensor, objective: Objective | None
    ) -> LevelDraws:
        """Returns draws of all latent nodes, with the gradients that an objective wants of them."""
        if not self.latents:
            raise ValueError("There is nothing to draw: this model has no latent nodes.")
        sums = objective is None or objective.takes_all_states
        max_states = self.max_states if sums else 0
        if sums and self.sums_over_all(q):
            num_samples = 1  # No noise to average.
        return draw_levels(q, num_samples, seed, objective, max_states)

    def sums_over_all(self, q_z: Distribution) -> bool:
        """Whether all latent nodes have so few states that they are summed over."""
        found = self.levels(q_z).finite_levels(self.max_states)
        return set(found) == set(self.latents)

    def log_evidence(self, data: Values) -> Tensor | None:
        """Returns log p(data) `[B]`, nats, where it is a sum that can be done; None elsewhere."""
        if not self.latents:
            return self.log_p_observed(data, {})[0]
        q_z = self.q(data)
        if not self.sums_over_all(q_z):
            return None
        seed = tf.constant([0, 0])
        return self.terms(data, 1, seed, q_z=q_z, p_z=self.p(data)).log_evidence

    def log_p_observed(self, data: Values, values: Values) -> Tensor:
        """Returns the sum over observed nodes of log p(x_j | parents) `[S, B]`, nats.

        Args:
            data: By name, each `[B, ...]`.
            values: The latent nodes `[S, B, *E_k]`.
        """
        found = self._scored(self._observed(data, values))
        for value in values.values():
            return _in_rows(_total(found), tf.shape(value)[:2])
        return _total(found)[None]

    def _scored(self, observed: Mapping[str, Observed]) -> dict[str, Tensor]:
        """Returns log p of observed nodes `[S, B]`, or `[B]`, by name."""
        return {name: each.rows(each.p_x.log_prob(each.x)) for name, each in observed.items()}

    def _observed(
        self, data: Values, values: Values, summed: Sequence[str] = (), *, training: bool = False
    ) -> dict[str, Observed]:
        """Returns observed nodes with their distributions given the values of latent ones.

        Args:
            data: By name, each `[B, ...]`.
            values: The latent nodes `[S, B, *E_k]`.
            summed: Those of them that take the same values for all points.
            training: Whether layers run in training mode.
        """
        data = {name: tf.convert_to_tensor(value) for name, value in data.items()}
        values = {name: tf.convert_to_tensor(value) for name, value in values.items()}
        rows: Any = tf.concat([[1], tf.shape(data[self.observed[0]])[:1]], axis=0)
        for name, value in values.items():
            rows = tf.shape(value)[: value.shape.rank - len(self.shapes[name])]
        shapes = {**self.shapes, CONTEXT: self.context_shape or ()}
        found = {}
        for name in self.observed:
            part = self.generative[name]
            make = part.maker(self._event(name), training)
            if part.reads and set(part.reads) <= set(summed):
                # The same states for all points, of which each is decoded once: those of the first,
                # and any where there is none.
                p_x = make({n: tf.reduce_sum(values[n][:, :1], axis=1) for n in part.reads})
                x = tf.cast(data[name], p_x.dtype)
                found[name] = Observed(p_x, x[:, None], rows)
                continue
            # A node that no latent one acts on is scored once for all draws.
            own = rows if any(n in values for n in part.reads) else rows[1:]
            known = {**data, **values}
            p_x = make({n: of_each(known[n], own, shapes[n]) for n in part.reads})
            x = of_each(tf.cast(data[name], p_x.dtype), own, shapes[name])
            found[name] = Observed(p_x, x, own)
        return found

    def _log_q_labels(self, draws: LevelDraws) -> Tensor | None:
        found = []
        for name in self.partly_observed:
            conditional = draws.conditionals[name]
            if not isinstance(conditional.distribution, Labelled):
                return None  # scored with a posterior of somebody's own
            log_q = conditional.distribution.log_prob_of_known()
            if conditional.leading is not None:
                log_q = draws.expect(tf.reshape(log_q, conditional.leading))
            found.append(log_q)
        return tf.add_n(found) if found else None


def _total(addends: Mapping[str, Tensor]) -> Tensor:
    """Returns the sum of log-densities `[S, B]`, or `[B]`, in the type of the first."""
    first, *others = addends.values()
    for other in others:
        first = first + tf.cast(other, first.dtype)
    return first


def _in_rows(scores: Tensor, rows: Tensor) -> Tensor:
    return scores if scores.shape.rank == 2 else tf.broadcast_to(scores, rows)
