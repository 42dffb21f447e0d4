"""A run of training that may be killed at any moment, and what it ends with.

As a program it is a nursery of such runs: TensorFlow is imported once, and each run is a fork of
that process, made before TensorFlow has started anything.
"""

import hashlib
import json
import os
import random
import signal
import sys
import traceback

import keras
import numpy as np
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae

X = binary_data(37)


def stream():
    """The same data in batches, in an order that changes from epoch to epoch."""
    return tf.data.Dataset.from_tensor_slices(X).shuffle(37, seed=5).batch(4)


def run(path, kind, epochs, told=lambda updates: None):
    """Trains to the end, from where an earlier run stood; returns a digest of all it came to."""
    keras.utils.set_random_seed(1)
    vae = mlp_vae(seed=3)
    optimizer = keras.optimizers.Adam(0.02, use_ema=True)
    vae.compile(optimizer, tfvae.objectives.TargetDistortion(3.0), jit_compile=False)
    callbacks = [keras.callbacks.ReduceLROnPlateau("val_loss", patience=1)]
    if path is not None:
        callbacks.append(Telling(told))
        settings = {"updates": 3, "keep_stream": kind == "kept stream"}
        callbacks.append(tfvae.callbacks.Checkpoint(path, file=open(os.devnull, "w"), **settings))  # noqa: SIM115
    data = {"x": X, "batch_size": 4} if kind == "rows" else {"x": stream()}
    history = vae.fit(
        **data, epochs=epochs, validation_data=(X[:9],), verbose=0, callbacks=callbacks
    ).history
    digest = hashlib.sha256()
    for variable in [*vae.variables, *vae.optimizer.variables]:
        digest.update(np.ascontiguousarray(variable).tobytes())
    digest.update(json.dumps(history, sort_keys=True).encode())
    return digest.hexdigest()


class Telling(keras.callbacks.Callback):
    """Tells of each call."""

    hears_calls = True

    def __init__(self, told):
        super().__init__()
        self.told = told

    def on_train_batch_end(self, batch, logs=None):
        self.told(batch)


def killed_or_whole(path, kind, epochs, seed):
    """Runs in a process that kills itself at a drawn moment; returns its result, or None.

    The moment is one of what the process does with files and signals, or a call of training.
    """
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        left = [random.Random(seed).randrange(1, 40) if seed is not None else -1]

        def count(*_):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        for name in ("fsync", "replace", "mkdir"):
            setattr(os, name, counted(getattr(os, name), count))
        try:
            tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
            result = run(path, kind, epochs, count)
            os.write(into, json.dumps(result).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(into)
    with os.fdopen(out) as pipe:
        text = pipe.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended not in (0, -signal.SIGKILL):
        raise RuntimeError(f"A run did not end by a kill of its own, but with {ended}.")
    return json.loads(text) if text else None


def counted(function, count):
    """Returns a function that may end the process before or after it has done its work."""

    def call(*args, **kwargs):
        count()
        result = function(*args, **kwargs)
        count()
        return result

    return call


def main(folder, num_kills, *kinds):
    """Prints what unbroken runs and killed ones come to, and how often the latter were killed."""
    # Half an epoch passes from one kill to the next, and none may come after the end.
    epochs = 5 + num_kills
    for kind in kinds:
        found = [killed_or_whole(None, kind, epochs, None)]
        kills = 0
        for seed in range(1000):
            seed = seed if kills < num_kills else None
            result = killed_or_whole(f"{folder}/{kind}", kind, epochs, seed)
            if result is not None:
                found.append(result)
                break
            kills += 1
        print(json.dumps({"kind": kind, "kills": kills, "found": found}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
