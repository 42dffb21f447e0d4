"""How fast does `tfvae.VAE.fit` train, next to PyTorch, pythae and bare XLA?

One model for all: encoder 784-300-300-(2 x 40) and decoder 40-300-300-784 with ReLU, Bernoulli
likelihood, N(0, I) prior, one draw of z, closed-form KL, Adam with rate 1e-3, batches of 100 in a
new random order each epoch, Glorot-uniform weights. Run it as

    python benchmarks/train.py --data FOLDER

where FOLDER holds `binarized_mnist.npz`; without it the data are random bits of the same shape.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paired
from tqdm import tqdm

PIXELS, HIDDEN, LATENTS = 784, 300, 40
LEARNING_RATE = 1e-3
SUBJECT = "tfvae"


def load_data(folder: str | None, points: int) -> tuple[np.ndarray, str]:
    """Returns binary images `[N, 784]`, float32, and the words that say where they come from.

    Args:
        folder: Folder with `binarized_mnist.npz`, or None for random bits.
        points: N, at most the number of images in the file.
    """
    if folder is None:
        rng = np.random.default_rng(0)
        return (rng.random((points, PIXELS)) < 0.13).astype(np.float32), "random bits"
    path = Path(folder) / "binarized_mnist.npz"
    if not path.exists():
        raise FileNotFoundError(
            f"`--data` must be a folder that holds {path.name}. Received: {folder}. Leave it out, "
            "and the environment variable TFVAE_DATA too, to train on random bits."
        )
    packed = np.load(path)["train"][:points]
    return np.unpackbits(packed, axis=1)[:, :PIXELS].astype(np.float32), path.name


class Tfvae:
    """`tfvae.VAE.fit` with its defaults: checks of each batch, all terms of the ELBO logged."""

    steps_per_execution: int | str = "auto"

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        import tensorflow as tf

        _limit_tensorflow(settings.threads)
        import keras

        import tfvae

        keras.utils.set_random_seed(settings.seed)
        encoder = keras.Sequential(
            [
                keras.Input((PIXELS,)),
                tfvae.networks.mlp([HIDDEN, HIDDEN]),
                keras.layers.Dense(tfvae.layers.MultivariateNormalDiag.params_size(LATENTS)),
                tfvae.layers.MultivariateNormalDiag(LATENTS),
            ]
        )
        decoder = keras.Sequential(
            [
                keras.Input((LATENTS,)),
                tfvae.networks.mlp([HIDDEN, HIDDEN]),
                keras.layers.Dense(PIXELS),
                tfvae.layers.IndependentBernoulli(PIXELS),
            ]
        )
        self.vae = tfvae.VAE(encoder, decoder)
        self.vae.compile(
            keras.optimizers.Adam(LEARNING_RATE), steps_per_execution=self.steps_per_execution
        )
        self.x, self.batch = x, settings.batch
        self._tf = tf

    def train(self, epochs: int) -> None:
        self.vae.fit(self.x, batch_size=self.batch, epochs=epochs, verbose=0)

    def negative_elbo(self) -> float:
        def encode(x: np.ndarray) -> tuple[Any, Any]:
            q_z = self.vae.encode(x)
            return q_z.mean(), q_z.stddev()

        def decode(z: np.ndarray) -> Any:
            return self.vae.decode(z).distribution.logits_parameter()

        return paired.negative_elbo(encode, decode, self.x)


class TfvaeSingleSteps(Tfvae):
    """The same with one update per call of the compiled function, as callbacks for batches need."""

    steps_per_execution = 1


class Xla:
    """The floor: matrix products and Adam by hand, compiled by XLA, in a loop that XLA runs.

    Nothing is logged, nothing is checked, and no Python runs between the steps of an epoch.
    """

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        import tensorflow as tf

        _limit_tensorflow(settings.threads)
        self._tf = tf
        self.x, self.batch = x, settings.batch
        self.rng = np.random.default_rng(settings.seed)
        self.weights = [tf.Variable(value) for value in _initial_weights(self.rng)]
        zeros = [tf.zeros_like(weight) for weight in self.weights]
        self.first_moments = [tf.Variable(value) for value in zeros]
        self.second_moments = [tf.Variable(value) for value in zeros]
        self.iterations = tf.Variable(0)
        images = tf.Variable(x, trainable=False)
        steps = len(x) // self.batch

        @tf.function(jit_compile=True, autograph=False)
        def epoch(order: Any) -> None:
            def step(i: Any) -> Any:
                self._update(tf.gather(images, order[i]))
                return i + 1

            tf.while_loop(lambda i: i < steps, step, [tf.constant(0)])

        self._epoch = epoch

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.rng.permutation(len(self.x)).astype(np.int32)
            size = len(order) // self.batch * self.batch
            self._epoch(self._tf.constant(order[:size].reshape(-1, self.batch)))
        self.iterations.numpy()

    def negative_elbo(self) -> float:
        return paired.negative_elbo(
            lambda x: self._encode(self._tf.constant(x)),
            lambda z: self._decode(self._tf.constant(z)),
            self.x,
        )

    def _encode(self, x: Any) -> tuple[Any, Any]:
        tf = self._tf
        loc, raw = tf.split(self._mlp(x, self.weights[:6]), 2, axis=-1)
        return loc, tf.math.softplus(raw) + 1e-5

    def _decode(self, z: Any) -> Any:
        return self._mlp(z, self.weights[6:])

    def _mlp(self, h: Any, weights: Sequence[Any]) -> Any:
        tf = self._tf
        for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            h = tf.nn.relu(h @ kernel + bias)
        return h @ weights[-2] + weights[-1]

    def _update(self, x: Any) -> None:
        tf = self._tf
        seed = tf.stack([self.iterations, 0])
        with tf.GradientTape() as tape:
            loc, scale = self._encode(x)
            # Named, because XLA takes ten times as long over what "auto_select" makes of it.
            noise = tf.random.stateless_normal(tf.shape(loc), seed, alg="philox")
            logits = self._decode(loc + scale * noise)
            distortion = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits)
            rate = 0.5 * (loc**2 + scale**2 - 1.0) - tf.math.log(scale)
            loss = (tf.reduce_sum(distortion) + tf.reduce_sum(rate)) / self.batch
        gradients = tape.gradient(loss, self.weights)
        step = tf.cast(self.iterations.assign_add(1), tf.float32)
        rate = LEARNING_RATE * tf.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
        moments = zip(self.first_moments, self.second_moments, strict=True)
        for weight, gradient, (first, second) in zip(self.weights, gradients, moments, strict=True):
            first.assign_add(0.1 * (gradient - first))
            second.assign_add(0.001 * (gradient**2 - second))
            weight.assign_sub(rate * first / (tf.sqrt(second) + 1e-7))


class Torch:
    """A PyTorch loop by hand: batches by index from one tensor, fused Adam, no denormals."""

    compiled = False

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        import torch

        torch.set_num_threads(settings.threads)
        # Adam's moments of weights that get no gradient fade into denormals, which are slow.
        torch.set_flush_denormal(True)
        torch.manual_seed(settings.seed)
        self._torch = torch
        self.x, self.images, self.batch = x, torch.from_numpy(x), settings.batch
        self.encoder = _torch_mlp([PIXELS, HIDDEN, HIDDEN, 2 * LATENTS])
        self.decoder = _torch_mlp([LATENTS, HIDDEN, HIDDEN, PIXELS])
        self.optimizer = torch.optim.Adam(
            [*self.encoder.parameters(), *self.decoder.parameters()], lr=LEARNING_RATE, fused=True
        )
        self._loss_function = torch.compile(self._loss) if self.compiled else self._loss

    def train(self, epochs: int) -> None:
        torch = self._torch
        for _ in range(epochs):
            total = torch.zeros(())
            for rows in torch.randperm(len(self.images)).split(self.batch):
                self.optimizer.zero_grad(set_to_none=True)
                loss = self._loss_function(self.images[rows])
                loss.backward()
                self.optimizer.step()
                total += loss.detach()

    def negative_elbo(self) -> float:
        with self._torch.no_grad():
            return paired.negative_elbo(
                lambda x: self._posterior(self._torch.from_numpy(x)),
                lambda z: self.decoder(self._torch.from_numpy(z)),
                self.x,
            )

    def _posterior(self, x: Any) -> tuple[Any, Any]:
        loc, raw = self.encoder(x).chunk(2, dim=1)
        return loc, self._torch.nn.functional.softplus(raw) + 1e-5

    def _loss(self, x: Any) -> Any:
        torch = self._torch
        loc, scale = self._posterior(x)
        logits = self.decoder(torch.addcmul(loc, scale, torch.randn_like(scale)))
        distortion = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, x, reduction="sum"
        )
        rate = (0.5 * (loc.square() + scale.square() - 1.0) - scale.log()).sum()
        return (distortion + rate) / len(x)


class TorchCompiled(Torch):
    """The same with `torch.compile` around the loss."""

    compiled = True


class Pythae:
    """pythae's `BaseTrainer` with its default options: its own epoch over its own loader.

    Its `train_step` is called for each epoch in place of its `train`, which would also copy the
    best model, write it to disk, and begin with a new optimizer. No evaluation data, no
    checkpoints, no callbacks of ours. The likelihood is given by probabilities and the posterior
    by the logarithm of its variance, since pythae's models know no other way.
    """

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        import torch
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)

        class Encoder(BaseEncoder):
            def __init__(self) -> None:
                super().__init__()
                self.body = _torch_mlp([PIXELS, HIDDEN, HIDDEN, 2 * LATENTS])

            def forward(self, x: Any) -> ModelOutput:
                loc, log_variance = self.body(x).chunk(2, dim=1)
                return ModelOutput(embedding=loc, log_covariance=log_variance)

        class Decoder(BaseDecoder):
            def __init__(self) -> None:
                super().__init__()
                self.body = _torch_mlp([LATENTS, HIDDEN, HIDDEN, PIXELS])

            def forward(self, z: Any) -> ModelOutput:
                return ModelOutput(reconstruction=self.body(z).sigmoid())

        self._torch = torch
        self.x = x
        self.folder = tempfile.mkdtemp()
        self.model = VAE(
            VAEConfig(input_dim=(PIXELS,), latent_dim=LATENTS, reconstruction_loss="bce"),
            Encoder(),
            Decoder(),
        )
        self.trainer = BaseTrainer(
            self.model,
            BaseDataset(torch.from_numpy(x), torch.zeros(len(x))),
            training_config=BaseTrainerConfig(
                output_dir=self.folder,
                per_device_train_batch_size=settings.batch,
                learning_rate=LEARNING_RATE,
                seed=settings.seed,
                no_cuda=True,
            ),
        )
        self.trainer.prepare_training()
        self.epoch = 0

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            self.epoch += 1
            self.trainer.train_step(self.epoch)

    def negative_elbo(self) -> float:
        shutil.rmtree(self.folder, ignore_errors=True)

        def encode(x: np.ndarray) -> tuple[Any, Any]:
            output = self.model.encoder(self._torch.from_numpy(x))
            return output.embedding, (0.5 * output.log_covariance).exp()

        with self._torch.no_grad():
            return paired.negative_elbo(
                encode, lambda z: self.model.decoder.body(self._torch.from_numpy(z)), self.x
            )


# By name: the class, the packages that it needs, and what it is.
CONTENDERS: dict[str, tuple[type, tuple[str, ...]]] = {
    "tfvae": (Tfvae, ("tfvae", "tensorflow", "keras")),
    "tfvae-1": (TfvaeSingleSteps, ("tfvae", "tensorflow", "keras")),
    "xla": (Xla, ("tensorflow",)),
    "torch": (Torch, ("torch",)),
    "torch-compile": (TorchCompiled, ("torch",)),
    "pythae": (Pythae, ("pythae", "torch")),
}


def _limit_tensorflow(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _initial_weights(rng: np.random.Generator) -> list[np.ndarray]:
    """Returns kernels, Glorot-uniform, and biases, zero: encoder first, then decoder."""
    sizes = [PIXELS, HIDDEN, HIDDEN, 2 * LATENTS], [LATENTS, HIDDEN, HIDDEN, PIXELS]
    weights = []
    for part in sizes:
        for fan_in, fan_out in itertools.pairwise(part):
            limit = np.sqrt(6.0 / (fan_in + fan_out))
            weights.append(rng.uniform(-limit, limit, (fan_in, fan_out)).astype(np.float32))
            weights.append(np.zeros(fan_out, np.float32))
    return weights


def _torch_mlp(sizes: Sequence[int]) -> Any:
    """Returns `torch.nn.Sequential` with the initial weights of Keras."""
    from torch import nn

    layers: list[Any] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description="Throughput of training, contenders paired.")
    parser.add_argument(
        "--data",
        default=os.environ.get("TFVAE_DATA"),
        help="folder with binarized_mnist.npz (default: $TFVAE_DATA, else random bits)",
    )
    parser.add_argument("--points", type=_positive, default=50_000, help="images (default: 50000)")
    parser.add_argument("--batch", type=_positive, default=100, help="batch size (default: 100)")
    parser.add_argument("--rounds", type=_positive, default=7, help="turns of each (default: 7)")
    parser.add_argument("--epochs", type=_positive, default=3, help="epochs per turn (default: 3)")
    parser.add_argument(
        "--threads",
        type=_positive,
        default=paired.describe_machine()["cpu_count"],
        help="threads of each contender (default: all processors)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all contenders (default: 0)")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=list(CONTENDERS),
        default=list(CONTENDERS),
        help="who takes part (default: all)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent / "results" / "train.json",
        help="JSON file to write (default: benchmarks/results/train.json)",
    )
    parser.add_argument("--worker", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Received: {text}")
    return value


def start_workers(settings: argparse.Namespace) -> tuple[dict[str, paired.Worker], dict[str, str]]:
    """Starts and warms up the contenders one by one; returns them, and who is left out and why."""
    workers: dict[str, paired.Worker] = {}
    left_out: dict[str, str] = {}
    command = [sys.executable, __file__, "--threads", str(settings.threads)]
    for option in ("data", "points", "batch", "seed"):
        if getattr(settings, option) is not None:
            command += [f"--{option}", str(getattr(settings, option))]
    for name in settings.contenders:
        packages = CONTENDERS[name][1]
        missing = [p for p in packages if p not in paired.installed(packages)]
        if missing:
            left_out[name] = f"{' and '.join(missing)} not installed"
        else:
            try:
                workers[name] = paired.Worker([*command, "--worker", name], settings.threads)
            except paired.WorkerError as error:
                left_out[name] = f"it failed: {str(error).strip().splitlines()[-1]}"
        if name in left_out:
            print(f"Left out {name}: {left_out[name]}", flush=True)
        else:
            print(f"Warmed up {name} in {workers[name].warm_up_s:.1f} s", flush=True)
    return workers, left_out


def measure(settings: argparse.Namespace) -> dict[str, Any]:
    """Runs all rounds and returns the result, ready for JSON."""
    x, data = load_data(settings.data, settings.points)
    if len(x) % settings.batch:
        raise ValueError(
            "The batch size must divide the number of images, so that all batches are alike. "
            f"Received: batch={settings.batch}, points={len(x)}."
        )
    machine = paired.describe_machine()
    print(f"{len(x)} images from: {data}. {settings.threads} threads, {machine['cpu']}.")
    if machine["load_average"] is not None and machine["load_average"] > 0.5:
        print(
            f"The machine is busy (load average {machine['load_average']}): wait for a quiet "
            "hour for figures to keep. CPU seconds in the JSON suffer less."
        )
    workers, left_out = start_workers(settings)
    try:
        with tqdm(total=settings.rounds * len(workers), unit="turn", disable=None) as bar:
            turns = paired.take_turns(
                workers, settings.rounds, settings.epochs, after_turn=bar.update
            )
        scores = {name: worker.negative_elbo() for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()

    images = len(x) * settings.epochs
    contenders = {
        name: {
            "what": " ".join(CONTENDERS[name][0].__doc__.split()),
            "rounds": turns[name],
            "images_per_second": paired.summarise([images / t["seconds"] for t in turns[name]]),
            "images_per_cpu_second": paired.summarise(
                [images / t["cpu_seconds"] for t in turns[name]]
            ),
            "warm_up_s": worker.warm_up_s,
            "negative_elbo": scores[name],
        }
        for name, worker in workers.items()
    }
    seconds = {name: [t["seconds"] for t in turns[name]] for name in turns}
    packages = (
        "tfvae",
        "tensorflow",
        "keras",
        "tensorflow_probability",
        "torch",
        "pythae",
        "numpy",
    )
    return {
        "title": "Training",
        "machine": machine,
        "versions": paired.installed(packages),
        "settings": {
            "data": data,
            "points": len(x),
            "batch": settings.batch,
            "rounds": settings.rounds,
            "epochs": settings.epochs,
            "epochs_in_all": 1 + settings.rounds * settings.epochs,
            "threads": settings.threads,
            "seed": settings.seed,
        },
        "left_out": left_out,
        "contenders": contenders,
        "ratios": {
            name: paired.ratios(seconds, of=name) for name in seconds if name.startswith(SUBJECT)
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the table and writes the JSON file; or serves as one worker."""
    settings = make_parser().parse_args(arguments)
    if settings.worker is not None:
        x, _ = load_data(settings.data, settings.points)
        paired.serve(lambda: CONTENDERS[settings.worker][0](x, settings))
        return
    result = measure(settings)
    for subject in result["ratios"]:
        paired.print_table(paired.to_table(result, subject))
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Wrote {settings.output}")


if __name__ == "__main__":
    main()
