"""A prior from outside: heavy tails."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae

tfd = tfp.distributions


@keras.saving.register_keras_serializable("outside")
class StudentT(tfvae.priors.Prior):
    """Independent Student-t variables, whose locations and scales are learned."""

    def __init__(self, event_shape=None, *, df=4.0, **kwargs):
        self.df = df
        super().__init__(event_shape, **kwargs)

    def distribution(self, context=None):
        del context
        loc = tf.convert_to_tensor(self.loc)
        scale = 1e-3 + tf.nn.softplus(tf.convert_to_tensor(self.raw_scale))
        return tfd.Independent(tfd.StudentT(self.df, loc, scale), len(self.known_event_shape()))

    def get_config(self):
        return {**super().get_config(), "df": self.df}

    def _build(self, event_shape):
        self.loc = self.add_weight(event_shape, "zeros", name="loc")
        self.raw_scale = self.add_weight(event_shape, "zeros", name="raw_scale")
