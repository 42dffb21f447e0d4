"""Tables with missing entries: the whole life of a model, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfvae
from tests.conftest import slow_but
from tfvae import layers
from tfvae.layers import (
    DataEncoder,
    Heterogeneous,
    IndependentBernoulli,
    IndependentCategorical,
    IndependentLogNormal,
    IndependentNormal,
    IndependentPoisson,
    Masked,
    MultivariateNormalDiag,
)
from tfvae.networks import FillMissing


def columns():
    return {
        "age": IndependentNormal(),
        "income": IndependentLogNormal(),
        "visits": IndependentPoisson(),
        "größe": IndependentCategorical((), levels=3),
        "scores": IndependentNormal(2),
    }


def table(num, seed):
    """Rows that two hidden numbers make, whole."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, num))
    logits = np.stack([3 * a, 0 * a, 3 * b], axis=1) + rng.gumbel(size=(num, 3))
    rows = [
        a + 0.2 * rng.normal(size=num),
        np.exp(b + 0.2 * rng.normal(size=num)),
        rng.poisson(np.exp(1.5 + 0.7 * a)),
        logits.argmax(axis=1),
        a + b + 0.2 * rng.normal(size=num),
        a - b + 0.2 * rng.normal(size=num),
    ]
    return np.stack(rows, axis=1).astype("float32")


def with_gaps(x, share=0.3, seed=0):
    missing = np.random.default_rng(seed).uniform(size=x.shape) < share
    return np.where(missing, np.nan, x)


def make(first, mask=True, hidden=32, latents=2, seed=1):
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            *first,
            keras.layers.Dense(hidden, "relu"),
            keras.layers.Dense(2 * latents),
            MultivariateNormalDiag(latents),
        ]
    )
    head = Heterogeneous(columns())
    head = Masked(head) if mask else head
    decoder = keras.Sequential(
        [
            keras.Input((latents,)),
            keras.layers.Dense(hidden, "relu"),
            keras.layers.Dense(Heterogeneous.params_size(columns())),
            head,
        ]
    )
    return tfvae.VAE(encoder, decoder, seed=seed)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    x = with_gaps(table(3000, seed=1))
    features = DataEncoder(columns())
    features.adapt(x)
    vae = make([features])
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = vae.fit(x, batch_size=100, epochs=30, verbose=0, validation_data=(x[:500],)).history
    return vae, history


@pytest.mark.slow
@pytest.mark.exhaustive
def test_imputation_beats_the_columns_and_is_sure_where_it_should_be(trained):
    vae, history = trained
    assert history["val_elbo"][-1] > history["val_elbo"][0] + 1.0
    assert all(np.all(np.isfinite(weight)) for weight in vae.weights)
    truth = table(400, seed=2)
    x = with_gaps(truth, seed=3)
    result = tfvae.impute(vae, x, 500, num_draws=100, verbose=False)
    missing = np.isnan(x)
    np.testing.assert_array_equal(result.x[~missing], truth[~missing])
    for j in (0, 2, 4, 5):
        gap = missing[:, j]
        error = np.mean((result.x[gap, j] - truth[gap, j]) ** 2)
        plain = np.mean((np.nanmean(x[:, j]) - truth[gap, j]) ** 2)
        assert error < 0.6 * plain, j
    gap = missing[:, 1]
    error = np.mean(np.log(result.x[gap, 1] / truth[gap, 1]) ** 2)
    assert error < 0.6 * np.var(np.log(truth[gap, 1]))
    gap = missing[:, 3]
    assert set(np.unique(result.x[:, 3])) <= {0.0, 1.0, 2.0}
    commonest = np.bincount(x[~gap, 3].astype(int)).argmax()
    right = np.mean(result.x[gap, 3] == truth[gap, 3])
    assert right > np.mean(truth[gap, 3] == commonest) + 0.15
    # Draws cover the truth: 80 percent of their middle holds about that share of it.
    for j in (0, 4, 5):
        gap = missing[:, j]
        low, high = np.quantile(result.draws[:, gap, j], [0.1, 0.9], axis=0)
        inside = np.mean((low <= truth[gap, j]) & (truth[gap, j] <= high))
        assert abs(inside - 0.8) < 5 * np.sqrt(0.8 * 0.2 / gap.sum()), j


@pytest.mark.slow
def test_rows_that_do_not_belong_are_unlikely(trained):
    vae, _ = trained
    rng = np.random.default_rng(0)
    usual, strange = table(200, seed=4), rng.permuted(table(200, seed=5), axis=0)
    scores = [
        tfvae.log_likelihood(vae, with_gaps(x, 0.1), 200, verbose=False).per_point
        for x in (usual, strange)
    ]
    assert stats.mannwhitneyu(*scores).statistic / 200**2 > 0.85


@pytest.mark.slow
@pytest.mark.exhaustive
def test_everything_else_takes_missing_entries(trained, tmp_path):
    vae, _ = trained
    x = with_gaps(table(40, seed=6))
    x[0], x[:20, 1] = np.nan, np.nan
    whole = tfvae.log_likelihood(vae, x, 2000, batch_size=20, verbose=False)
    # Nothing observed says nothing: log p is zero.
    assert abs(whole.per_point[0]) < 5 * whole.per_point_standard_error[0] + 1e-5
    assert np.all(np.isfinite(vae.evaluate(x, verbose=0)))
    outputs = vae.predict(x, batch_size=20, verbose=0)
    assert outputs["reconstruction"].shape == x.shape
    assert all(np.all(np.isfinite(value)) for value in outputs.values())
    assert set(np.unique(outputs["reconstruction"][:, 3])) <= {0.0, 1.0, 2.0}
    assert np.all(np.isfinite(vae.reconstruct(x, seed=1)))
    assert not np.any(np.isnan(vae.sample(50, seed=0)))
    generated = vae.generate(50, tf.constant([0, 1]))
    assert set(np.unique(generated["x_mean"][:, 3])) <= {0.0, 1.0, 2.0}
    ledger = tfvae.decompose(vae, x, num_samples=5, evidence_samples=50, verbose=False)
    for name, residual in ledger.residuals.items():
        assert abs(residual.mean) < 5 * residual.standard_error + 1e-4, name

    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert loaded.data.support == vae.data.support
    np.testing.assert_array_equal(loaded.terms(x, 2, 3).log_w, vae.terms(x, 2, 3).log_w)

    vae.export(tmp_path / "export", verbose=False, signatures=["log_prob", "encode"])
    served = tf.saved_model.load(tmp_path / "export").signatures
    seed = tf.constant([0, 1])
    count = tf.constant(100)
    log_prob = served["log_prob"](x=tf.constant(x), num_samples=count, seed=seed)["log_prob"]
    error = np.hypot(whole.per_point_standard_error, np.sqrt(20) * whole.per_point_standard_error)
    assert np.all(np.abs(log_prob - whole.per_point) < 8 * error + 1e-3)
    encoded = served["encode"](x=tf.constant(x))
    np.testing.assert_allclose(encoded["z_mean"], outputs["z_mean"], rtol=1e-4, atol=1e-5)


def small():
    return make([DataEncoder(columns())], hidden=4)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_batches_may_lack_whole_columns_and_rows():
    x = with_gaps(table(40, seed=6))
    x[:10, 2], x[11] = np.nan, np.nan
    vae = small()
    vae.compile("adam", jit_compile=True)
    for _ in range(2):
        history = vae.fit(x, batch_size=10, shuffle=False, verbose=0).history
        assert np.all(np.isfinite(list(history.values())))
        assert all(np.all(np.isfinite(weight)) for weight in vae.weights)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_complete_data_of_any_type_trains_too(careful):
    x = np.round(np.abs(table(20, seed=0))) + 1.0
    x[:, 3] = np.minimum(x[:, 3], 2)
    expected = careful.evaluate(x, verbose=0)
    for dtype in ("int32", "float16"):
        assert careful.evaluate(x.astype(dtype), verbose=0) == pytest.approx(expected, rel=1e-5)
    plain = make([], mask=False, hidden=4)
    plain.compile("adam", jit_compile=False)
    assert np.all(np.isfinite(plain.evaluate(x, verbose=0)))


def changed(row, column, value):
    x = with_gaps(table(20, seed=0), 0.1)
    x[row, column] = value
    return x


BAD = {
    "infinite": (
        changed(13, 0, np.inf),
        r"`x` holds infinite values.*or set them to NaN where they mean a missing entry",
    ),
    "category": (
        changed(13, 3, 3.0),
        r"`x` lies outside the support of the Categorical likelihood of column `größe`, which "
        r"takes values from 0.0 to 2.0.*Number the categories from 0",
    ),
    "no category": (changed(13, 3, -1.0), r"Categorical likelihood of column `größe`"),
    "count": (
        changed(13, 2, -1.0),
        r"Poisson likelihood of column `visits`, which takes values of at least 0.0",
    ),
    "income": (
        changed(13, 1, 0.0),
        r"LogNormal likelihood of column `income`.*ends excluded.*Add a small constant to zeros",
    ),
}


@pytest.fixture(scope="module")
def careful():
    vae = small()
    vae.compile(keras.optimizers.AdamW(weight_decay=0.1), jit_compile=False)
    return vae


@pytest.mark.slow
@pytest.mark.parametrize(("x", "message"), slow_but("category", of=BAD))
def test_bad_values_name_their_column_and_change_nothing(careful, x, message):
    vae = careful
    before = vae.get_weights()
    batch = tf.data.Dataset.from_tensor_slices(x[10:]).batch(10)
    for data in (x, batch):
        with pytest.raises(ValueError, match=message):
            vae.fit(data, verbose=0)
    for old, new in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
def test_fractions_in_whole_columns_are_warned_of_by_name(careful):
    with pytest.warns(UserWarning, match="Poisson likelihood of column `visits` gives a"):
        careful.evaluate(changed(3, 2, 0.5), verbose=0)


def test_wrong_numbers_of_columns(careful):
    vae = careful
    with pytest.raises(ValueError, match=r"Expected: \[batch, 6\]. Received: \[20, 5\]"):
        vae.check_data(table(20, seed=0)[:, :5], "x")
    with pytest.raises(ValueError, match=r"Received: \[6\]. Add a batch axis"):
        vae.check_data(table(20, seed=0)[0], "x")
    with pytest.raises(ValueError, match="reads rows of 7 columns"):
        make([DataEncoder({**columns(), "more": "real"})])


@pytest.mark.slow
def test_without_the_mask_missing_entries_are_refused():
    vae = make([DataEncoder(columns())], mask=False)
    vae.compile("adam", jit_compile=False)
    message = r"NaN or infinite values.*wrap the likelihood in `tfvae.layers.Masked`"
    x = changed(13, 0, np.nan)
    for data in (x, tf.data.Dataset.from_tensor_slices(x).batch(10)):
        with pytest.raises(ValueError, match=message):
            vae.fit(data, verbose=0)


@keras.saving.register_keras_serializable("tests")
class Careless(keras.Model):
    """An encoder that is built by its data, and computes with NaN."""

    def __init__(self):
        super().__init__()
        self.dense, self.head = keras.layers.Dense(4), MultivariateNormalDiag(2)

    def call(self, x):
        return self.head(self.dense(x))


# Made in the test: Keras counts the names of layers in a process, and two of a model must differ.
ENCODERS = {
    "relu": lambda: [],
    "tanh": lambda: [keras.layers.Dense(3, "tanh")],
    "normalised": lambda: [keras.layers.BatchNormalization()],
    "too late": lambda: [keras.layers.Dense(3, "relu"), FillMissing()],
    "convolution": lambda: [
        keras.layers.Reshape((6, 1)),
        keras.layers.Conv1D(2, 3, activation="relu"),
        keras.layers.MaxPooling1D(2),
        keras.layers.Flatten(),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("first", ENCODERS.values(), ids=ENCODERS)
def test_encoders_that_compute_with_nan_are_refused(first):
    """Even where all their outputs are finite, as behind a relu in a graph."""
    with pytest.raises(ValueError, match=r"`encoder` computes with the NaN.*FillMissing\(\)"):
        make(first())


def test_encoders_of_unknown_input_are_refused_too():
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(6), Masked(IndependentBernoulli(6))]
    )
    # The decoder tells the shape of the data, and no encoder has to wait for it.
    with pytest.raises(ValueError, match="`encoder` computes with the NaN"):
        tfvae.VAE(Careless(), decoder)


OWN = {
    "indicators": [FillMissing()],
    "zeros": [FillMissing(indicators=False)],
    "normalised": [FillMissing(), keras.layers.BatchNormalization()],
    "description": [DataEncoder(columns())],
    "operation": [keras.layers.Lambda(lambda x: tf.where(tf.math.is_nan(x), 0.0, x))],
}


@pytest.mark.slow
@pytest.mark.parametrize("first", OWN.values(), ids=OWN)
def test_encoders_that_replace_nan_are_taken(first):
    assert make(first).data.support.missing


@pytest.mark.slow
def test_images_with_missing_pixels():
    shape = (4, 4, 1)
    encoder = keras.Sequential(
        [
            keras.Input(shape),
            FillMissing(),
            tfvae.networks.conv([3]),
            keras.layers.Dense(4),
            MultivariateNormalDiag(2),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            tfvae.networks.conv_transpose([3], image_shape=shape),
            layers.ImageParameters(Masked(layers.IndependentBernoulli(shape))),
            Masked(layers.IndependentBernoulli(shape)),
        ]
    )
    vae = tfvae.VAE(encoder, decoder, seed=0)
    vae.compile("adam", run_eagerly=True)
    x = np.random.default_rng(0).integers(0, 2, (20, *shape)).astype("float32")
    x[:, 1] = np.nan
    assert np.all(np.isfinite(list(vae.fit(x, verbose=0).history.values())))
    assert np.all(np.isfinite(tfvae.impute(vae, x, 10, verbose=False).x))
    # log p(x|z) leaves out what is missing, pixel by pixel.
    terms = vae.terms(x, 3, seed=0)
    for s in range(3):
        p_x = vae.decode(terms.z[s]).distribution.distribution
        each = np.array(p_x.log_prob(np.nan_to_num(x)))
        each[:, 1] = 0.0
        np.testing.assert_allclose(terms.log_p_x[s], each.sum(axis=(1, 2, 3)), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_pseudo_inputs_of_a_prior_may_lack_entries_too():
    x = with_gaps(table(40, seed=6))
    encoder, decoder = small().encoder, small().decoder
    for rows in (None, x[:5]):
        prior = tfvae.priors.VampPrior(5, pseudo_inputs=rows)
        vae = tfvae.VAE(encoder, decoder, prior, seed=0)
        vae.compile("adam", run_eagerly=True)
        history = vae.fit(x, verbose=0).history
        assert np.all(np.isfinite(list(history.values())))
        pseudo = np.array(prior.pseudo_inputs)
        assert np.array_equal(np.isnan(pseudo), np.isnan(rows)) if rows is not None else True
        assert np.all(np.isfinite(vae.sample(5, seed=0)))
