"""The numbers of one model of each kind, at fixed seeds: what a change of the inside must not move.

    python -m tests.golden.measure

writes them anew. What moves has a reason, and a line in CHANGELOG.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfvae
from tests.conftest import mlp_decoder
from tests.kinds import BITS, KINDS, network, normal, pixels
from tfvae.export.signatures import signatures
from tfvae.objectives import ELBO, ImportanceWeighted, LeaveOneOut

FILE = Path(__file__).with_name("numbers.json")


def ladder():
    """What posteriors say of z_1 is weighed with p(z_1|z_2)."""
    posteriors = [network(normal(), x=(6,)), network(normal(), x=(6,))]
    decoders = [network(pixels(), z_1=(2,)), network(normal(), z_2=(2,))]
    model = tfvae.HierarchicalVAE(posteriors, decoders, precision_weighted=True, seed=0)
    return model, BITS


def bottom_up():
    posteriors = [network(normal(), x=(6,)), network(normal(), z_1=(2,))]
    decoders = [network(pixels(), z_1=(2,), z_2=(2,)), network(normal(), z_2=(2,))]
    prior = tfvae.priors.GaussianMixture(3, 2)
    return tfvae.HierarchicalVAE(posteriors, decoders, prior, seed=0), BITS


def pseudo_inputs_above():
    posteriors = [network(normal(), x=(6,), z_2=(2,)), network(normal(), x=(6,))]
    decoders = [network(pixels(), z_1=(2,), z_2=(2,)), network(normal(), z_2=(2,))]
    model = tfvae.HierarchicalVAE(posteriors, decoders, tfvae.priors.VampPrior(3), seed=0)
    return model, BITS


def relaxed():
    encoder = network(tfvae.layers.RelaxedBernoulli(2, temperature=0.5), x=(6,))
    prior = tfvae.priors.Parametric(tfvae.layers.RelaxedBernoulli(2, temperature=0.5))
    return tfvae.VAE(encoder, mlp_decoder(), prior, seed=0), BITS


# TensorFlow's gamma sampler draws otherwise from process to process, and "directions" by it.
MODELS = {name: make for name, make in KINDS.items() if name != "directions"}
MODELS |= {f.__name__: f for f in (ladder, bottom_up, pseudo_inputs_above, relaxed)}


def taken(model: Any, make: Callable[..., Any]) -> Any:
    """Returns an objective by which a model can be trained."""
    try:
        model.compile("adam", make())
        return make()
    except ValueError:
        return make(gradient=LeaveOneOut())


def measure(name: str) -> dict[str, Any]:
    """Returns the numbers of one model, as lists and floats by name."""
    keras.utils.set_random_seed(7)
    model, data = MODELS[name]()
    objectives = [
        taken(model, lambda **drawn: ELBO(beta=0.5, num_samples=3, **drawn)),
        taken(model, lambda **drawn: ImportanceWeighted(3, **drawn)),
    ]
    found: dict[str, Any] = {}
    model.compile(keras.optimizers.Adam(0.05), objectives[0], run_eagerly=True)
    fitted = model.fit(data, batch_size=5, epochs=2, shuffle=False, verbose=0)
    found["fit"] = fitted.history
    found["evaluate"] = model.evaluate(data, batch_size=5, return_dict=True, verbose=0)
    found["predict"] = model.predict(data, batch_size=5, verbose=0)

    parts = {key: tf.convert_to_tensor(part) for key, part in model.data.named(data).items()}
    batch = model.data.as_batch(parts)
    batch["x"] = tf.cast(batch["x"], tf.float32)
    terms = model.terms(num_samples=3, seed=(3, 4), **batch)
    for key in ("log_p_x", "log_p_z", "log_q_z", "kl", "z", "level_rates", "log_q_labels"):
        value = getattr(terms, key)
        if value is not None:
            found[f"terms {key}"] = value
    for key in ("elbo", "distortion", "rate", "log_evidence"):
        found[f"terms {key}"] = getattr(terms, key)
    for objective in objectives:
        with tf.GradientTape() as tape:
            scored = model.terms(
                num_samples=3, seed=(5, 6), objective=objective, training=True, **batch
            )
            bound = objective(scored)
        slopes = tape.gradient(bound, model.trainable_weights)
        title = type(objective).__name__
        found[f"{title} bound"] = bound
        # In whatever order a model has its weights.
        sizes = [0.0 if s is None else float(tf.reduce_sum(tf.abs(s))) for s in slopes]
        found[f"{title} gradients"] = sorted(sizes)

    found["evidence"] = tfvae.log_likelihood(model, data, num_samples=20, seed=1).per_point
    found["ledger"] = _tried(lambda: _numbers(tfvae.decompose(model, data, num_samples=4, seed=2)))
    seed, num = tf.constant([8, 9]), tf.constant(5)
    values = {**parts, **{k: v for k, v in batch.items() if k == "x" and len(parts) == 1}}
    for title, (function, specs) in signatures(model).items():
        given = {"seed": seed, "num_samples": num, "z": terms.z[0]}
        if title == "decode" and model.latent_shape != (0,):
            given |= model.split(terms.z[0])
        inputs = [given.get(s.name, values.get(s.name)) for s in specs]
        inputs = [tf.cast(x, s.dtype) for x, s in zip(inputs, specs, strict=True)]
        if title == "decode" and "context" in values:
            inputs[0] = inputs[0][: len(BITS)]
        found[f"export {title}"] = _tried(lambda f=function, x=inputs: f(*x))
    return _plain(found)


def _tried(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        return f"refused: {type(error).__name__}"


def _numbers(result: Any) -> dict[str, Any]:
    return {
        key: value
        for key, value in vars(result).items()
        if isinstance(value, (int, float, np.ndarray, np.generic, Mapping, tuple)) or value is None
    }


def _plain(value: Any) -> Any:
    """Returns tensors and arrays as lists, of seven digits."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind in "US":
        return None
    return [float(f"{x:.8g}") for x in array.reshape(-1).astype("float64")]


def main() -> None:
    names = sys.argv[1:] or MODELS
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    found |= {name: measure(name) for name in names}
    FILE.write_text(json.dumps(found, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
