"""Two processes train one model by TF_CONFIG: what several machines do, on one.

Each reads the same data and scores its own rows of every batch; gradients go from one to the other.
The first one writes the checkpoint, from which a run that was cut goes on. Prints the losses of
each, which are the same.

    python examples/distributed/several_processes.py

On a cluster one process runs on each machine, with the addresses of all machines in TF_CONFIG and
its own number, and calls `work`; schedulers write TF_CONFIG for it. The folder of the checkpoint is
one that all of them see. TensorFlow's servers ask nobody who they are, and listen on all interfaces
of a machine: let nobody but the workers reach these ports. Here, that is `unshare -rn`, where the
system allows it: a network with nobody else in it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ALONE = "import fcntl, socket, struct\n" + (  # has loopback be up, which it is not there
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 65))\n"
)


def free_ports(number: int) -> list[int]:
    """Returns ports that nobody listens on."""
    held = [socket.socket() for _ in range(number)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def work(checkpoint: str, epochs: int) -> list[float]:
    """Trains as the worker that TF_CONFIG says, and returns the losses."""
    sys.path.insert(0, str(FOLDER))
    import several_devices  # which imports TensorFlow
    import tensorflow as tf

    import tfvae

    # Waits for the others, before anything else asks TensorFlow for devices.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = several_devices.make_model()
    kept = tfvae.callbacks.Checkpoint(checkpoint)
    x = several_devices.load()
    fitted = model.fit(x, batch_size=100, epochs=epochs, verbose=0, callbacks=[kept])
    return fitted.history["loss"]


def start(checkpoint: str, workers: int, epochs: int) -> list[list[float]]:
    """Starts the workers as processes of this machine, and returns the losses of each."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    started = []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, __file__, "--checkpoint", checkpoint, "--epochs", str(epochs)]
        env = {**os.environ, "TF_CONFIG": json.dumps(config)}
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    try:
        outputs = [each.communicate(timeout=600)[0] for each in started]
    finally:
        for each in started:
            each.kill()
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def alone(script: str, arguments: list[str]) -> bool:
    """Runs a program in a network of its own, where that is allowed; whether it was."""
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "-rn", sys.executable, "-c", ALONE]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return False
    program = f"{ALONE}import os, runpy, sys\nsys.argv = sys.argv[1:]\n"
    program += "sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))\n"
    program += "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    command = ["unshare", "-rn", sys.executable, "-c", program, script, "--here", *arguments]
    subprocess.run(command, check=True)
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Starts two workers, or is one where TF_CONFIG says so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--checkpoint", help="file that all workers see")
    parser.add_argument("--here", action="store_true", help="in the network that there is")
    given = parser.parse_args(arguments)
    if "TF_CONFIG" in os.environ:
        print(json.dumps(work(given.checkpoint, given.epochs)))
        return
    given_as = sys.argv[1:] if arguments is None else [*arguments]
    if not given.here and alone(__file__, given_as):
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = given.checkpoint or str(Path(folder) / "run.tfvae")
        losses = start(checkpoint, given.workers, given.epochs)
    for epoch, values in enumerate(zip(*losses, strict=True), 1):
        print(f"epoch {epoch}: " + "  ".join(f"{value:.6f}" for value in values))
    print("The workers agree." if len({tuple(each) for each in losses}) == 1 else "They differ.")


if __name__ == "__main__":
    main()
