"""Does a run whose worker is killed end in the weights of a run without a kill?

Ray Train starts two workers, which train one model by `tf.distribute`. Within the run one of them
is killed, by SIGKILL. Ray sees it, ends the other and starts both anew, and they go on from the
file of `tfvae.callbacks.Checkpoint`. A run without a kill stands beside it.

    pip install "tfvae[ray]"
    python examples/distributed/supervised.py

On a cluster say `ray.init("auto")` on one of its machines, have `folder` be one that all of them
see, and leave out `killed_after` and the environment. Ray asks for a token; TensorFlow's servers
ask nobody who they are, and do what they are told: let nobody but the workers reach them. Here,
that is `unshare -rn`: a network with nobody else in it. Where the system does not allow it,
`--here` takes the network that there is.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import several_processes

FOLDER = several_processes.FOLDER

ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",  # two workers cannot share one GPU
    "RAY_USAGE_STATS_ENABLED": "0",  # it tells nobody of its use
    "RAY_AUTH_MODE": "token",
}


def work(settings: dict[str, Any]) -> None:
    """Trains as one of the workers, and writes what it comes to; Ray calls it in each of them.

    Args:
        settings: `folder`, which all workers see; `epochs`; and `killed_after`, the number of
            updates at which the last worker kills itself the first time, or None.
    """
    sys.path.insert(0, str(FOLDER))
    import keras
    import ray.train
    import several_devices
    import tensorflow as tf

    import tfvae

    # Waits for the others, at the addresses that Ray has put into TF_CONFIG.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = several_devices.make_model()
    context, folder = ray.train.get_context(), Path(settings["folder"])
    rank, workers = context.get_world_rank(), context.get_world_size()

    def die(batch: int, logs: Any = None) -> None:
        died, updates = folder / "died.txt", int(model.optimizer.iterations.numpy())
        if rank == workers - 1 and updates == settings["killed_after"] and not died.exists():
            died.write_text(
                f"Worker {rank}, process {os.getpid()}, was killed at update {updates}."
            )
            os.kill(os.getpid(), signal.SIGKILL)

    with (folder / f"notes_{rank}.txt").open("a") as file:
        kept = tfvae.callbacks.Checkpoint(folder / "run.tfvae", file=file)
        fitted = model.fit(
            several_devices.load(),
            batch_size=100,
            epochs=settings["epochs"],
            verbose=0,
            callbacks=[kept, keras.callbacks.LambdaCallback(on_train_batch_end=die)],
        )
    np.savez(folder / f"worker_{rank}.npz", *model.get_weights(), loss=fitted.history["loss"])


def run(folder: Path, workers: int, epochs: int, killed_after: int | None) -> list[Any]:
    """Has Ray train with so many workers; returns losses `[epochs]` and weights of each."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    folder.mkdir()
    trainer = TensorflowTrainer(
        work,
        train_loop_config={
            "folder": str(folder),
            "epochs": epochs,
            "killed_after": killed_after,
        },
        scaling_config=ScalingConfig(num_workers=workers),
        run_config=RunConfig(
            name="run",
            storage_path=str(folder / "ray"),
            failure_config=FailureConfig(max_failures=1),  # how often all are started anew
        ),
    )
    trainer.fit()
    return [dict(np.load(folder / f"worker_{rank}.npz")) for rank in range(workers)]


def show(unbroken: list[dict[str, Any]], killed: list[dict[str, Any]], folder: Path) -> None:
    """Prints losses, what happened, and how far weights of one run are from those of the other."""
    print(f"{'epoch':>5}{'unbroken':>12}{'killed':>12}   loss, nats")
    for epoch, pair in enumerate(zip(unbroken[0]["loss"], killed[0]["loss"], strict=True), 1):
        print(f"{epoch:5d}" + "".join(f"{value:12.6f}" for value in pair))
    if (folder / "died.txt").exists():
        print(f"\n{(folder / 'died.txt').read_text()}")
        note = (folder / "notes_0.txt").read_text().strip()
        print(f"Ray started all anew, from the checkpoint: {note.rpartition(': ')[2]}")
    apart = max(
        float(np.max(np.abs(values - unbroken[0][name])))
        for each in (*unbroken, *killed)
        for name, values in each.items()
    )
    print(
        "Losses and weights of both runs, of all workers, are equal to the bit."
        if not apart
        else f"Losses and weights differ by up to {apart:.1e}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains without a kill and with one, and prints how far the two come apart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--killed-after", type=int, default=45, help="updates: 18 in an epoch")
    parser.add_argument("--here", action="store_true", help="in the network that there is")
    given = parser.parse_args(arguments)
    given_as = sys.argv[1:] if arguments is None else [*arguments]
    if not given.here:
        if not several_processes.alone(__file__, given_as):
            sys.exit("No network of its own: `unshare -rn` fails. See above for `--here`.")
        return
    # A token that is kept nowhere: Ray would write one to the user's folder.
    os.environ.update(ENVIRONMENT, RAY_AUTH_TOKEN=secrets.token_hex(32))
    sys.path.insert(0, str(FOLDER.parent))
    import _quiet  # noqa: F401  # before Ray, which imports TensorFlow
    import ray

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.redirect_stdout(sys.stderr):  # what Ray has to say
            ray.init(
                num_cpus=given.workers,
                object_store_memory=2**27,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
                _temp_dir=name,
            )
            try:
                unbroken = run(folder / "unbroken", given.workers, given.epochs, None)
                killed = run(folder / "killed", given.workers, given.epochs, given.killed_after)
            finally:
                ray.shutdown()
        show(unbroken, killed, folder / "killed")


if __name__ == "__main__":
    main()
