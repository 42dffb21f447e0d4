"""Time and memory of training steps: models take turns, and have a process each for memory."""

from __future__ import annotations

import ctypes
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import paired
import tensorflow as tf
from tqdm import tqdm

import tfvae

__all__ = [
    "PIXELS",
    "largest_array",
    "make_step",
    "make_vae",
    "most_megabytes",
    "of_each_alone",
    "peak_megabytes",
    "resident_megabytes",
    "take_turns",
    "watch_anew",
]

PIXELS = 784
# Steps of a measured process before and while its memory is watched.
_STEPS = 5


def make_vae(
    prior: tfvae.priors.Prior | None = None, latents: int = 40, hidden: int = 300
) -> tfvae.VAE:
    """Returns a VAE of 784 binary pixels, two hidden layers on either side."""
    keras.utils.set_random_seed(0)
    normal, bernoulli = tfvae.layers.MultivariateNormalDiag, tfvae.layers.IndependentBernoulli
    encoder = keras.Sequential(
        [
            keras.Input((PIXELS,)),
            keras.layers.Dense(hidden, "relu"),
            keras.layers.Dense(hidden, "relu"),
            keras.layers.Dense(normal.params_size(latents)),
            normal(latents),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((latents,)),
            keras.layers.Dense(hidden, "relu"),
            keras.layers.Dense(hidden, "relu"),
            keras.layers.Dense(PIXELS),
            bernoulli(PIXELS),
        ]
    )
    return tfvae.VAE(encoder, decoder, prior, seed=0)


def make_step(vae: tfvae.VAE, batch: int) -> Callable[[], float]:
    """Returns a function that makes one update of a compiled model, and waits for its end.

    Pixels are coins: the work does not depend on them.
    """
    x = tf.constant(np.random.default_rng(0).integers(0, 2, (batch, PIXELS)), tf.float32)
    tf.get_logger().setLevel("ERROR")  # it takes a new model's function for one traced anew
    step = tf.function(lambda: vae.train_step(x)["loss"], autograph=False)
    return lambda: float(step())


def take_turns(
    steps: Mapping[str, Callable[[], float]], of: str, rounds: int, block: float
) -> dict[str, dict[str, float]]:
    """Returns by name how many times as long a step takes as one of `of`, by `paired.summarise`.

    Args:
        steps: By name, one update.
        of: The name that all are compared with, within each round.
        rounds: Turns of each.
        block: Seconds of a turn, at least; never fewer than three steps.
    """
    repeats = {}
    for name, step in tqdm(steps.items(), desc="compiling", unit=" cases"):
        step()
        start = time.perf_counter()
        step()
        repeats[name] = max(3, int(block / (time.perf_counter() - start)))
    names, seconds = list(steps), {name: [] for name in steps}
    for index in tqdm(range(rounds), desc="taking turns", unit=" rounds"):
        # None always comes after the same one.
        for name in names[index % len(names) :] + names[: index % len(names)]:
            start = time.perf_counter()
            for _ in range(repeats[name]):
                steps[name]()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    result = {}
    for name, mine in seconds.items():
        ratios = [one / other for one, other in zip(mine, seconds[of], strict=True)]
        result[name] = {**paired.summarise(ratios), "ms": 1e3 * float(np.median(mine))}
    return result


def peak_megabytes(step: Callable[[], float]) -> float:
    """Returns the most memory that steps held, beyond what was held before, in megabytes.

    What is held between steps, weights and whatever compilation left behind, is not counted.
    """
    for _ in range(_STEPS):
        step()
    before = resident_megabytes(trim=True)
    watch_anew()
    for _ in range(_STEPS):
        step()
    return most_megabytes() - before


def watch_anew() -> None:
    """Has Linux forget the most memory that this process ever held."""
    Path("/proc/self/clear_refs").write_text("5")


def most_megabytes() -> float:
    """Returns the most memory that this process held since `watch_anew`, in megabytes."""
    return _status("VmHWM") / 1024


def resident_megabytes(*, trim: bool = False) -> float:
    """Returns the memory of this process, with `trim` after giving back all that is free in it."""
    if trim:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return _status("VmRSS") / 1024


def largest_array(vae: tfvae.VAE, batch: int) -> tuple[float, str]:
    """Returns the megabytes and the type of the largest array in the compiled step of a model.

    Read from the program that XLA made of it: exact, and the same on each run.
    """
    x = tf.constant(np.random.default_rng(0).integers(0, 2, (batch, PIXELS)), tf.float32)
    step = tf.function(vae.train_step, autograph=False, jit_compile=True)
    program: Any = step.experimental_get_compiler_ir(x)(stage="optimized_hlo")
    sizes = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "s64": 8, "u64": 8, "f16": 2, "pred": 1}
    found = {}
    for kind, shape in re.findall(r"\b(f64|f32|s32|u32|s64|u64|f16|pred)\[([0-9,]+)\]", program):
        found[f"{kind}[{shape}]"] = sizes[kind] * math.prod(map(int, shape.split(",")))
    name = max(found, key=found.__getitem__)
    return found[name] / 2**20, name


def _status(name: str) -> int:
    """Returns a number of kilobytes that Linux keeps of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def of_each_alone(
    script: str, names: Sequence[str], arguments: Sequence[str] = (), option: str = "--peak"
) -> Any:
    """Returns by name what a process of its own prints last, that of `script --peak name`.

    Args:
        script: The file of a benchmark.
        names: Its cases.
        arguments: Others that it takes.
        option: What takes the name of a case.
    """
    found = {}
    for name in tqdm(names, desc="one by one", unit=" processes"):
        command = [sys.executable, script, option, name, *arguments]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{run.stderr[-2000:]}")
        found[name] = json.loads(run.stdout.splitlines()[-1])
    return found
