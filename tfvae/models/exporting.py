"""What a model writes for others to serve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfvae.export.onnx import export_onnx
from tfvae.export.signatures import STANDARD
from tfvae.export.writer import export_saved_model
from tfvae.training.guard import check_finite

__all__ = ["Exporting"]


class Exporting:
    """Mixin of the models: files for TensorFlow alone, and for other runtimes."""

    def export(
        self: Any,
        filepath: Any,
        *,
        signatures: Iterable[str] = STANDARD,
        preprocessing: Any = None,
        jit_compile: Iterable[str] = (),
        weights_dtype: str | None = None,
        warm_up: bool = False,
        verify: bool = True,
        verbose: bool = True,
        format: str = "tf_saved_model",
    ) -> None:
        """Writes a SavedModel that serves with TensorFlow alone.

        Its signatures are listed in `tfvae.export.signatures`. What stands at `filepath` stays
        whole until the new version is complete, and is left as it was where writing fails; see
        `tfvae.export.writer`.

        Args:
            filepath: Folder to write, new, empty or an earlier export.
            signatures: Names of those that it is to have; all that a model can have are
                `tfvae.export.signatures.offered(model)`, and those of `tfvae.export.portable`, for
                runtimes other than TensorFlow. More of them take longer to write.
            preprocessing: Keras model from what clients send, such as bytes of an image, to what
                this model takes, or a dict of part of the data → such a model. It becomes part of
                the graph: see `tfvae.export.preprocessing`.
            jit_compile: Names of those that XLA compiles, for each shape of their inputs anew: for
                servers whose batches have few sizes. Draws are others than without.
            weights_dtype: "bfloat16" or "float16" keeps arrays of weights in half of their bytes.
            warm_up: Adds a request for each of them, by which TensorFlow Serving warms up: needs
                `pip install "tfvae[serving]"`.
            verify: Loads what was written, and compares what all signatures answer to two points
                with the model, before it takes its place.
            verbose: Prints the signatures.
            format: "tf_saved_model"; for "onnx" see `export_onnx`.

        Raises:
            TypeError: `preprocessing` holds what is no Keras model of one input and one output.
            ValueError: Another format is asked for, a weight is not finite, or anything that
                `tfvae.export.writer` refuses.
        """
        if format != "tf_saved_model":
            raise ValueError(
                '`export` writes SavedModels, format="tf_saved_model"; `export_onnx` writes ONNX '
                f"files. Received: {format!r}."
            )
        if self.built:
            check_finite(self, "Answers")
        export_saved_model(
            self,
            filepath,
            names=signatures,
            preprocessing=preprocessing,
            jit_compile=jit_compile,
            weights_dtype=weights_dtype,
            warm_up=warm_up,
            verify=verify,
            verbose=verbose,
        )

    def export_onnx(
        self: Any,
        filepath: Any,
        *,
        signatures: Iterable[str] | None = None,
        opset: int = 17,
        verbose: bool = True,
    ) -> None:
        """Writes ONNX files, for ONNX Runtime, browsers and other readers without TensorFlow.

        They are compared with the model where onnxruntime is installed; see `tfvae.export.onnx`.

        Args:
            filepath: Folder for one file of each signature, `decode.onnx` and so on.
            signatures: Names out of `tfvae.export.portable.PORTABLE`; None writes all that the
                model can have.
            opset: Version of the ONNX operators.
            verbose: Prints what was written.

        Raises:
            ValueError: A weight is not finite.
            ImportError: tf2onnx is not installed: `pip install "tfvae[onnx]"`.
        """
        if self.built:
            check_finite(self, "Answers")
        export_onnx(self, filepath, names=signatures, opset=opset, verbose=verbose)
