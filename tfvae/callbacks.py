"""What runs during `fit`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import IO, Any

import keras
from tqdm import tqdm

__all__ = ["ProgressBar"]

_HEADING = "epoch | time | ELBO = -(distortion + rate), I[x;z] in the batch, validation ELBO"


class ProgressBar(keras.callbacks.Callback):
    """One bar for all epochs, with the ELBO and its terms of the last one, in 80 columns.

        12/100 |###   | 00:05<00:38  -19.06 = -(12.05 + 7.01), I 3.52  val -20.41

    reads: the training ELBO is minus the sum of distortion and rate, of which I is the mutual
    information estimated within the batch, and the last number is the validation ELBO, all in
    nats. Use it with `verbose=0`.

    Args:
        file: Where to write; standard error by default.

    Example:
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
            bar_format="{n_fmt:>4}/{total_fmt} |{bar:12}| {elapsed}<{remaining} {postfix}",
            mininterval=0.2,
        )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Moves the bar on and shows the terms of this epoch."""
        logs = logs or {}
        terms = ""
        if {"elbo", "distortion", "rate", "mutual_information"} <= logs.keys():
            terms = "{elbo:.2f} = -({distortion:.2f} + {rate:.2f}), I {mutual_information:.2f}"
            terms = terms.format(**logs)
        if "val_elbo" in logs:
            terms += f"  val {logs['val_elbo']:.2f}"
        self._bar.set_postfix_str(terms, refresh=False)
        self._bar.update(epoch + 1 - self._bar.n)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Leaves the bar as it stands."""
        self._bar.refresh()
        self._bar.close()
