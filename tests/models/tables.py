"""Graphs whose every parameter is a number of the context: rows of a batch are independent runs.

The gradient of a bound in the context `[B, P]` is then that of each run in all parameters of p and
q, and its mean over the rows is compared with the exact gradient, which is worked out here, in
NumPy and float64, by sums over states and by quadrature.
"""

import keras
import numpy as np
import tensorflow as tf
from numpy.polynomial.hermite_e import hermegauss
from scipy import special

import tfvae
from tfvae.layers import IndependentBernoulli, MultivariateNormalDiag, OneHotCategorical
from tfvae.priors import Conditional

# Nodes named z are Gaussians, those named x are coins, and all others are one-hot.
SIZES = {"x": 3, "z": 1, "w": 1, "y": 3, "c": 2, "z_1": 2, "z_2": 3}


def size_of(name):
    return SIZES[name]


def params_of(name):
    return 2 * SIZES[name] if name in ("z", "w") else SIZES[name]


def log_softmax(logits):
    return logits - special.logsumexp(logits, axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("tests")
class Linear(keras.layers.Layer):
    """A linear function of parents `[N, E]`, the weights of which are columns of the context."""

    def __init__(self, columns, size, **kwargs):
        super().__init__(**kwargs)
        self.columns, self.size = columns, size

    def call(self, inputs):
        context, *parents = inputs
        start, end = self.columns
        weights = context[:, start:end]
        total = weights[:, : self.size]
        used = self.size
        for parent in parents:
            width = parent.shape[-1]
            table = weights[:, used : used + width * self.size]
            table = tf.reshape(table, [-1, width, self.size])
            total += tf.einsum("ne,nef->nf", parent, table)
            used += width * self.size
        return total

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], self.size)


class Graph:
    """p and q as dicts of node → parents, in the order of sampling of each."""

    def __init__(self, p, q, seed=0, scale=1.0):
        self.p, self.q = p, q
        self.columns, used = {}, 0
        for side, graph in (("p", p), ("q", q)):
            for name, parents in graph.items():
                width = params_of(name) * (1 + sum(SIZES[parent] for parent in parents))
                self.columns[side, name] = (used, used + width)
                used += width
        rng = np.random.default_rng(seed)
        self.params = scale * rng.normal(size=used)
        self.x = np.array([1.0, 0.0, 1.0])

    def network(self, side, name, layer=None):
        parents = getattr(self, side)[name]
        inputs = [keras.Input((self.params.size,), name="context")]
        inputs += [keras.Input((SIZES[parent],), name=parent) for parent in parents]
        params = Linear(self.columns[side, name], params_of(name))(inputs)
        layer = layer or self.layer(name)
        return keras.Model(inputs if parents else inputs[0], layer(params))

    def layer(self, name):
        if name == "x":
            return IndependentBernoulli(SIZES[name])
        if name in ("z", "w"):
            return MultivariateNormalDiag(SIZES[name], min_scale=0.0)
        return OneHotCategorical(SIZES[name])

    def directed(self, **settings):
        """The graph as a `DirectedModel`."""
        p = {name: self.network("p", name) for name in self.p}
        q = {name: self.network("q", name) for name in self.q}
        return tfvae.DirectedModel(p, q, seed=0, **settings)

    def hierarchical(self):
        """The graph as a `HierarchicalVAE` of the levels z_1 and z_2."""
        return tfvae.HierarchicalVAE(
            [self.network("q", name) for name in ("z_1", "z_2")],
            [self.network("p", name) for name in ("x", "z_1")],
            Conditional(self.network("p", "z_2")),
            seed=0,
        )

    def batch(self, rows):
        tiled = np.tile(self.params, (rows, 1)).astype("float32")
        return {
            "x": tf.constant(np.tile(self.x, (rows, 1)), tf.float32),
            "context": tf.constant(tiled),
        }

    # The same in NumPy.

    def _params(self, side, name, values, params):
        start, end = self.columns[side, name]
        weights, size = params[start:end], params_of(name)
        total, used = weights[:size], size
        for parent in getattr(self, side)[name]:
            table = weights[used : used + SIZES[parent] * size].reshape(SIZES[parent], size)
            total = total + values[parent] @ table
            used += table.size
        return total

    def log_prob(self, side, name, values, params):
        """Log-density of a node at values `[N, E]` of all, `[N]`."""
        found, value = self._params(side, name, values, params), values[name]
        if name == "x":
            return np.sum(value * found - np.logaddexp(0.0, found), axis=-1)
        if name in ("z", "w"):
            loc, scale = found[..., :1], np.logaddexp(0.0, found[..., 1:])
            square = ((value - loc) / scale) ** 2
            return np.sum(-0.5 * square - np.log(scale) - 0.5 * np.log(2 * np.pi), axis=-1)
        return np.sum(value * log_softmax(found), axis=-1)

    def points(self, params, known=None, num_nodes=24):
        """All states of the latents, or nodes of quadrature: values, log weights, log p and log q.

        What is `known` takes the place of states, and its log q is zero.
        """
        known = known or {}
        values, log_weight, log_q = {"x": self.x[None]}, np.zeros(1), np.zeros(1)
        for name in self.q:
            rows, num = len(log_weight), SIZES[name]
            if name in known:
                values[name] = np.tile(known[name], (rows, 1))
                continue
            if name in ("z", "w"):
                nodes, weights = hermegauss(num_nodes)
                found = np.broadcast_to(self._params("q", name, values, params), (rows, 2))
                scale = np.logaddexp(0.0, found[:, 1:])
                state = (found[:, :1] + scale * nodes).reshape(-1, 1)
                more = np.tile(np.log(weights / weights.sum()), rows)
                num = num_nodes
            else:
                state, more = np.tile(np.eye(num), (rows, 1)), None
            values = {
                n: np.repeat(v, num, axis=0) if len(v) == rows else v for n, v in values.items()
            }
            values[name] = state
            log_weight, log_q = np.repeat(log_weight, num), np.repeat(log_q, num)
            own = self.log_prob("q", name, values, params)
            log_weight, log_q = log_weight + (own if more is None else more), log_q + own
        log_p = sum(self.log_prob("p", name, values, params) for name in self.p)
        return values, log_weight, log_p, log_q

    def elbo(self, params, known=None, beta=1.0):
        values, log_weight, log_p, log_q = self.points(params, known)
        log_p_x = self.log_prob("p", "x", values, params)
        return np.sum(np.exp(log_weight) * (log_p_x - beta * (log_q + log_p_x - log_p)))

    def log_evidence(self, params, known=None):
        """Log p(x, known): sums over states, and over a grid of what is continuous; without q."""
        known, values, log_size = known or {}, {"x": self.x[None]}, 0.0
        grid = np.linspace(-15.0, 15.0, 3001)[:, None]
        for name in self.q:
            states = grid if name in ("z", "w") else np.eye(SIZES[name])
            states = known[name][None] if name in known else states
            log_size += np.log(0.01) if states is grid else 0.0
            rows = max(map(len, values.values()))
            values = {
                n: v if len(v) == 1 else np.repeat(v, len(states), axis=0)
                for n, v in values.items()
            }
            values[name] = np.tile(states, (rows, 1))
        log_p = sum(self.log_prob("p", name, values, params) for name in self.p)
        return special.logsumexp(log_size + log_p)

    def iwae(self, params):
        """E of the importance-weighted bound of two draws: over all pairs of points."""
        _, log_weight, log_p, log_q = self.points(params, num_nodes=16)
        log_w, weight = log_p - log_q, np.exp(log_weight)
        return weight @ (np.logaddexp.outer(log_w, log_w) - np.log(2.0)) @ weight

    def slope(self, function, step=1e-5):
        """The gradient of a function of the parameters, by central differences."""
        steps = step * np.eye(self.params.size)
        ends = [(function(self.params + d), function(self.params - d)) for d in steps]
        return np.array([one - other for one, other in ends]) / (2 * step)

    def of_q(self):
        """Which columns are parameters of q."""
        found = np.zeros(self.params.size, bool)
        for (side, _), (start, end) in self.columns.items():
            found[start:end] = side == "q"
        return found


def gradients(model, batch, objective, seed=(1, 2)):
    """Returns the bound `[B]` and its gradient in the context `[B, P]`, row by row."""
    with tf.GradientTape() as tape:
        tape.watch(batch["context"])
        terms = model.terms(
            num_samples=objective.num_samples, seed=tf.constant(seed), objective=objective, **batch
        )
        bound = objective(terms)
    slopes = tape.gradient(bound, batch["context"])
    return bound.numpy().astype("float64"), slopes.numpy().astype("float64")
