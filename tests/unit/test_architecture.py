"""docs/architecture.md says how a request runs: every hop is there, and each call is in the file that makes it."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
# | mark | `file` | `what`, `else`, … |
HOP = re.compile(r"^\| (↳|⇒|) ?\| `([\w/.]+\.py)` \| (.*) \|$", re.M)
INLINE = re.compile(r"`([\w/]+/[\w/.]+\.py)` \(`([\w.]+)`")
NAME = re.compile(r"`([A-Za-z_][\w.]*)`")


def hops(section: str) -> list[tuple[str, str, list[str]]]:
    """(mark, file, names), in order."""
    return [(mark, file, NAME.findall(what)) for mark, file, what in HOP.findall(section)]


SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")}
ALL = [(file, name) for part in SECTIONS.values() for _, file, names in hops(part) for name in names]
ALL += INLINE.findall(PAGE)


def defined(file: str) -> set[str]:
    """Names that a file defines: functions, classes, methods as Class.method, constants."""
    found: set[str] = set()
    for node in ast.parse((ROOT / file).read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            members = (member for member in node.body if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {node.name, *(f"{node.name}.{member.name}" for member in members)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize(("file", "name"), ALL, ids=str)
def test_every_hop_is_there(file: str, name: str) -> None:
    assert name in defined(file), f"{file} has {', '.join(sorted(defined(file)))}"


@pytest.mark.parametrize("title", SECTIONS)
def test_each_call_is_made_where_the_page_says(title: str) -> None:
    """The hop above a ↳ names what it calls; so does the last one before it that is not a callee itself."""
    above = ""
    for mark, file, names in hops(SECTIONS[title]):
        text = (ROOT / file).read_text("utf-8")
        if mark == "↳":
            wanted = names[0].split(".")[-1]
            assert re.search(rf"\b{wanted}\b", above), f"{title}: what is above {file} does not name {wanted}"
        above = text


def test_a_path_visits_each_file_once() -> None:
    for title in ("A picture", "An upload"):
        files = [file for _, file, _ in hops(SECTIONS[title])]
        assert len(files) == len(set(files)) >= 6
    turn = [file for _, file, _ in hops(SECTIONS["A turn"])]
    assert len(turn) >= 12
    assert [file for file in turn if turn.count(file) > 1] == ["functions/story/turn.py"] * 2, "it asks, then reads"
