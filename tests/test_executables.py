"""What XLA has compiled goes when tests let go of it, and is compiled anew when it is needed."""

import pytest
import tensorflow as tf

from tests.executables import release_executables


@pytest.mark.xla
def test_executables_go_and_come_again():
    release_executables()
    assert not release_executables()
    function = tf.function(lambda x: 2.0 * x, autograph=False, jit_compile=True)
    for _ in range(2):
        assert function(tf.constant(3.0)) == 6.0
        assert release_executables()
        assert not release_executables()
