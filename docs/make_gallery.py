"""Writes the gallery: runs examples, and makes a page of what each asks, prints, draws and takes.

    pip install ".[examples]"
    python docs/make_gallery.py                  # those that changed since their page was made
    python docs/make_gallery.py images counts    # these

Examples run on two cores, in a folder of their own.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "gallery"
CORES = 2
LARGEST = 100_000  # of a picture, bytes
WIDEST = 900  # of a picture, pixels


def digest(program: str) -> str:
    """Returns what tells programs apart, whatever their comments and layout."""
    return hashlib.sha256(ast.dump(ast.parse(program)).encode()).hexdigest()[:16]


def question(program: str) -> str:
    """Returns the top of a page: the docstring of a program, its first line as the heading."""
    first, _, rest = (ast.get_docstring(ast.parse(program)) or "").partition("\n")
    lines = [
        line if line.startswith("    ") else re.sub(r"`[^`]*`|<", _escaped, line)
        for line in rest.strip().splitlines()
    ]
    return "\n".join([f"# {first}", "", *lines])


def _escaped(found: re.Match[str]) -> str:
    """Returns a "less than" as Markdown wants it, and what is marked as code as it stands."""
    return "&lt;" if found[0] == "<" else found[0]


def run(program: Path, folder: Path) -> tuple[str, float]:
    """Runs a program in a folder; returns what it prints, and its CPU time, seconds."""
    models = folder / "saved_models"
    models.mkdir()
    (models / "digits_small").symlink_to(ROOT / "saved_models" / "digits_small")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    environment["PYTHONPATH"] = str(ROOT)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(program)], cwd=folder, env=environment, stdout=subprocess.PIPE
    )
    done.check_returncode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout.decode(), sum(after[:2]) - sum(before[:2])


def reduced(source: Path, target: Path) -> None:
    """Writes a picture with few colours, in less than `LARGEST` bytes."""
    from PIL import Image

    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    for width in (WIDEST, 700, 500):
        if picture.width > width:
            size = (width, round(picture.height * width / picture.width))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        for colours in (128, 64, 32):
            picture.quantize(colours).save(target, optimize=True)
            if target.stat().st_size < LARGEST:
                return
    raise ValueError(f"{source.name} has {target.stat().st_size} bytes in the smallest form.")


def page(program: Path, printed: str, seconds: float, pictures: Sequence[str]) -> str:
    """Returns the page of a program, in Markdown."""
    source = program.read_text()
    lines = [question(source), "", "## What it prints", "", "```text", printed.strip("\n"), "```"]
    if pictures:
        lines += ["", "## What it draws"]
        for name in pictures:
            words = Path(name).stem.removeprefix(f"{program.stem}-").replace("_", " ")
            lines += ["", f"![{words}]({name})", "", f"`{words}`"]
    lines += ["", "## What it takes", ""]
    lines += [f"{seconds:.0f} s of CPU time, on two CPU cores and no GPU.", ""]
    lines += [f"<!-- made by docs/make_gallery.py of program {digest(source)} -->", ""]
    return "\n".join(lines)


def write(program: Path) -> Path:
    """Runs a program and writes its page and pictures; returns the page."""
    with tempfile.TemporaryDirectory() as folder:
        printed, seconds = run(program, Path(folder))
        for old in PAGES.glob(f"{program.stem}-*.png"):
            old.unlink()
        pictures = []
        for picture in sorted(Path(folder).glob("outputs/**/*.png")):
            pictures.append(f"{program.stem}-{picture.name}")
            reduced(picture, PAGES / pictures[-1])
    path = PAGES / f"{program.stem}.md"
    path.write_text(page(program, printed, seconds, pictures))
    return path


def changed(program: Path) -> bool:
    """Whether a program is another than the one of its page."""
    path = PAGES / f"{program.stem}.md"
    return not path.is_file() or digest(program.read_text()) not in path.read_text()


def main(argv: Sequence[str] | None = None) -> None:
    """Writes pages."""
    programs = {path.stem: path for path in sorted((ROOT / "examples").glob("[!_]*.py"))}
    parser = argparse.ArgumentParser(description="Write the pages of examples, by running them.")
    parser.add_argument("names", nargs="*", help="of examples; those that changed by default")
    names = parser.parse_args(argv).names
    if unknown := sorted(set(names) - set(programs)):
        parser.error(f"no examples: {', '.join(unknown)}. There are: {', '.join(programs)}.")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    for name in names or [name for name, path in programs.items() if changed(path)]:
        print(write(programs[name]).relative_to(ROOT))


if __name__ == "__main__":
    main()
