"""The contenders of `train.py`: each builds its model, and trains it for some epochs.

The networks are those of `settings.network`:

    mlp         784-300-300-(2 x 40) and 40-300-300-784 with ReLU, N(0, I)
    gated-vamp  the same with gates in place of ReLU, and a VampPrior of 500 pseudo-inputs
    conv        convolutions of 32 and 64 channels that halve the sides, and their mirror, N(0, I)

All with a Bernoulli likelihood, one draw of z, Adam with rate 1e-3, Glorot-uniform weights. The KL
is the closed form, that to a VampPrior log q(z|x) - log p(z) at the draw.
"""

from __future__ import annotations

import argparse
import itertools
import math
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import paired

PIXELS, HIDDEN, LATENTS, PSEUDO_INPUTS = 784, 300, 40, 500
CHANNELS, SIDE = (32, 64), 28
LEARNING_RATE = 1e-3
NETWORKS = ("mlp", "gated-vamp", "conv")


class Tfvae:
    """`tfvae.VAE.fit` with its defaults: data checked, all terms of the ELBO logged."""

    steps_per_execution: int | str = "auto"
    jit_compile: bool | str = "auto"

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        import tensorflow as tf

        limit_tensorflow(settings.threads)
        import keras

        import tfvae

        keras.utils.set_random_seed(settings.seed)
        self.has_vamp = settings.network == "gated-vamp"
        prior = tfvae.priors.VampPrior(PSEUDO_INPUTS) if self.has_vamp else None
        self.vae = make_vae(settings.network.removesuffix("-vamp"), prior)
        self.vae.compile(
            keras.optimizers.Adam(LEARNING_RATE),
            steps_per_execution=self.steps_per_execution,
            jit_compile=self.jit_compile,
        )
        self.x, self.batch = x, settings.batch
        self._tf = tf

    def work(self, epochs: int) -> None:
        self.vae.fit(self.x, batch_size=self.batch, epochs=epochs, verbose=0)

    def score(self) -> float:
        def encode(x: np.ndarray) -> tuple[Any, Any]:
            q_z = self.vae.encode(x)
            return q_z.mean(), q_z.stddev()

        def decode(z: np.ndarray) -> Any:
            return self.vae.decode(z).distribution.logits_parameter()

        prior = self.vae.prior_distribution() if self.has_vamp else None
        return paired.negative_elbo(encode, decode, self.x, prior and prior.log_prob)


class TfvaeSingleSteps(Tfvae):
    """The same with one update per call of the compiled function, as callbacks for batches need."""

    steps_per_execution = 1


class TfvaeCompiled(Tfvae):
    """The same compiled by XLA from the first step, as "auto" does where many are to come."""

    jit_compile = True


class TfvaeStream(TfvaeCompiled):
    """The same of a `tf.data.Dataset`, shuffled and put into batches by it."""

    def work(self, epochs: int) -> None:
        images = self._tf.data.Dataset.from_tensor_slices(self.x)
        images = images.shuffle(len(self.x)).batch(self.batch).prefetch(2)
        self.vae.fit(images, epochs=epochs, verbose=0)


class TfvaeUnlogged(TfvaeCompiled):
    """The same with the loss alone worked out of what is logged: what the terms cost."""

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        super().__init__(x, settings)
        self.vae._step._logged = lambda terms: {}


class Xla:
    """The floor: matrix products and Adam by hand, compiled by XLA, in a loop that XLA runs.

    Nothing is logged, nothing is checked, and no Python runs between the steps of an epoch.
    """

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        import tensorflow as tf

        limit_tensorflow(settings.threads)
        self._tf = tf
        self.x, self.batch = x, settings.batch
        self.rng = np.random.default_rng(settings.seed)
        self.weights = [tf.Variable(value) for value in initial_weights(self.rng)]
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

    def work(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.rng.permutation(len(self.x)).astype(np.int32)
            size = len(order) // self.batch * self.batch
            self._epoch(self._tf.constant(order[:size].reshape(-1, self.batch)))
        self.iterations.numpy()

    def score(self) -> float:
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
        self.encoder, self.decoder = torch_networks(settings.network)
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.pseudo_inputs = None
        if settings.network == "gated-vamp":
            self.pseudo_inputs = torch.nn.Parameter(torch.rand(PSEUDO_INPUTS, PIXELS))
            parameters.append(self.pseudo_inputs)
        self.optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
        self._loss_function = torch.compile(self._loss) if self.compiled else self._loss

    def work(self, epochs: int) -> None:
        torch = self._torch
        for _ in range(epochs):
            total = torch.zeros(())
            for rows in torch.randperm(len(self.images)).split(self.batch):
                self.optimizer.zero_grad(set_to_none=True)
                loss = self._loss_function(self.images[rows])
                loss.backward()
                self.optimizer.step()
                if self.pseudo_inputs is not None:
                    self.pseudo_inputs.data.clamp_(0.0, 1.0)
                total += loss.detach()

    def score(self) -> float:
        with self._torch.no_grad():
            return paired.negative_elbo(
                lambda x: self._posterior(self._torch.from_numpy(x)),
                lambda z: self.decoder(self._torch.from_numpy(z)),
                self.x,
                None if self.pseudo_inputs is None else self._log_prior,
            )

    def _log_prior(self, z: np.ndarray) -> np.ndarray:
        return self._log_vamp(self._torch.from_numpy(z)).numpy() - 0.5 * LATENTS * math.log(
            2.0 * math.pi
        )

    def _posterior(self, x: Any) -> tuple[Any, Any]:
        loc, raw = self.encoder(x).chunk(2, dim=1)
        return loc, self._torch.nn.functional.softplus(raw) + 1e-5

    def _loss(self, x: Any) -> Any:
        torch = self._torch
        loc, scale = self._posterior(x)
        noise = torch.randn_like(scale)
        z = torch.addcmul(loc, scale, noise)
        distortion = torch.nn.functional.binary_cross_entropy_with_logits(
            self.decoder(z), x, reduction="sum"
        )
        if self.pseudo_inputs is None:
            rate = (0.5 * (loc.square() + scale.square() - 1.0) - scale.log()).sum()
        else:
            log_q = -(0.5 * noise.square() + scale.log()).sum(dim=1)
            rate = (log_q - self._log_vamp(z)).sum()
        return (distortion + rate) / len(x)

    def _log_vamp(self, z: Any) -> Any:
        """Returns log p(z) under the mixture of the posteriors of the pseudo-inputs, `[B]`.

        Without the constants of both densities, which cancel in the rate. The squares are expanded,
        so that all pairs are matrix products.
        """
        torch = self._torch
        loc, scale = self._posterior(self.pseudo_inputs)
        precision = scale.square().reciprocal()
        squares = z.square() @ precision.T - 2.0 * z @ (loc * precision).T
        squares = squares + (loc.square() * precision).sum(dim=1)
        log_q = -0.5 * squares - scale.log().sum(dim=1)
        return torch.logsumexp(log_q, dim=1) - math.log(PSEUDO_INPUTS)


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

    def work(self, epochs: int) -> None:
        for _ in range(epochs):
            self.epoch += 1
            self.trainer.train_step(self.epoch)

    def score(self) -> float:
        shutil.rmtree(self.folder, ignore_errors=True)

        def encode(x: np.ndarray) -> tuple[Any, Any]:
            output = self.model.encoder(self._torch.from_numpy(x))
            return output.embedding, (0.5 * output.log_covariance).exp()

        with self._torch.no_grad():
            return paired.negative_elbo(
                encode, lambda z: self.model.decoder.body(self._torch.from_numpy(z)), self.x
            )


# By name: the class, the packages that it needs, and the networks that it has.
CONTENDERS: dict[str, tuple[type, tuple[str, ...], tuple[str, ...]]] = {
    "tfvae": (Tfvae, ("tfvae", "tensorflow", "keras"), NETWORKS),
    "tfvae-xla": (TfvaeCompiled, ("tfvae", "tensorflow", "keras"), ("mlp", "gated-vamp")),
    "tfvae-stream": (TfvaeStream, ("tfvae", "tensorflow", "keras"), ("mlp",)),
    "tfvae-unlogged": (TfvaeUnlogged, ("tfvae", "tensorflow", "keras"), ("mlp",)),
    "tfvae-1": (TfvaeSingleSteps, ("tfvae", "tensorflow", "keras"), NETWORKS),
    "xla": (Xla, ("tensorflow",), ("mlp",)),
    "torch": (Torch, ("torch",), NETWORKS),
    "torch-compile": (TorchCompiled, ("torch",), NETWORKS),
    "pythae": (Pythae, ("pythae", "torch"), ("mlp",)),
}


def make_vae(network: str, prior: Any = None) -> Any:
    """Returns a `tfvae.VAE` of 784 pixels and 40 latents.

    Args:
        network: "mlp", "gated" or "conv".
        prior: A prior of `tfvae.priors`; None is N(0, I).
    """
    import keras

    import tfvae

    layers, image = keras.layers, (SIDE, SIDE, 1)
    if network == "conv":
        into = [layers.Reshape(image), tfvae.networks.conv(list(CHANNELS))]
        maps = tfvae.networks.conv_transpose(list(CHANNELS[::-1]), image_shape=image)
        pixels = tfvae.layers.IndependentBernoulli(image)
        out = [maps, tfvae.layers.ImageParameters(pixels)]
    else:
        body = tfvae.networks.mlp if network == "mlp" else tfvae.networks.gated_mlp
        into, out = [body([HIDDEN, HIDDEN])], [body([HIDDEN, HIDDEN]), layers.Dense(PIXELS)]
    q = tfvae.layers.MultivariateNormalDiag
    encoder = keras.Sequential(
        [keras.Input((PIXELS,)), *into, layers.Dense(q.params_size(LATENTS)), q(LATENTS)]
    )
    decoder = keras.Sequential(
        [keras.Input((LATENTS,)), *out, tfvae.layers.IndependentBernoulli(PIXELS)]
    )
    return tfvae.VAE(encoder, decoder, prior)


def limit_tensorflow(threads: int) -> None:
    """Lets TensorFlow use so many threads; has to come before anything runs."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def initial_weights(rng: np.random.Generator, *, gated: bool = False) -> list[np.ndarray]:
    """Returns kernels, Glorot-uniform, and biases, zero: encoder first, then decoder, six each.

    Hidden layers with gates have both halves in one kernel, the gate last.
    """
    sizes = [PIXELS, HIDDEN, HIDDEN, 2 * LATENTS], [LATENTS, HIDDEN, HIDDEN, PIXELS]
    weights = []
    for part in sizes:
        for index, (fan_in, fan_out) in enumerate(itertools.pairwise(part)):
            halves = 2 if gated and index < 2 else 1
            limit = np.sqrt(6.0 / (fan_in + fan_out))
            shape = (fan_in, halves * fan_out)
            weights.append(rng.uniform(-limit, limit, shape).astype(np.float32))
            weights.append(np.zeros(shape[1], np.float32))
    return weights


def torch_networks(network: str) -> tuple[Any, Any]:
    """Returns encoder and decoder."""
    from torch import nn

    if network == "mlp":
        return (
            _torch_mlp([PIXELS, HIDDEN, HIDDEN, 2 * LATENTS]),
            _torch_mlp([LATENTS, HIDDEN, HIDDEN, PIXELS]),
        )
    if network.startswith("gated"):
        encoder, decoder = (
            nn.Sequential(
                _gated(size, HIDDEN), _gated(HIDDEN, HIDDEN), _initialised(nn.Linear(HIDDEN, out))
            )
            for size, out in ((PIXELS, 2 * LATENTS), (LATENTS, PIXELS))
        )
        return encoder, decoder
    small, (first, second) = SIDE // 4, CHANNELS
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, SIDE, SIDE)),
        _initialised(nn.Conv2d(1, first, 3, 2, 1)),
        nn.ReLU(),
        _initialised(nn.Conv2d(first, second, 3, 2, 1)),
        nn.ReLU(),
        nn.Flatten(),
        _initialised(nn.Linear(second * small**2, 2 * LATENTS)),
    )
    decoder = nn.Sequential(
        _initialised(nn.Linear(LATENTS, second * small**2)),
        nn.ReLU(),
        nn.Unflatten(1, (second, small, small)),
        _initialised(nn.ConvTranspose2d(second, second, 3, 2, 1, output_padding=1)),
        nn.ReLU(),
        _initialised(nn.ConvTranspose2d(second, first, 3, 2, 1, output_padding=1)),
        nn.ReLU(),
        _initialised(nn.Conv2d(first, 1, 3, 1, 1)),
        nn.Flatten(),
    )
    return encoder, decoder


def _gated(fan_in: int, fan_out: int) -> Any:
    """Returns (x W_h + b_h) * sigmoid(x W_g + b_g), both products in one."""
    from torch import nn

    both = nn.Linear(fan_in, 2 * fan_out)
    for half in both.weight.data.chunk(2):
        nn.init.xavier_uniform_(half)
    nn.init.zeros_(both.bias)
    return nn.Sequential(both, nn.GLU(dim=1))


def _initialised(layer: Any) -> Any:
    """Returns a layer with the initial weights of Keras."""
    from torch import nn

    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _torch_mlp(sizes: Sequence[int]) -> Any:
    """Returns `torch.nn.Sequential` with the initial weights of Keras."""
    from torch import nn

    layers: list[Any] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [_initialised(nn.Linear(fan_in, fan_out)), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
