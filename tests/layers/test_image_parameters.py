"""Parameters of pixels: those of each pixel come from its own place in the maps."""

import keras
import numpy as np
import pytest

from tfvae import layers, networks

SHAPE = (4, 6, 2)


@pytest.mark.parametrize(
    "likelihood",
    [
        layers.IndependentBernoulli(SHAPE),
        layers.IndependentNormal(SHAPE),
        layers.Masked(layers.IndependentStudentT(SHAPE)),
        layers.IndependentCategorical(SHAPE, 3),
        layers.Adapted(layers.MixtureOfDiscretizedLogistics(SHAPE, 3, levels=8)),
    ],
    ids=["one part", "two", "masked", "categories", "mixture"],
)
def test_a_pixel_of_the_maps_moves_that_pixel_of_the_image_alone(likelihood, tmp_path):
    # With a kernel of one: what leaves its place leaves the pixel.
    inputs = keras.Input((4, 6, 5))
    model = keras.Model(
        inputs, likelihood(layers.ImageParameters(likelihood, kernel_size=1)(inputs))
    )
    maps = np.random.default_rng(0).normal(size=(1, 4, 6, 5)).astype("float32")
    moved = maps.copy()
    moved[0, 1, 2] += 1.0
    x = np.zeros((1, *SHAPE), "float32")

    def scores(maps):
        p = model(maps)
        element = getattr(p, "distribution", p)
        element = getattr(element, "distribution", element)
        return np.array(element.log_prob(x))[0]

    changed = (scores(maps) != scores(moved)).reshape(4, 6, 2)
    assert changed[1, 2].all()
    assert changed.sum() == 2
    model.save(tmp_path / "head.keras")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "head.keras").layers[1](maps), model.layers[1](maps)
    )


def test_of_part_after_part():
    likelihood = layers.IndependentNormal((2, 2, 1))
    head = layers.ImageParameters(likelihood, kernel_size=1)
    head.build((None, 2, 2, 2))
    head.convolution.kernel.assign(np.eye(2)[None, None])
    maps = np.stack([np.arange(4.0), 10.0 + np.arange(4.0)], axis=-1).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(head(maps)[0], [0, 1, 2, 3, 10, 11, 12, 13])


def test_maps_cannot_be_taken_for_parameters():
    maps = networks.conv_transpose([2], image_shape=(4, 4))
    with pytest.raises(ValueError, match="reads 32 parameters per example"):
        keras.Sequential([keras.Input((3,)), maps, layers.IndependentNormal((4, 4, 1))])


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"must be over images.*event_shape=\(3,\)"):
        layers.ImageParameters(layers.IndependentNormal(3))
    with pytest.raises(TypeError, match="MixtureNormal, which has some for the whole image"):
        layers.ImageParameters(layers.MixtureNormal(2, SHAPE))
    with pytest.raises(ValueError, match=r"the size of the image, \[4, 6\]"):
        layers.ImageParameters(layers.IndependentNormal(SHAPE)).build((None, 2, 6, 3))
