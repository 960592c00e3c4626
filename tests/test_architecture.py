"""`docs/architecture.md` shows the packages as they are: its picture and its table of layers."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/architecture.md"
GROUND = {"features", "melee", "foundation", "process"}
"""Packages that every other may import: not drawn."""
COMMANDS = "commands"

Edge = tuple[str, str]


def package_of(module: str) -> str:
    """The box that a module stands in."""
    top, *rest = module.split(".")
    if top != "exphil_tf":
        return top
    return rest[0] if rest and (ROOT / top / rest[0]).is_dir() else COMMANDS


@pytest.fixture(scope="module")
def imports() -> set[Edge]:
    """Which package imports which."""
    graph = grimp.build_graph(
        "exphil_tf",
        "models",
        "beam_pipelines",
        exclude_type_checking_imports=True,
        cache_dir=None,
    )
    edges = {
        (package_of(module), package_of(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return {(a, b) for a, b in edges if a != b}


def reached(start: str, edges: Iterable[Edge]) -> set[str]:
    """What can be got to from a box."""
    found, waiting = set(), {start}
    while waiting:
        waiting = {b for a, b in edges if a in waiting} - found
        found |= waiting
    return found


def needed(edges: set[Edge]) -> set[Edge]:
    """The edges that do not follow from others."""
    return {(a, b) for a, b in edges if b not in reached(a, edges - {(a, b)})}


def drawn() -> set[Edge]:
    picture = re.search(r"```mermaid\n(.*?)```", (ROOT / PAGE).read_text(), flags=re.DOTALL)
    assert picture is not None
    return set(re.findall(r"^ *(\w+) --> (\w+)$", picture[1], flags=re.MULTILINE))


def test_the_picture_shows_the_imports(imports):
    inner = {(a, b) for a, b in imports if not {a, b} & {*GROUND, COMMANDS}}
    wanted = needed(inner)
    lines = "".join(f"    {a} --> {b}\n" for a, b in sorted(wanted))
    assert drawn() == wanted, f"write into {PAGE}:\n{lines}"


def test_no_package_imports_one_that_imports_it(imports):
    assert [(a, b) for a, b in imports if a in reached(b, imports)] == []


def test_what_is_not_drawn_imports_nothing_that_is(imports):
    assert {(a, b) for a, b in imports if a in GROUND and b not in GROUND} == set()


def test_the_table_of_layers_is_the_rule():
    page = (ROOT / PAGE).read_text()
    table = page.partition("## Layers")[2].partition("## ")[0]
    rows = re.findall(r"^\| (?:`(\w+)`|(commands), `exphil_tf/\*\.py`) \|", table, re.MULTILINE)
    assert [name or other for name, other in rows] == listed()


def listed() -> list[str]:
    """The layers as the table names them; those of commands are one."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    rule = next(c for c in contracts["contracts"] if c["id"] == "layers")["layers"]
    packages = [re.findall(r"[\w.]+", layer) for layer in rule[1:]]
    return [COMMANDS, *(name.rpartition(".")[2] for names in packages for name in names)]


def test_every_package_is_in_the_table(imports):
    assert {name for edge in imports for name in edge} <= set(listed())
