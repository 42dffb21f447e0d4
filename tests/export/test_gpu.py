"""Every operation of every signature has a kernel for GPUs: asked of TensorFlow's registry.

That knows them on machines without a GPU too.
"""

import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from tests.conftest import slow_but
from tests.export.kinds import SERVED, served
from tfvae.export.signatures import offered, signatures

# The words of a check that fails are made on the CPU, and only then.
WORDS = {"StringFormat"}
# What draws without a seed of its own cuts its fixed pair of whole numbers on the CPU.
SEEDS = {("Split", tf.int32.as_datatype_enum)}
# TensorFlow has no kernel for GPUs: counts are drawn on the CPU.
COUNTS = {"StatelessRandomPoisson"}


def fits(kernel, node):
    """Whether a kernel is for the types of a node."""
    types = {key: value.type for key, value in node.attr.items() if value.type}
    return kernel.device_type in ("GPU", "DEFAULT") and all(
        each.name not in types or types[each.name] in each.allowed_values.list.type
        for each in kernel.constraint
    )


def without_kernel(function, specs):
    """Returns the operations of a signature, and of what it calls, that no GPU can do."""
    traced = tf.function(function, input_signature=specs, autograph=False)
    definition = traced.get_concrete_function().graph.as_graph_def()
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    assert nodes
    return {
        node.op
        for node in nodes
        if node.attr["dtype"].type != tf.string.as_datatype_enum
        and (node.op, node.attr["T"].type) not in SEEDS
        and not any(fits(k, node) for k in kernels.get_registered_kernels_for_op(node.op).kernel)
    }


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", slow_but(of=list(SERVED)))
def test_operations_have_kernels(name):
    model, _ = served(name)
    for signature, (function, specs) in signatures(model, offered(model)).items():
        drawn = COUNTS if name == "counts" and signature == "generate" else set()
        assert without_kernel(function, specs) - WORDS == drawn, signature


def test_an_operation_without_a_kernel_is_found():
    found = without_kernel(lambda x: tf.strings.as_string(x), [tf.TensorSpec([2])])
    assert found == {"AsString"}
