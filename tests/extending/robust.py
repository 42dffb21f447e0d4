"""An objective from outside: a likelihood that outliers cannot pull, by a beta-divergence."""

from dataclasses import dataclass

import tensorflow as tf

from tfvae.objectives.base import Objective


@dataclass(frozen=True)
class RobustELBO(Objective):
    """The ELBO with the score (p(x|z)**b - 1) / b of each element in place of log p(x|z).

        sum_d (b + 1) / b * (p(x_d|z)**b - 1) - sum_x p(x|z)**(b + 1) - KL(q(z|x) || p(z)) + 1

    For binary x of independent elements. It tends to the ELBO as b falls to 0, and an outlier, of
    p(x|z) near 0, costs at most (b + 1) / b where log p(x|z) has no bound.

    Reference: Robust Variational Autoencoder (Akrami et al., 2020),
    https://arxiv.org/abs/1905.09961
    """

    takes_all_states = True  # Where z has few of them: it is made of expectations.
    beta: float = 0.1

    def __call__(self, terms, step=0):
        del step
        score = 0.0
        for each in terms.observed.values():
            on = each.p_x.mean()
            p = tf.where(each.x > 0.5, on, 1.0 - on)
            total = on ** (1.0 + self.beta) + (1.0 - on) ** (1.0 + self.beta)
            scale = (1.0 + self.beta) / self.beta
            values = scale * (p**self.beta - 1.0) - (total - 1.0)
            axes = list(range(-len(each.p_x.event_shape), 0))
            score += each.rows(tf.reduce_sum(values, axis=axes))
        return terms.expect(score) - terms.rate
