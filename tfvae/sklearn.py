"""A variational autoencoder as an estimator of scikit-learn: `pip install tfvae[sklearn]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "`tfvae.sklearn` needs scikit-learn, 1.6 or later. Install it with "
        '`pip install "tfvae[sklearn]"`.'
    ) from error

from tfvae import layers, networks
from tfvae._config import check_count
from tfvae.data.digits import tell_lost_digits
from tfvae.distributions.statistics import centre
from tfvae.models import VAE

__all__ = ["LatentDensity"]

# Rows at once where nothing is trained.
_CHUNK = 500


class LatentDensity(TransformerMixin, BaseEstimator):
    """Density of rows and codes of them: a VAE of dense networks, in scikit-learn's words.

        p(x) = E_p(z) p(x|z),   z ~ N(0, I),   q(z|x) a diagonal Gaussian

    What goes into the encoder is standardised, and the decoder counts in units of the data: columns
    need no scaling before. Use it in a `Pipeline`, in `GridSearchCV`, whose score is the mean
    log p(x), and to find rows that are unlike the others. All of `tfvae` works on `model_`.

    Args:
        n_latents: Size of z, K.
        hidden: Units of the hidden layers of encoder and decoder.
        likelihood: Distribution layer over rows `[D]`; None takes Gaussians.
        prior: A prior of `tfvae.priors`; None takes N(0, I).
        objective: An objective of `tfvae.objectives`; None takes the ELBO.
        epochs: Passes over the rows.
        batch_size: Rows of a batch.
        learning_rate: Of Adam.
        n_samples: Draws of z for each log p(x), S. Rows share their noise, so that what is said of
            a row does not depend on the others.
        random_state: Int, `numpy.random.RandomState`, or None.

    Attributes:
        model_: The fitted `tfvae.VAE`.
        n_features_in_: Number of columns, D.

    Example:
        >>> from tfvae.sklearn import LatentDensity
        >>> rows = np.random.default_rng(0).normal(5.0, 2.0, size=(100, 3))
        >>> density = LatentDensity(n_latents=2, epochs=2, random_state=0).fit(rows)
        >>> density.transform(rows).shape, density.score_samples(rows).shape
        ((100, 2), (100,))
        >>> density.sample(4, random_state=0).shape
        (4, 3)

    Reference: Auto-Encoding Variational Bayes (Kingma and Welling, 2014),
    https://arxiv.org/abs/1312.6114
    """

    def __init__(
        self,
        n_latents: int = 2,
        *,
        hidden: Sequence[int] = (64,),
        likelihood: Any = None,
        prior: Any = None,
        objective: Any = None,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        n_samples: int = 100,
        random_state: Any = None,
    ) -> None:
        self.n_latents = n_latents
        self.hidden = hidden
        self.likelihood = likelihood
        self.prior = prior
        self.objective = objective
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.n_samples = n_samples
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> LatentDensity:
        """Fits the model.

        Args:
            X: Rows `[N, D]`.
            y: Ignored.
        """
        X = self._rows(X, reset=True)
        for name in ("n_latents", "epochs", "batch_size", "n_samples"):
            check_count(name, getattr(self, name))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.model_ = self._new_model(X, seed)
        optimizer = keras.optimizers.Adam(self.learning_rate)
        self.model_.compile(optimizer, self.objective)
        self.model_.fit(X, batch_size=self.batch_size, epochs=self.epochs, verbose=0)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Returns the codes of rows, the means of q(z|x), `[N, K]`."""
        return self._by_chunks(lambda x: self.model_.encode(x).mean(), self._rows(X))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Returns the rows of codes `[N, K]`, the means of p(x|z), `[N, D]`.

        Raises:
            ValueError: Codes have another size.
        """
        check_is_fitted(self)
        codes = _narrow(np.asarray(X), "Codes")
        if codes.ndim != 2 or codes.shape[1] != self.n_latents:
            raise ValueError(
                f"Codes must have the shape [N, {self.n_latents}]. Received: {list(codes.shape)}."
            )
        return self._by_chunks(lambda z: centre(self.model_.decode(z)), codes)

    def score_samples(self, X: Any) -> np.ndarray:
        """Returns log p(x) of each row, `[N]`, nats: a bound in expectation, by S draws of z."""
        X = self._rows(X)
        noise = np.random.default_rng(0).normal(size=(self.n_samples, 1, self.n_latents))
        noise = noise.astype("float32")
        prior = self.model_.prior_distribution()

        def score(x: np.ndarray) -> Any:
            q_z = self.model_.encode(x)
            z = q_z.mean() + q_z.stddev() * noise  # [S, B, K]
            of_each = tf.broadcast_to(x, [self.n_samples, *x.shape])  # [S, B, D]
            log_w = self.model_.decode(z).log_prob(of_each) + prior.log_prob(z) - q_z.log_prob(z)
            return tf.reduce_logsumexp(log_w, axis=0) - np.log(self.n_samples).astype("float32")

        return self._by_chunks(score, X).astype(np.float64)

    def score(self, X: Any, y: Any = None) -> float:
        """Returns the mean of log p(x), nats."""
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Returns new rows `[n_samples, D]`.

        Args:
            n_samples: Number of rows.
            random_state: Int, `numpy.random.RandomState`, or None.
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self.model_.sample(n_samples, seed=seed).numpy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.non_deterministic = self.random_state is None
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.n_latents

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Returns the names of the codes, `latent0` and so on."""
        check_is_fitted(self)
        return np.array([f"latent{k}" for k in range(self.n_latents)], dtype=object)

    def _rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        if not reset:
            check_is_fitted(self)
        least: Any = {"ensure_min_samples": 2} if reset else {}
        rows: Any = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], **least)
        tell_lost_digits(rows, "X")
        return _narrow(rows, "X")

    def _new_model(self, X: np.ndarray, seed: int) -> VAE:
        keras.utils.set_random_seed(seed)
        if isinstance(self.hidden, str) or not np.iterable(self.hidden):
            raise TypeError(
                "`hidden` must hold the units of each hidden layer, such as (64,). "
                f"Received: hidden={self.hidden!r}"
            )
        if not isinstance(self.likelihood, (layers.DistributionLayer, type(None))):
            raise TypeError(
                "`likelihood` must be a distribution layer over rows, such as "
                f"`tfvae.layers.IndependentNormal({X.shape[1]})`. "
                f"Received: likelihood={self.likelihood!r}"
            )
        size, body = X.shape[1], [check_count("hidden", units) for units in self.hidden]
        given = layers.IndependentNormal(size) if self.likelihood is None else self.likelihood
        likelihood = layers.Adapted(_copied(given), X)
        features = layers.DataEncoder({"x": given}, indicators=False)
        features.adapt(X)
        posterior = layers.MultivariateNormalDiag(self.n_latents)
        encoder = networks.functional(
            {"x": size},
            features,
            *(keras.layers.Dense(units, "relu") for units in body),
            keras.layers.Dense(posterior.num_params),
            posterior,
        )
        decoder = networks.functional(
            {"z": self.n_latents},
            *(keras.layers.Dense(units, "relu") for units in body),
            keras.layers.Dense(likelihood.num_params),
            likelihood,
        )
        prior = None if self.prior is None else _copied(self.prior)
        return VAE(encoder, decoder, prior, seed=seed)

    def _by_chunks(self, function: Any, rows: np.ndarray) -> np.ndarray:
        chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
        return np.concatenate([np.asarray(function(chunk)) for chunk in chunks])


def _narrow(rows: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = rows.astype(np.float32)
    if not np.all(np.isfinite(narrow)):
        raise ValueError(
            f"{name} must hold numbers of at most {np.finfo(np.float32).max:.1e} in size, since "
            f"models compute in 32 bits. Received: up to {np.max(np.abs(rows)):.1e}. Count in "
            "larger units."
        )
    return narrow


def _copied(layer: Any) -> Any:
    """Returns a layer as it was made: what `fit` trains is not what the user holds."""
    return type(layer).from_config(layer.get_config())
