import numpy as np
import pytest

from tests.analytic import LinearGaussian
from tests.conftest import slow_but
from tests.kinds import KINDS, kind
from tfvae.latents import mmd_test, two_sample_test

GENERATOR = np.random.default_rng(0)


def test_the_statistic_is_that_of_all_pairs():
    a, b = GENERATOR.normal(size=(4, 2)), GENERATOR.normal(size=(3, 2)) + 1.0

    def kernel(x, y):
        return np.exp(-np.sum((x - y) ** 2) / (2 * 1.5**2))

    within = [
        np.mean([kernel(p[i], p[j]) for i in range(len(p)) for j in range(len(p)) if i != j])
        for p in (a, b)
    ]
    across = np.mean([kernel(x, y) for x in a for y in b])
    found = mmd_test(a, b, bandwidth=1.5, num_permutations=5)
    assert found.statistic == pytest.approx(sum(within) - 2 * across)
    assert found.num_points == (4, 3)
    distances = [np.linalg.norm(x - y) for i, x in enumerate([*a, *b]) for y in [*a, *b][:i]]
    assert mmd_test(a, b).bandwidth == pytest.approx(np.median(distances))


def test_p_values_are_uniform_where_there_is_nothing_to_tell():
    points = GENERATOR.normal(size=(200, 20, 1))
    p = np.array([mmd_test(x[:10], x[10:], num_permutations=39).p_value for x in points])
    for level in (0.1, 0.5):  # exact: the level is a multiple of 1/40
        assert abs(np.mean(p <= level) - level) < 4 * np.sqrt(level * (1 - level) / 200)


def test_what_differs_is_told():
    a = GENERATOR.normal(size=(100, 3))
    assert mmd_test(a, a + 1.0).p_value == pytest.approx(1 / 1000)
    assert mmd_test(a, 3.0 * GENERATOR.normal(size=(100, 3))).p_value == pytest.approx(1 / 1000)
    assert mmd_test(np.zeros((5, 2)), np.zeros((4, 2))).p_value == 1.0


def test_draws_of_a_model_and_of_its_own_density_are_alike():
    linear = LinearGaussian.random()
    vae = linear.vae()
    assert two_sample_test(vae, linear.draw(150), num_permutations=199).p_value > 0.01
    shifted = two_sample_test(vae, linear.draw(150) + 1.0, num_permutations=199)
    assert shifted.p_value == pytest.approx(1 / 200)
    assert shifted.num_points == (150, 150)
    assert two_sample_test(vae, linear.draw(150), max_points=20).num_points == (20, 20)


class _Drawn:
    """What a test of samples asks of a model: rows of many columns, whose middle is a context."""

    def __init__(self):
        self.graph = self.data = self
        self.observed = ["x"]

    def named(self, data):
        return data

    def check_data(self, data, name):
        pass

    def generate(self, number, seed, context):
        x = np.random.default_rng(np.asarray(seed)[0].view(np.uint32)).normal(size=(number, 40))
        return {"x": x if context is None else x + context}


@pytest.mark.slow
@pytest.mark.each_case
@pytest.mark.parametrize("among", ["rows", "rows of contexts", "rows with gaps"])
def test_p_values_of_data_are_uniform_where_there_is_nothing_to_tell(among):
    # Scaled by the data alone, few rows of many columns were told from their like one time in five.
    p = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        data = {"x": generator.normal(size=(10, 40))}
        if among == "rows of contexts":
            data["context"] = 9.0 * generator.normal(size=(10, 1))
            data["x"] += data["context"]
        if among == "rows with gaps":
            data["x"][generator.random((10, 1)) < 0.5 * np.ones(40)] = np.nan
        found = two_sample_test(_Drawn(), data, num_permutations=39, seed=seed)
        p.append(found.p_value)
    for level in (0.1, 0.5):
        assert abs(np.mean(np.array(p) <= level) - level) < 4 * np.sqrt(level * (1 - level) / 200)


def test_what_differs_beside_the_context_is_told():
    generator = np.random.default_rng(0)
    context = 9.0 * generator.normal(size=(20, 1))
    data = {"x": 0.5 + generator.normal(size=(20, 40)) + context, "context": context}
    assert two_sample_test(_Drawn(), data).p_value < 0.01


@pytest.mark.parametrize("name", slow_but(of=list(KINDS)))
def test_every_kind_of_model(name):
    found = two_sample_test(*kind(name), num_permutations=19)
    assert np.isfinite(found.statistic)
    assert 1 / 20 <= found.p_value <= 1.0


def test_messages():
    for other in (np.zeros((1, 2)), np.zeros((3, 1)), np.full((3, 2), np.nan)):
        with pytest.raises(ValueError, match="Two samples must be finite"):
            mmd_test(np.zeros((3, 2)), other)


def test_squares_that_overflow_are_refused():
    a = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match=r"overflow.*Received: values up to"):
        mmd_test(1e160 * a, 1e160 * a + 1e160)
