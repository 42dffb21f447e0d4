"""Arguments that are whole numbers."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae._config import check_count
from tfvae._typing import whole_number


@pytest.mark.parametrize(
    "value", [3, 3.0, np.int64(3), np.float32(3.0), tf.constant(3), np.array(3)]
)
def test_whole_numbers_of_any_type_are_ints(value):
    assert type(whole_number("n", value)) is int
    assert whole_number("n", value) == whole_number("n", value) == 3
    check_count("n", value)


@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), float("inf"), "3", None, [3]])
def test_others_are_refused_by_every_name_of_the_rule(value):
    for check in (whole_number, whole_number, check_count):
        with pytest.raises(ValueError, match=r"`n` must be a whole number >= 1\. Received: n="):
            check("n", value)


def test_the_least_may_be_another():
    assert whole_number("n", 0, least=0) == 0
    with pytest.raises(ValueError, match=r"must be a whole number >= 0\. Received: n=-1"):
        whole_number("n", -1, least=0)
