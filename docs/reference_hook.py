"""Writes out the names of the pages of the reference: what a module exports, as its source says."""

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def names_of(module: str) -> list[str]:
    """Returns the public names of a module, from the `__all__` of its file: nothing is imported."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = [name for name in ast.literal_eval(node.value) if not name.startswith("_")]
            return sorted(names, key=str.lower)
    raise ValueError(f"{path} has no `__all__`.")


def written_out(markdown: str) -> str:
    """Returns a page with a directive for each name in the place of `::: all of <module>`."""

    def directives(found: re.Match[str]) -> str:
        return "\n\n".join(f"::: {found[1]}.{name}" for name in names_of(found[1]))

    return re.sub(r"^::: all of (\S+)$", directives, markdown, flags=re.MULTILINE)


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Is called by MkDocs for each page."""
    return written_out(markdown)
