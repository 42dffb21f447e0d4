import html.parser
import json
import re
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import mlp_vae, slow_but
from tests.kinds import BITS, KINDS, kind
from tfvae.reporting import page
from tfvae.reporting.embedded import as_svg
from tfvae.reporting.findings import gather

QUICK = {"num_samples": 20, "refine_steps": 2, "verbose": False}
ALL = {
    "Ledger",
    "Training",
    "Reconstructions",
    "Samples",
    "Traversals",
    "Latent map",
    "Rate per dimension",
    "Evidence against draws",
    "Anomalies",
    "Configuration",
}
WITHOUT_LATENTS = {
    "Reconstructions",
    "Traversals",
    "Latent map",
    "Rate per dimension",
    "Evidence against draws",
}
LEFT_OUT = {
    "mixture": {"Latent map", "Evidence against draws"},
    "codes": {"Latent map", "Evidence against draws"},
    "drawn_bits": {"Latent map"},
    **dict.fromkeys(("observed_graph", "density", "regression"), WITHOUT_LATENTS),
}
VOID = {"meta", "img", "input", "path", "use", "image", "br"}


class Page(html.parser.HTMLParser):
    """A page as a browser takes it apart: its elements, its text, and whether it is whole."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._open = [], "", []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.words += data

    def attributes(self, tag, name):
        return [attrs[name] for found, attrs in self.elements if found == tag and name in attrs]

    def sections(self):
        text = self.words
        return {name for name in ALL if re.search(rf"^{name}$", text, re.MULTILINE)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of a model, with names that would be markup."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    model = mlp_vae()
    model.compile(run_eagerly=True)
    history = model.fit(BITS, epochs=2, batch_size=12, verbose=0)
    labels = np.array(["<a>", "b & c", "$5"] * 4)
    settings = {
        "labels": labels,
        "image_shape": (2, 3),
        "title": "<script>x</script> & co",
        **QUICK,
    }
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "gather", lambda *a, **k: kept.append(gather(*a, **k)) or kept[0])
        assert tfvae.report(model, BITS, path, history, **settings) == path
    return path.read_text(), model, settings, history, kept[0]


@pytest.mark.slow
def test_the_page_needs_nothing_but_itself(written):
    text = written[0]
    parsed = Page(text)
    for tag, attrs in parsed.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            target = attrs.get(name)
            assert target is None or target.startswith(("data:", "#")), (tag, target)
    assert "link" not in {tag for tag, _ in parsed.elements}
    assert "@import" not in text
    assert not re.search(r"url\((?!#|data:|\"#)", text)
    assert parsed.sections() == ALL


@pytest.mark.slow
def test_names_are_text_and_no_markup(written):
    parsed = Page(written[0])
    assert "<script>x</script> & co" in parsed.words
    assert len([tag for tag, _ in parsed.elements if tag == "script"]) == 1
    for label in ("<a>", "b & c", "$5"):
        assert label in parsed.words


@pytest.mark.slow
@pytest.mark.exhaustive
def test_sliders_have_a_picture_for_each_of_their_steps(written):
    parsed = Page(written[0])
    sliders = [attrs for tag, attrs in parsed.elements if tag == "input"]
    strips = parsed.attributes("img", "src")
    assert len(sliders) == len(strips) == 2
    for slider in sliders:
        assert int(slider["max"]) + 1 == len(json.loads(slider["data-values"])) == 11
    for strip in strips:
        pixels = tf.io.decode_png(tf.io.decode_base64(_web_safe(strip)))
        assert pixels.shape[:2] == (2, 11 * 3)


def _web_safe(address):
    code = address.split(",", 1)[1]
    return code.replace("+", "-").replace("/", "_").rstrip("=")


@pytest.mark.slow
def test_the_ledger_is_the_one_of_the_model(written):
    found = written[-1]
    words = Page(written[0]).words
    for guide, name, entry, note in found.ledger.tree():
        guide = guide.replace("  ", "\u2007 ")  # spaces that no browser takes away
        assert f"{guide}{name}{entry.mean:.3f}{entry.standard_error:.3f}{note}" in words
    assert len(list(found.ledger.tree())) == 11 == len(found.ledger.notes)


@pytest.mark.slow
def test_failed_writers_leave_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    monkeypatch.setattr(page, "sections", lambda _: [])
    monkeypatch.setattr(page, "verdicts", lambda _: [])
    settings = {"max_points": 2, **QUICK}
    tfvae.report(*kind("density"), path, **settings)
    text = path.read_text()
    monkeypatch.setattr("pathlib.Path.write_text", _full)
    with pytest.raises(OSError, match="No space left"):
        tfvae.report(*kind("plain"), path, **settings)
    assert path.read_text() == text
    assert [found.name for found in tmp_path.iterdir()] == ["page.html"]


def _full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(of=sorted(KINDS, key=lambda name: name != "density")))
def test_a_page_of_every_kind_of_model(name, tmp_path):
    model, data = kind(name)
    shape = None if name in ("tables", "with_gaps") else (2, 3)
    path = tfvae.report(model, data, tmp_path / "page.html", image_shape=shape, **QUICK)
    parsed = Page(path.read_text())
    left_out = LEFT_OUT.get(name, set())
    # What is left out has a sentence in its place; there was no history.
    assert parsed.sections() == ALL - left_out - {"Training"}
    for title in left_out | {"Training"}:
        assert re.search(rf"{title}\. \w.*\.", parsed.words), title


@pytest.mark.slow
def test_streams_and_one_point_will_do(tmp_path):
    model, x = kind("plain")
    stream = tf.data.Dataset.from_tensor_slices(x).batch(5)
    assert gather(model, stream, None, max_points=7, seed=0, **QUICK).num_points == 7
    path = tfvae.report(model, x[:1], tmp_path / "page.html", **QUICK)
    words = Page(path.read_text()).words
    assert "looked at on 1 point of data" in words
    assert "This takes a model with latents, and two points of data." in words


def test_messages(tmp_path, monkeypatch):
    model, x = kind("plain")
    with pytest.raises(TypeError, match="must be a model of `tfvae`"):
        tfvae.report(model.encoder, x, tmp_path / "page.html")
    with pytest.raises(ValueError, match="must be a file in a folder that there is"):
        tfvae.report(model, x, tmp_path / "nowhere" / "page.html")
    with pytest.raises(ValueError, match="must be a file"):
        tfvae.report(model, x, tmp_path)
    with pytest.raises(ValueError, match="`data` is empty"):
        tfvae.report(model, x[:0], tmp_path / "page.html")
    with pytest.raises(ValueError, match="max_points"):
        tfvae.report(model, x, tmp_path / "page.html", max_points=0)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "jinja2", None)
        with pytest.raises(ImportError, match=r'pip install "tfvae\[report\]"'):
            tfvae.report(model, x, tmp_path / "page.html")


@pytest.mark.slow
def test_what_does_not_fit_the_data_is_refused(tmp_path):
    model, x = kind("plain")
    path = tmp_path / "page.html"
    with pytest.raises(ValueError, match="one label per data point"):
        tfvae.report(model, x, path, labels=[1, 2], **QUICK)
    with pytest.raises(ValueError, match="one label per data point"):
        tfvae.report(model, x, path, labels=np.zeros(len(x) + 1, int), **QUICK)
    with pytest.raises(ValueError, match="fits none of the observed nodes"):
        tfvae.report(model, x, path, image_shape=(5, 5), **QUICK)
    with pytest.raises(ValueError, match="Missing: elbo"):
        tfvae.report(model, x, path, {"loss": [1.0]}, **QUICK)
    assert not path.exists()


def test_figures_take_the_colours_of_the_page():
    title, names = 'A "name" <b>', ["<1>", *"23456"]
    text, again = (as_svg(tfvae.plots.columns(BITS, BITS, names), title) for _ in range(2))
    assert text == again
    assert "#000000" not in text
    assert "var(--blue)" in text
    assert 'aria-label="A &quot;name&quot; &lt;b>"' in text
    assert "<style" not in text
    assert "&lt;1&gt;" in text
