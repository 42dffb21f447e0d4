"""A linear VAE whose rate-distortion curve is known, and whose expectations are exact."""

import keras
import numpy as np
import tensorflow as tf

import tfvae
from tests import analytic


@keras.saving.register_keras_serializable("tests")
class FixedNoise(keras.layers.Layer):
    """Appends the same raw scale to all locations."""

    def __init__(self, raw, **kwargs):
        super().__init__(**kwargs)
        self.raw = raw

    def call(self, loc):
        return tf.concat([loc, tf.fill(tf.shape(loc), self.raw)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


class LinearModel:
    """Data of known eigenvalues, a linear decoder of fixed noise, a linear diagonal encoder.

    At weight beta of the rate, the optimum is reverse water-filling: with the eigenvalues l_i of
    the data's covariance, unit i is active where l_i > beta s2,

        rate = sum_active log(l_i / (beta s2)) / 2
        distortion = D log(2 pi s2) / 2 + sum_i min(l_i, beta s2) / (2 s2)
    """

    s2, latents = 0.5, 3

    def __init__(self, num=60, seed=0):
        rng = np.random.default_rng(seed)
        self.values = np.array([3.0, 1.5, 0.9, 0.2])
        white = rng.normal(size=(num, 4))
        white -= white.mean(axis=0)
        left, _, right = np.linalg.svd(white, full_matrices=False)
        # Eigenvalues are exact, and axes at no angle that a network would know.
        self.x = (left * np.sqrt(num * self.values) @ right).astype("float32")
        self.num_draws = 2 * self.latents

    def curve(self, beta):
        """Returns rate and distortion at the optimum for a weight of the rate."""
        level = np.minimum(self.values, beta * self.s2)
        rate = 0.5 * np.log(self.values / level).sum()
        return rate, 0.5 * (4 * np.log(2 * np.pi * self.s2) + level.sum() / self.s2)

    def vae(self):
        """Returns a VAE whose draws integrate its ELBO without error."""
        encoder = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(2 * self.latents),
                analytic.SigmaPointLayer(self.latents),
            ]
        )
        raw = float(np.log(np.expm1(np.sqrt(self.s2))))
        decoder = keras.Sequential(
            [
                keras.Input((self.latents,)),
                keras.layers.Dense(4),
                FixedNoise(raw),
                tfvae.layers.IndependentNormal(4, min_scale=0.0),
            ]
        )
        return tfvae.VAE(encoder, decoder, seed=0)
