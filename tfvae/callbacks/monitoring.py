"""What is watched and shown during `fit`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import IO, Any

import keras
import numpy as np
from tqdm import tqdm

from tfvae._config import check_count
from tfvae.evaluation.collapse import CollapseReport, measure_collapse
from tfvae.models import LatentVariableModel
from tfvae.training.directions import direction_of

__all__ = ["CollapseMonitor", "EarlyStopping", "ProgressBar"]

_HEADING = "epoch | time | ELBO = -(distortion + rate), I[x;z] in the batch, validation ELBO"

_BAR = "{n_fmt:>4}/{total_fmt} |{bar:6}| {elapsed}<{remaining}  "


class CollapseMonitor(keras.callbacks.Callback):
    """Watches on held-out data whether z says anything of x, and says so in a line if not.

    After the first epoch, and each `every` epochs from there, `tfvae.evaluation.measure_collapse`
    runs on the data. What it finds is logged, for those callbacks that come after this one in the
    list and for the history that `fit` returns: `held_out_mutual_information`,
    `held_out_active_units`, `held_out_shuffle_cost` (how much worse x is predicted from the z of
    others) and `held_out_gap`. In epochs between, the last numbers stand. Where the prior is p(z|c)
    and no two points of the data have the same c, the first is not known and left out. Training
    stays what it is without the monitor, to the bit.

    Args:
        data: Held-out data, in a form that `fit` takes as `x`.
        every: Epochs from one measurement to the next.
        max_points: Of an array the first so many points are used, since the work grows with their
            square and the mutual information cannot exceed the logarithm of their number.
        seed: Of the draws, the same in each epoch.
        file: Where lines go; standard error by default.
        **settings: Further arguments of `measure_collapse`.

    Attributes:
        reports: Epoch of the last `fit`, counted from 0 → `CollapseReport`.

    Raises:
        ValueError: A number is smaller than 1. When training begins: the data is not what the
            model is for, has fewer than two points, or the model has no latents.
        TypeError: When training begins: the model is none of `tfvae`.

    Example:
        >>> from tfvae.demo import vae, x
        >>> monitor = tfvae.callbacks.CollapseMonitor(x)
        >>> history = vae.fit(x, epochs=2, verbose=0, callbacks=[monitor])
        >>> sorted(monitor.reports)
        [0, 1]

    Reference: Understanding Posterior Collapse in Generative Latent Variable Models (Lucas et al.,
    2019), https://openreview.net/forum?id=r1xaVLUYuE
    """

    def __init__(
        self,
        data: Any,
        every: int = 1,
        *,
        max_points: int = 1000,
        seed: int = 0,
        file: IO[str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        every, max_points = check_count("every", every), check_count("max_points", max_points)
        self.reports: dict[int, CollapseReport] = {}
        self._data, self._every, self._max_points = data, every, max_points
        self._settings = {"seed": seed, **settings}
        self._file = file
        self._said: str | None = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Checks model and data, before anything is trained."""
        if not isinstance(self.model, LatentVariableModel):
            raise TypeError(
                "`CollapseMonitor` watches models of `tfvae`, such as a `tfvae.VAE`. "
                f"Received: {type(self.model).__name__}"
            )
        self.reports, self._said = {}, None
        self.model.check_data(self._data, "data")
        if isinstance(self._data, Mapping) or hasattr(self._data, "__array__"):
            parts = self.model.data.named(self._data)
            self._data = {n: np.asarray(part)[: self._max_points] for n, part in parts.items()}
            if min(map(len, self._data.values())) < 2:
                raise ValueError("`data` must have at least two points to compare. Received: one.")
        if self.model.built and 0 in self.model.latent_shape:
            raise ValueError(
                f"`CollapseMonitor` watches latents, and {type(self.model).__name__} has none. "
                "Leave it out."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measures where it is time to, and adds the numbers to the logs."""
        model: Any = self.model
        if epoch % self._every == 0 or not self.reports:
            report = measure_collapse(model, self._data, **self._settings)
            self.reports[epoch] = report
            if report.message is not None and _kind(report) != self._said:
                print(f"Epoch {epoch + 1}: {report.message}", file=self._file or sys.stderr)
            self._said = _kind(report)
        if logs is not None:
            last = self.reports[max(self.reports)]
            for name in ("mutual_information", "active_units", "shuffle_cost", "gap"):
                value = getattr(last, name)
                if value is not None:
                    logs[f"held_out_{name}"] = float(value)


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Ends training where held-out data no longer gains, and leaves the best weights in place.

    Keras's own with other defaults: it watches the validation ELBO, knows that more is better, and
    puts the weights of the best epoch back, whether training ended early or not.

    Args:
        monitor: What to watch, of what `fit` logs.
        patience: Epochs without a gain after which training ends.
        restore_best_weights: Puts the weights of the best epoch back.
        mode: "max" or "min"; "auto" knows it for what models log.
        **kwargs: As in `keras.callbacks.EarlyStopping`.

    Attributes:
        best_epoch: The epoch of the weights, counted from 0.

    Example:
        >>> from tfvae.demo import vae, x
        >>> best = tfvae.callbacks.EarlyStopping(patience=3)
        >>> history = vae.fit(x, epochs=2, validation_data=(x,), verbose=0, callbacks=[best])
        >>> best.best_epoch
        1
    """

    def __init__(
        self,
        monitor: str = "val_elbo",
        *,
        patience: int = 10,
        restore_best_weights: bool = True,
        mode: str = "auto",
        **kwargs: Any,
    ) -> None:
        if mode == "auto":
            mode = direction_of(monitor) or mode
        super().__init__(
            monitor,
            patience=patience,
            restore_best_weights=restore_best_weights,
            mode=mode,
            **kwargs,
        )


class ProgressBar(keras.callbacks.Callback):
    """One bar for all epochs, with the ELBO and its terms of the last one, in 80 columns.

        12/100 |###   | 00:05<00:38  -19.06 = -(12.05 + 7.01), I 3.52  val -20.41

    reads: the training ELBO is minus the sum of distortion and rate, of which I is the mutual
    information estimated within the batch, for models that log it, and the last number is the
    validation ELBO, all in nats. Use it with `verbose=0`.

    Args:
        file: Where to write; standard error by default.

    Example:
        >>> from tfvae.demo import vae, x
        >>> bar = tfvae.callbacks.ProgressBar()
        >>> history = vae.fit(x, epochs=3, verbose=0, callbacks=[bar])
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        super().__init__()
        self._file = file
        self._bar: Any = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Draws the empty bar."""
        file = self._file or sys.stderr
        print(_HEADING, file=file)
        self._bar = tqdm(
            total=(self.params or {}).get("epochs"),
            file=file,
            bar_format=_BAR,
            mininterval=0.2,
        )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Moves the bar on and shows the terms of this epoch."""
        logs = logs or {}
        terms = []
        if {"elbo", "distortion", "rate"} <= logs.keys():
            elbo, *parts = (_short(logs[name]) for name in ("elbo", "distortion", "rate"))
            terms.append(f"{elbo} = -({' + '.join(parts)})")
        if "mutual_information" in logs:
            terms.append(f"I {_short(logs['mutual_information'])}")
        shown = ", ".join(terms)
        if "val_elbo" in logs:
            shown += f"  val {_short(logs['val_elbo'])}"
        # As a whole: tqdm would put a comma before what it is given as a postfix.
        self._bar.bar_format = _BAR + shown.strip().replace("{", "{{").replace("}", "}}")
        self._bar.update(epoch + 1 - self._bar.n)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Leaves the bar as it stands."""
        self._bar.refresh()
        self._bar.close()


def _short(nats: float) -> str:
    """Returns a number in seven characters: all terms and two times are to be in 80 columns."""
    if abs(nats) >= 1e6:
        return f"{nats:.0e}"
    return f"{nats:.{2 if abs(nats) < 100.0 else 1 if abs(nats) < 1e3 else 0}f}"


def _kind(report: CollapseReport) -> str | None:
    """What a message is about: it is said once, and again when that changes."""
    if report.message is None:
        return None
    return report.cause or ", ".join(report.idle_levels) or "dimensions"
