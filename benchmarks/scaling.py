"""How far does training scale, from one CPU to 1,000 GPUs, and what is the limit there?

Prints what a step costs on paper (`costs.py`) for 1 to 1,000 devices: simulated, by numbers of
their makers. What can be measured on one machine without GPUs stands beside it: the same VAE with
one thread and with two, on two devices that TensorFlow makes of the CPU, and in two processes. As
all of these share the cores, they show what it costs to be several, and no gain.

    python benchmarks/scaling.py --measure --figure docs/images/scaling.png
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import costs
import numpy as np
import paired
from rich import box
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "distributed"))
import several_processes

NUMBERS = (1, 8, 64, 512, 1000)
MODELS = (costs.MLP, costs.CONV, costs.HIERARCHY)
CLUSTERS = {
    "tf32": costs.H100,
    "bfloat16": costs.H100_BF16,
    "objects": costs.H100_OBJECTS,
}
# What is measured, by name: threads, devices of the process, and processes.
CASES = {
    "one thread": (1, 1, 1),
    "two threads": (2, 1, 1),
    "two devices": (2, 2, 1),
    "two processes": (1, 1, 2),
}


def to_table(model: costs.Model, hardware: costs.Hardware) -> Table:
    """Returns what a step of a model costs, as the package is and as it could be."""
    data = hardware.store if model.row_bytes else "memory"
    title = f"{model.name}, {model.weights:,} weights; {hardware.name}, {data}: simulated"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("devices", no_wrap=True)
    for name in ("ms", "read", "copy", "nets", "gather", "grads", "share", "weak", "strong"):
        table.add_column(name, justify="right", no_wrap=True)
    for design in (costs.AS_IT_IS, costs.SHARDED):
        table.add_row(design.name)
        for n in NUMBERS:
            found = costs.step_costs(model, n, hardware, design)
            parts = (found.step, *found[:2], found.compute, found.gather, found.gradients)
            table.add_row(
                f"{n:,}",
                *(f"{1e3 * part:.1f}" for part in parts),
                f"{found.all_reduced:.0%}",
                f"{costs.weak_efficiency(model, n, hardware, design):.0%}",
                f"{costs.strong_efficiency(model, n, hardware, design):.1%}",
                end_section=n == NUMBERS[-1],
            )
    return table


def train(name: str, settings: argparse.Namespace) -> dict[str, float]:
    """Trains the first model by one of the cases, in this process; returns what it takes."""
    threads, devices, processes = CASES[name]
    import steps  # which imports TensorFlow
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    strategy = tf.distribute.get_strategy()
    if processes > 1:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif devices > 1:
        parts = [tf.config.LogicalDeviceConfiguration()] * devices
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, parts)
        strategy = tf.distribute.MirroredStrategy([f"/cpu:{index}" for index in range(devices)])
    with strategy.scope():
        vae = steps.make_vae()
        vae.compile("adam", jit_compile=False)
    rows = settings.batch * settings.steps
    x = np.random.default_rng(0).integers(0, 2, (rows, steps.PIXELS)).astype("float32")
    seconds, of_cpu = [], []
    for _ in range(settings.rounds + 1):
        start, start_of_cpu = time.perf_counter(), time.process_time()
        vae.fit(x, batch_size=settings.batch, epochs=1, verbose=0)
        seconds.append(time.perf_counter() - start)
        of_cpu.append(time.process_time() - start_of_cpu)
    # The first round traces.
    return {
        "seconds": float(np.median(seconds[1:])) / settings.steps,
        "cpu_seconds": float(np.median(of_cpu[1:])) / settings.steps,
    }


def start(name: str, settings: argparse.Namespace) -> dict[str, float]:
    """Starts the processes of a case; returns what they take: CPU time is that of all."""
    sizes = paired.as_options(settings, ("batch", "steps", "rounds"))
    command = [sys.executable, __file__, "--case", name, *sizes]
    number = CASES[name][2]
    addresses = [f"127.0.0.1:{port}" for port in several_processes.free_ports(number)]
    started = []
    for index in range(number):
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": addresses}, "task": task}
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        if number > 1:
            env["TF_CONFIG"] = json.dumps(config)
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    try:
        found = [json.loads(each.communicate()[0].splitlines()[-1]) for each in started]
    finally:
        for each in started:
            each.kill()
    return {
        "seconds": max(each["seconds"] for each in found),
        "cpu_seconds": sum(each["cpu_seconds"] for each in found),
    }


def measured_table(found: dict[str, dict[str, float]], settings: argparse.Namespace) -> Table:
    """Returns the table of what was measured."""
    title = f"{costs.MLP.name}, a batch of {settings.batch}: measured, CPU"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for name in ("ms", "CPU ms", "efficiency by CPU time"):
        table.add_column(name, justify="right", no_wrap=True)
    one = found["one thread"]["cpu_seconds"]
    for name, each in found.items():
        table.add_row(
            name,
            f"{1e3 * each['seconds']:.1f}",
            f"{1e3 * each['cpu_seconds']:.1f}",
            f"{one / each['cpu_seconds']:.2f}",
        )
    return table


def draw(hardware: costs.Hardware, found: dict[str, dict[str, float]]) -> Any:
    """Returns a figure of what part of n times the rows n devices do."""
    from tfvae.plots import style

    figure = style.new_figure(5.6, 3.4)
    axes = figure.subplots()
    numbers = np.unique(np.geomspace(1, NUMBERS[-1], 60).round().astype(int))
    for model, colour in zip(MODELS, (style.BLUE, style.ORANGE, style.GREEN), strict=True):
        for design, dashes in ((costs.AS_IT_IS, "-"), (costs.SHARDED, "--")):
            values = [costs.weak_efficiency(model, int(n), hardware, design) for n in numbers]
            label = f"{model.name}, {design.name}"
            axes.plot(numbers, values, dashes, color=colour, linewidth=1.2, label=label)
    for (name, each), marker in zip(found.items(), "os^D", strict=False):
        threads, devices, processes = CASES[name]
        axes.plot(
            [max(threads, devices, processes)],
            [found["one thread"]["cpu_seconds"] / each["cpu_seconds"]],
            marker,
            color=style.PURPLE,
            markersize=5,
            label=f"measured, CPU time: {name}",
            clip_on=False,
        )
    axes.set_xscale("log")
    axes.set_xticks(NUMBERS, [f"{n:,}" for n in NUMBERS])
    axes.minorticks_off()
    axes.set_ylim(0.0, 1.05)
    axes.set_xlabel("devices (CPU: threads, devices, processes)", fontsize=style.FONT_SIZE)
    axes.set_ylabel("part of n times the rows", fontsize=style.FONT_SIZE)
    title = f"Lines: simulated, {hardware.name}, {hardware.store}. Points: measured"
    axes.set_title(title, fontsize=style.FONT_SIZE, loc="left")
    style.open_frame(axes)
    figure.legend(loc="outside lower center", ncols=2, fontsize=style.FONT_SIZE - 1, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Prints what is simulated and, where asked to, measured; returns both."""
    parser = paired.parser_of(__doc__)
    add = parser.add_argument
    add("--cluster", choices=list(CLUSTERS), default="tf32")
    add("--measure", action="store_true", help="on this machine, too")
    add("--figure", type=Path, help="file for a picture")
    add("--batch", type=paired.positive, default=1024, help="rows of what is measured")
    add("--steps", type=paired.positive, default=20, help="of a round")
    add("--rounds", type=paired.positive, default=3)
    add("--case", choices=list(CASES), help="prints what one case takes in this process")
    add("--here", action="store_true", help="in the network that there is")
    settings = parser.parse_args(arguments)
    if settings.case:
        print(json.dumps(train(settings.case, settings)))
        return None
    given = sys.argv[1:] if arguments is None else [*arguments]
    if settings.measure and not settings.here:
        # TensorFlow's servers listen on all interfaces.
        if not several_processes.alone(__file__, given):
            sys.exit("No network of its own: `unshare -rn` fails. `--here` takes that there is.")
        return None
    hardware = CLUSTERS[settings.cluster]
    for model in MODELS:
        paired.print_table(to_table(model, hardware))
    result = {**paired.circumstances(settings), "simulated": simulated(hardware), "measured": {}}
    if settings.measure:
        result["measured"] = {name: start(name, settings) for name in CASES}
        paired.print_table(measured_table(result["measured"], settings))
    if settings.figure:
        draw(hardware, result["measured"]).savefig(settings.figure)
    return paired.written(result, settings)


def simulated(hardware: costs.Hardware) -> list[dict[str, Any]]:
    """Returns what steps cost, one record for each model, design and number of devices."""
    return [
        {
            "model": model.name,
            "design": design.name,
            "devices": n,
            **costs.step_costs(model, n, hardware, design)._asdict(),
            "weak": costs.weak_efficiency(model, n, hardware, design),
            "strong": costs.strong_efficiency(model, n, hardware, design),
        }
        for model in MODELS
        for design in (costs.AS_IT_IS, costs.SHARDED)
        for n in NUMBERS
    ]


if __name__ == "__main__":
    main()
