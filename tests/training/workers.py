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


def main(names: list[str]) -> None:
    raise_loopback()
    workers = [f"127.0.0.1:{port}" for port in free_ports(NUMBER)]
    started = []
    for index in range(NUMBER):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        env = {**os.environ, "TF_CONFIG": json.dumps(config)}
        command = [sys.executable, "-m", "tests.training.workers", "worker", *names]
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    try:
        outputs = [each.communicate(timeout=500)[0] for each in started]
    finally:
        for each in started:
            each.kill()
    print(json.dumps([json.loads(output.splitlines()[-1]) for output in outputs]))


def work(names: list[str]) -> None:
    """Trains as one of the workers."""
    import tensorflow as tf

    # Before anything else that asks TensorFlow for devices.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from tests.training import devices

    print(json.dumps(devices.differences_of(strategy, names)))


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        work(sys.argv[2:])
    else:
        main(sys.argv[1:])
