"""A model of a table, from and to tables."""

import importlib

import numpy as np
import pandas as pd
import pytest

import tfvae
from tests.layers.test_adapted import table as numbers
from tfvae.tables import TableVAE


def frame(num, seed):
    found = pd.DataFrame(numbers(num, seed), columns=["age", "income", "visits", "colour"])
    found["visits"] = found["visits"].astype("int64")
    found["colour"] = np.array(["red", "green", "blue", "grey"])[found["colour"].astype(int)]
    return found.set_axis([f"row {k}" for k in range(num)], axis=0)


@pytest.fixture(scope="module")
def fitted():
    rows = frame(600, 0)
    families = {"income": tfvae.layers.IndependentLogNormal()}
    model = TableVAE(rows, families, latents=2, hidden=[24], seed=0)
    model.fit(rows, epochs=20, validation_data=frame(50, 1), verbose=0)
    return model


@pytest.mark.slow
def test_gaps_are_filled_and_nothing_else_changes(fitted):
    rows = frame(200, 2)
    gaps = rows.astype({"visits": "Int64"})
    hidden = np.random.default_rng(0).random(rows.shape) < 0.25
    gaps = gaps.mask(hidden)
    gaps["note"] = "kept"
    filled = fitted.impute(gaps, 50)
    assert filled.index.equals(rows.index)
    assert not filled.isna().any().any()
    assert (filled["note"] == "kept").all()
    for k, name in enumerate(rows.columns):
        seen = ~hidden[:, k]
        found, wanted = filled[name][seen].tolist(), rows[name][seen].tolist()
        assert found == (wanted if name == "colour" else pytest.approx(wanted, rel=1e-6))
    gone = hidden[:, 0]
    error = filled["age"][gone] - rows["age"][gone]
    assert np.mean(error**2) < 0.9 * np.mean((rows["age"].mean() - rows["age"][gone]) ** 2)


@pytest.mark.slow
def test_new_rows_and_those_made_again_are_tables(fitted):
    new, rows = fitted.sample(300, seed=1), frame(5, 3)
    assert new.dtypes["visits"] == rows.dtypes["visits"]
    assert set(new["colour"]) <= {"red", "green", "blue", "grey"}
    assert abs(new["age"].mean() - 45.0) < 2.0 + 4 * new["age"].std() / 300**0.5
    again = fitted.reconstruct(rows)
    assert again.index.equals(rows.index)
    assert again.columns.equals(rows.columns)
    scores = fitted.score_samples(rows)
    assert scores.index.equals(rows.index)
    strange = rows.assign(age=150.0)
    assert (fitted.score_samples(strange) < scores - 5.0).all()


@pytest.mark.parametrize("name", ["latents", "plots", "sklearn", "tables"])
def test_rooms_that_are_imported_late_are_there_by_their_names(name):
    assert tfvae.__getattr__(name) is importlib.import_module(f"tfvae.{name}")


@pytest.mark.slow
def test_ordered_categories_stay_ordered_where_gaps_are_filled():
    sizes = pd.Categorical(["small", "large", None] * 8, ["small", "large"], ordered=True)
    rows = pd.DataFrame({"size": sizes, "age": np.arange(24.0)})
    model = TableVAE(rows, latents=1, hidden=(4,), seed=0)
    for found in (model.impute(rows, 5), model.sample(3, seed=0), model.reconstruct(rows)):
        assert found["size"].dtype == rows["size"].dtype
        assert not found["size"].isna().any()
    assert (model.impute(rows, 5)["size"][rows["size"].notna()] == "large").tolist() == [0, 1] * 8


def test_a_family_that_cannot_be_is_named_with_its_column():
    rows = pd.DataFrame({"age": [20.5, 30.0, -4.0, 41.0], "visits": [1, 2, 3, 8]})
    for family, name in (
        (tfvae.layers.IndependentLogNormal(), "LogNormal"),
        (tfvae.layers.IndependentPoisson(), "Poisson"),
    ):
        with pytest.raises(ValueError, match=f"(?s)age.*{name}|{name}.*age"):
            TableVAE(rows, {"age": family}, latents=1)


def test_held_out_rows_may_be_a_tuple_of_one():
    rows = frame(30, 0)
    model = TableVAE(rows, latents=1, hidden=(4,), seed=0)
    model.model.compile("adam", run_eagerly=True)
    found = model.fit(rows, validation_data=(rows[:10],), verbose=0).history["val_elbo"]
    again = TableVAE(rows, latents=1, hidden=(4,), seed=0)
    again.model.set_weights(model.model.get_weights())
    again.model.compile("adam", run_eagerly=True)
    scores = again.model.evaluate(again.table.encode(rows[:10]), verbose=0, return_dict=True)
    assert found == [pytest.approx(scores["elbo"], rel=1e-5)]
