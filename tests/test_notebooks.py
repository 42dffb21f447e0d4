"""The notebooks of the guides say what the guides say, and run."""

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def load_maker():
    spec = importlib.util.spec_from_file_location("maker", DOCS / "make_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = load_maker()


def cells(name):
    """Returns kind and text of the cells of a notebook, as they are kept in its file."""
    kept = json.loads((DOCS / "guides" / f"{name}.ipynb").read_text())
    assert kept["nbformat"] == 4
    return [(cell["cell_type"], "".join(cell["source"])) for cell in kept["cells"]]


@pytest.mark.parametrize("name", MAKER.NAMES)
def test_notebooks_say_what_their_guides_say(name):
    expected = MAKER.cells_of((DOCS / "guides" / f"{name}.md").read_text())
    assert cells(name) == expected, "run docs/make_notebooks.py"
    assert {kind for kind, _ in expected} == {"markdown", "code"}


def test_no_line_of_a_guide_is_lost():
    guide = "# Title\n\nSome `code`.\n\n```python\nx = 1\n\ny = 2\n```\n\nMore.\n\n```text\nz\n```"
    expected = [
        ("markdown", "# Title\n\nSome `code`."),
        ("code", "x = 1\n\ny = 2"),
        ("markdown", "More.\n\n```text\nz\n```"),
    ]
    assert MAKER.cells_of(guide) == expected


@pytest.mark.parametrize("name", MAKER.NAMES)
def test_files_are_those_that_would_be_written_now(name, tmp_path):
    pytest.importorskip("nbformat")
    guide = tmp_path / f"{name}.md"
    guide.write_text((DOCS / "guides" / f"{name}.md").read_text())
    written = MAKER.write(guide).read_text()
    assert written == (DOCS / "guides" / f"{name}.ipynb").read_text()


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("name", MAKER.NAMES)
def test_notebooks_run_as_they_stand(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for kind, text in cells(name):
        if kind == "code":
            exec(compile(text, f"{name}.ipynb", "exec"), namespace)
