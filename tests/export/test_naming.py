"""Names of outputs, which stay when signatures are added."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.conftest import binary_data, mlp_vae
from tfvae.export.naming import GRAPH, is_export


def outputs(folder):
    saved = saved_model_pb2.SavedModel.FromString((folder / GRAPH).read_bytes())
    signatures = saved.meta_graphs[0].signature_def.items()
    return {
        (name, output): info.name
        for name, each in signatures
        for output, info in each.outputs.items()
        if not name.startswith("__")
    }


@pytest.mark.slow
@pytest.mark.exhaustive
def test_outputs_keep_their_names_beside_others(tmp_path):
    vae, (few, more) = mlp_vae(), (tmp_path / "few", tmp_path / "more")
    vae.export(few, signatures=["encode", "decode"], verbose=False)
    vae.export(more, signatures=["anomaly_score", "decode", "encode"], verbose=False)
    assert outputs(few) == {
        (name, output): f"answers/{name}/{output}:0" for name, output in outputs(few)
    }
    assert outputs(few).items() < outputs(more).items()
    assert is_export(few)
    # As programs in C ask for them.
    x = [[1.0, 0.0, 1.0, 0.0, 1.0, 1.0]]
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        tf.compat.v1.saved_model.load(session, ["serve"], str(few))
        z = session.run("answers/encode/z_mean:0", {"encode_x:0": x})
    found = tf.saved_model.load(str(more)).signatures["encode"](
        x=tf.constant([[1.0, 0, 1, 0, 1, 1]])
    )
    assert z.tolist() == found["z_mean"].numpy().tolist()
    assert not is_export(tmp_path)
    # What is there of few signatures is replaced as well.
    vae.export(few, signatures=["encode"], verbose=False)
    assert {name for name, _ in outputs(few)} == {"encode"}


@pytest.mark.slow
def test_loading_an_export_warns_of_nothing(tmp_path, caplog):
    """Gradients of our own have names that no file holds."""
    mlp_vae().export(tmp_path / "vae", signatures=["elbo"], verbose=False, verify=False)
    with caplog.at_level("WARNING"):
        tf.saved_model.load(str(tmp_path / "vae"))
    assert "custom gradients" not in caplog.text
    assert b"IdentityN" in (tmp_path / "vae" / GRAPH).read_bytes()
    # Plain operations would have the gradients of other functions.
    loaded, x = tf.saved_model.load(str(tmp_path / "vae")), tf.constant(binary_data(3))
    given = {"num_samples": tf.constant(2), "seed": tf.zeros([3, 2], tf.int32)}
    assert np.isfinite(loaded.signatures["elbo"](x=x, **given)["elbo"]).all()

    def slope():
        with tf.GradientTape() as tape:
            tape.watch(x)
            elbo = loaded.signatures["elbo"](x=x, **given)["elbo"]
        return tape.gradient(elbo, x)

    with pytest.raises(LookupError, match="an export does not hold it"):
        slope()
