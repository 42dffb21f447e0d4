"""Tables of pandas as numbers and back: the rule, the types, what is refused."""

import numpy as np
import pandas as pd
import pytest

from tfvae import layers
from tfvae.data import Table

RNG = np.random.default_rng(0)


def frame(num=60):
    return pd.DataFrame(
        {
            "age": RNG.normal(45.0, 12.0, num),
            "income": np.exp(RNG.normal(10.0, 2.0, num)),
            "visits": RNG.poisson(3.0, num),
            "clicks": pd.array(RNG.negative_binomial(1, 0.05, num), dtype="Int64"),
            "share": RNG.beta(2.0, 3.0, num),
            "member": RNG.random(num) < 0.5,
            "flag": RNG.integers(0, 2, num),
            "colour": RNG.choice(["red", "green", "blue"], num),
            "size": pd.Categorical(RNG.choice(["S", "L"], num), categories=["S", "M", "L"]),
            "amount": RNG.integers(5000, 9000, num),
        },
        index=np.arange(num) + 100,
    )


def test_the_rule_by_example():
    table = Table(frame())
    found = {c.name: type(c.layer).__name__.removeprefix("Independent") for c in table.columns}
    assert found == {
        "age": "Normal",
        "income": "LogNormal",
        "visits": "Poisson",
        "clicks": "NegativeBinomial",
        "share": "Beta",
        "member": "Bernoulli",
        "flag": "Bernoulli",
        "colour": "Categorical",
        "size": "Categorical",
        "amount": "Normal",
    }
    text = str(table).splitlines()
    assert len(text) == 10
    assert text[3].split(maxsplit=2) == [
        "clicks",
        "IndependentNegativeBinomial",
        "counts with surplus variance",
    ]
    overruled = Table(frame(), {"visits": layers.IndependentNormal()})
    assert isinstance(overruled.columns[2].layer, layers.IndependentNormal)
    assert overruled.columns[2].reason == "as asked for"


def test_there_and_back():
    rows = frame()
    table = Table(rows)
    again = table.decode(table.encode(rows), rows.index)
    exact = ["visits", "clicks", "member", "flag", "colour", "size", "amount"]
    pd.testing.assert_frame_equal(again[exact], rows[exact])
    close = ["age", "income", "share"]
    pd.testing.assert_frame_equal(again[close], rows[close], rtol=1e-6)


def test_gaps_of_all_kinds_become_nan_and_come_back():
    rows = frame()
    table = Table(rows)
    rows = rows.astype({"visits": "Int64", "member": "boolean"})
    rows.iloc[0] = None
    x = table.encode(rows)
    assert np.isnan(x[0]).all()
    assert not np.isnan(x[1:]).any()
    assert table.decode(x).iloc[0].isna().all()
    # A table that has gaps from the start has the same columns.
    assert str(Table(rows)).splitlines()[2] == str(table).splitlines()[2]


def test_means_stay_fractions_and_the_most_probable_category_is_named():
    table = Table(frame())
    x = table.encode(frame())[:2].astype("float64")
    x[:, 2] = [1.5, 2.0]
    x[:, 5] = [0.7, 0.2]
    found = table.decode(x)
    assert found["visits"].tolist() == [1.5, 2.0]
    assert found["member"].tolist() == [True, False]


def test_truth_values_with_gaps_are_truth_values():
    rows = pd.DataFrame({"a": [True, False, None], "b": [1.0, 2.0, 3.0]})
    table = Table(rows)
    assert isinstance(table.columns[0].layer, layers.IndependentBernoulli)
    np.testing.assert_array_equal(table.encode(rows)[:, 0], [1.0, 0.0, np.nan])
    again = table.decode(table.encode(rows))
    assert again["a"].tolist()[:2] == [True, False]
    assert again["a"].isna().tolist() == [False, False, True]
    assert repr(table) == "Table(a, b)"


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), TypeError, "'c' is of type datetime64"),
        (pd.to_timedelta([1, 2], unit="D"), TypeError, "'c' is of type timedelta64"),
        ([1 + 2j, 3j], TypeError, "'c' is of type complex128"),
        ([{"a": 1}, "b"], TypeError, "'c' is of objects, among them dict"),
        ([None, None], ValueError, "'c' has no entries"),
        ([3.0, 3.0], ValueError, "'c' has one value alone, 3"),
        (["a", "a"], ValueError, "'c' has 1 categories. Expected: 2 to 100"),
        ([1.0, np.inf], ValueError, "'c' holds infinite values"),
    ],
)
def test_columns_without_a_family_are_refused_by_name(column, error, message):
    with pytest.raises(error, match=message):
        Table(pd.DataFrame({"c": column}))


def test_bad_tables():
    rows = frame()
    with pytest.raises(TypeError, match=r"must be a `pandas.DataFrame`. Received: ndarray"):
        Table(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="Received: 0 rows of 10 columns"):
        Table(rows[:0])
    with pytest.raises(ValueError, match=r"not there: hair. Expected: some of age, income"):
        Table(rows, {"hair": layers.IndependentNormal()})
    with pytest.raises(ValueError, match=r"more than once: \['a'\]"):
        Table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    table = Table(rows)
    with pytest.raises(TypeError, match=r"with the columns of the first\. Received: ndarray"):
        table.encode(np.zeros((2, 10)))
    with pytest.warns(UserWarning, match="`frame` loses digits in float32 in column 'age'"):
        table.encode(rows.assign(age=1.7e9 + np.arange(len(rows))))
    with pytest.raises(ValueError, match="lacks columns: age"):
        table.encode(rows.drop(columns="age"))
    with pytest.raises(ValueError, match="'colour' has categories that it had not before: pink"):
        table.encode(rows.assign(colour="pink"))
    with pytest.raises(ValueError, match="Column 'age' must hold numbers"):
        table.encode(rows.assign(age="old"))
