"""The gallery: a page for each example, made by running it, and nothing of the machine on it."""

import importlib.util
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))
PAGES = ROOT / "docs" / "gallery"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("maker", ROOT / "docs" / "make_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_example_has_a_page_and_each_page_an_example():
    assert [p.stem for p in EXAMPLES] == sorted(p.stem for p in PAGES.glob("*.md"))


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda p: p.stem)
def test_pages_ask_what_their_programs_ask_and_fit_80_columns(maker, program):
    page = (PAGES / f"{program.stem}.md").read_text()
    assert page.startswith(maker.question(program.read_text())), "run docs/make_gallery.py"
    printed = re.search(r"```text\n(.*?)```", page, re.DOTALL)[1]
    assert max(map(len, printed.splitlines())) <= 80
    assert printed.splitlines()[0].strip()
    assert not re.search(r"(?<![\w./])/(tmp|home|root|work|usr|var|opt)\b", page)


def test_pictures_are_small_and_all_of_them_shown():
    shown = set()
    for page in PAGES.glob("*.md"):
        shown |= set(re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text()))
    assert shown == {path.name for path in PAGES.glob("*.png")}
    assert max(path.stat().st_size for path in PAGES.glob("*.png")) < 100_000


def test_docstrings_become_the_top_of_pages(maker):
    docstring = "Is x < y?\n\nWhere p(x_<i) and `a < b`, run\n\n    python < this\n"
    top = maker.question(f'"""{docstring}"""\nimport os\n')
    assert top == "# Is x < y?\n\nWhere p(x_&lt;i) and `a < b`, run\n\n    python < this"


def test_only_programs_that_do_something_else_run_again(maker):
    assert maker.digest("x = 1  # one\n") == maker.digest("# One:\nx = (1)\n")
    assert maker.digest("x = 1\n") != maker.digest("x = 2\n")


@pytest.mark.slow
def test_pages_are_what_a_program_prints_and_draws(maker, tmp_path, monkeypatch):
    program = tmp_path / "noise.py"
    program.write_text(
        textwrap.dedent('''\
            """How much noise?

            Draws some.
            """

            import pathlib

            import numpy as np
            from PIL import Image

            assert pathlib.Path("saved_models/digits_small/1").is_dir()
            folder = pathlib.Path("outputs/noise")
            folder.mkdir(parents=True)
            pixels = np.random.default_rng(0).integers(0, 256, (60, 1800, 3), dtype="uint8")
            Image.fromarray(pixels).save(folder / "much_of_it.png")
            print(f"Much: {folder}/much_of_it.png")
            ''')
    )
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "noise-before.png").write_bytes(b"")
    monkeypatch.setattr(maker, "PAGES", pages)
    assert maker.changed(program)
    page = maker.write(program).read_text()
    assert page.startswith("# How much noise?\n\nDraws some.\n")
    assert "```text\nMuch: outputs/noise/much_of_it.png\n```" in page
    assert "![much of it](noise-much_of_it.png)" in page
    assert re.search(r"\n\d+ s of CPU time, on two CPU cores", page)
    assert [path.name for path in pages.glob("*.png")] == ["noise-much_of_it.png"]
    assert (pages / "noise-much_of_it.png").stat().st_size < maker.LARGEST
    assert not maker.changed(program)


def test_pictures_that_stay_too_large_are_refused(maker, tmp_path, monkeypatch):
    from PIL import Image

    Image.fromarray(np.zeros((4, 4, 3), "uint8")).save(tmp_path / "x.png")
    monkeypatch.setattr(maker, "LARGEST", 10)
    with pytest.raises(ValueError, match=r"x\.png has \d+ bytes in the smallest form"):
        maker.reduced(tmp_path / "x.png", tmp_path / "y.png")
