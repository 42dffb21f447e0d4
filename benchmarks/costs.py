"""What a step of training costs on n devices, on paper: closed forms, nothing is measured.

Every time is bytes or operations over what a machine does in a second by the papers of its makers.
Of what stands in no such paper, three numbers are assumptions and say so: the part of the greatest
speed that networks reach, the time of a hop between devices, and that of starting a step.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import NamedTuple

__all__ = [
    "AS_IT_IS",
    "CONV",
    "H100",
    "H100_BF16",
    "H100_OBJECTS",
    "HIERARCHY",
    "MLP",
    "SHARDED",
    "Costs",
    "Design",
    "Hardware",
    "Model",
    "all_reduce_seconds",
    "ring_bytes",
    "step_costs",
    "strong_efficiency",
    "weak_efficiency",
]

# Draws whose densities are compared with all posteriors of a batch for what is logged.
_COMPARED = 512
_FLOAT = 4


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What a cluster does in a second, as its makers say; bytes go one way.

    Attributes:
        name: What it is.
        store: What files are on.
        flops: Operations of matrix products.
        memory: Bytes to and from the memory of a device.
        devices: Of one machine.
        link: Bytes from one device of a machine to another.
        network: Bytes from a device to another machine.
        read: Bytes that a machine reads of files.
        copy: Bytes from the memory of a machine to a device.
        utilisation: The part of `flops` that networks reach. Assumed.
        hop: Seconds of a message to a device of the same machine, and to another. Assumed.
        launch: Seconds in which a step is started. Assumed.
    """

    name: str
    store: str
    flops: float
    memory: float
    devices: int
    link: float
    network: float
    read: float
    copy: float
    utilisation: float = 0.4
    hop: tuple[float, float] = (2e-6, 5e-6)
    launch: float = 1e-3


# Data sheet of NVIDIA's H100 SXM: 989 teraflops by TF32 and 1,979 by bfloat16, both with sparsity
# and half of that without; 3.35 TB/s of memory; NVLink of 900 GB/s, both ways together. Guide to
# the DGX H100: eight of them, a port of InfiniBand of 400 Gb/s for each. PCI Express 5.0 with 16
# lanes: 63 GB/s. An NVMe drive for PCI Express 4.0, Samsung's PM9A3 as announced: 6.5 GB/s.
H100 = Hardware(
    "H100, TF32",
    "NVMe",
    flops=989e12 / 2,
    memory=3.35e12,
    devices=8,
    link=450e9,
    network=50e9,
    read=6.5e9,
    copy=63e9,
)
H100_BF16 = dataclasses.replace(H100, name="H100, bfloat16", flops=1979e12 / 2)
# One network port of 25 Gb/s for all of a machine's reading, as cloud machines have it.
H100_OBJECTS = dataclasses.replace(H100, store="object storage", read=25e9 / 8)


@dataclasses.dataclass(frozen=True)
class Model:
    """What costs depend on of a model, its data and its batches.

    Attributes:
        name: What it is.
        weights: W, of all networks.
        encoder_flops: Operations of the encoder for a row, forwards.
        decoder_flops: The same of the decoder, for a draw.
        latents: K.
        parameters: Numbers of the posterior of a row that devices exchange; 0 where a hierarchy's
            levels depend on each other, and it has none of rows.
        numbers: Of a row, as a device takes it.
        row_bytes: Of a row, as it lies in a file; 0 where the data is in memory.
        rows: Of a batch, for each device, where the batch grows with the devices.
        batch: Rows of all devices, where it does not.
        draws: S.
    """

    name: str
    weights: int
    encoder_flops: float
    decoder_flops: float
    latents: int
    parameters: int
    numbers: int
    row_bytes: int
    rows: int
    batch: int
    draws: int = 1

    @property
    def exchanged(self) -> int:
        """Numbers of a row that devices exchange: z, six scores of each draw, the KL."""
        return self.draws * (self.latents + 6) + 1


def _dense(*sizes: int) -> int:
    """Returns the weights of dense layers, one after the other."""
    return sum((before + 1) * after for before, after in itertools.pairwise(sizes))


def _convolutions(side: int, *channels: int) -> tuple[int, float]:
    """Returns weights and operations of 4 x 4 convolutions, each of which halves the side."""
    weights, flops = 0, 0.0
    for before, after in itertools.pairwise(channels):
        side //= 2
        weights += (16 * before + 1) * after
        flops += 2.0 * 16 * before * after * side**2
    return weights, flops


def _mlp() -> Model:
    encoder, decoder = _dense(784, 300, 300, 80), _dense(40, 300, 300, 784)
    return Model(
        "784-300-300-40",
        weights=encoder + decoder,
        encoder_flops=2.0 * encoder,
        decoder_flops=2.0 * decoder,
        latents=40,
        parameters=80,
        numbers=784,
        row_bytes=0,
        rows=1024,
        batch=65_536,
    )


def _conv() -> Model:
    latents = 192
    weights, flops = _convolutions(64, 3, 64, 128, 256, 512)
    inwards, outwards = _dense(8192, 2 * latents), _dense(latents, 8192)
    return Model(
        "conv, 64 x 64 x 3",
        weights=2 * weights + inwards + outwards,
        encoder_flops=flops + 2.0 * inwards,
        decoder_flops=flops + 2.0 * outwards,
        latents=latents,
        parameters=2 * latents,
        numbers=64 * 64 * 3,
        row_bytes=64 * 64 * 3,
        rows=256,
        batch=16_384,
    )


MLP, CONV = _mlp(), _conv()
# Round numbers: half of the weights on either side, each read at 16 x 16 places of an image, and
# 50,000 latents in levels that depend on each other.
HIERARCHY = Model(
    "hierarchy, 256 x 256 x 3",
    weights=1_000_000_000,
    encoder_flops=2 * 0.5e9 * 256,
    decoder_flops=2 * 0.5e9 * 256,
    latents=50_000,
    parameters=0,
    numbers=256 * 256 * 3,
    row_bytes=256 * 256 * 3,
    rows=8,
    batch=2000,
)


@dataclasses.dataclass(frozen=True)
class Design:
    """What each device has of a batch.

    Attributes:
        name: What it is called.
        reads_whole: Whether each machine reads, and each device is given, all rows.
        gathers: Whether each device draws the noise of all rows, and scores and posteriors of all
            come together on each.
    """

    name: str
    reads_whole: bool
    gathers: bool


AS_IT_IS = Design("as it is", reads_whole=True, gathers=True)
SHARDED = Design("own rows alone", reads_whole=False, gathers=False)


class Costs(NamedTuple):
    """Seconds of the parts of a step; reading goes on beside all others.

    Attributes:
        read: Of the batch from files.
        copy: Of the batch to a device.
        launch: Of starting the step.
        compute: Of networks, forwards and backwards, for a device's own rows.
        whole: Of what a device works out for the rows of others, or for its own where it is given
            no others: noise, and densities of draws under all posteriors.
        gather: Of exchanging scores, draws and posteriors.
        gradients: Of summing gradients up.
        update: Of Adam.
    """

    read: float
    copy: float
    launch: float
    compute: float
    whole: float
    gather: float
    gradients: float
    update: float

    @property
    def step(self) -> float:
        """Seconds of a step: nothing of it overlaps but reading."""
        return max(self.read, sum(self[1:]))

    @property
    def all_reduced(self) -> float:
        """The part of a step in which devices exchange numbers."""
        return (self.gather + self.gradients) / self.step


def ring_bytes(num_bytes: float, n: int) -> float:
    """Returns the bytes that each of n devices sends to sum up an array, in a ring."""
    return 2 * (n - 1) / n * num_bytes


def all_reduce_seconds(num_bytes: float, n: int, hardware: Hardware) -> float:
    """Returns the seconds in which n devices sum up an array.

    Devices of a machine sum up parts of it among themselves, each sends its part around machines,
    and the parts come together in each machine: what a device sends is what it sends in a ring.
    """
    inside = min(n, hardware.devices)
    machines = math.ceil(n / hardware.devices)
    within, between = (2 * math.ceil(math.log2(count)) for count in (inside, machines))
    return (
        ring_bytes(num_bytes, inside) / hardware.link
        + ring_bytes(num_bytes / inside, machines) / hardware.network
        + within * hardware.hop[0]
        + between * hardware.hop[1]
    )


def step_costs(
    model: Model, n: int, hardware: Hardware, design: Design = AS_IT_IS, rows: float | None = None
) -> Costs:
    """Returns what a step costs.

    Args:
        model: What is trained.
        n: Devices.
        hardware: What they are.
        design: What each has of a batch.
        rows: Of a device; those of the model by default.
    """
    rows = model.rows if rows is None else rows
    batch = rows * n
    given = batch if design.reads_whole else rows
    read = batch if design.reads_whole else rows * min(n, hardware.devices)
    drawn = batch if design.gathers else rows
    flops = hardware.flops * hardware.utilisation
    # Written and read about six times, from random bits to the draw.
    whole = 6 * _FLOAT * drawn * model.draws * model.latents / hardware.memory
    if model.parameters:
        scored = min(drawn, _COMPARED)
        whole += 2 * 2 * scored * drawn * model.latents / flops
        whole += 3 * _FLOAT * scored * drawn / hardware.memory
    gather = 0.0
    if design.gathers and n > 1:
        # Forwards, and as many slopes backwards; posteriors are for what is logged alone.
        gather = 2 * all_reduce_seconds(_FLOAT * batch * model.exchanged, n, hardware)
        if model.parameters:
            gather += all_reduce_seconds(_FLOAT * batch * model.parameters, n, hardware)
    forwards = model.encoder_flops + model.draws * model.decoder_flops
    return Costs(
        read=read * model.row_bytes / hardware.read,
        copy=given * model.numbers * _FLOAT / hardware.copy,
        launch=hardware.launch,
        compute=3 * rows * forwards / flops,
        whole=whole,
        gather=gather,
        gradients=all_reduce_seconds(_FLOAT * model.weights, n, hardware),
        # Reads weight, gradient and two slots; writes all but the gradient.
        update=7 * _FLOAT * model.weights / hardware.memory,
    )


def weak_efficiency(model: Model, n: int, hardware: Hardware, design: Design = AS_IT_IS) -> float:
    """Returns what part of n times the rows per second n devices do, each with as many rows."""
    one = step_costs(model, 1, hardware, design)
    return one.step / step_costs(model, n, hardware, design).step


def strong_efficiency(model: Model, n: int, hardware: Hardware, design: Design = AS_IT_IS) -> float:
    """Returns the same where n devices share the batch of one."""
    one = step_costs(model, 1, hardware, design, model.batch)
    return one.step / (n * step_costs(model, n, hardware, design, model.batch / n).step)
