"""Every kind of model gives the numbers that it gave before its inside was changed."""

import json

import numpy as np
import pytest

from tests.conftest import slow_but
from tests.golden.measure import FILE, MODELS, measure

NUMBERS = json.loads(FILE.read_text()) if FILE.exists() else {}


def differences(found, expected, path=""):
    if type(found) is not type(expected):
        yield f"{path}: {expected} became {found}"
    elif isinstance(expected, dict):
        if set(found) != set(expected):
            yield f"{path}: {sorted(set(found) ^ set(expected))}"
        for key in set(found) & set(expected):
            yield from differences(found[key], expected[key], f"{path}/{key}")
    elif isinstance(expected, list) and expected and not isinstance(expected[0], (float, int)):
        assert len(found) == len(expected), path
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from differences(one, other, f"{path}/{index}")
    elif isinstance(expected, list):
        same = len(found) == len(expected) and np.allclose(
            found, expected, rtol=1e-6, atol=1e-6, equal_nan=True
        )
        if not same:
            yield f"{path}: {expected} became {found}"
    elif found != expected:
        yield f"{path}: {expected} became {found}"


@pytest.mark.parametrize("name", slow_but(of=list(MODELS)))
def test_numbers_are_those_of_before(name):
    assert not list(differences(measure(name), NUMBERS[name]))
