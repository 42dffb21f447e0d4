"""The documentation: every name is in it, every link leads somewhere, and its programs run."""

import importlib.util
import re
from pathlib import Path

import pytest

import tfvae

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PACKAGES = (
    *(
        "callbacks",
        "checking",
        "data",
        "datasets",
        "distributions",
        "divergences",
        "evaluation",
        "flows",
    ),
    *("latents", "layers", "learning", "networks", "objectives", "plots", "priors", "reporting"),
    *("sklearn", "tables"),
)


def anchors(page):
    """Returns the anchors of a page, as Python-Markdown makes them of headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in words}


def names_on(page):
    """Returns the names that a page of the reference shows, as the hook of the site finds them."""
    spec = importlib.util.spec_from_file_location("hook", DOCS / "reference_hook.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return set(re.findall(r"^::: (\S+)$", hook.written_out(page.read_text()), re.MULTILINE))


def test_every_public_name_is_in_the_reference():
    listed = set().union(*(names_on(page) for page in (DOCS / "reference").glob("*.md")))
    public = {f"tfvae.{name}" for name in tfvae.__all__ if name[0].isupper()}
    for package in PACKAGES:
        module = importlib.import_module(f"tfvae.{package}")
        public |= {f"tfvae.{package}.{name}" for name in module.__all__}
    assert sorted(public - listed) == [], "name it on a page of docs/reference"
    for path in sorted(listed):
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: str(p.name))
def test_links_lead_to_pages_and_headings(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), f"{page.name} links to {target}"
        if anchor and linked.parent.name == "reference":
            assert anchor in names_on(linked), f"{page.name} links to {target}"
        elif anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{page.name} links to {target}"


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    missing = [str(p.relative_to(DOCS)) for p in PAGES if str(p.relative_to(DOCS)) not in nav]
    assert missing == [], "add the page to `nav` in mkdocs.yml"


def test_forty_questions_have_a_page_each():
    rows = re.findall(
        r"^\| (.+\?) \| \[.+\]\((.+)\) \|$", (DOCS / "questions.md").read_text(), re.M
    )
    assert len(rows) >= 40
    assert len({question for question, _ in rows}) == len(rows)


def programs(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=page.stem,
            marks=[] if page.stem in ("first_model", "tables") else [pytest.mark.exhaustive],
        )
        for page in PAGES
        if page.parent.name == "guides" and programs(page)
    ],
)
def test_guides_run_as_they_stand(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in programs(page):
        exec(compile(block, page.name, "exec"), namespace)
