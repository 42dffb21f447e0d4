"""Every kind of model as it is served: kept, refused what it has no answer to, row by row."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import slow_but
from tests.export.kinds import NUM, SERVED, served
from tests.kinds import KINDS
from tfvae.export.requests import latent_inputs
from tfvae.export.rows import COUNTS
from tfvae.export.signatures import STANDARD, offered

SEEDS = tf.constant([[row, 3 * row + 5] for row in range(NUM)])


class Signature:
    """A signature of an export, of any batch size, and how it is asked of some rows."""

    def __init__(self, function, inputs, num_samples):
        self.names = list(function.structured_input_signature[1])
        self.function = function
        # As in requests that a server merges, all inputs have rows.
        self.inputs = {**inputs, "seed": SEEDS, "num_samples": tf.fill([NUM], num_samples)}
        self.inputs["num_steps"] = self.inputs["num_samples"]

    def __call__(self, rows, **others):
        inputs = {name: tf.gather(self.inputs[name], rows) for name in self.names}
        inputs |= {name: value for name, value in others.items() if name in inputs}
        return {name: value.numpy() for name, value in self.function(**inputs).items()}


def assert_same(answer, expected):
    assert answer.keys() == expected.keys()
    for name, value in expected.items():
        assert answer[name].dtype == value.dtype
        np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def joined(*answers):
    return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}


def broken(value, by):
    found = value.numpy()
    found.reshape(-1)[0] = by
    return tf.constant(found)


def faults_of(model, valid):
    """Yields a signature, the input of it that is wrong, and its value."""
    specs = model.data.specs()
    for part in specs:
        takes_nan = part in model.data.supports and model.data.supports[part].missing
        yield "encode", part, broken(valid[part], np.inf if takes_nan else np.nan)
        yield "log_prob", part, valid[part][..., None]
        if part != next(iter(specs)):
            yield "elbo", part, valid[part][:1]
    for node in latent_inputs(model) if model.latent_shape != (0,) else ():
        yield "decode", node, broken(valid[node], np.nan)
        yield "decode", node, valid[node][..., None]
    for count in (0, -5, 2**24 + 1):
        yield "log_prob", "num_samples", tf.constant(count)


def assert_rows_know_nothing_of_each_other(ask, num_samples, *, takes_seeds):
    """Two requests merged by a server, as one batch, in another order, and row by row."""
    whole = ask(range(NUM))
    assert all(len(value) == NUM for value in whole.values())
    assert_same(joined(ask([0, 1, 2]), ask([3, 4, 5, 6])), whole)
    order = [4, 0, 6, 2, 5, 1, 3]
    counts = dict.fromkeys(COUNTS, tf.constant(num_samples))
    assert_same(ask(order), {name: value[order] for name, value in whole.items()})
    alone = ask([5], seed=SEEDS[5], **counts)
    assert_same(alone, {name: value[5:6] for name, value in whole.items()})
    none = tf.zeros([0], tf.int32)
    assert all(len(value) == 0 for value in ask(none).values())  # Of no rows there is no count.
    nothing = ask(none, **counts)
    assert_same(nothing, {name: value[:0] for name, value in whole.items()})
    if takes_seeds:
        together = ask(range(NUM), seed=SEEDS[5], **counts)
        assert all(len(value) == NUM for value in together.values())


@pytest.mark.rewriting
@pytest.mark.parametrize(
    "name",
    slow_but(of=list(SERVED)),
)
def test_every_kind_of_model_is_kept_refuses_and_answers_row_by_row(name, tmp_path):
    model, inputs = served(name)
    # Layers that are in no kind of model are verified by what is asked of them here.
    model.export(tmp_path / "1", verify=name in KINDS, verbose=False)
    signatures = tf.saved_model.load(str(tmp_path / "1")).signatures
    for signature, wrong, value in faults_of(model, inputs):
        names = signatures[signature].structured_input_signature[1]
        request = {key: inputs[key] for key in names} | {wrong: value}
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            signatures[signature](**request)
        assert f"<tfvae>Signature `{signature}`: `{wrong}` " in caught.value.message
    for signature, function in signatures.items():
        num_samples = 1 if signature == "generate" else 3
        ask = Signature(function, inputs, num_samples)
        takes_seeds = "seed" in ask.names
        takes_seeds &= signature != "generate" or model.data.takes_context
        assert_rows_know_nothing_of_each_other(ask, num_samples, takes_seeds=takes_seeds)


@pytest.mark.exhaustive
@pytest.mark.rewriting
@pytest.mark.parametrize("name", slow_but(of=list(SERVED)))
def test_signatures_that_are_asked_for_answer_row_by_row_too(name, tmp_path):
    model, inputs = served(name)
    further = [each for each in offered(model) if each not in STANDARD]
    model.export(tmp_path / "1", signatures=further, verify=name in KINDS, verbose=False)
    signatures = tf.saved_model.load(str(tmp_path / "1")).signatures
    assert set(signatures) == set(further)
    for function in signatures.values():
        ask = Signature(function, inputs, 3)
        assert_rows_know_nothing_of_each_other(ask, 3, takes_seeds="seed" in ask.names)
