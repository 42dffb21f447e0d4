"""Small data sets as arrays, in the fixed splits that published numbers refer to."""

from __future__ import annotations

import os
import pathlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

__all__ = ["Dataset", "binarized_mnist", "digits", "mnist"]

Folder = str | os.PathLike[str] | None

_FOLDER_VARIABLE = "TFVAE_DATA"
_MNIST_SHAPES = {
    "x_train": (60_000, 28, 28),
    "y_train": (60_000,),
    "x_test": (10_000, 28, 28),
    "y_test": (10_000,),
}
# Whose noise is drawn at once: the numbers are the same, in less memory.
_ROWS_AT_ONCE = 1000
_BINARIZED_MNIST_SHAPES = {"train": (50_000, 98), "valid": (10_000, 98), "test": (10_000, 98)}


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images in a fixed split, with labels where there are some.

    Train on `x_train`, choose by `x_valid`, report on `x_test`.

    Attributes:
        x_train: `[N, H, W, C]`, float32.
        x_valid: `[N, H, W, C]`, float32.
        x_test: `[N, H, W, C]`, float32.
        y_train: Labels `[N]`, int32, or None.
        y_valid: Labels `[N]`, int32, or None.
        y_test: Labels `[N]`, int32, or None.
    """

    x_train: np.ndarray
    x_valid: np.ndarray
    x_test: np.ndarray
    y_train: np.ndarray | None = None
    y_valid: np.ndarray | None = None
    y_test: np.ndarray | None = None

    def __repr__(self) -> str:
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        return f"Dataset({', '.join(f'{name} {list(a.shape)}' for name, a in arrays.items())})"


def digits(*, binarize: float | np.random.Generator | None = 0.5) -> Dataset:
    """Handwritten digits of 8 x 8 pixels: small enough to train on within seconds.

    1,000 images for training, 350 for validation, 447 for testing: the rows 0-999, 1000-1349 and
    1350-1796 of the file that comes with scikit-learn, a split used in the literature. Nothing is
    downloaded. Neighbouring rows come from the same writers: a random split would put each writer
    on both sides.

    Args:
        binarize: The default gives the values 0 and 1 that a Bernoulli likelihood needs. A number
            in [0, 1) sets pixels above it to 1 and all others to 0; a `numpy.random.Generator`
            draws each pixel once, with its grey level as the probability of a 1; None keeps the
            grey levels, sixteenths in [0, 1].

    Returns:
        `Dataset` of images `[N, 8, 8, 1]` and labels 0 to 9.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: `binarize` is no such number.

    Example:
        >>> tfvae.datasets.digits().x_train.shape
        (1000, 8, 8, 1)

    Reference: Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998),
    https://doi.org/10.24432/C50P49
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The digits come with scikit-learn, which cannot be imported. "
            'Run `pip install "tfvae[examples]"`.'
        ) from error
    data: Any = load_digits()
    x = _binarized((data["data"].reshape(-1, 8, 8, 1) / 16.0).astype(np.float32), binarize)
    y = data["target"].astype(np.int32)
    train, valid, test = slice(0, 1000), slice(1000, 1350), slice(1350, 1797)
    return Dataset(x[train], x[valid], x[test], y[train], y[valid], y[test])


def mnist(folder: Folder = None, *, binarize: float | np.random.Generator | None = None) -> Dataset:
    """Handwritten digits of 28 x 28 pixels (MNIST).

    50,000 images for training, the other 10,000 of the original training set for validation, and
    the original 10,000 for testing.

    Args:
        folder: Folder that holds `mnist.npz`, with the arrays `x_train`, `y_train`, `x_test` and
            `y_test` as Keras stores them. By default the folder named by the environment variable
            `TFVAE_DATA`, where it holds the file, or else Keras's cache, which downloads it once.
        binarize: None keeps the grey levels in [0, 1]; a number or a `numpy.random.Generator`
            gives the values 0 and 1, as in `digits`. Published likelihoods of binary digits refer
            to `binarized_mnist`, a fixed draw of its own.

    Returns:
        `Dataset` of images `[N, 28, 28, 1]` and labels 0 to 9.

    Raises:
        FileNotFoundError: `folder` does not hold the file.
        ConnectionError: The file is not in Keras's cache and cannot be downloaded.
        ValueError: The file is not what it should be, or `binarize` is no such number.

    Example:
        >>> data = tfvae.datasets.mnist(binarize=np.random.default_rng(0))

    Reference: Gradient-Based Learning Applied to Document Recognition (LeCun et al., 1998),
    https://doi.org/10.1109/5.726791
    """
    path = _find("mnist.npz", folder)
    if path is not None:
        arrays = _load(path, _MNIST_SHAPES)
    elif folder is not None:
        raise FileNotFoundError(
            f"There is no `mnist.npz` in the given folder. Received: folder='{folder}'. Leave "
            "`folder` out to have Keras download the file."
        )
    else:
        arrays = _load_mnist_with_keras()
    grey = {name: arrays[name][..., None] / np.float32(255.0) for name in ("x_train", "x_test")}
    x, x_test = (_binarized(grey[name], binarize) for name in ("x_train", "x_test"))
    y, y_test = (arrays[name].astype(np.int32) for name in ("y_train", "y_test"))
    return Dataset(x[:50_000], x[50_000:], x_test, y[:50_000], y[50_000:], y_test)


def binarized_mnist(folder: Folder = None) -> Dataset:
    """Static binarized MNIST: the one fixed draw that published log-likelihoods refer to.

    50,000 images for training, 10,000 for validation, 10,000 for testing, without labels.

    Args:
        folder: Folder that holds `binarized_mnist.npz`; by default the one named by the
            environment variable `TFVAE_DATA`. The arrays are `train`, `valid` and `test`, uint8
            `[N, 98]`: rows of 784 bits packed by `numpy.packbits(x, axis=1)`.

    Returns:
        `Dataset` of images `[N, 28, 28, 1]` with the values 0 and 1, and no labels.

    Raises:
        FileNotFoundError: The folder does not hold the file, or none is given.
        ValueError: The file is not what it should be.

    Example:
        >>> data = tfvae.datasets.binarized_mnist()  # from the folder that TFVAE_DATA names

    Reference: On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray,
    2008), https://doi.org/10.1145/1390156.1390266
    """
    path = _find("binarized_mnist.npz", folder)
    if path is None:
        variable = os.environ.get(_FOLDER_VARIABLE)
        raise FileNotFoundError(
            "There is no `binarized_mnist.npz` to read, and no place to download it from in this "
            f"form. Received: folder={None if folder is None else str(folder)!r}, "
            f"{_FOLDER_VARIABLE}={variable!r}. Put the file into a folder and name the folder by "
            f"`folder` or by the environment variable {_FOLDER_VARIABLE}. The file holds the "
            "arrays `train`, `valid` and `test`, uint8 [50000, 98], [10000, 98] and [10000, 98]: "
            "rows of 784 bits, packed by `numpy.packbits(x, axis=1)` and stored by "
            "`numpy.savez_compressed`."
        )
    arrays = _load(path, _BINARIZED_MNIST_SHAPES)
    images = {
        # The last byte of a row is full: 784 bits are 98 bytes.
        name: np.unpackbits(packed, axis=1).astype(np.float32).reshape(-1, 28, 28, 1)
        for name, packed in arrays.items()
    }
    return Dataset(images["train"], images["valid"], images["test"])


def _find(name: str, folder: Folder) -> pathlib.Path | None:
    """Returns the path of a file in `folder`, or else in the folder of the environment."""
    source = folder if folder is not None else os.environ.get(_FOLDER_VARIABLE)
    if not source:
        return None
    path = pathlib.Path(source).expanduser() / name
    return path if path.is_file() else None


def _load(path: pathlib.Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    try:
        # Opened here, since NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            # A file that is one bare array has no names.
            names = set(getattr(file, "files", []))
            arrays = {name: file[name] for name in shapes if name in names}
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"'{path}' cannot be read: {error}. Expected an archive of NumPy arrays (.npz). "
            "Fetch the file again; it may be cut short."
        ) from error
    for name, shape in shapes.items():
        expected = f"Expected `{name}`: uint8 {list(shape)}."
        if name not in arrays:
            raise ValueError(
                f"'{path}' has no array `{name}`. {expected} "
                f"Received: {sorted(names) or 'no named arrays'}."
            )
        array = arrays[name]
        if array.shape != shape or array.dtype != np.uint8:
            raise ValueError(
                f"`{name}` in '{path}' is not what it should be. {expected} "
                f"Received: {array.dtype} {list(array.shape)}."
            )
    return arrays


def _load_mnist_with_keras() -> dict[str, np.ndarray]:
    try:
        (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception where a download fails.
        raise ConnectionError(
            f"Keras could not fetch MNIST: {error}. Without a network, put `mnist.npz` into a "
            f"folder and name the folder by `folder` or by the environment variable "
            f"{_FOLDER_VARIABLE}."
        ) from error
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _binarized(x: np.ndarray, binarize: float | np.random.Generator | None) -> np.ndarray:
    """Returns `x`, whose values are changed in place."""
    if binarize is None:
        return x
    if isinstance(binarize, np.random.Generator):
        for first in range(0, len(x), _ROWS_AT_ONCE):
            rows = x[first : first + _ROWS_AT_ONCE]
            np.less(binarize.random(rows.shape, dtype=np.float32), rows, out=rows)
        return x
    number = isinstance(binarize, (int, float, np.number)) and not isinstance(binarize, bool)
    if not number or not 0.0 <= binarize < 1.0:
        raise ValueError(
            "`binarize` must be a threshold in [0, 1), a `numpy.random.Generator` such as "
            "`numpy.random.default_rng(0)`, or None for the grey levels. "
            f"Received: binarize={binarize!r}"
        )
    return np.greater(x, binarize, out=x)
