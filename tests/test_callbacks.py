"""What runs during fit."""

import io
import re

import tfvae
from tests import analytic


def test_progress_bar_shows_the_terms_of_each_epoch():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(30)
    vae.compile("adam")
    text = io.StringIO()
    bar = tfvae.callbacks.ProgressBar(text)
    history = vae.fit(x, epochs=4, verbose=0, validation_data=(x[:10],), callbacks=[bar]).history
    last = text.getvalue().replace("\n", "\r").rstrip("\r").split("\r")[-1]
    assert max(map(len, re.split("[\r\n]", text.getvalue()))) <= 80
    found = re.search(r"4/4 .* (\S+) = -\((\S+) \+ (\S+)\), I (\S+)  val (\S+)$", last.rstrip())
    shown = [float(number) for number in found.groups()]
    names = ("elbo", "distortion", "rate", "mutual_information", "val_elbo")
    for number, name in zip(shown, names, strict=True):
        assert abs(number - history[name][-1]) <= 0.0051, name
    assert abs(shown[0] + shown[1] + shown[2]) < 0.02


def test_progress_bar_needs_no_terms():
    """Stock Keras models log other things: the bar then counts epochs."""
    text = io.StringIO()
    bar = tfvae.callbacks.ProgressBar(text)
    bar.set_params({"epochs": 2})
    bar.on_train_begin()
    bar.on_epoch_end(0, {"loss": 1.0})
    bar.on_epoch_end(1, {"loss": 1.0})
    bar.on_train_end()
    assert "2/2" in text.getvalue()
