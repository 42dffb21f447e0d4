"""One SavedModel for TensorFlow alone, which is whole or not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfvae._protocols import Served
from tfvae._tracing import noting_graphs, release
from tfvae.export.card import EXTRA, own_files, write_card
from tfvae.export.folders import written_beside
from tfvae.export.naming import GRAPH, is_export, name_outputs
from tfvae.export.preprocessing import Preprocessing
from tfvae.export.signatures import STANDARD, Endpoint, signatures
from tfvae.export.small import SmallWeights, in_small
from tfvae.export.targets import check_built, local_target
from tfvae.export.verification import check_answers, example_inputs
from tfvae.export.warm_up import write_warm_up_requests

__all__ = ["export_saved_model"]

# What lies in the folder of a SavedModel of this package.
_ENTRIES = {GRAPH, "fingerprint.pb", "variables", "assets", EXTRA}


def export_saved_model(
    model: Served,
    filepath: str | Path,
    *,
    names: Iterable[str] = STANDARD,
    preprocessing: Any = None,
    jit_compile: Iterable[str] = (),
    weights_dtype: str | None = None,
    warm_up: bool = False,
    verify: bool = True,
    verbose: bool = True,
) -> None:
    """Writes `model` as a SavedModel with signatures of `tfvae.export.signatures`.

    It is written beside `filepath`, and renamed when it is complete and on the disk: a server that
    looks for new versions never finds half of one, and where writing fails, what stood there before
    is left as it was. A version of its own is replaced; since no file system of Python's exchanges
    two folders at once, there is none for the moment between two renames, and a process killed just
    then leaves the old one beside, for the next export to put back. Who loads a version while it is
    replaced may find parts of both: write a new version for servers that are at work.

    Before it is renamed it is loaded and asked: all signatures have to answer two points that the
    model draws as the model does.

    Args:
        model: A built model.
        filepath: Folder to write, such as `saved_models/digits/1`: servers read the last part as
            the version. `~` is the home folder.
        names: Of the signatures that it is to have.
        preprocessing: What comes before parts of the data, see `tfvae.export.preprocessing`.
        jit_compile: Names of those that XLA compiles, for each shape of their inputs anew.
        weights_dtype: Type that kernels and other arrays of weights are kept in, "bfloat16" or
            "float16": half of the file, and of what a server reads. Products are in the type of the
            model.
        warm_up: Adds a request for each signature by which TensorFlow Serving warms up.
        verify: Compares what the file answers with the model before it takes its place.
        verbose: Prints the path and the signatures.

    Raises:
        TypeError: `preprocessing` holds what is no Keras model of one input and one output.
        ValueError: The model is not built, or has no such signature, or what comes before it does
            not fit, or at `filepath` is anything but an empty folder or an earlier export.
        OSError: Nothing can be written there.
        RuntimeError: The file answers other numbers than the model.

    Example:
        >>> import tempfile
        >>> from tfvae.demo import vae, x
        >>> folder = tempfile.mkdtemp()
        >>> vae.export(folder, verbose=False)
        >>> encode = tf.saved_model.load(folder).signatures["encode"]
        >>> sorted(encode(x=tf.constant(x[:2])))
        ['z_loc', 'z_mean', 'z_scale_diag', 'z_stddev']
    """
    check_built(model)
    target = local_target(filepath)
    _check_replaceable(target)
    before = Preprocessing(model, preprocessing)
    endpoints = signatures(model, names, jit_compile, before)
    small = in_small(model, weights_dtype)
    with written_beside(target) as folder:
        traced = _traced(endpoints, small)
        served = _served([model, *before.networks.values()], traced)
        tf.saved_model.save(served, str(folder), signatures=traced)
        name_outputs(folder)
        inputs = before.examples(example_inputs(model)) if verify or warm_up else {}
        if warm_up:
            write_warm_up_requests(model, traced, inputs, folder)
        write_card(model, traced, folder, before.description())
        if verify:
            check_answers(traced, folder, inputs)
        _check_replaceable(target)
    if verbose:
        print(f"Exported to {filepath}, for TensorFlow alone:")
        for name, (_, specs) in endpoints.items():
            print(f"  {name}({', '.join(str(spec.name) for spec in specs)})")


def _check_replaceable(target: Path) -> None:
    """Checks that nothing is lost but an earlier export.

    Raises:
        ValueError: There is a file, a folder of others, or files of others in a folder.
    """
    if not (target.exists() or target.is_symlink()):
        return
    found, remedy = "a file", "Choose another, or remove it."
    if target.is_dir():
        entries = {entry.name for entry in target.iterdir()}
        others = sorted(entries - _ENTRIES)
        if EXTRA in entries:
            extra = {entry.name for entry in (target / EXTRA).iterdir()}
            others += sorted(f"{EXTRA}/{name}" for name in extra - own_files(target))
        if not entries or (not others and is_export(target)):
            return
        found = f"a folder with {', '.join((others or sorted(entries))[:3])}"
        remedy = f"Choose another, such as {target / '1'}, or remove it."
    raise ValueError(
        "`filepath` must name a new folder, an empty one, or one that holds an earlier export and "
        f"nothing else. Received: {target}, {found}. {remedy}"
    )


def _traced(endpoints: Mapping[str, Endpoint], small: SmallWeights) -> dict[str, Any]:
    """Returns the graph of each signature, traced once."""
    traced = {}
    for name, (function, specs) in endpoints.items():
        graphs: list[Any] = []
        noted = noting_graphs(small.reading(function), graphs)
        endpoint = tf.function(noted, input_signature=specs, autograph=False)
        traced[name] = endpoint.get_concrete_function()
        release(graphs)
    return traced


def _served(parts: Iterable[Any], traced: Mapping[str, Any]) -> tf.Module:
    """Returns what is written: the graphs, and all that they read of these parts."""
    served: Any = tf.Module()
    for name, function in traced.items():
        setattr(served, name, function)
    read = (variable for each in traced.values() for variable in each.graph.variables)
    served.weights = list({id(variable): variable for variable in read}.values())
    # Tables of layers that look words up, which are no variables.
    served.resources = [
        found
        for part in parts
        for found in tf.train.TrackableView(part).descendants()
        if isinstance(found, tf.saved_model.experimental.TrackableResource)
    ]
    return served
