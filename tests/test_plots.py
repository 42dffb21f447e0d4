import dataclasses
import io
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import tfvae
from tests.conftest import slow_but
from tests.kinds import KINDS, LABELS, ONE_HOT, kind
from tfvae import plots
from tfvae.plots.grid import TINT, limits_of

TERMS = ("elbo", "distortion", "rate", "mutual_information", "marginal_kl")


def image_vae(event_shape=(8, 8, 1), latents=2):
    keras.utils.set_random_seed(0)
    size = int(np.prod(event_shape))
    posterior, likelihood = tfvae.layers.MultivariateNormalDiag, tfvae.layers.IndependentBernoulli
    encoder = keras.Sequential(
        [
            keras.Input(event_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(posterior.params_size(latents)),
            posterior(latents),
        ]
    )
    decoder = keras.Sequential(
        [keras.Input((latents,)), keras.layers.Dense(size), likelihood(event_shape)]
    )
    return tfvae.VAE(encoder, decoder, seed=0)


def images(number, event_shape=(8, 8, 1)):
    return np.random.default_rng(0).integers(0, 2, (number, *event_shape)).astype(np.float32)


def history(epochs, validation=True):
    values = {name: list(np.linspace(-30.0, -20.0, epochs)) for name in TERMS}
    if validation:
        values |= {f"val_{name}": list(curve) for name, curve in values.items()}
    return {**values, "loss": [0.0] * epochs, "learning_rate": [0.1] * epochs}


def pixels(figure):
    (axes,) = figure.axes
    return [np.asarray(image.get_array()) for image in axes.images]


@pytest.fixture(scope="module")
def vae():
    return image_vae()


@pytest.fixture(scope="module")
def deep_vae():
    return image_vae(latents=5)


@pytest.mark.slow
def test_figures_need_no_display_and_leave_nothing_behind(vae, tmp_path):
    figures = [
        plots.reconstructions(vae, images(3)),
        plots.samples(vae, 4, seed=0),
        plots.latent_space(vae, images(12), np.arange(12) % 3),
        plots.training_curves(history(3)),
    ]
    for index, figure in enumerate(figures):
        assert isinstance(figure, Figure)
        path = tmp_path / f"{index}.png"
        figure.savefig(path)
        assert path.stat().st_size > 1000
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


# Every figure of every kind of model.

WITHOUT_PLANE = ["observed_graph", "density", "regression"]
OF_INFORMATION = ["mutual information in the batch", "marginal KL"]
PARTS_OF_RATE = {
    "conditional": [],
    "given_node": [],
    "hierarchical": ["of $z_{1}$", "of $z_{2}$"],
    "levels_apart": ["of $z_{1}$", "of $z_{2}$"],
    "semi_supervised": ["of y", "of z"],
    "tables": ["of y", "of z"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", slow_but("plain", "conditional", "hierarchical", "tables", "density", of=list(KINDS))
)
def test_figures_of_every_kind_of_model(name):
    model, data = kind(name)
    shape = {} if name == "tables" else {"image_shape": (2, 3)}  # the others are flat
    shown = pixels(plots.reconstructions(model, data, num_images=3, **shape))
    assert [image.shape for image in shown] == [(2, 3)] * 6
    parts = data if isinstance(data, dict) else {"x": data}
    given = next(part for n, part in parts.items() if n in ("x", "image"))[:3]
    np.testing.assert_array_equal(np.reshape(shown[::2], given.shape), given)
    assert np.all(np.isfinite(shown[1::2]))
    context = parts.get("context")
    for mean in (True, False):
        settings = {"context": context, "mean": mean, **shape}
        drawn = pixels(plots.samples(model, len(LABELS), seed=0, **settings))
        assert [image.shape for image in drawn] == [(2, 3)] * len(LABELS)
        assert np.all(np.isfinite(drawn))
    if name in WITHOUT_PLANE:
        with pytest.raises(ValueError, match="a model with latents"):
            plots.latent_space(model, data)
    else:
        figure = plots.latent_space(model, data)
        if name == "one_latent":
            assert sum(bar.get_height() for bar in figure.axes[0].patches) == len(LABELS)
        else:
            (points,) = scattered(figure)
            assert points.get_offsets().shape == (len(LABELS), 2)
    names = [metric.name for metric in model.metrics]
    values = {p + n: [1.0, 2.0] for n in names for p in ("", "val_")}
    (legend,) = plots.training_curves(values).legends
    texts = [text.get_text() for text in legend.get_texts()]
    expected = PARTS_OF_RATE.get(name, OF_INFORMATION)
    assert texts == ["training", "validation", "rate", *expected]


@pytest.mark.slow
def test_nodes_are_chosen_by_shape_or_name():
    model, data = kind("tables")  # nodes `image` [2, 3] and `size`, a number
    assert pixels(plots.samples(model, 2, context=data["context"][:1]))[0].shape == (2, 3)
    with pytest.raises(ValueError, match=r"Expected: image, size. Received: node='y'"):
        plots.reconstructions(model, data, node="y")
    with pytest.raises(ValueError, match="`size` is not image-shaped"):
        plots.reconstructions(model, data, node="size")
    flat, data = kind("given_node")
    with pytest.raises(ValueError, match=r"which node.*y of shape \(3,\), x of shape \(6,\)"):
        plots.reconstructions(flat, data)
    with pytest.raises(ValueError, match="which node"):
        plots.samples(flat, 2)
    assert pixels(plots.samples(flat, 2, node="y", image_shape=(1, 3)))[0].shape == (1, 3)


def test_latent_nodes_and_levels_are_shown_alone():
    model, data = kind("hierarchical")
    (points,) = scattered(plots.latent_space(model, data, node="z_2"))
    expected = model.split(model.encode(data).centre())["z_2"]
    np.testing.assert_allclose(points.get_offsets(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"Expected: z_1, z_2. Received: node='z_3'"):
        plots.latent_space(model, data, node="z_3")
    with pytest.raises(ValueError, match="this model has but one"):
        plots.latent_space(*kind("plain"), node="z")
    chunks = plots.latent_space(model, tf.data.Dataset.from_tensor_slices(data).batch(5), LABELS)
    assert len(scattered(chunks)) == 3


def test_contexts_of_samples_have_a_row_for_each_image_or_one():
    model, _ = kind("conditional")
    shape = {"image_shape": (2, 3)}
    one, all_alike = (
        pixels(plots.samples(model, 4, seed=1, context=c, **shape))
        for c in (ONE_HOT[:1], np.repeat(ONE_HOT[:1], 4, axis=0))
    )
    np.testing.assert_array_equal(one, all_alike)
    with pytest.raises(ValueError, match=r"num_images=4, context of shape \[3, 3\]"):
        plots.samples(model, 4, context=ONE_HOT[:3], **shape)
    with pytest.raises(ValueError, match="needs a context"):
        plots.samples(model, 4, **shape)


def test_missing_pixels_are_tinted():
    x = np.array([[[0.2, np.nan], [0.9, 0.5]]])
    for image in (x, np.repeat(x[..., None], 3, axis=-1)):
        figure = plots.images(image)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        found = np.asarray(canvas.buffer_rgba())[..., :3]
        height, width = found.shape[:2]
        tint = found[height // 4, 3 * width // 4]
        np.testing.assert_allclose(tint, 255 * np.array(to_rgb(TINT)), atol=1)
        assert len(set(found[3 * height // 4, width // 4])) == 1  # a grey
    assert limits_of(np.array([np.nan, -3.0, 255.0])) == (-3.0, 255.0)
    assert limits_of(np.array([np.nan])) == (0.0, 1.0)


# Reconstructions.


def test_reconstructions_stand_below_their_images(vae):
    x = images(7)
    figure = plots.reconstructions(vae, x, num_images=5, columns=3)
    shown = pixels(figure)
    assert len(shown) == 2 * 5
    expected = np.asarray(vae.reconstruct(x[:5]))[..., 0]
    for index in range(5):
        np.testing.assert_array_equal(shown[2 * index], x[index, ..., 0])
        np.testing.assert_allclose(shown[2 * index + 1], expected[index], rtol=1e-6)
    extents = [image.get_extent() for image in figure.axes[0].images]
    for (left, _, bottom, _), (left_below, _, _, top_below) in zip(
        extents[::2], extents[1::2], strict=True
    ):
        assert left == left_below
        assert bottom < top_below  # the axis points down


def test_images_do_not_overlap(vae):
    figure = plots.reconstructions(vae, images(6), columns=3)
    boxes = [image.get_extent() for image in figure.axes[0].images]
    for index, (left, right, bottom, top) in enumerate(boxes):
        for other_left, other_right, other_bottom, other_top in boxes[index + 1 :]:
            assert (
                right <= other_left
                or other_right <= left
                or bottom <= other_top
                or other_bottom <= top
            )


def test_flat_vectors_are_shown_in_the_given_shape():
    flat = image_vae((12,))
    shown = pixels(plots.reconstructions(flat, images(2, (12,)), image_shape=(3, 4)))
    assert shown[0].shape == (3, 4)
    assert pixels(plots.samples(flat, 2, image_shape=(3, 4)))[0].shape == (3, 4)


def test_colour_images():
    colour = image_vae((4, 4, 3))
    assert pixels(plots.reconstructions(colour, images(2, (4, 4, 3))))[0].shape == (4, 4, 3)


@pytest.mark.parametrize("image_shape", [None, 12, (3, 5), (2, 3, 2)])
def test_data_that_is_not_image_shaped(image_shape):
    flat = image_vae((12,))
    message = r"`x` is not image-shaped.*Received: shape=\(2, 12\), image_shape="
    with pytest.raises(ValueError, match=message):
        plots.reconstructions(flat, images(2, (12,)), image_shape=image_shape)
    with pytest.raises(ValueError, match=r"`sample` is not image-shaped"):
        plots.samples(flat, 2, image_shape=image_shape)


def test_one_image_without_its_batch_axis_is_no_row_of_lines():
    with pytest.raises(ValueError, match=r"of one image, `image\[None\]`\. Received: shape"):
        plots.images(images(2)[0])


def test_nothing_to_show(vae):
    with pytest.raises(ValueError, match="`data` is empty"):
        plots.reconstructions(vae, images(0))


@pytest.mark.parametrize("argument", ["num_images", "columns"])
def test_counts_are_positive(vae, argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be .* Received: {argument}=0"):
        plots.reconstructions(vae, images(2), **{argument: 0})
    with pytest.raises(ValueError, match=f"`{argument}` must be .* Received: {argument}=-1"):
        plots.samples(vae, **{argument: -1})


@pytest.mark.slow
def test_first_rows_of_every_form_of_data(vae):
    x = images(7)
    batches = tf.data.Dataset.from_tensor_slices(x).batch(3)
    for data in (x, tf.constant(x), {"x": x}, batches, batches.map(lambda x: (x, 0))):
        for number in (2, 3, 5, 9):
            shown = pixels(plots.reconstructions(vae, data, num_images=number))
            np.testing.assert_array_equal(shown[::2], x[:number, ..., 0])


# Samples.


def test_images_are_shown_in_rows():
    x = np.arange(5 * 6, dtype="float32").reshape(5, 3, 2)
    found = pixels(plots.images(x, columns=3))
    np.testing.assert_array_equal([image.reshape(3, 2) for image in found], x)


def test_samples_are_the_means_of_their_seed(vae):
    first, again = (pixels(plots.samples(vae, 5, seed=3)) for _ in range(2))
    expected = np.asarray(vae.generate(5, vae.make_seed(3))["x_mean"])[..., 0]
    np.testing.assert_allclose(first, expected, rtol=1e-6)
    np.testing.assert_array_equal(first, again)


def test_samples_may_be_draws(vae):
    assert set(np.unique(pixels(plots.samples(vae, 5, seed=3, mean=False)))) == {0.0, 1.0}


def test_grey_levels_beyond_one_are_scaled():
    assert limits_of(np.array([0.2, 0.9])) == (0.0, 1.0)
    assert limits_of(np.array([-3.0, 255.0])) == (-3.0, 255.0)


# Latent space.


def scattered(figure):
    return [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]


def test_two_latents_are_shown_as_they_are(vae):
    x = images(20)
    labels = np.arange(20) % 4
    figure = plots.latent_space(vae, x, labels)
    z = np.asarray(vae.encode(x).mean())
    groups = scattered(figure)
    assert len(groups) == 4
    for label, group in enumerate(groups):
        np.testing.assert_allclose(group.get_offsets(), z[labels == label], rtol=1e-5, atol=1e-6)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list("0123")
    assert "z_1" in figure.axes[0].get_xlabel()


def test_more_latents_are_shown_by_principal_components(deep_vae):
    x = images(40)
    figure = plots.latent_space(deep_vae, x)
    z = np.asarray(deep_vae.encode(x).mean(), np.float64)
    values = np.sort(np.linalg.eigvalsh(np.cov(z.T)))[::-1]
    points = np.asarray(scattered(figure)[0].get_offsets())
    np.testing.assert_allclose(np.cov(points.T), np.diag(values[:2]), atol=1e-4 * values[0])
    axes = figure.axes[0]
    for label, which, value in (
        (axes.get_xlabel(), "first", values[0]),
        (axes.get_ylabel(), "second", values[1]),
    ):
        assert label.startswith(f"{which} principal component")
        assert f"({value / values.sum():.0%} of variance)" in label


def test_classes_differ_in_colour_and_in_marker(vae):
    groups = scattered(plots.latent_space(vae, images(20), np.arange(20) % 10))
    assert len({tuple(group.get_facecolor()[0]) for group in groups}) == 10
    assert len({group.get_paths()[0].vertices.tobytes() for group in groups}) == 10


def test_real_labels_get_a_colour_scale(vae):
    figure = plots.latent_space(vae, images(20), np.linspace(0.0, 1.0, 20))
    assert len(figure.axes) == 2
    assert figure.axes[0].get_legend() is None


def test_labels_that_do_not_fit(vae):
    with pytest.raises(ValueError, match=r"Expected shape \(4,\). Received: \(3,\)"):
        plots.latent_space(vae, images(4), [0, 1, 2])
    with pytest.raises(ValueError, match=r"Expected at most 10\. Received: 11"):
        plots.latent_space(vae, images(11), np.arange(11))
    with pytest.raises(ValueError, match=r"must be finite.*Received: 1 of 3"):
        plots.latent_space(vae, images(3), [0.5, float("nan"), 1.0])
    with pytest.raises(ValueError, match=r"must be of one kind.*NoneType, text"):
        plots.latent_space(vae, images(3), ["a", None, "b"])


def test_one_latent_is_counted():
    vae, x, labels = image_vae(latents=1), images(30), np.arange(30) % 3
    (axes,) = plots.latent_space(vae, x, labels).axes
    counts = [[bar.get_height() for bar in group] for group in axes.containers]
    assert np.sum(counts, axis=1).tolist() == [10, 10, 10]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list("012")
    z = np.asarray(vae.encode(x).mean())[:, 0]
    np.testing.assert_allclose((axes.patches[0].get_x(), z.min()), z.min(), rtol=1e-5)
    (axes,) = plots.latent_space(vae, x, np.linspace(0.0, 1.0, 30)).axes
    np.testing.assert_allclose(axes.collections[0].get_offsets()[:, 0], z, rtol=1e-5)
    plots.latent_space(vae, x[:1])


def test_categories_are_spread_around_their_numbers():
    model, data = kind("codes")
    (points,) = scattered(plots.latent_space(model, data))
    found = np.asarray(points.get_offsets())
    np.testing.assert_array_equal(np.round(found), tfvae.latents.codes(model, data))
    assert len(np.unique(found, axis=0)) == len(found)


# Training curves.


@pytest.mark.slow
def test_training_curves_show_what_was_logged(vae):
    vae = image_vae((2, 2, 1))
    vae.compile("adam", run_eagerly=True)
    x = images(8, (2, 2, 1))
    logged = vae.fit(x, epochs=3, verbose=0, validation_data=(x[:4],))
    figure = plots.training_curves(logged)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ELBO", "distortion", "rate"]
    curves = [line.get_ydata().tolist() for axes in figure.axes for line in axes.get_lines()]
    expected = [logged.history[prefix + name] for name in TERMS for prefix in ("", "val_")]
    assert curves == expected
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "training",
        "validation",
        "rate",
        "mutual information in the batch",
        "marginal KL",
    ]
    colours = [line.get_color() for line in legend.get_lines()[2:]]
    assert colours == [line.get_color() for line in figure.axes[2].get_lines()[::2]]


@pytest.mark.parametrize("epochs", [1, 2, 19, 40])
def test_training_curves_without_validation(epochs):
    figure = plots.training_curves(history(epochs, validation=False))
    assert [len(axes.get_lines()) for axes in figure.axes] == [1, 1, 3]
    low, high = figure.axes[0].get_ylim()
    assert low < np.linspace(-30.0, -20.0, epochs)[epochs // 20] < high


def test_training_curves_of_a_hierarchy_show_its_levels():
    values = history(3)
    for name in ("mutual_information", "marginal_kl"):
        del values[name], values[f"val_{name}"]
    for level in range(1, 8):
        values |= {f"{prefix}rate_{level}": [1.0, 2.0, level] for prefix in ("", "val_")}
    figure = plots.training_curves(values)
    assert [len(axes.get_lines()) for axes in figure.axes] == [2, 2, 16]
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["training", "validation", "rate", *(f"of $z_{{{n}}}$" for n in range(1, 8))]
    with pytest.raises(ValueError, match=r"Missing: rate_1\. Received"):
        plots.training_curves({name: v for name, v in values.items() if name != "rate_1"})


def test_curves_of_a_diverged_run_are_still_drawn():
    values = history(3)
    values["elbo"][1] = np.nan
    values["rate"] = [np.inf] * 3
    figure = plots.training_curves(values)
    for axes in figure.axes:
        assert np.all(np.isfinite(axes.get_ylim()))


def test_a_history_that_lacks_a_part_of_the_rate_or_of_validation():
    values = history(3)
    for name in ("mutual_information", "val_marginal_kl", "val_rate"):
        lacking = {n: v for n, v in values.items() if n != name}
        with pytest.raises(ValueError, match=f"Missing: {name}"):
            plots.training_curves(lacking)
    # What others log is none of the rate's parts, whatever it is called.
    bare = {n: v for n, v in values.items() if "l_" not in n.removeprefix("val_")}
    assert len(plots.training_curves({**bare, "rate_of_learning": [0.1] * 3}).axes) == 3


@pytest.mark.parametrize("values", [{}, None, {"loss": [1.0]}])
def test_a_history_that_is_none(values):
    with pytest.raises(ValueError, match=r"Missing: elbo, distortion, rate.*Received: "):
        plots.training_curves(values)


def test_a_history_without_epochs():
    with pytest.raises(ValueError, match="Missing: epochs"):
        plots.training_curves(history(0))


def test_a_history_with_validation_for_some_epochs():
    values = history(4)
    values["val_elbo"] = values["val_elbo"][::2]
    with pytest.raises(ValueError, match="4 epochs of training, 2 of validation"):
        plots.training_curves(values)


# Without matplotlib.


def test_missing_matplotlib_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "tfvae\[examples\]"'):
        plots.training_curves(history(2))


# Numbers.


@pytest.fixture(scope="module")
def ledger(vae):
    return tfvae.decompose(vae, images(30), evidence_samples=50, refine_steps=2)


def test_bars_of_the_ledger_end_at_the_elbo_and_at_log_p_x(ledger):
    (axes,) = plots.ledger(ledger).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    bars = dict(zip(names, axes.patches, strict=True))
    assert list(bars) == [
        "distortion",
        "mutual information",
        "total correlation",
        "dimension wise kl",
        "-ELBO",
        "amortisation gap",
        "approximation gap",
        "-log p(x)",
    ]
    start = 0.0
    for name in ("distortion", "mutual information", "total correlation", "dimension wise kl"):
        width = getattr(ledger, name.replace(" ", "_")).mean
        assert (bars[name].get_x(), bars[name].get_width()) == pytest.approx((start, width))
        start += width
    assert bars["-ELBO"].get_width() == pytest.approx(-ledger.elbo.mean)
    gap = bars["amortisation gap"].get_width() + bars["approximation gap"].get_width()
    assert gap == pytest.approx(-ledger.amortisation_gap.mean - ledger.approximation_gap.mean)
    assert bars["-log p(x)"].get_width() == pytest.approx(-ledger.log_p_x.mean)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but("density", of=list(KINDS)))
def test_ledger_of_every_kind_of_model(name):
    model, data = kind(name)
    entries = tfvae.decompose(model, data, evidence_samples=5, num_samples=2)
    (axes,) = plots.ledger(entries).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names[0] == "distortion"
    gap = ["gap"] if np.any(entries.gap.per_point) else []
    assert names[-2 - len(gap) :] == ["-ELBO", *gap, "-log p(x)"]
    if not model.graph.latents:
        assert names == ["distortion", "-ELBO", "-log p(x)"]


def test_what_is_no_ledger_is_refused():
    with pytest.raises(TypeError, match=r"what `tfvae.decompose\(model, data\)` returned.*dict"):
        plots.ledger({"elbo": 1.0})


def test_rates_are_in_order_and_idle_dimensions_grey(vae):
    report = tfvae.evaluation.measure_collapse(vae, images(30), evidence_samples=2)
    report = dataclasses.replace(
        report, dimension_rates=np.array([0.0, 2.0, 1.0]), activity=np.array([0.0, 1.0, 1.0])
    )
    (axes,) = plots.rates(report).axes
    assert [bar.get_height() for bar in axes.patches] == [2.0, 1.0, 0.0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "0"]
    assert len({bar.get_facecolor() for bar in axes.patches[:2]}) == 1
    assert axes.patches[2].get_facecolor() != axes.patches[0].get_facecolor()
    joint = dataclasses.replace(report, dimension_rates=None)
    (axes,) = plots.rates(joint, ["a", "b", "c"]).axes
    assert axes.get_ylabel() == "variance of the mean"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["b", "c", "a"]
    with pytest.raises(ValueError, match=r"each of 3 dimensions\. Received: 1"):
        plots.rates(joint, ["a"])


def test_the_curve_of_the_evidence_has_its_errors(vae):
    result = tfvae.log_likelihood(vae, images(5), 40)
    (axes,) = plots.evidence_curve(result).axes
    line = axes.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), result.curve.num_draws)
    np.testing.assert_allclose(line.get_ydata(), result.curve.mean)
    assert axes.get_xscale() == "log"
    single = tfvae.log_likelihood(vae, images(1), 2)  # has no error
    plots.evidence_curve(single).savefig(io.BytesIO())


def test_columns_show_data_in_its_own_units():
    x = np.array([[0.0, np.nan], [2.0, 5.0], [4.0, 7.0]])
    drawn = 10.0 * np.ones([3, 2])
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(x, columns=["age", "size"])
    (axes,) = plots.columns(table, drawn).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["age", "size"]
    (axes,) = plots.columns(x, drawn, ["<a>", "$"]).axes
    marks = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
    data, model = marks[::2], marks[1::2]
    np.testing.assert_allclose(data, [0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(model, [8.0 / np.std([0, 2, 4]), 4.0])
    with pytest.raises(ValueError, match=r"shapes \(3, 2\) and \(3, 1\)"):
        plots.columns(x, drawn[:, :1])
    with pytest.raises(ValueError, match="1 names"):
        plots.columns(x, drawn, ["one"])


def test_curves_of_training_fit_into_a_narrow_column():
    figure = plots.training_curves(history(3), columns=1)
    tops = [axes.get_subplotspec().rowspan.start for axes in figure.axes]
    assert tops == [0, 1, 2]
    assert figure.get_size_inches()[0] < 4.0
    (axes, *_) = plots.training_curves(history(1)).axes
    assert list(axes.get_xticks()) == [1]


def test_of_a_rate_that_is_zero_nothing_is_shown():
    values = history(3)
    nothing = {n: [0.0] * 3 for n in values if "rate" in n or "kl" in n or "mutual" in n}
    figure = plots.training_curves({**values, **nothing})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ELBO", "distortion"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation"]


# Traversals.


@pytest.mark.slow
def test_traversals_have_a_row_for_each_dimension(vae):
    ways = tfvae.latents.traversals(vae, 4 * images(30), num_steps=4)
    figure = plots.traversals(ways)
    shown = pixels(figure)
    assert len(shown) == 4 * len(ways) > 0
    np.testing.assert_array_equal(shown[1], ways[0].means["x"][1, ..., 0])
    assert [text.get_text() for text in figure.axes[0].texts] == [way.name for way in ways]
    assert len(pixels(plots.traversals(ways[0]))) == 4
    with pytest.raises(ValueError, match="no dimension of z is active"):
        plots.traversals([])


@pytest.mark.slow
def test_traversals_of_several_nodes_and_states():
    model, data = kind("tables")
    ways = tfvae.latents.traversals(model, data, num_steps=4)
    assert len(pixels(plots.traversals(ways))) == sum(len(way.values) for way in ways)
    with pytest.raises(ValueError, match="`size` is not image-shaped"):
        plots.traversals(ways, node="size")
    flat = tfvae.latents.traversals(*kind("plain"), num_steps=3)
    assert pixels(plots.traversals(flat, image_shape=(2, 3)))[0].shape == (2, 3)


def swept(vae, ledger, *, discrete=True, **changes):
    """A sweep whose second model has half the rate, and ten nats more of distortion."""
    estimate = tfvae.evaluation.Estimate.of
    rate, distortion = ledger.rate.per_point, ledger.distortion.per_point
    other = dataclasses.replace(
        ledger,
        rate=estimate(0.5 * rate),
        distortion=estimate(distortion + 10.0),
        log_p_x=None,
        mutual_information=None,
    )
    ledgers = (dataclasses.replace(ledger, **changes), other)
    return tfvae.evaluation.RateDistortion((1.0, 8.0), ledgers, (vae, vae), discrete)


@pytest.mark.slow
@pytest.mark.parametrize("discrete", [True, False])
def test_a_sweep_is_shown_over_the_line_of_the_entropy(vae, ledger, discrete):
    curve = swept(vae, ledger, discrete=discrete)
    figure = curve.plot()
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    entropy = -ledger.log_p_x.mean
    bound = lines["H - distortion"]
    np.testing.assert_allclose(bound.sum(axis=1), entropy, rtol=1e-6)
    assert tuple(bound[1]) == pytest.approx((entropy, 0.0))
    if discrete:
        assert tuple(bound[0]) == pytest.approx((0.0, entropy))
    ends = {text.get_text() for text in axes.texts if "coding" in text.get_text()}
    assert ends == ({"autodecoding", "autoencoding"} if discrete else {"autodecoding"})
    (points,) = (bars.lines[0].get_xydata() for bars in axes.containers)
    expected = [(d.mean, r.mean) for d, r in zip(curve.distortion, curve.rate, strict=True)]
    np.testing.assert_allclose(points, sorted(expected))
    assert lines["I[x;z]"].shape == (1, 2)
    for place in points:
        assert axes.viewLim.contains(*place)


@pytest.mark.slow
def test_a_sweep_without_a_finite_evidence_has_no_line(vae, ledger):
    bad = tfvae.evaluation.Estimate.of(np.full(ledger.num_points, np.nan))
    curve = swept(vae, ledger, log_p_x=bad)
    curve = dataclasses.replace(curve, ledgers=curve.ledgers[:1], betas=(1.0,))
    (axes,) = plots.rate_distortion(curve).axes
    assert "H - distortion" not in {line.get_label() for line in axes.lines}
