"""Words of messages, where there is none, one, or one more than is told."""

import pytest

from tfvae._words import counted, kind_of, some_of


@pytest.mark.parametrize(
    ("names", "most", "expected"),
    [
        ([], 3, ""),
        (["b", "a", "b"], 2, "b, a"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        (iter("abcd"), 1, "a and 3 more"),
    ],
)
def test_first_names_are_told_once_and_the_rest_is_counted(names, most, expected):
    assert some_of(names, most) == expected


def test_one_is_singular_and_none_plural():
    assert [counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]


def test_a_class_is_told_from_its_objects():
    assert kind_of(dict) == "the class dict, and no object of it such as `dict(...)`"
    assert kind_of({}) == "dict"
