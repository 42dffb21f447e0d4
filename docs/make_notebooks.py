"""Writes guides as notebooks, beside them: prose as it is, each program as a cell.

pip install ".[docs]" && python docs/make_notebooks.py
"""

from __future__ import annotations

import re
from pathlib import Path

GUIDES = Path(__file__).parent / "guides"
NAMES = ("first_model", "images", "tables")


def cells_of(guide: str) -> list[tuple[str, str]]:
    """Returns the cells of a guide, "markdown" or "code" and the text of each.

    Links to pages are left as they are: a notebook lies where its guide does.
    """
    cells = []
    for index, part in enumerate(re.split(r"^```python\n(.*?)^```\n?", guide, flags=re.M | re.S)):
        if part.strip():
            cells.append(("code" if index % 2 else "markdown", part.strip()))
    return cells


def write(guide: Path) -> Path:
    """Writes the notebook of a guide; returns its file."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    new = {"code": new_code_cell, "markdown": new_markdown_cell}
    # The ids of cells are those of their places: the same guide gives the same file.
    cells = [
        new[kind](text, id=f"cell-{index}")
        for index, (kind, text) in enumerate(cells_of(guide.read_text()))
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.validate(notebook)
    path = guide.with_suffix(".ipynb")
    nbformat.write(notebook, path)
    return path


if __name__ == "__main__":
    for name in NAMES:
        print(write(GUIDES / f"{name}.md"))
