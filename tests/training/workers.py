"""Two processes train models together, and each prints by how much they differ from one device.

    unshare -rn python -m tests.training.workers arrays streams

TensorFlow's servers listen on all interfaces of a machine: this has none but loopback.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
from typing import Any

NUMBER = 2


def raise_loopback() -> None:
    """Has the loopback interface of a new network be up: `ip link set lo up`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        up = struct.pack("16sh", b"lo", 1 | 64)  # IFF_UP and IFF_RUNNING
        fcntl.ioctl(connection, 0x8914, up)  # SIOCSIFFLAGS


def free_ports(number: int) -> list[int]:
    """Returns ports that nobody listens on."""
    held = [socket.socket() for _ in range(number)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def start(*command: str) -> list[subprocess.Popen[str]]:
    """Starts the same program as each of the workers."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(NUMBER)]
    started = []
    for index in range(NUMBER):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        env = {**os.environ, "TF_CONFIG": json.dumps(config)}
        run = [sys.executable, *command]
        started.append(subprocess.Popen(run, env=env, stdout=subprocess.PIPE, text=True))
    return started


def outputs_of(started: list[subprocess.Popen[str]]) -> list[Any]:
    """Returns what each prints last."""
    try:
        outputs = [each.communicate()[0] for each in started]
    finally:
        for each in started:
            each.kill()
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def kill_one(path: str) -> None:
    """Kills a worker when a checkpoint is there, and has both go on from it."""
    raise_loopback()
    program = "examples/distributed/several_processes.py", "--checkpoint", path, "--epochs"
    started = start(*program, "100000")
    try:
        while not os.path.exists(path) and all(each.poll() is None for each in started):
            time.sleep(0.1)
        started[1].kill()
        code = started[0].wait()
    finally:
        for each in started:
            each.kill()
    # As many epochs as are done, whatever their number.
    print(json.dumps({"code": code, "losses": outputs_of(start(*program, "1"))}))


def main(names: list[str]) -> None:
    raise_loopback()
    print(json.dumps(outputs_of(start("-m", "tests.training.workers", "worker", *names))))


def work(names: list[str]) -> None:
    """Trains as one of the workers."""
    import tensorflow as tf

    # Before anything else that asks TensorFlow for devices.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from tests.training import devices

    print(json.dumps(devices.differences_of(strategy, names)))


def evaluate_share(folder: str) -> None:
    """Evaluates what is this worker's, and the first worker all of the data too."""
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import keras

    import tfvae
    from tests.conftest import binary_data, mlp_vae
    from tfvae.evaluation import Shard

    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = mlp_vae(seed=3)
        model.compile("adam")
    resolver = strategy.cluster_resolver
    shard = Shard(resolver.task_id, resolver.cluster_spec().num_tasks("worker"))
    x, settings = binary_data(21), {"batch_size": 4, "verbose": False}
    shares = [(f"part-{shard.index}", shard), *([] if shard.index else [("all", None)])]
    for name, share in shares:
        given = {**settings, "shard": share}
        tfvae.log_likelihood(model, x, 50, resume=f"{folder}/evidence-{name}", **given)
        tfvae.decompose(
            model, x, num_samples=3, evidence_samples=9, resume=f"{folder}/ledger-{name}", **given
        )
    print(json.dumps(shard.index))


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        work(sys.argv[2:])
    elif sys.argv[1] == "share":
        evaluate_share(sys.argv[2])
    elif sys.argv[1] == "shares":
        raise_loopback()
        print(json.dumps(outputs_of(start("-m", "tests.training.workers", "share", sys.argv[2]))))
    elif sys.argv[1] == "kill":
        kill_one(sys.argv[2])
    else:
        main(sys.argv[1:])
