import sys

import keras
import numpy as np
import pytest

from tfvae import datasets

MNIST_SIZES = {"x_train": 60_000, "y_train": 60_000, "x_test": 10_000, "y_test": 10_000}


@pytest.fixture(scope="module")
def mnist_arrays():
    """Images that tell their row: all pixels of image n have the level n % 256."""
    arrays = {}
    for part in ("train", "test"):
        size = MNIST_SIZES[f"x_{part}"]
        levels = np.arange(size).astype(np.uint8)
        arrays[f"x_{part}"] = np.broadcast_to(levels[:, None, None], (size, 28, 28))
        arrays[f"y_{part}"] = levels % 10
    return arrays


@pytest.fixture(scope="module")
def mnist_folder(tmp_path_factory, mnist_arrays):
    folder = tmp_path_factory.mktemp("mnist")
    np.savez_compressed(folder / "mnist.npz", **mnist_arrays)
    return folder


@pytest.fixture(scope="module")
def binarized_arrays():
    generator = np.random.default_rng(0)
    sizes = {"train": 50_000, "valid": 10_000, "test": 10_000}
    return {name: generator.integers(0, 2, (n, 784), np.uint8) for name, n in sizes.items()}


@pytest.fixture(scope="module")
def binarized_folder(tmp_path_factory, binarized_arrays):
    folder = tmp_path_factory.mktemp("binarized")
    packed = {name: np.packbits(x, axis=1) for name, x in binarized_arrays.items()}
    np.savez(folder / "binarized_mnist.npz", **packed)
    return folder


@pytest.fixture(autouse=True)
def no_folder_from_outside(monkeypatch):
    monkeypatch.delenv("TFVAE_DATA", raising=False)


# Digits.


def test_digits_are_rows_of_scikit_learns_file_in_the_published_split():
    from sklearn.datasets import load_digits

    data, source = datasets.digits(binarize=None), load_digits()
    rows = np.concatenate([data.x_train, data.x_valid, data.x_test])
    np.testing.assert_array_equal(rows.reshape(-1, 64) * 16, source["data"])
    labels = np.concatenate([data.y_train, data.y_valid, data.y_test])
    np.testing.assert_array_equal(labels, source["target"])
    assert [len(data.x_train), len(data.x_valid), len(data.x_test)] == [1000, 350, 447]
    assert [len(data.y_train), len(data.y_valid), len(data.y_test)] == [1000, 350, 447]


def test_digits_are_binary_by_default():
    data, grey = datasets.digits(), datasets.digits(binarize=None)
    np.testing.assert_array_equal(data.x_test, grey.x_test > 0.5)
    assert data.x_train.shape == (1000, 8, 8, 1)
    assert data.x_train.dtype == np.float32
    assert data.y_train.dtype == np.int32


@pytest.mark.slow
def test_digits_fit_the_bernoulli_vae_as_they_come():
    import tfvae

    encoder = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
            tfvae.layers.MultivariateNormalDiag(2),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(64),
            tfvae.layers.IndependentBernoulli((8, 8, 1)),
        ]
    )
    vae = tfvae.VAE(encoder, decoder)
    vae.compile("adam")
    data = datasets.digits()
    history = vae.fit(data.x_train, epochs=1, verbose=0, validation_data=(data.x_valid,))
    assert np.isfinite(history.history["val_elbo"]).all()


def test_a_generator_draws_pixels_with_their_grey_level_as_probability():
    grey = datasets.digits(binarize=None).x_train
    drawn = datasets.digits(binarize=np.random.default_rng(0)).x_train
    again = datasets.digits(binarize=np.random.default_rng(0)).x_train
    np.testing.assert_array_equal(drawn, again)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_array_equal(drawn[grey == 0.0], 0.0)
    np.testing.assert_array_equal(drawn[grey == 1.0], 1.0)
    standard_error = np.sqrt(np.sum(grey * (1 - grey)))
    assert abs(np.sum(drawn - grey)) < 5 * standard_error


def test_a_generator_draws_all_rows_from_one_stream():
    grey = datasets.digits(binarize=None)
    drawn = datasets.digits(binarize=np.random.default_rng(0))
    noise = np.random.default_rng(0).random((1797, 8, 8, 1), dtype=np.float32)
    np.testing.assert_array_equal(drawn.x_train, noise[:1000] < grey.x_train)
    np.testing.assert_array_equal(drawn.x_test, noise[1350:] < grey.x_test)


@pytest.mark.parametrize("binarize", [1.0, -0.1, "dynamic", True, [0.5]])
def test_wrong_thresholds_are_refused(binarize):
    with pytest.raises(ValueError, match=r"threshold in \[0, 1\).*Received: binarize="):
        datasets.digits(binarize=binarize)


def test_missing_scikit_learn_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "tfvae\[examples\]"'):
        datasets.digits()


def test_representation_shows_what_is_there():
    assert repr(datasets.digits()).startswith(
        "Dataset(x_train [1000, 8, 8, 1], x_valid [350, 8, 8, 1], x_test [447, 8, 8, 1], y_train"
    )


# MNIST.


@pytest.mark.slow
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_mnist_from_a_folder(mnist_folder, monkeypatch, by):
    monkeypatch.setattr(keras.datasets.mnist, "load_data", None)
    if by == "environment":
        monkeypatch.setenv("TFVAE_DATA", str(mnist_folder))
    data = datasets.mnist(mnist_folder if by == "argument" else None)
    assert data.x_train.shape == (50_000, 28, 28, 1)
    assert data.x_valid.shape == data.x_test.shape == (10_000, 28, 28, 1)
    assert data.x_train.dtype == np.float32
    levels = np.arange(60_000) % 256
    np.testing.assert_allclose(data.x_train[:, 0, 0, 0], levels[:50_000] / 255.0, rtol=1e-6)
    np.testing.assert_allclose(data.x_valid[:, 3, 7, 0], levels[50_000:] / 255.0, rtol=1e-6)
    np.testing.assert_array_equal(data.y_valid, levels[50_000:] % 10)
    assert data.x_train.max() == 1.0


@pytest.mark.slow
def test_mnist_binarized(mnist_folder):
    data = datasets.mnist(mnist_folder, binarize=0.5)
    levels = np.arange(10_000) % 256
    np.testing.assert_array_equal(data.x_test[:, 0, 0, 0], levels > 127.5)


@pytest.mark.parametrize("folder_without_the_file", [False, True])
def test_mnist_through_keras(mnist_arrays, monkeypatch, tmp_path, folder_without_the_file):
    def load_data():
        a = mnist_arrays
        return (a["x_train"], a["y_train"]), (a["x_test"], a["y_test"])

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    if folder_without_the_file:
        monkeypatch.setenv("TFVAE_DATA", str(tmp_path))
    assert datasets.mnist().x_test.shape == (10_000, 28, 28, 1)


def test_mnist_without_a_network(monkeypatch):
    def load_data():
        raise Exception("URL fetch failure on https://example.org: None")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    with pytest.raises(ConnectionError, match=r"URL fetch failure.*`mnist.npz`.*TFVAE_DATA"):
        datasets.mnist()


def test_mnist_missing_from_the_given_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no `mnist.npz`.*Received: folder="):
        datasets.mnist(tmp_path)


def test_mnist_with_a_missing_array(tmp_path):
    np.savez(tmp_path / "mnist.npz", images=np.zeros(3))
    with pytest.raises(ValueError, match=r"no array `x_train`.*Received: \['images'\]"):
        datasets.mnist(tmp_path)


def test_mnist_of_wrong_shape(tmp_path, mnist_arrays):
    small = {name: array[:10] for name, array in mnist_arrays.items()}
    np.savez(tmp_path / "mnist.npz", **small)
    with pytest.raises(
        ValueError, match=r"uint8 \[60000, 28, 28\]\. Received: uint8 \[10, 28, 28\]"
    ):
        datasets.mnist(tmp_path)


# Binarized MNIST.


@pytest.mark.slow
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_binarized_mnist_unpacks_its_rows(binarized_folder, binarized_arrays, monkeypatch, by):
    if by == "environment":
        monkeypatch.setenv("TFVAE_DATA", str(binarized_folder))
    data = datasets.binarized_mnist(binarized_folder if by == "argument" else None)
    for name, expected in binarized_arrays.items():
        x = getattr(data, f"x_{name}")
        assert x.shape == (len(expected), 28, 28, 1)
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x.reshape(-1, 784), expected)
    assert data.y_train is None


def test_binarized_mnist_missing(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"folder=None, TFVAE_DATA=None.*`folder` or by.*packbits"
    ):
        datasets.binarized_mnist()
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        datasets.binarized_mnist(tmp_path)


@pytest.mark.slow
def test_binarized_mnist_not_packed(tmp_path):
    x = np.zeros((50_000, 784), np.uint8)
    np.savez_compressed(tmp_path / "binarized_mnist.npz", train=x, valid=x, test=x)
    with pytest.raises(
        ValueError, match=r"`train` in .*uint8 \[50000, 98\]\. Received: uint8 \[50000, 784\]"
    ):
        datasets.binarized_mnist(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short"])
def test_files_that_are_no_archives(tmp_path, content):
    (tmp_path / "binarized_mnist.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read: .*cut short"):
        datasets.binarized_mnist(tmp_path)


def test_a_bare_array_is_no_archive(tmp_path):
    with (tmp_path / "binarized_mnist.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"no array `train`"):
        datasets.binarized_mnist(tmp_path)
