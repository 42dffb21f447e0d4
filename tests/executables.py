"""What XLA has compiled, which TensorFlow keeps for the life of a process: let go of."""

import contextlib
import ctypes
import ctypes.util

import tensorflow as tf
from tensorflow.core.framework import resource_handle_pb2, tensor_pb2, types_pb2

_TYPE = b"N10tensorflow14DeviceCompilerIN3xla15LocalExecutableENS1_11LocalClientEEE"
_SEED = 0xDECAFCAFFE  # Of TensorFlow's hash of the names of types.


def release_executables() -> bool:
    """Lets go of all executables; what still needs one compiles anew when it is called.

    TensorFlow keeps them in a resource of the device, which nobody hands out. A handle to it is
    made from its name, and the hash of its type, as TensorFlow makes it.

    Returns:
        Whether there was what could be let go of.
    """
    code = _hash_of(_TYPE)
    if code is None:
        return False
    device = tf.constant(0.0).device  # Not the CPU, where tests run elsewhere.
    handle = resource_handle_pb2.ResourceHandleProto(
        device=device, container="localhost", name="xla_device_compiler", hash_code=code
    )
    proto = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_RESOURCE,
        tensor_shape=tf.TensorShape([]).as_proto(),
        resource_handle_val=[handle],
    )
    with contextlib.suppress(tf.errors.NotFoundError):
        resource = tf.io.parse_tensor(proto.SerializeToString(), tf.resource)
        tf.raw_ops.DestroyResourceOp(resource=resource, ignore_lookup_error=False)
        return True
    return False


def _hash_of(name: bytes) -> int | None:
    """Returns TensorFlow's hash of a name, None where it does not show how it makes one."""
    try:
        # Its libraries are loaded: what they offer is found without their paths.
        hashed = ctypes.CDLL(None)["_ZN3tsl6Hash64EPKcmm"]
    except (AttributeError, OSError, TypeError):
        return None
    hashed.restype, hashed.argtypes = (
        ctypes.c_uint64,
        [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64],
    )
    return hashed(name, len(name), _SEED)
