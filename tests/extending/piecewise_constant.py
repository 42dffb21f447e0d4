"""A posterior from outside: a histogram of eight bins over [-3, 3]."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae


class PiecewiseConstant(tfp.distributions.AutoCompositeTensorDistribution):
    def __init__(self, masses, validate_args=False):
        self.masses, kind = masses, tfp.distributions.FULLY_REPARAMETERIZED
        super().__init__(masses.dtype, kind, validate_args, allow_nan_stats=True)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"masses": tfp.util.ParameterProperties(event_ndims=1)}

    def _event_shape(self):
        return tf.TensorShape([])

    def _log_prob(self, x):
        k = tf.cast(tf.clip_by_value((x + 3.0) / 0.75, 0.0, 7.5), tf.int32)
        log_prob = tf.math.log(tf.reduce_sum(tf.one_hot(k, 8) * self.masses, axis=-1) / 0.75)
        return tf.where(tf.abs(x) <= 3.0, log_prob, -float("inf"))

    def _sample_n(self, n, seed=None):
        u = tf.random.stateless_uniform(tf.concat([[n], tf.shape(self.masses[..., :1])], 0), seed)
        within = (u - tf.cumsum(self.masses, axis=-1, exclusive=True)) / self.masses
        return 0.75 * tf.reduce_sum(tf.clip_by_value(within, 0.0, 1.0), axis=-1) - 3.0


@keras.saving.register_keras_serializable("outside")
class IndependentPiecewise(tfvae.layers.IndependentLayer):
    num_parts = 8

    @classmethod
    def _element(cls, *logits, validate_args):
        return PiecewiseConstant(tf.nn.softmax(tf.stack(logits, axis=-1)), validate_args)
