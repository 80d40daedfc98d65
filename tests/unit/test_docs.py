"""The docs hold: every command exists with the options given, every example validates, every link leads somewhere."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml

from sagaforge.cli.main import app
from sagaforge.datasets.packs.pack import Character, Scene
from sagaforge.http.routes import ROUTES, Route
from tests.support.doc_commands import BASE_URL, PAGES, ROOT, Block, blocks

BLOCKS = blocks()
PROBES = ("/healthz", "/health", "/readyz")
# Shell words that a newcomer's machine has.
PLAIN = {"printf", "mkdir", "export", "date", "openssl", "python", "serve", "cd", "unzip"}


def commands(name: str) -> list[Any]:
    found = [(block, words) for block in BLOCKS for words in block.commands if words[0] == name]
    assert found, f"no {name} command in the docs: the extraction is broken"
    return [pytest.param(words, id=f"{block}-{number}") for number, (block, words) in enumerate(found)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks_are_valid_shell_and_use_nothing_unheard_of(block: Block) -> None:
    run = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr
    names = {words[0] for words in block.commands}
    assert names <= {"curl", "holodeck", "make", *PLAIN}


def test_only_what_starts_a_bundle_is_not_run() -> None:
    """Integration tests run the other blocks (integration/test_docs_run.py)."""
    not_run = [block for block in BLOCKS if not block.needs_bundle and not block.is_interactive]
    assert {words[0] for block in not_run for words in block.commands} <= {"make", "serve", "export", "openssl"}


@pytest.mark.parametrize("words", commands("make"))
def test_make_targets_exist(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for word in words[1:]:
        assert "=" in word or word in targets


@pytest.mark.parametrize("words", commands("holodeck"))
def test_holodeck_takes_what_the_docs_give_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_world").mkdir()
    (tmp_path / "my_world" / "lorebook.md").write_text("# A world")
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"holodeck has no {' '.join(words[1:3])}"
        command, rest = command.commands[rest[0]], rest[1:]
    if not {"--help", "--version", "--install-completion"} & set(rest):
        command.make_context(command.name, list(rest))  # raises on an unknown option or a missing argument


@pytest.mark.parametrize("page", PAGES)
def test_holodeck_commands_named_in_the_text_exist(page: str) -> None:
    group: Any = typer.main.get_command(app)
    for line in re.findall(r"`holodeck ([a-z][^`]*)`", (ROOT / page).read_text()):
        command, words = group, line.split()
        while hasattr(command, "commands") and words and words[0].islower():
            assert words[0] in command.commands, f"{page}: holodeck {line}"
            command = command.commands[words.pop(0)]


def parse_curl(words: list[str]) -> tuple[str, str, dict[str, str], str | None, list[str]]:
    """(method, path, headers, body, form fields) of a curl command."""
    headers: dict[str, str] = {}
    body, form, url, method = None, [], "", None
    rest = iter(words[1:])
    for word in rest:
        if word in ("-H", "--header"):
            name, _, value = next(rest).partition(":")
            headers[name.strip().lower()] = value.strip()
        elif word in ("-d", "--data"):
            body = next(rest)
        elif word in ("-F", "--form"):
            form.append(next(rest))
        elif word in ("-o", "--output"):
            next(rest)
        elif word in ("-X", "--request"):
            method = next(rest)
        elif word in ("-s", "-sN", "-N", "-i", "-f", "-sS"):
            continue
        else:
            assert not word.startswith("-"), f"teach test_docs.py about curl {word}"
            assert not url, f"two addresses: {url} and {word}"
            url = word
    assert url.startswith(BASE_URL), url
    return method or ("POST" if body is not None or form else "GET"), urlsplit(url).path, headers, body, form


def route_of(method: str, path: str) -> Route | None:
    for route in ROUTES:
        pattern = re.sub(r"\{\w+\}", "[^/]+", route.path)
        if route.method == method and re.fullmatch(pattern, path):
            return route
    return None


@pytest.mark.parametrize("words", commands("curl"))
def test_curl_examples_fit_the_catalog(words: list[str]) -> None:
    method, path, headers, body, form = parse_curl(words)
    if path in PROBES:
        assert method == "GET"
        return
    route = route_of(method, path)
    assert route is not None, f"no row for {method} {path}"
    if body is not None and body.startswith("$"):  # made by the lines before
        assert headers["content-type"] == "application/json"
    elif body is not None:
        assert headers["content-type"] == "application/json"
        assert route.function.request is not None
        route.function.request.model_validate(json.loads(body))
    if form:
        fields = dict(field.split("=", 1) for field in form)
        assert fields.pop("file").startswith("@")
        assert route.function.request is not None
        route.function.request.model_validate(fields, strict=False)  # a form's fields are text


def test_every_route_has_an_example() -> None:
    curls = [
        parse_curl(words)[:2] for b in BLOCKS if b.page == "docs/api.md" for words in b.commands if words[0] == "curl"
    ]
    shown = {route.name for method, path in curls if (route := route_of(method, path))}
    assert shown == {route.name for route in ROUTES}


def test_every_error_code_is_told() -> None:
    from sagaforge import errors

    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SagaForgeError)
    ]
    page = (ROOT / "docs" / "api.md").read_text()
    for kind in kinds:
        assert f"| {kind.status} | `{kind.code}` |" in page


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)


def test_yaml_examples_are_worlds() -> None:
    for text in fenced("docs/worlds.md", "yaml"):
        for kind, entries in yaml.load(text, Loader=yaml.BaseLoader).items():
            for entry in entries.values():
                {"characters": Character, "scenes": Scene}[kind].model_validate(entry)


@pytest.mark.parametrize("page", PAGES)
def test_other_examples_parse(page: str) -> None:
    for text in fenced(page, "json"):
        json.loads(text)
    for text in fenced(page, "python"):
        # A piece of a call or of a dict is shown as it stands there.
        ast.parse(
            text
            if re.match(r"(class|async def|def|from|import) ", text)
            else f"dict(a={{{text}}})"
            if text[0] == '"'
            else f"({text})"
        )


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / path if path else ROOT / page
        assert linked.exists(), f"{page}: {target}"
        if anchor:
            there = linked.read_text()
            headings = {
                re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", there, re.M)
            }
            assert anchor in headings or f'<a name="{anchor}">' in there, f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_files_named_in_the_text_exist(page: str) -> None:
    for name in re.findall(
        r"`((?:src|functions|deployments|datasets|training|models|tests|docs)/[\w./-]*)`", (ROOT / page).read_text()
    ):
        assert (ROOT / name).exists(), f"{page}: {name}"
