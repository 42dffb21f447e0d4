"""What falls through? Models of parts drawn at random, over data that is whole or spoiled.

Each case draws a kind of model, a posterior, a likelihood, a prior, an objective with its
estimator, a scheme and an optimizer, sizes down to one point, one dimension and a last batch of
one, and perhaps a fault in the data. It has to train to finite numbers, evaluate finitely, go on
from a checkpoint to the bit, export, and have no fault that `tfvae.check` finds; or to be refused
in the package's own words before the first update. All else fell through, and is printed. Run it as

    python benchmarks/fuzz.py --cases 500
"""

from __future__ import annotations

import argparse
import collections
import io
import random
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tfvae import flows, layers, learning, objectives, priors

tfd = tfp.distributions

PACKAGE = str(Path(tfvae.__file__).parent)

Choose = Callable[[Sequence[Any]], Any]


class Fell(Exception):
    """Something that must not be: neither trained nor refused."""


class LostScores(Fell):
    """Scores that are no numbers, of a model whose training was."""


class Case(NamedTuple):
    """What was drawn: names of parts and numbers, enough to make the case again."""

    posterior: str
    likelihood: str
    prior: str
    objective: str
    scheme: str
    optimizer: str
    fault: str
    rows: int
    size: int
    latents: int
    batch_size: int
    num_samples: int
    kind: str = "vae"
    form: str = "array"
    validates: bool = False


def family(make: Any, *arguments: Any, **settings: Any) -> Callable[[int], Any]:
    """Returns a maker of a layer over vectors of a size."""
    return lambda size: make(size, *arguments, **settings)


def of_tfp(make: Callable[[tf.Tensor], Any]) -> Callable[[int], Any]:
    """Returns a maker of a layer whose elements are a distribution of one parameter."""
    return lambda size: layers.DistributionLambda(lambda t: tfd.Independent(make(t), 1))


def flow_of(make: Any) -> Callable[[int], Any]:
    """Returns a maker of a posterior through a flow."""
    return lambda size: layers.TransformedDistribution(layers.MultivariateNormalDiag(size), make())


POSTERIORS = {
    "normal": family(layers.MultivariateNormalDiag),
    "independent normal": family(layers.IndependentNormal),
    "full": family(layers.MultivariateNormalTriL),
    "low rank": family(layers.MultivariateNormalLowRank, 1),
    "student": family(layers.IndependentStudentT),
    "laplace": family(layers.IndependentLaplace),
    "logistic": family(layers.IndependentLogistic),
    "log-normal": family(layers.IndependentLogNormal),
    "beta": family(layers.IndependentBeta),
    "relaxed bits": family(layers.RelaxedBernoulli, temperature=0.3),
    "relaxed one-hot": family(layers.RelaxedOneHotCategorical, temperature=0.3),
    "one-hot": family(layers.OneHotCategorical),
    "categories": family(layers.IndependentCategorical, 3),
    "bits": family(layers.IndependentBernoulli),
    "counts": family(layers.IndependentPoisson),
    "mises-fisher": family(layers.VonMisesFisher),
    "power spherical": family(layers.PowerSpherical),
    "normal mixture": lambda size: layers.MixtureNormal(2, size),
    "inverse flow": flow_of(lambda: flows.InverseAutoregressive(1, [4])),
    "coupling flow": flow_of(lambda: flows.RealNVP(2, [4])),
    "spline flow": flow_of(lambda: flows.NeuralSpline(1, [4])),
    "tfp relaxed": of_tfp(lambda t: tfd.RelaxedBernoulli(0.3, logits=t)),
    "tfp gamma": of_tfp(lambda t: tfd.Gamma(tf.nn.softplus(t) + 0.1, 1.0)),
    "tfp cauchy": of_tfp(lambda t: tfd.Cauchy(t, 1.0)),
    "tfp beta": of_tfp(lambda t: tfd.Beta(tf.nn.softplus(t) + 0.1, 1.0)),
}

LIKELIHOODS = {
    "bits": (family(layers.IndependentBernoulli), "bits"),
    "one-hot": (family(layers.OneHotCategorical), "one-hot"),
    "categories": (family(layers.IndependentCategorical, 3), "categories"),
    "normal": (family(layers.IndependentNormal), "real"),
    "full": (family(layers.MultivariateNormalTriL), "real"),
    "laplace": (family(layers.IndependentLaplace), "real"),
    "student": (family(layers.IndependentStudentT), "real"),
    "logistic": (family(layers.IndependentLogistic), "real"),
    "mixture": (lambda size: layers.MixtureNormal(2, size), "real"),
    "log-normal": (family(layers.IndependentLogNormal), "positive"),
    "beta": (family(layers.IndependentBeta), "unit"),
    "continuous bits": (family(layers.ContinuousBernoulli), "unit"),
    "levels": (family(layers.DiscretizedLogistic), "levels"),
    "counts": (family(layers.IndependentPoisson), "counts"),
    "negative binomial": (family(layers.IndependentNegativeBinomial), "counts"),
    "zero-inflated": (family(layers.ZeroInflatedPoisson), "counts"),
    "zero-inflated negative binomial": (family(layers.ZeroInflatedNegativeBinomial), "counts"),
    "masked": (lambda size: layers.Masked(layers.IndependentNormal(size)), "lacking"),
    "direction": (family(layers.PowerSpherical), "directions"),
}

PRIORS = {
    "standard": lambda _: None,
    "normal": lambda _: priors.Normal(),
    "mixture": lambda _: priors.GaussianMixture(2),
    "vamp": lambda _: priors.VampPrior(2),
    "categorical": lambda _: priors.Categorical(3),
    "one-hot": lambda _: priors.OneHot(),
    "sphere": lambda _: priors.Hyperspherical(),
    "autoregressive": lambda _: priors.Autoregressive(3, hidden_units=[4]),
    "flow": lambda _: priors.RealNVP(num_transforms=2, hidden_units=[4]),
    "masked flow": lambda _: priors.MaskedAutoregressive(num_transforms=1, hidden_units=[4]),
    "spline": lambda _: priors.NeuralSpline(num_transforms=1, hidden_units=[4]),
    "same family": lambda head: priors.Parametric(head()),
}

OBJECTIVES = {
    "elbo": lambda n: objectives.ELBO(num_samples=n),
    "warm-up": lambda n: objectives.ELBO(objectives.Linear(0.0, 1.0, steps=2), num_samples=n),
    "free bits": lambda n: objectives.ELBO(num_samples=n) if n > 1 else objectives.FreeBits(0.1),
    "path": lambda n: objectives.ELBO(
        analytic_kl=False, num_samples=n, gradient=objectives.PathDerivative()
    ),
    "leave one out": lambda n: objectives.ELBO(
        num_samples=max(n, 2), gradient=objectives.LeaveOneOut()
    ),
    "score": lambda n: objectives.ELBO(num_samples=n, gradient=objectives.ScoreFunction()),
    "straight through": lambda n: objectives.ELBO(
        num_samples=n, gradient=objectives.StraightThrough()
    ),
    "relaxed": lambda n: objectives.ELBO(num_samples=n, gradient=objectives.Relaxed(0.5)),
    "enumerated": lambda _: objectives.Enumerated(),
    "weighted": lambda n: objectives.ImportanceWeighted(num_samples=n),
    "doubly": lambda n: objectives.ImportanceWeighted(
        num_samples=n, gradient=objectives.DoublyReparameterised()
    ),
    "renyi": lambda n: objectives.Renyi(0.5, num_samples=n),
    "target rate": lambda _: objectives.TargetRate(1.0),
    "target distortion": lambda _: objectives.TargetDistortion(1.0),
    "capacity": lambda _: objectives.Capacity(1.0),
    "tc": lambda _: objectives.BetaTC(2.0),
    "dip": lambda _: objectives.DIPVAE(),
    "mmd": lambda _: objectives.MMD(),
    "sliced": lambda _: objectives.SlicedWasserstein(),
    "info": lambda _: objectives.InfoVAE(),
    "forward": lambda n: objectives.ForwardKL(num_samples=max(n, 2)),
    "sum": lambda _: objectives.ELBO() + 0.5 * objectives.MMD(),
}

SCHEMES = {
    "joint": lambda: None,
    "alternating": lambda: learning.Alternating(2),
    "wake-sleep": lambda: learning.WakeSleep(),
    "semi-amortised": lambda: learning.SemiAmortised(1, 0.01),
}

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(1e-3),
    "sgd": lambda: keras.optimizers.SGD(1e-3),
    "averages": lambda: keras.optimizers.Adam(1e-3, use_ema=True),
    "clipped": lambda: keras.optimizers.Adamax(1e-3, global_clipnorm=1.0),
}

KINDS = ["vae"] * 4 + ["context", "hierarchy", "labels", "mixture", "density"]

FAULTS = ["none"] * 8 + ["nan", "infinite", "huge", "other shape", "no rows", "text", "outside"]


# How the data comes: in memory, and as streams that are read again where a run goes on, or kept.
FORMS = ["array", "array", "stream", "kept stream", "unknown length"]


def drawn(choose: Choose) -> Case:
    """Returns a case; in half of them each part is what most models have."""
    parts: dict[str, Sequence[str]] = {
        "posterior": list(POSTERIORS),
        "likelihood": list(LIKELIHOODS),
        "prior": list(PRIORS),
        "objective": list(OBJECTIVES),
        "scheme": list(SCHEMES),
        "optimizer": list(OPTIMIZERS),
    }
    plain = {"posterior": "normal", "scheme": "joint", "objective": "elbo", "prior": "standard"}
    found = {
        name: plain[name] if name in plain and choose([True, False]) else choose(options)
        for name, options in parts.items()
    }
    if found["posterior"] != plain["posterior"] and choose([True, False]):
        found["prior"] = "same family"  # which most need
    return Case(
        **found,
        fault=choose(FAULTS),
        rows=choose([1, 2, 5, 7]),
        size=choose([1, 2, 4]),
        latents=choose([1, 2, 3]),
        batch_size=choose([1, 2, 3]),
        num_samples=choose([1, 1, 3]),
        kind=choose(KINDS),
        form=choose(FORMS),
        validates=choose([True, False]),
    )


def data_of(case: Case) -> np.ndarray:
    """Returns `[rows, size]`, with the fault."""
    rng, shape = np.random.default_rng(0), (case.rows, case.size)
    kind = LIKELIHOODS[case.likelihood][1]
    directions = rng.normal(size=shape)
    x = {
        "bits": lambda: rng.integers(0, 2, shape),
        "one-hot": lambda: np.eye(case.size)[rng.integers(0, case.size, case.rows)],
        "categories": lambda: rng.integers(0, 3, shape),
        "real": lambda: rng.normal(size=shape),
        "positive": lambda: np.exp(rng.normal(size=shape)),
        "unit": lambda: rng.uniform(0.05, 0.95, shape),
        "levels": lambda: rng.integers(0, 256, shape) / 255.0,
        "counts": lambda: rng.poisson(3.0, shape),
        "lacking": lambda: np.where(rng.random(shape) < 0.5, np.nan, rng.normal(size=shape)),
        "directions": lambda: directions / np.linalg.norm(directions, axis=-1, keepdims=True),
    }[kind]().astype("float32")
    if case.fault == "other shape":
        return np.concatenate([x, x], axis=1)
    if case.fault == "no rows":
        return x[:0]
    if case.fault == "text":
        return x.astype(str)
    value = {"nan": np.nan, "infinite": np.inf, "huge": 1e30, "outside": -7.5}.get(case.fault)
    if value is not None:
        x[-1, -1] = value
    return x


def named(case: Case, x: np.ndarray) -> Any:
    """Returns `x` as the kind of model takes it."""
    rng = np.random.default_rng(1)
    if case.kind == "context":
        return {"x": x, "context": rng.normal(size=(len(x), 2)).astype("float32")}
    if case.kind == "labels":
        return {"x": x, "y": rng.integers(-1, 3, len(x))}
    return x


def model_of(case: Case) -> Any:
    """Returns the compiled model.

    Raises:
        Exception: The parts do not fit each other.
    """
    keras.utils.set_random_seed(0)
    model = _MODELS[case.kind](case)
    model.compile(
        OPTIMIZERS[case.optimizer](),
        OBJECTIVES[case.objective](case.num_samples),
        scheme=SCHEMES[case.scheme](),
        jit_compile=False,
    )
    return model


def network(head: Any, size: int, fills: bool = False, **inputs: int) -> Any:
    """Returns a linear network from named inputs to the parameters of a layer, and that.

    Args:
        head: The layer.
        size: How many parameters it takes, where it does not say.
        fills: Whether entries may be missing.
        **inputs: Their sizes, by name.
    """
    given = [keras.Input((width,), name=name) for name, width in inputs.items()]
    read = [tfvae.networks.FillMissing()(g) if fills and g.name == "x" else g for g in given]
    h = keras.layers.Concatenate()(read) if len(read) > 1 else read[0]
    made = head(keras.layers.Dense(_size(head, size))(h))
    return keras.Model(given if len(given) > 1 else given[0], made)


def _vae(case: Case, **context: int) -> Any:
    make = POSTERIORS[case.posterior]
    out = LIKELIHOODS[case.likelihood][0](case.size)
    encoder = network(make(case.latents), case.latents, _fills(case), x=case.size, **context)
    z = encoder.output_shape[-1]
    decoder = network(out, case.size, z=z, **context)
    return tfvae.VAE(encoder, decoder, PRIORS[case.prior](lambda: make(case.latents)), seed=0)


def _hierarchy(case: Case) -> Any:
    make, size = POSTERIORS[case.posterior], case.latents
    out = LIKELIHOODS[case.likelihood][0](case.size)
    top = network(make(size), size, _fills(case), x=case.size)
    z = top.output_shape[-1]
    posteriors = [network(make(size), size, _fills(case), x=case.size, z_2=z), top]
    decoders = [network(out, case.size, z_1=z), network(make(size), size, z_2=z)]
    return tfvae.HierarchicalVAE(
        posteriors, decoders, PRIORS[case.prior](lambda: make(size)), seed=0
    )


def _labels(case: Case) -> Any:
    make, size = POSTERIORS[case.posterior], case.latents
    out, one_hot = LIKELIHOODS[case.likelihood][0](case.size), layers.OneHotCategorical(3)
    q_z = network(make(size), size, _fills(case), x=case.size, y=3)
    z = q_z.output_shape[-1]
    generative = {
        "y": priors.OneHot(),
        "z": network(make(size), size, y=3),
        "x": network(out, case.size, z=z, y=3),
    }
    q_y = network(one_hot, 3, _fills(case), x=case.size)
    return tfvae.DirectedModel(generative, {"y": q_y, "z": q_z}, partly_observed=["y"], seed=0)


def _density(case: Case) -> Any:
    return tfvae.DensityModel(priors.Parametric(LIKELIHOODS[case.likelihood][0](case.size)), seed=0)


_MODELS: dict[str, Callable[[Case], Any]] = {
    "vae": _vae,
    "context": lambda case: _vae(case, context=2),
    "hierarchy": _hierarchy,
    "labels": _labels,
    "mixture": lambda case: tfvae.FiniteMixture(
        LIKELIHOODS[case.likelihood][0](case.size), 3, seed=0
    ),
    "density": _density,
}


def _fills(case: Case) -> bool:
    return LIKELIHOODS[case.likelihood][1] == "lacking"


def _size(layer: Any, size: int) -> int:
    """Returns how many parameters a layer over vectors of a size takes."""
    if isinstance(layer, layers.DistributionLambda):
        return size
    return layer.num_params


def given(case: Case, x: Any) -> dict[str, Any]:
    """Returns the data as arguments of `fit`."""
    found = {"validation_data": (x,)} if case.validates else {}
    if case.form == "array":
        return {"x": x, "batch_size": case.batch_size, **found}
    stream = tf.data.Dataset.from_tensor_slices(x)
    if case.form == "unknown length":
        stream = stream.filter(lambda _: True)
    return {"x": stream.batch(case.batch_size), **found}


class _Cut(Exception):
    pass


class _CutAfter(keras.callbacks.Callback):
    """Ends a run after its first epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise _Cut


def check(case: Case, deep: bool = True) -> str:
    """Tries a case; returns "trained", or why it was refused.

    Args:
        case: What was drawn.
        deep: Whether checkpoints and exports are tried too.

    Raises:
        Fell: It was neither.
    """
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            return _tried(case, deep)
    except LostScores:
        if _may_leave_numbers(case) and any("Not finite are" in str(w.message) for w in told):
            return "refused: scores are no numbers"
        raise
    except Fell:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        says = frames[-1].filename.startswith(PACKAGE)
        if isinstance(error, (ValueError, TypeError)) and says:
            return f"refused: {str(error)[:100]}"
        if isinstance(error, FloatingPointError) and _may_leave_numbers(case):
            return "refused: training stopped"
        text = "".join(traceback.format_exception(error)[-6:])
        raise Fell(f"{type(error).__name__}: {error}\n{text}") from None


def _may_leave_numbers(case: Case) -> bool:
    """Whether steps of one length may lead where there are no numbers, which has to be told.

    Those of a posterior that is refined leave the bound where it is steep, as do those of plain
    descent, and squares of huge data are no numbers of 32 bits.
    """
    return case.fault == "huge" or case.optimizer == "sgd" or case.scheme == "semi-amortised"


def _tried(case: Case, deep: bool) -> str:
    x, vae = named(case, data_of(case)), model_of(case)
    settings = {"epochs": 2, "verbose": 0}
    history = vae.fit(**given(case, x), **settings).history
    _finite("losses", history["loss"])
    if not all(np.all(np.isfinite(values)) for values in history.values()):
        raise LostScores(f"logs are not finite: {history}")
    _finite("weights", *vae.get_weights())
    scores = vae.evaluate(x, verbose=0, return_dict=True)
    if not all(np.all(np.isfinite(value)) for value in scores.values()):
        raise LostScores(f"evaluation is not finite: {scores}")
    if not deep:
        return "trained"
    evidence = tfvae.log_likelihood(vae, x, num_samples=4, seed=0, verbose=False)
    _finite("evidence", evidence.per_point)
    found = tfvae.check(vae, x, num_samples=32, verbose=False)
    own = "data" if case.fault == "huge" else None  # which is what it has to find
    faults = [
        f"{f.tried}: {f.found}"
        for f in found.problems
        # Rounding is of the model as it stands, which nobody scales here.
        if f.level == "fault" and f.tried != own and "Rounding spoils" not in f.found
    ]
    if faults:
        raise Fell(f"`check` finds: {'; '.join(faults)}")
    with tempfile.TemporaryDirectory() as folder:
        _goes_on(case, x, settings, vae, folder)
        vae.save(f"{folder}/vae.keras") if "tfp" not in case.posterior else None
        vae.export(f"{folder}/export", verbose=False)
    return "trained"


def _goes_on(case: Case, x: Any, settings: Any, whole: Any, folder: str) -> None:
    """Checks that a run that was cut ends as the one that was not."""
    for cut in ([_CutAfter()], []):
        vae = model_of(case)
        keeps = case.form == "kept stream"
        kept = tfvae.callbacks.Checkpoint(f"{folder}/run", keep_stream=keeps, file=io.StringIO())
        try:
            vae.fit(**given(case, x), callbacks=[kept, *cut], **settings)
        except _Cut:
            continue
    for mine, theirs in zip(vae.get_weights(), whole.get_weights(), strict=True):
        if not np.array_equal(mine, theirs):
            raise Fell("a run that was cut ends with other weights")


def _finite(what: str, *values: Any) -> None:
    for value in values:
        if not np.all(np.isfinite(np.asarray(value))):
            raise Fell(f"{what} are not finite")


def main(arguments: Sequence[str] | None = None) -> None:
    """Tries cases, and prints those that fell through and what became of all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--shallow", action="store_true", help="neither checkpoints nor exports")
    settings = parser.parse_args(arguments)
    found: collections.Counter[str] = collections.Counter()
    start = time.monotonic()
    for seed in range(settings.first, settings.first + settings.cases):
        case = drawn(random.Random(seed).choice)
        try:
            outcome = check(case, not settings.shallow).split(":")[0]
        except Fell as fell:
            outcome = "fell through"
            print(f"{seed}: {case}\n{fell}\n", flush=True)
        found[outcome] += 1
        if seed % 20 == 19:
            keras.backend.clear_session()
    seconds = time.monotonic() - start
    print(f"{dict(found)} of {settings.cases} cases in {seconds:.0f} s")


if __name__ == "__main__":
    main()
