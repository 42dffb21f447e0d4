"""What `compile` and `fit` are given, by name and checked."""

import keras
import pytest

from tfvae.learning import GoBack, Joint, Raise, Skip
from tfvae.objectives import ELBO
from tfvae.training.arguments import Arguments, by_name


def given(**settings):
    all_of = {
        "optimizer": "sgd",
        "objective": None,
        "scheme": None,
        "when_not_finite": None,
        "unsupported": {},
        "steps_per_execution": "auto",
        "jit_compile": "auto",
        **settings,
    }
    return Arguments.of(**all_of)


def test_what_is_left_out_is_what_most_models_are_trained_by():
    found = given()
    assert found[1:] == (ELBO(), Joint(), Raise())
    assert isinstance(found.optimizer, keras.optimizers.SGD)
    assert not found.skips
    assert given(when_not_finite=GoBack(then=Skip())).skips


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"unsupported": {"loss": "mse"}}, TypeError),
        ({"objective": "elbo"}, TypeError),
        ({"scheme": "joint"}, TypeError),
        ({"when_not_finite": "skip"}, TypeError),
        ({"steps_per_execution": 0}, ValueError),
        ({"jit_compile": "yes"}, ValueError),
    ],
)
def test_what_is_none_of_what_can_be_taken_is_named(wrong, error):
    name = next(iter(wrong))
    with pytest.raises(error, match="loss" if name == "unsupported" else f"`{name}`"):
        given(**wrong)


def test_arguments_of_keras_have_their_names():
    found = by_name(keras.Model.fit, (5, 3), {"verbose": 0})
    assert found == {"batch_size": 5, "epochs": 3, "verbose": 0}
    for args, kwargs in (((5,), {"batch_size": 5}), (range(99), {})):
        with pytest.raises(TypeError, match=r"^`fit` takes its arguments as"):
            by_name(keras.Model.fit, tuple(args), kwargs)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"epochs": 1.5}, ValueError),
        ({"epochs": -1}, ValueError),
        ({"initial_epoch": "2"}, ValueError),
        ({"callbacks": "tensorboard"}, TypeError),
        ({"callbacks": [keras.callbacks.TerminateOnNaN]}, TypeError),
        ({"callbacks": [keras.callbacks.TerminateOnNaN(), None]}, TypeError),
    ],
)
def test_epochs_and_callbacks_that_are_none_are_refused(wrong, error):
    name = next(iter(wrong))
    with pytest.raises(error, match=f"`{name}` must .* Received: "):
        by_name(keras.Model.fit, (), wrong)


def test_epochs_are_whole_numbers_and_callbacks_come_in_any_nest():
    stop = keras.callbacks.TerminateOnNaN()
    for callbacks in (None, stop, [stop, [stop]], keras.callbacks.CallbackList([stop])):
        found = by_name(keras.Model.fit, (), {"epochs": 2.0, "callbacks": callbacks})
        assert found == {"epochs": 2, "callbacks": callbacks}
        assert isinstance(found["epochs"], int)
