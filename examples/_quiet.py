"""Imports TensorFlow without its remarks on the processor, which it prints before one can ask.

What stays silent are lines of TensorFlow's libraries while they are loaded, and after that all that
is not fatal; errors are raised by Python as ever. An environment that asks for lines gets them.
"""

import os
import sys

if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
