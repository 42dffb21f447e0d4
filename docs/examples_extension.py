"""Has the site show the examples and arguments of calls in docstrings as what they are."""

import re
from typing import Any

import griffe


class Sections(griffe.Extension):
    """Gives sections of this package's docstrings the names that Griffe knows."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        """Renames them before they are read."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"^Call arguments:$", "Other Args:", text, flags=re.M)
