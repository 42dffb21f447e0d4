"""ONNX files of the portable signatures, one for each."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._protocols import Served
from tfvae.export.folders import file_written_beside
from tfvae.export.portable import PORTABLE, NotPortable, Twin, is_close, twin
from tfvae.export.signatures import checked_names
from tfvae.export.targets import check_built, local_target

__all__ = ["export_onnx"]

_ENDING = ".onnx"


def export_onnx(
    model: Served,
    filepath: str | Path,
    *,
    names: Iterable[str] | None = None,
    opset: int = 17,
    verbose: bool = True,
) -> list[Path]:
    """Writes portable signatures as ONNX, `decode.onnx` and so on, and compares what they answer.

    The files need neither TensorFlow nor Python: ONNX Runtime, also of browsers, and whatever else
    reads ONNX run them, for any number of rows from one on. Noise is an input, and nothing is
    checked; see `tfvae.export.portable`. Each file is whole at any time. Needs tf2onnx, and
    compares by onnxruntime where that is installed: `pip install "tfvae[onnx]"`.

    Args:
        model: A built model.
        filepath: Folder for the files; others in it stay.
        names: Of `tfvae.export.portable.PORTABLE`; None writes all that the model can have.
        opset: Version of the ONNX operators.
        verbose: Prints what was written.

    Returns:
        The files.

    Raises:
        ImportError: tf2onnx is not installed.
        NotPortable: A signature that was asked for draws what no noise is mapped to.
        RuntimeError: A file answers other numbers than the model.
        ValueError: `filepath` is a file, or there is no signature of a name.
    """
    check_built(model)
    convert = _installed("tf2onnx")
    folder = local_target(filepath)
    if folder.is_file():
        raise ValueError(
            f"`filepath` must name a folder for one file of each signature. Received: {folder}"
        )
    found = _twins(model, names)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, each in found.items():
        function = tf.function(each.function, input_signature=each.specs, autograph=False)
        proto, _ = convert.convert.from_function(function, each.specs, opset=opset)
        content = proto.SerializeToString()
        _check(name, each, content)
        target = folder / (name.removeprefix("portable_") + _ENDING)
        with file_written_beside(target) as path:
            path.write_bytes(content)
        written.append(target)
        if verbose:
            names_of = ", ".join(str(spec.name) for spec in each.specs)
            print(f"  {target}({names_of}), {len(content):,} bytes")
    return written


def _twins(model: Served, names: Iterable[str] | None) -> dict[str, Twin]:
    found = {}
    for name in PORTABLE if names is None else checked_names(names, PORTABLE):
        try:
            found[name] = twin(model, name)
        except NotPortable:
            if names is not None:
                raise
    return found


def _installed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"ONNX files are made by {package}, which is not installed: "
            '`pip install "tfvae[onnx]"`.'
        ) from error


def _check(name: str, expected: Twin, content: bytes) -> None:
    """Compares what a file answers with what the model does, where there is a runtime."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        return
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    called, outputs = (
        [i.name for i in session.get_inputs()],
        [o.name for o in session.get_outputs()],
    )
    for values, answer in expected.runs:
        given = {str(s.name): np.asarray(v) for s, v in zip(expected.specs, values, strict=True)}
        found = session.run(None, {name: given[name] for name in called})
        for output, value in zip(outputs, found, strict=True):
            if not is_close(value, answer[output]):
                raise RuntimeError(
                    f"The ONNX file of `{name}` was not kept, because its `{output}` is not what "
                    "the model answers. Try another `opset`, and report it to tf2onnx."
                )
