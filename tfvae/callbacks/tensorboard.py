"""What TensorBoard shows of a model while it is trained."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae.data.spec import CONTEXT
from tfvae.distributions.statistics import centre
from tfvae.evaluation.activity import ACTIVE, activity, posterior_means
from tfvae.evaluation.streaming import Stream, first_rows
from tfvae.models import LatentVariableModel

__all__ = ["TensorBoard"]

_MOST_POINTS, _CHUNK = 1000, 250
_GAP = 1  # pixels between images
_LEAST_PIXELS = 32  # smaller images are enlarged, each pixel to a square


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's `TensorBoard`, with what is in the latents and images of held-out data.

    Keras writes the terms that `fit` logs, `epoch_elbo`, `epoch_distortion`, `epoch_rate` and the
    others, for training and validation. After the first epoch, and each `every` from there, this
    writes as the run `held_out`, from held-out data:

        latents/active_units            scalar: dimensions whose posterior mean moves with x
        latents/rate_...                scalar: of each level, or latent node
        latents/rate_per_dimension      histogram, where posterior and prior factorise
        latents/activity                histogram: variance of the posterior mean by dimension
        reconstructions, samples        images, of each observed node that is image-shaped

    Training stays what it is without it, to the bit.

    Args:
        log_dir: Folder of the event files.
        data: Held-out data, in a form that `fit` takes as `x`; the first 1,000 points are looked
            at. Contexts of samples are those of the data. None leaves all of data out.
        every: Epochs from one look at the latents to the next.
        num_images: How many images.
        image_shape: `(H, W)` or `(H, W, C)` of one image, for models of flat vectors.
        seed: Of the draws, the same in each epoch.
        **settings: Further arguments of `keras.callbacks.TensorBoard`. The graph is not written
            unless `write_graph=True` asks for it.

    Raises:
        ImportError: TensorBoard is not installed.
        ValueError: A number is smaller than 1. When training begins: the data is not what the
            model is for.
        TypeError: When training begins: the model is none of `tfvae`.

    Example:
        >>> from tfvae.demo import vae, x
        >>> board = tfvae.callbacks.TensorBoard("logs", x)
        >>> history = vae.fit(x, epochs=2, verbose=0, callbacks=[board])
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        data: Any = None,
        *,
        every: int = 1,
        num_images: int = 16,
        image_shape: Sequence[int] | None = None,
        seed: Seed = 0,
        **settings: Any,
    ) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "TensorFlow writes for TensorBoard by the package `tensorboard`, which cannot be "
                'imported. Run `pip install "tfvae[tensorboard]"`.'
            )
        super().__init__(str(log_dir), **{"write_graph": False, **settings})
        self._every = check_count("every", every)
        self._num_images = check_count("num_images", num_images)
        self._image_shape = None if image_shape is None else tuple(image_shape)
        self._seed = stateless_seed(0 if seed is None else seed)
        self._data = data
        self._rows: dict[str, np.ndarray] = {}
        self._writer: Any = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Checks model and data, before anything is trained."""
        if not isinstance(self.model, LatentVariableModel):
            raise TypeError(
                "`TensorBoard` of tfvae shows models of `tfvae`, such as a `tfvae.VAE`; for others "
                f"there is Keras's. Received: {type(self.model).__name__}"
            )
        if self._data is not None:
            self.model.check_data(self._data, "data")
            self._rows = first_rows(self.model, self._data, _MOST_POINTS)
        # A folder of its own: of two files that grow in one, TensorBoard follows the younger alone.
        self._writer = tf.summary.create_file_writer(os.path.join(self.log_dir, "held_out"))
        super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes what Keras writes, and where it is time to what is in the latents."""
        super().on_epoch_end(epoch, logs)
        if epoch % self._every:
            return
        with self._writer.as_default(step=epoch):
            if self._rows and self._own.graph.latents:
                self._write_latents()
            for name, images in self._images().items():
                tf.summary.image(name, images)
        self._writer.flush()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Closes the files."""
        super().on_train_end(logs)
        self._writer.close()

    @property
    def _own(self) -> LatentVariableModel:
        model: Any = self.model
        return model

    def _write_latents(self) -> None:
        values = _latents_of(self._own, self._rows, self._seed)
        found = activity(values.pop("mean"), values.pop("other_mean"))
        tf.summary.scalar("latents/active_units", float(np.sum(found > ACTIVE)))
        tf.summary.histogram("latents/activity", found)
        if "dimensions" in values:
            of_all = values.pop("dimensions").mean(axis=0)
            tf.summary.histogram("latents/rate_per_dimension", of_all)
        for name, rates in values.items():
            tf.summary.scalar(f"latents/{name}", float(rates.mean()))

    def _images(self) -> dict[str, np.ndarray]:
        """Returns pictures `[1, H, W, 3]`, by the names that they are written as."""
        from tfvae.plots.grid import fitting_shape

        model = self._own
        shapes = {name: model.graph.shapes[name] for name in model.graph.observed}
        as_images = {
            name: fitting_shape(event, None)
            or (None if self._image_shape is None else fitting_shape(event, self._image_shape))
            for name, event in shapes.items()
        }
        as_images = {name: shape for name, shape in as_images.items() if shape is not None}
        if not as_images:
            return {}
        found = {}
        for title, rows in (("reconstructions", self._made_again()), ("samples", self._drawn())):
            for name, shape in as_images.items():
                if name in rows:
                    several = f"/{name}" if len(as_images) > 1 else ""
                    found[f"{title}{several}"] = _grid(rows[name], shape)
        return found

    def _made_again(self) -> dict[str, list[np.ndarray]]:
        """Returns data and its reconstructions, by observed node."""
        model = self._own
        if not self._rows or not model.graph.latents:
            return {}
        rows = {name: part[: self._num_images] for name, part in self._rows.items()}
        batch: dict[str, Any] = {
            n: tf.convert_to_tensor(p) for n, p in model.data.as_batch(rows).items()
        }
        p_x = model.decode(centre(model.encode(**batch)), batch.get(CONTEXT))
        made = model.data.observed_parts(centre(p_x))
        return {name: [rows[name], np.asarray(part)] for name, part in made.items()}

    def _drawn(self) -> dict[str, list[np.ndarray]]:
        """Returns new data, by observed node; none of a context that is not known."""
        model, context = self._own, self._rows.get(CONTEXT)
        if context is not None:
            context = np.resize(context, (self._num_images, *context.shape[1:]))
        elif model.graph.reads_context:
            return {}
        drawn = model.generate(self._num_images, fold_in(self._seed, 1), context)
        return {name: [np.asarray(drawn[f"{name}_mean"])] for name in model.graph.observed}


def _latents_of(
    model: LatentVariableModel, rows: Mapping[str, np.ndarray], seed: Tensor
) -> dict[str, np.ndarray]:
    """Returns posterior means twice and rates of points, `[N, ...]`, by name."""
    points: dict[str, list[np.ndarray]] = {}
    for index, (batch, count) in enumerate(Stream(model, dict(rows), _CHUNK)):
        own = fold_in(seed, index)
        q_z = model.encode(**batch)
        terms = model.terms(seed=own, posterior=q_z, **batch)
        mean, other = posterior_means(q_z, fold_in(own, 1))
        values: dict[str, Any] = {"mean": mean, "other_mean": other}
        try:
            values["dimensions"] = terms.dimension_rates
        except ValueError:  # posterior or prior does not factorise
            values["rate"] = terms.rate
        if terms.level_rates is not None:
            levels = tf.unstack(terms.level_rates, axis=-1)
            values |= dict(zip(model.graph.rate_names, levels, strict=True))
        for name, value in values.items():
            value = np.asarray(value, np.float64)[:count]
            shape = value.shape if "mean" in name else (count, -1)
            points.setdefault(name, []).append(value.reshape(shape))
    return {name: np.concatenate(parts) for name, parts in points.items()}


def _grid(rows: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Returns rows of images `[N, ...]` below each other, as one picture `[1, H, W, 3]`."""
    from tfvae.plots.grid import as_images, limits_of, strip

    shown = [as_images(part, "data", shape).astype(np.float64) for part in rows]
    limits = limits_of(shown[0])  # those of the data, where it is there
    scale = max(1, -(-_LEAST_PIXELS // max(shape[:2])))
    strips = []
    for images in shown:
        large = images.repeat(scale, axis=1).repeat(scale, axis=2)
        border = ((0, 0), (0, _GAP), (0, _GAP), (0, 0))
        strips.append(strip(np.pad(large, border, constant_values=0.5 * sum(limits)), limits))
    return np.concatenate(strips, axis=0)[None]
