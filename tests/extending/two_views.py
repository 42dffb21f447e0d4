"""A model from outside: two decoders on one z, one of them observed for some rows only."""

import keras

import tfvae
from tfvae.graph.graph import Graph
from tfvae.graph.parts import Network, Root
from tfvae.graph.posteriors import Networks


class TwoViews(tfvae.LatentVariableModel):
    """p(z) p(x|z) p(w|z) with q(z|x): the second view may be missing.

    Args:
        encoder: From x to q(z|x).
        decoders: From z to p(x|z), and to p(w|z), of which NaN is not observed.
        prior: p(z).
        seed: See `LatentVariableModel`.
    """

    def __init__(self, encoder, decoders, prior, *, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.encoder, self.decoders, self.prior = encoder, list(decoders), prior
        of_z = {
            name: Network(decoder, f"decoder of {name}", ["z"], ["z"])
            for name, decoder in zip("xw", decoders, strict=True)
        }
        q = Networks({"z": Network(encoder, "encoder", ["x"], ["x"])})
        self._set_graph(Graph({**of_z, "z": Root(prior, "prior")}, q))

    def get_config(self):
        parts = {"encoder": self.encoder, "decoders": self.decoders, "prior": self.prior}
        stored = {k: keras.saving.serialize_keras_object(part) for k, part in parts.items()}
        return {**super().get_config(), **stored, "seed": self.seed}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("encoder", "decoders", "prior")
        }
        return cls(**{**config, **parts})
