"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tfvae.__path__, "tfvae.")
    if not module.name.split(".")[-1].startswith("_")
)


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
    """What examples may use without saying so: imports, small data, and a model trained on it."""
    x = np.random.default_rng(0).integers(0, 2, (20, 8)).astype("float32")
    encoder = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2)]
    )
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(8), tfvae.layers.IndependentBernoulli(8)]
    )
    vae = tfvae.VAE(encoder, decoder, seed=0)
    vae.compile("adam")
    history = vae.fit(x, verbose=0)
    return {
        "data": _images(),
        "folder": str(tmp_path_factory.mktemp("export")),
        "history": history,
        "keras": keras,
        "np": np,
        "terms": vae.terms(x, 3, seed=0),
        "tf": tf,
        "tfd": tfp.distributions,
        "tfvae": tfvae,
        "vae": vae,
        "x": x,
    }


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, namespace):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder().find(module):
        example.globs.update({**namespace, **vars(module)})
        runner.run(example)
    assert runner.failures == 0, f"{runner.failures} examples of {name} failed, see the output"


def test_public_names_have_docstrings_and_modules_declare_them():
    for name in MODULES:
        module = importlib.import_module(name)
        assert module.__doc__, name
        if hasattr(module, "__path__"):
            continue
        assert module.__all__, name
        for public in module.__all__:
            value = getattr(module, public)
            if callable(value):
                assert value.__doc__, f"{name}.{public}"
