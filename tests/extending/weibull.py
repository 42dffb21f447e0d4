"""A likelihood from outside: times until something fails."""

from typing import ClassVar

import keras
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae

tfd = tfp.distributions


@tfvae.distributions.support_of.register(tfd.Weibull)
def support(distribution):
    del distribution
    remedy = "Add a small constant to times of zero, or choose `IndependentNormal`."
    return tfvae.distributions.Support("Weibull", lower=0.0, exclusive=True, remedy=remedy)


@keras.saving.register_keras_serializable("outside")
class IndependentWeibull(tfvae.layers.IndependentLayer):
    """Independent Weibull variables, with concentrations above 1/2 and scales above a floor."""

    num_parts = 2
    floors: ClassVar = {"min_scale": 1e-3}

    @classmethod
    def _element(cls, concentration, scale, *, min_scale, validate_args):
        concentration = 0.5 + tf.nn.softplus(concentration)
        return tfd.Weibull(concentration, min_scale + tf.nn.softplus(scale), validate_args)
