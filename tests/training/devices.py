"""Trains models on one device and on several, and prints by how much they differ.

The first number is that of devices, the second whether TensorFlow rewrites graphs:

    python -m tests.training.devices 2 1 arrays streams

TensorFlow has to be told of its devices before it starts, and to go by one number of them until it
ends: so this is a program of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)

import keras
import numpy as np
import tensorflow_probability as tfp

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_vae
from tests.kinds import KINDS, network, normal
from tfvae import layers, learning, objectives
from tfvae.training.placement import NO_STRATEGY
from tfvae.training.replicas import Replicas, Shard

X = binary_data(21)
WEIGHTS = np.linspace(0.0, 2.0, 21, dtype="float32")


def mirrored(number: int) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy([f"/cpu:{index}" for index in range(number)])


def fitted(
    strategy: tf.distribute.Strategy,
    make: Callable[[], tuple[Any, Any]] = lambda: (mlp_vae(seed=3), X),
    optimizer: Callable[[], Any] = lambda: keras.optimizers.Adam(0.01),
    stream: Callable[[Any], Any] | None = None,
    compiled: Callable[[], Mapping[str, Any]] = dict,
    **settings: Any,
) -> tuple[Any, dict[str, Any]]:
    """Returns a model and what was logged of its training."""
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model, data = make()
        model.compile(optimizer(), jit_compile=False, **compiled())
    given = {"batch_size": 8, "epochs": 2, "verbose": 0, **settings}
    if stream is not None:
        data, given["batch_size"] = stream(data), None
    history = model.fit(data, **given).history
    found = {f"evaluate {k}": [v] for k, v in evaluated(model, data).items()}
    return model, {**history, **found}


def evaluated(model: Any, data: Any) -> dict[str, float]:
    return model.evaluate(data, batch_size=None, return_dict=True, verbose=0)


def difference(case: Mapping[str, Any], strategy: tf.distribute.Strategy) -> dict[str, float]:
    """Returns the largest differences between one device and several."""
    one, logs = fitted(NO_STRATEGY, **case)
    several, others = fitted(strategy, **case)
    assert list(logs) == list(others), (list(logs), list(others))
    found = {"logs": max(_furthest(logs[name], others[name]) for name in logs)}
    for name in ("variables", "optimizer"):
        pair = [
            model.variables if name == "variables" else model.optimizer.variables
            for model in (one, several)
        ]
        assert [v.shape for v in pair[0]] == [v.shape for v in pair[1]]
        found[name] = max(_furthest(a, b) for a, b in zip(*pair, strict=True))
    assert all(np.isfinite(weight).all() for weight in several.get_weights())
    # What one device changes it changes on all.
    for variable in several.variables:
        local = strategy.experimental_local_results(variable.value)
        first, *rest = [np.asarray(part) for part in local]
        assert all(np.array_equal(first, other) for other in rest), (variable.path, first, *rest)
    return {name: float(value) for name, value in found.items()}


def _furthest(one: Any, other: Any) -> float:
    """Returns the largest difference of numbers, relative where they are above one."""
    one, other = np.asarray(one, "float64"), np.asarray(other, "float64")
    assert np.array_equal(np.isfinite(one), np.isfinite(other)), (one, other)
    one, other = one[np.isfinite(one)], other[np.isfinite(one)]
    return np.max(np.abs(one - other) / np.maximum(np.abs(one), 1.0), initial=0.0)


def batches(data: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(data).batch(8)


def regularised() -> tuple[Any, Any]:
    p = tfp.distributions.MultivariateNormalDiag(tf.zeros(2))
    penalty = layers.KLDivergenceRegularizer(p, use_exact_kl=True, weight=0.5)
    head = layers.MultivariateNormalDiag(2, activity_regularizer=penalty)
    dense = keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.1))
    encoder = keras.Sequential([keras.Input((6,)), dense, head])
    return tfvae.VAE(encoder, mlp_decoder(), seed=3), X


def half_precision() -> tuple[Any, Any]:
    """Of weights in single precision, and a loss that the optimizer scales."""
    parts = [
        keras.Sequential(
            [keras.Input(shape), keras.layers.Dense(size, dtype="mixed_float16"), head]
        )
        for shape, size, head in (
            ((6,), 4, normal()),
            ((2,), 6, layers.IndependentBernoulli(6)),
        )
    ]
    return tfvae.VAE(*parts, seed=3, dtype="mixed_float16"), X


def pseudo_inputs() -> tuple[Any, Any]:
    encoder, prior = network(normal(), x=(6,)), tfvae.priors.VampPrior(3)
    return tfvae.VAE(encoder, mlp_decoder(), prior, seed=3), X


def far_away() -> tuple[Any, Any]:
    """A row that no number is finite for."""
    layer = layers.IndependentNormal(6)
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(12), layer])
    x = np.array(X)
    x[9] = 1e19
    return tfvae.VAE(network(normal(), x=(6,)), decoder, seed=3), x


CASES: dict[str, dict[str, Any]] = {
    "arrays": {"validation_data": (X,), "sample_weight": WEIGHTS},
    "streams": {"stream": batches},
    "single steps": {"compiled": lambda: {"steps_per_execution": 1}},
    "several steps of a stream": {
        "stream": batches,
        "compiled": lambda: {"steps_per_execution": 3},
    },
    "eagerly": {"compiled": lambda: {"run_eagerly": True}, "epochs": 1},
    "a last batch of one row": {"batch_size": 20},
    "batches of one row": {"batch_size": 1, "epochs": 1},
    "clipping": {"optimizer": lambda: keras.optimizers.SGD(0.5, global_clipnorm=0.01)},
    "averages": {"optimizer": lambda: keras.optimizers.Adam(0.01, use_ema=True)},
    "weight decay": {"optimizer": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1)},
    "accumulation": {
        "optimizer": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2)
    },
    "schedule": {
        "optimizer": lambda: keras.optimizers.SGD(
            keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.9)
        )
    },
    "regularisers": {"make": regularised},
    "pseudo-inputs": {"make": pseudo_inputs},
    "half precision": {"make": half_precision},
    "skipping": {
        "make": far_away,
        "compiled": lambda: {"when_not_finite": learning.Skip(5)},
    },
    "alternating": {"compiled": lambda: {"scheme": learning.Alternating(2)}},
    "alternating until": {
        "compiled": lambda: {"scheme": learning.Alternating(1, until_information_stops=2)}
    },
}
CASES |= {
    f"objective {number}": {"compiled": lambda objective=objective: {"objective": objective}}
    for number, objective in enumerate(
        [
            objectives.ImportanceWeighted(4, gradient=objectives.DoublyReparameterised()),
            objectives.ELBO(
                objectives.Linear(0.0, 1.0, 4),
                analytic_kl=False,
                gradient=objectives.PathDerivative(),
            ),
            objectives.ELBO(num_samples=3, gradient=objectives.LeaveOneOut()),
            objectives.TargetRate(3.0),
            objectives.ELBO() + 10.0 * objectives.MMD(),
            objectives.BetaTC(4.0),
            objectives.FreeBits(0.3),
            objectives.Capacity(1.0),
            objectives.DIPVAE(),
            objectives.ReweightedWakeSleep(3),
        ]
    )
}
CASES |= {f"kind {name}": {"make": make, "batch_size": 5} for name, make in KINDS.items()}
# Bits that are drawn carry no gradient.
CASES["kind drawn_bits"]["compiled"] = CASES["objective 2"]["compiled"]


def resumed(strategy: tf.distribute.Strategy, folder: str) -> dict[str, float]:
    """Returns how far a run that was cut differs from one that was not, and one on one device."""
    straight, logs = fitted(strategy, epochs=3)
    path = f"{folder}/run.tfvae"
    for epochs in (2, 3):
        kept = tfvae.callbacks.Checkpoint(path)
        again, others = fitted(strategy, epochs=epochs, callbacks=[kept])
    # What one device has written, several go on from.
    path = f"{folder}/one.tfvae"
    fitted(NO_STRATEGY, epochs=2, callbacks=[tfvae.callbacks.Checkpoint(path)])
    moved, _ = fitted(strategy, epochs=3, callbacks=[tfvae.callbacks.Checkpoint(path)])
    return {
        "logs": max(_furthest(logs[name][-1:], others[name][-1:]) for name in logs),
        "weights": max(map(_furthest, straight.get_weights(), again.get_weights())),
        "moved": max(map(_furthest, straight.get_weights(), moved.get_weights())),
    }


def stored(strategy: tf.distribute.Strategy, folder: str) -> dict[str, float]:
    """Returns how far files of a model on several devices differ from it, and from those of one."""
    (one, _), (several, _) = fitted(NO_STRATEGY), fitted(strategy)
    several.save(f"{folder}/several.keras")
    one.save(f"{folder}/one.keras")
    loaded = keras.models.load_model(f"{folder}/several.keras")
    with strategy.scope():
        onto = keras.models.load_model(f"{folder}/one.keras")
    several.export(f"{folder}/export")
    x = tf.constant(X[:5])
    served = tf.saved_model.load(f"{folder}/export").signatures["encode"](x=x)
    mean = several.encode(x).mean()
    found = {}
    for name, model in {"several": several, "loaded": loaded, "onto": onto}.items():
        model.fit(X, batch_size=8, verbose=0)
        found[name] = model
    one.fit(X, batch_size=8, verbose=0)
    evidence = [tfvae.log_likelihood(m, X, num_samples=50, seed=0).per_point for m in (one, onto)]
    ledgers = [tfvae.decompose(m, X, seed=0).to_dict() for m in (one, several)]
    return {
        "weights": max(
            max(map(_furthest, one.get_weights(), model.get_weights())) for model in found.values()
        ),
        "evidence": _furthest(*evidence),
        "ledger": max(
            _furthest(ledgers[0][name], value)
            for name, value in ledgers[1].items()
            if isinstance(value, float)
        ),
        "served": _furthest(served["z_mean"], mean),
    }


def dropped(strategy: tf.distribute.Strategy, folder: str) -> dict[str, float]:
    """Returns how alike the dropout of rows on two devices is, and how far its seeds part."""
    del folder
    with strategy.scope():
        layer = keras.layers.Dropout(0.5, seed=1)
        layer.build((None, 256))
    seed = layer.seed_generator.state
    replicas = Replicas(strategy, lambda: [seed])

    @tf.function(autograph=False)
    def masks() -> Any:
        def on_replica(rows: Shard) -> Any:
            return rows.sum([rows._among_all(layer(tf.ones([1, 256]), training=True), 0)])[0]

        return replicas.run(on_replica, 2)

    first, second = masks().numpy(), masks().numpy()
    local = [np.asarray(part) for part in strategy.experimental_local_results(seed.value)]
    # Of 256 coins in pairs half agree, give or take 8.
    pairs = [(first[0], first[1]), (first[0], second[0]), (first[1], second[1])]
    alike = max(abs(np.mean(a == b) - 0.5) for a, b in pairs)
    return {"alike": float(alike > 5 * 8 / 256), "seeds": _furthest(*local[:2])}


LIVES = {"dropped": dropped, "resumed": resumed, "stored": stored}


def differences_of(strategy: tf.distribute.Strategy, names: list[str]) -> dict[str, Any]:
    """Returns the differences of some cases, or what stood in the way."""
    found: dict[str, Any] = {}
    for name in names or list(CASES):
        try:
            if name in LIVES:
                with tempfile.TemporaryDirectory() as folder:
                    found[name] = LIVES[name](strategy, folder)
            else:
                found[name] = difference(CASES[name], strategy)
        except Exception as error:
            traceback.print_exc()
            found[name] = {type(error).__name__: str(error)}
    return found


if __name__ == "__main__":
    rewrites = bool(int(sys.argv[2]))
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not rewrites})
    print(json.dumps(differences_of(mirrored(int(sys.argv[1])), sys.argv[3:])))
