"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import inspect
import operator
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tfvae import demo

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tfvae.__path__, "tfvae.")
    if not module.name.split(".")[-1].startswith("_")
)


# What a reader has imported, as README does; all else an example imports by itself.
NAMESPACE = {
    "keras": keras,
    "np": np,
    "tf": tf,
    "tfd": tfp.distributions,
    "tfvae": tfvae,
}


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """The files that the loaders of MNIST read, with black images in them."""
    folder = tmp_path_factory.mktemp("data")
    mnist = {"x_train": (60_000, 28, 28), "y_train": 60_000, "x_test": (10_000, 28, 28)}
    binarized = {"train": (50_000, 98), "valid": (10_000, 98), "test": (10_000, 98)}
    for name, shapes in (("mnist", {**mnist, "y_test": 10_000}), ("binarized_mnist", binarized)):
        arrays = {key: np.zeros(shape, np.uint8) for key, shape in shapes.items()}
        np.savez_compressed(folder / f"{name}.npz", **arrays)
    return folder


@pytest.fixture
def fresh_demo():
    """Each module begins with the demo as it is made: examples train it, or give it other parts."""
    vae = demo.vae
    parts = [vae.prior, vae.objective, vae.optimizer]
    values = [np.array(variable) for variable in vae.variables]
    yield
    if any(map(operator.is_not, parts, [vae.prior, vae.objective, vae.optimizer])):
        demo._made.cache_clear()
    else:
        for variable, value in zip(vae.variables, values, strict=True):
            variable.assign(value)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_as_they_stand(name, data_folder, fresh_demo, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFVAE_DATA", str(data_folder))
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder().find(module):
        example.globs = dict(NAMESPACE)
        runner.run(example)
    assert runner.failures == 0, (
        f"{runner.failures} examples of {name} failed, see the output. An example imports what it "
        "uses beside keras, np, tf, tfd and tfvae; `tfvae.demo` has a tiny model, `vae`, and `x`."
    )


@pytest.mark.slow
def test_public_names_have_docstrings_and_modules_declare_them():
    for name in MODULES:
        module = importlib.import_module(name)
        assert module.__doc__, name
        if hasattr(module, "__path__"):
            continue
        assert module.__all__, name
        for public in module.__all__:
            value = getattr(module, public)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert value.__doc__, f"{name}.{public}"
