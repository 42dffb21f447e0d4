"""A model of a table of pandas, from and to tables: `pip install tfvae[tables]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae import layers, networks
from tfvae._typing import Seed
from tfvae.data.checks import check_array
from tfvae.data.table import Table
from tfvae.distributions import support_of
from tfvae.evaluation import impute, log_likelihood
from tfvae.models import VAE

__all__ = ["TableVAE"]


class TableVAE:
    """A VAE of the rows of a table: families by column, gaps allowed, tables back.

    Put together of `tfvae.data.Table`, `layers.DataEncoder` and
    `layers.Adapted(layers.Masked(layers.Heterogeneous(...)))`; `model` is the `tfvae.VAE`, for all
    that the package has beside.

    Args:
        frame: `pandas.DataFrame` to learn from.
        families: Name → distribution layer, where the rule of `Table` is not to decide.
        latents: Size of z.
        hidden: Units of the hidden layers of encoder and decoder.
        prior: A prior of `tfvae.priors`; None takes N(0, I).
        seed: Of weights and draws.

    Attributes:
        table: Columns and their families: print it.
        model: The `tfvae.VAE`.

    Raises:
        TypeError: See `tfvae.data.Table`.
        ValueError: See `tfvae.data.Table`.

    Example:
        >>> import pandas as pd
        >>> from tfvae.tables import TableVAE
        >>> rng = np.random.default_rng(0)
        >>> ages, colours = rng.normal(45.0, 12.0, 100), ["red", "blue"] * 50
        >>> frame = pd.DataFrame({"age": ages, "colour": colours})
        >>> rows = TableVAE(frame, latents=2, seed=0)
        >>> history = rows.fit(frame, epochs=2, verbose=0)
        >>> frame.loc[3, "age"] = None
        >>> bool(rows.impute(frame).isna().any().any())
        False
        >>> rows.sample(3, seed=1).columns.tolist()
        ['age', 'colour']

    Reference: Handling incomplete heterogeneous data using VAEs (Nazabal et al., 2020),
    https://arxiv.org/abs/1807.03653
    """

    def __init__(
        self,
        frame: Any,
        families: Mapping[Any, Any] | None = None,
        *,
        latents: int = 8,
        hidden: Sequence[int] = (64,),
        prior: Any = None,
        seed: int | None = None,
    ) -> None:
        self.table = Table(frame, families)
        x, columns = self.table.encode(frame), self.table.families
        likelihood = layers.Masked(layers.Heterogeneous(columns))
        support = support_of(likelihood(tf.zeros([1, likelihood.num_params])))
        check_array(x, "frame", x.shape[1:], support)
        likelihood = layers.Adapted(likelihood, x)
        features = layers.DataEncoder(columns)
        features.adapt(x)
        posterior = layers.MultivariateNormalDiag(latents)
        encoder = networks.functional(
            {"x": x.shape[1]},
            features,
            *(keras.layers.Dense(units, "relu") for units in hidden),
            keras.layers.Dense(posterior.num_params),
            posterior,
        )
        decoder = networks.functional(
            {"z": latents},
            *(keras.layers.Dense(units, "relu") for units in hidden),
            keras.layers.Dense(likelihood.num_params),
            likelihood,
        )
        self.model = VAE(encoder, decoder, prior, seed=seed)

    def __repr__(self) -> str:
        return f"TableVAE({self.table!r}, latents={self.model.latent_shape[0]})"

    def fit(self, frame: Any, **settings: Any) -> Any:
        """Trains on the rows of a table; compiles with Adam where `model` is not compiled yet.

        Args:
            frame: `pandas.DataFrame`, with the columns of the first.
            **settings: As in `LatentVariableModel.fit`; `validation_data` may be a table,
                or a tuple of one.

        Returns:
            `keras.callbacks.History`.
        """
        if not self.model.compiled:
            self.model.compile(keras.optimizers.Adam(3e-3))
        held_out = settings.get("validation_data")
        if isinstance(held_out, (tuple, list)) and len(held_out) == 1:
            (held_out,) = held_out
        if hasattr(held_out, "columns"):
            settings["validation_data"] = (self.table.encode(held_out),)
        return self.model.fit(self.table.encode(frame), **settings)

    def impute(self, frame: Any, num_samples: int = 100, *, seed: Seed = 0) -> Any:
        """Returns the table with its gaps filled by E[x_missing | x_observed]; the rest stays.

        For categories the most probable one stands in.

        Args:
            frame: `pandas.DataFrame` with the columns of the first; others are left as they are.
            num_samples: Draws of z for each row.
            seed: Of the draws.
        """
        x = self.table.encode(frame)
        filled = self.table.decode(impute(self.model, x, num_samples, seed=seed, verbose=False).x)
        filled, result = filled.set_axis(frame.index, axis=0), frame.copy()
        for column in self.table.columns:
            gaps = np.asarray(frame[column.name].isna())
            if gaps.any():
                kept = filled[column.name].where(gaps, frame[column.name])
                result[column.name] = kept.astype(filled[column.name].dtype)
        return result

    def reconstruct(self, frame: Any, seed: Seed = None) -> Any:
        """Returns all entries anew, the centres of p(x|z) at one z for each row.

        Args:
            frame: `pandas.DataFrame` with the columns of the first.
            seed: See `LatentVariableModel.reconstruct`.
        """
        found = self.model.reconstruct(self.table.encode(frame), seed)
        return self.table.decode(found, frame.index)

    def sample(self, num_samples: int, seed: Seed = None) -> Any:
        """Returns a table of new rows.

        Args:
            num_samples: Number of rows.
            seed: Of the draws.
        """
        return self.table.decode(self.model.sample(num_samples, seed))

    def score_samples(self, frame: Any, num_samples: int = 100, *, seed: Seed = 0) -> Any:
        """Returns log p of the observed entries of each row, nats, as a `pandas.Series`.

        Args:
            frame: `pandas.DataFrame` with the columns of the first.
            num_samples: Draws of z for each row.
            seed: Of the draws.
        """
        import pandas as pd

        x = self.table.encode(frame)
        found = log_likelihood(self.model, x, num_samples, seed=seed, verbose=False)
        return pd.Series(found.per_point, index=frame.index, name="log_p_x")
