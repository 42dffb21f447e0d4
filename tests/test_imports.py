"""Imports point one way: down the ladder of rooms, and in no circles."""

import ast
import pathlib

import pytest

import tfvae

PACKAGE = pathlib.Path(tfvae.__file__).parent
MODULES = {
    ".".join(["tfvae", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(
        ".__init__"
    ): path
    for path in PACKAGE.rglob("*.py")
}

# A room sees those before it.
LADDER = [
    {"distributions", "networks"},
    {"flows"},
    {"layers"},
    {"priors", "divergences", "data"},
    {"terms"},
    {"objectives"},
    {"graph", "learning"},
    {"training", "export"},
    {"models"},
    {"evaluation"},
    {"checking", "latents"},
    {"plots"},
    {"reporting"},
]
# Objectives and what draws for them know each other by name, for types alone.
TYPED_CIRCLES = set()


def imports(body, *, typing):
    """Yields the modules of the package that top-level statements import."""
    for node in body:
        if isinstance(node, ast.If) and (typing or "TYPE_CHECKING" not in ast.unparse(node.test)):
            yield from imports(node.body + node.orelse, typing=typing)
        elif isinstance(node, (ast.Try, ast.With)):
            yield from imports(node.body, typing=typing)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in names)


def graph(*, typing):
    """Returns module → the modules that it imports, as they are written."""
    return {
        name: set(imports(ast.parse(path.read_text()).body, typing=typing)) - {name}
        for name, path in MODULES.items()
    }


def circles(edges):
    """Returns what is left when all that imports nothing that is left is taken away, both ways."""
    left = set(edges)
    while True:
        ends = {name for name in left if not edges[name] & left}
        starts = left - set().union(*(edges[name] for name in left), set())
        if not ends | starts:
            return left
        left -= ends | starts


def room(name):
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("typing", [False, True], ids=["run time", "types"])
def test_no_module_imports_itself_by_way_of_others(typing):
    found = circles(graph(typing=typing))
    allowed = TYPED_CIRCLES if typing else set()
    assert sorted(name for name in found if room(name) not in allowed) == []


def test_a_circle_is_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(edges) == {"b", "c"}
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == set()


def test_rooms_see_only_those_below():
    level = {name: index for index, rooms in enumerate(LADDER) for name in rooms}
    for name, targets in graph(typing=False).items():
        for target in targets:
            above, below = level.get(room(name)), level.get(room(target))
            if above is None or below is None or room(name) == room(target):
                continue
            assert below < above, f"{name} imports {target}"
