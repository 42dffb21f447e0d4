"""Nothing is left out: every part is exported, stored under one name, tested and shown at work."""

import ast
import importlib
import inspect
import pathlib
import pkgutil

import keras
import pytest

import tfvae
from tfvae.layers.base import TypedDraws, VectorLayer
from tfvae.models.one_prior import OnePriorModel

ROOT = pathlib.Path(__file__).parent
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(tfvae.__path__, "tfvae.")
    if not info.ispkg and info.name != "tfvae._version"
)

# Modules that are tested by the tests of those who use them.
TESTED_ELSEWHERE = {
    "tfvae.demo": "test_docstrings.py",
    "tfvae._protocols": "test_typing.py",
    "tfvae.training.trainer": "models/test_life_cycle.py",
    "tfvae._config": "objectives/test_base.py",
    "tfvae.distributions.autoregressive": "layers/test_autoregressive.py",
    "tfvae.distributions.kl": "test_divergences.py",
    "tfvae.distributions.level_rates": "distributions/test_hierarchy.py",
    "tfvae.distributions.levels": "distributions/test_hierarchy.py",
    "tfvae.distributions.normal_mixture": "priors/test_mixture.py",
    "tfvae.data.checks": "models/test_checks.py",
    "tfvae.data.row_checks": "training/test_reading.py",
    **{
        f"tfvae.checking.{name}": "checking/test_checkup.py"
        for name in ("bounds", "data", "draws", "files", "reading", "rows", "subject", "weights")
    },
    "tfvae.evaluation.gaps": "evaluation/test_decomposition.py",
    "tfvae.export.targets": "export/test_writer.py",
    "tfvae.graph.checks": "models/test_checks.py",
    "tfvae.graph.imputation": "evaluation/test_imputation.py",
    "tfvae.graph.nothing": "models/test_observed.py",
    "tfvae.graph.parts": "models/test_hierarchy.py",
    "tfvae.graph.posteriors": "models/test_hierarchy.py",
    "tfvae.models.building": "models/test_checks.py",
    "tfvae.models.exporting": "export/test_writer.py",
    "tfvae.models.components": "models/test_finite_mixture.py",
    "tfvae.models.one_prior": "models/test_prior_fit.py",
    "tfvae.networks.input_range": "networks/test_made.py",
    "tfvae.networks.pixel_steps": "networks/test_causal.py",
    "tfvae.networks.steps": "networks/test_made.py",
    "tfvae.objectives.draws": "objectives/test_gradients.py",
    "tfvae.objectives.relaxations": "objectives/test_gradients.py",
    "tfvae.objectives.score_function": "objectives/test_gradients.py",
    **{
        f"tfvae.reporting.{name}": "reporting/test_page.py"
        for name in ("blocks", "embedded", "findings", "sections")
    },
    **{
        f"tfvae.plots.{name}": "test_plots.py"
        for name in ("columns", "evidence", "grid", "latents", "pictures", "style", "training")
    },
    "tfvae.latents._sklearn": "latents/test_probes.py",
    "tfvae.priors.categorical": "priors/test_base.py",
    "tfvae.priors.conditional": "models/test_context.py",
    "tfvae.priors.normal": "priors/test_base.py",
    "tfvae.priors.parametric": "models/test_observed.py",
    "tfvae.priors.sphere": "priors/test_base.py",
    "tfvae.flows.layered": "flows/test_base.py",
    "tfvae.distributions.heterogeneous": "layers/test_heterogeneous.py",
    "tfvae.distributions.masked": "layers/test_masked.py",
    "tfvae.layers.autoregressive_transform": "layers/test_autoregressive.py",
    "tfvae.layers.tracking": "layers/test_distribution_lambda.py",
    # The battery of all layers runs over every family and the distributions behind it.
    **{
        f"tfvae.{name}": "layers/test_base.py"
        for name in (
            "distributions.discretized_logistic",
            "distributions.one_hot",
            "distributions.zero_inflated",
            "layers.categorical",
            "layers.counts",
            "layers.discretized",
            "layers.mixture",
            "layers.parameters",
            "layers.real",
            "layers.relaxed",
            "layers.sphere",
            "layers.unit_interval",
        )
    },
}

# Stored under the name of their own package, since a layer is called the same.
SAME_NAME_ELSEWHERE = {tfvae.priors.Autoregressive: "tfvae.priors"}

# Bases within the package, from which users derive nothing.
INTERNAL = {OnePriorModel, TypedDraws, VectorLayer}


def public_classes():
    """Yields every public class of the package, with the module that defines it."""
    for name in MODULES:
        module = importlib.import_module(name)
        for attribute in module.__all__:
            value = getattr(module, attribute)
            if inspect.isclass(value) and value.__module__ == name:
                yield module, value


def test_tests_mirror_the_package():
    for name in MODULES:
        parts = name.split(".")[1:]
        mirrored = "/".join([*parts[:-1], f"test_{parts[-1].lstrip('_')}.py"])
        expected = TESTED_ELSEWHERE.get(name, mirrored)
        assert (ROOT / expected).is_file(), f"{name} has no {expected}"


@pytest.mark.parametrize(
    "base",
    [
        tfvae.layers.DistributionLayer,
        tfvae.priors.Prior,
        tfvae.objectives.Objective,
        tfvae.objectives.Schedule,
        tfvae.learning.Scheme,
        tfvae.LatentVariableModel,
    ],
)
def test_parts_are_exported_and_stored_under_one_name(base):
    packages = [tfvae, tfvae.layers, tfvae.priors, tfvae.objectives, tfvae.networks]
    packages.append(tfvae.learning)
    exported = {
        getattr(package, name)
        for package in packages
        for name in package.__all__
        if inspect.isclass(getattr(package, name))
    }
    parts = [cls for _, cls in public_classes() if issubclass(cls, base)]
    assert base in parts
    for cls in parts:
        if cls in INTERNAL:
            assert cls.__doc__.startswith("Mixin") or cls.__doc__.startswith("Abstract")
            continue
        assert cls in exported, f"{cls.__name__} is not exported"
        if cls.__doc__.startswith("Abstract"):
            continue
        package = SAME_NAME_ELSEWHERE.get(cls, "tfvae")
        assert keras.saving.get_registered_name(cls) == f"{package}>{cls.__name__}"
        assert keras.saving.get_registered_object(f"{package}>{cls.__name__}") is cls
        assert "from_config" in dir(cls)
        assert "Example:" in cls.__doc__, f"{cls.__name__} shows no example"
        assert "Reference" in cls.__doc__ or issubclass(
            cls, (tfvae.layers.DistributionLayer, tfvae.objectives.Constant)
        ), f"{cls.__name__} names no reference"


def test_modules_say_what_they_export():
    for name in MODULES:
        module = importlib.import_module(name)
        assert module.__doc__, name
        assert len(set(module.__all__)) == len(module.__all__), name
        for attribute in module.__all__:
            value = getattr(module, attribute)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert value.__doc__, f"{name}.{attribute} has no docstring"
    assert tfvae.__version__.count(".") == 2


def test_examples_import_no_private_helpers():
    for path in sorted((ROOT.parent / "examples").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("tfvae"):
                continue
            module = importlib.import_module(node.module)
            for alias in node.names:
                public = alias.name in getattr(module, "__all__", ())
                assert public, f"{path.name} imports {node.module}.{alias.name}"
                inner = [part for part in node.module.split(".") if part.startswith("_")]
                assert not inner, f"{path.name} imports from {node.module}"
                packaged = hasattr(module, "__path__") or node.module.count(".") == 1
                assert packaged, f"{path.name} imports from within {node.module}"
