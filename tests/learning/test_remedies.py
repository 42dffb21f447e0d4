"""What may follow where numbers are not finite, and in which order."""

import keras
import pytest

from tfvae.learning import Best, GoBack, Last, Raise, Skip


def test_remedies_follow_each_other_and_end_in_an_error():
    remedy = Skip(5, then=GoBack(2, then=Skip(1)))
    assert [type(part) for part in remedy.chain()] == [Skip, GoBack, Skip, Raise]
    assert [part.before_weights_change for part in remedy.chain()] == [True, False, True, False]
    assert list(Raise().chain()) == [Raise()]


@pytest.mark.parametrize("part", [Raise(), Last(), Best("elbo"), Skip(3, GoBack(2, 0.1, Best()))])
def test_they_are_plain_data(part):
    stored = keras.saving.serialize_keras_object(part)
    assert keras.saving.deserialize_keras_object(stored) == part


def test_better_is_more_but_of_losses():
    assert Best().gains(-3.0, None)
    assert Best("val_elbo").gains(-2.0, -3.0)
    assert not Best("val_elbo").gains(-3.0, -3.0)
    assert Best("val_loss").gains(2.0, 3.0)
    assert not Best("distortion").gains(3.0, 2.0)
    assert Best("rate", smaller=True).gains(2.0, 3.0)
    assert not Best("loss", smaller=False).gains(2.0, 3.0)
