"""The one place that asks for scikit-learn."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["sklearn"]


def sklearn(module: str) -> Any:
    """Returns a module of scikit-learn.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise ImportError(
            "This score is computed by scikit-learn, which cannot be imported. "
            'Run `pip install "tfvae[sklearn]"`.'
        ) from error
