"""Kind 13: the terminal is not ours. Encodings, widths, closed pipes, control characters and file names as they are found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from sagaforge.cli import picture_files, terminal
from sagaforge.cli.failures import CliError
from sagaforge.cli.main import app
from sagaforge.cli.output import json_line
from sagaforge.cli.picture_files import MAX_STEM_BYTES, Target, fitted
from sagaforge.cli.screen import Screen
from tests.support.scripted_bundle import Bundle, Terminal, document, holodeck, problem
from tests.support.scripted_images import ScriptedImages, image_id

TITLE = "Łuk\u2028燈\u202e塔\x85 \x1b[2J🏮"
SHOWN_TITLE = r"Łuk\u2028燈\u202e塔\x85 \x1b[2J🏮"
ENCODINGS = ["ascii", "cp950", "latin-1", "cp437", "big5", "shift_jis", "koi8-r", "utf-8", "utf-16", "iso2022_jp"]
COMMANDS: list[tuple[str, ...]] = [
    ("world", "list"),
    ("world", "show", "harbour"),
    ("world", "search", "harbour", "燈 €"),
    ("play", "harbour"),
    ("play", "harbour", "--no-stream", "--pictures"),
    ("image", "list"),
    ("image", "styles"),
    ("image", "show", image_id(7)),
    ("image", "make", "燈塔 €", "--out", "pictures"),
    ("debug", "health", "--detailed"),
    ("debug", "config", "--show", "--sources"),
    ("debug", "system-info"),
    ("--help",),
    ("image", "make", "--help"),
]
FAILING: list[tuple[tuple[str, ...], int]] = [
    (("world", "show", "燈"), 1),
    (("world", "upload", "燈\udcff.md", "--id", "w"), 1),
    (("image", "show", "燈.png"), 1),
    (("world", "search", "harbour", "燈", "--top-k", "零"), 2),
    (("燈",), 2),
]
SCRIPT = "Who is René?\n1\n/lore\n/state\n/choices\n/help\n"


class OddBundle(Bundle):
    """A scripted bundle whose texts hold what a terminal may not have."""

    def _routes(self) -> FastAPI:
        odd = FastAPI()
        summary = {"world_id": "harbour", "title": TITLE, "language": "zh", "version": 3, "total_chunks": 2}
        people = [{"id": "mara", "name": "Mará 燈", "description": f"{TITLE}\ttab"}]
        scenes = [{"id": "quay", "title": TITLE, "location": "碼頭", "description": "霧 " + "w" * 90}]

        @odd.get("/worlds")
        async def worlds() -> Any:
            return {"worlds": [{**summary, "license": "燈"}, {**summary, "world_id": "other", "title": "Plain"}]}

        @odd.get("/worlds/{world_id}")
        async def world(world_id: str) -> Any:
            if world_id != "harbour":
                return problem(404, "not_found", f"There is no world {world_id}: {TITLE}")
            return {**summary, "characters": people, "scenes": scenes, "doc_ids": ["d"]}

        odd.router.routes.extend(super()._routes().routes)
        return odd


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[OddBundle, ScriptedImages]]:
    from tests.support import loopback

    scripted = OddBundle()
    images = ScriptedImages(scripted.app)
    with loopback.serving(scripted.app) as scripted.url:
        yield scripted, images


@pytest.fixture(autouse=True)
def bundle(
    served: tuple[OddBundle, ScriptedImages], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[OddBundle, ScriptedImages]:
    scripted, images = served
    scripted.reset()
    images.reset()
    images.add(7, TITLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAGAFORGE_URL", scripted.url)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGAFORGE_API_KEY", raising=False)
    return scripted, images


def run(encoding: str, *args: str, script: str = SCRIPT) -> Result:
    sent = script.encode(encoding, "replace")
    return CliRunner(charset=encoding).invoke(app, list(args), input=sent)


def process(*args: str, script: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sagaforge.cli.main", *args]
    return subprocess.run(
        command, input=script, capture_output=True, env={**os.environ, **environment}, timeout=60, check=False
    )


# --- encodings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_command_works_in_every_encoding(encoding: str, args: tuple[str, ...]) -> None:
    result = run(encoding, *args)
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.output
    result.stdout_bytes.decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_ascii_and_whole_in_every_encoding(encoding: str) -> None:
    result = run(encoding, "world", "list", "--json")
    text = result.stdout_bytes.decode(encoding)
    assert text.isascii()
    assert text.count("\n") == 1
    assert json.loads(text)["worlds"][0]["title"] == TITLE


@pytest.mark.parametrize(("args", "code"), FAILING, ids=lambda value: str(value[0]) if isinstance(value, tuple) else "")
@pytest.mark.parametrize("encoding", ["ascii", "cp950", "utf-8"])
def test_failures_keep_their_exit_codes(encoding: str, args: tuple[str, ...], code: int) -> None:
    for flags in ((), ("--json",)):
        result = run(encoding, *args, *flags)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
    told = json.loads(result.stdout_bytes.decode(encoding))
    assert told["error"]["code"] == {1: told["error"]["code"], 2: "E_USAGE"}[code]


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", SHOWN_TITLE),
        ("ascii", r"\u0141uk\u2028\u71c8\u202e\u5854\x85 \x1b[2J\U0001f3ee"),
        ("latin-1", r"\u0141uk\u2028\u71c8\u202e\u5854\x85 \x1b[2J\U0001f3ee"),
        ("big5", r"\u0141uk\u2028燈\u202e塔\x85 \x1b[2J\U0001f3ee"),
    ],
)
def test_what_a_terminal_lacks_is_shown_as_an_escape(encoding: str, shown: str) -> None:
    text = run(encoding, "world", "list").stdout_bytes.decode(encoding)
    assert shown in text
    # The table stands: the columns of a row with escapes and of one without begin at the same cell.
    rows = [line for line in text.splitlines() if re.search(r"\b(harbour|other)\b", line)]
    assert len(rows) == 2
    assert len({cell_len(row[: row.index(" zh ")]) for row in rows}) == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp950"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LANG": "C", "LC_ALL": "", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "20"},
        {"COLUMNS": "0"},
        {"COLUMNS": "1"},
        {"COLUMNS": "²"},
    ],
    ids=str,
)
def test_the_environments_of_the_issue(environment: dict[str, str]) -> None:
    done = process("world", "show", "harbour", **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert b"Traceback" not in done.stdout
    assert b"\x1b" not in done.stdout


# --- widths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["10", "20", "21", "40", "80"])
@pytest.mark.parametrize("args", COMMANDS[:6], ids=" ".join)
def test_lines_fit_a_narrow_terminal(args: tuple[str, ...], columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    result = run("utf-8", *args)
    assert result.exit_code == 0, result.output
    addresses = [line for line in result.stdout.splitlines() if "http://" in line]  # whole, for terminals to open
    lines = [line for line in result.stdout.splitlines() if line not in addresses]
    assert max(map(cell_len, lines)) <= int(columns)


# --- control characters -------------------------------------------------------------------------------------------


@given(st.text(st.characters(categories=["C", "Z", "L", "S"]), max_size=60), st.sampled_from(ENCODINGS))
def test_nothing_that_is_shown_drives_a_terminal(text: str, encoding: str) -> None:
    shown = terminal.shown_in(terminal.clean(text), encoding)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert terminal.clean(terminal.clean(text)) == terminal.clean(text)
    assert len(terminal.clean(text).splitlines()) <= text.replace("\r\n", "\n").count("\n") + 1
    shown.encode(encoding)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=40)))
def test_json_says_what_was_meant(values: dict[str, str]) -> None:
    line = json_line(values)
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == values


def test_json_holds_no_half_characters() -> None:
    line = json_line({"path": "a\udcff\\.png", "title": "🏮"})
    assert json.loads(line) == {"path": "a\\udcff\\.png", "title": "🏮"}
    assert json.loads(line)["path"].encode() == b"a\\udcff\\.png"


def test_a_code_from_a_server_is_harmless_too(bundle: tuple[OddBundle, ScriptedImages]) -> None:
    bundle[0].script = [problem(422, "odd\x1b[2J", "detail")]
    result = run("ascii", "play", "harbour", script="hello\n")
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert r"E_ODD\x1b[2J" in result.stderr
    edges = {cell_len(line) for line in result.stderr.splitlines() if line.startswith(("+", "|"))}
    assert len(edges) == 1  # the frame stands


@pytest.mark.parametrize("control", ["\x1b]0;title\x07", "\x9b2J", "\u2066", "\u202e", "\x08", "\x85", "\u2028", "\r"])
def test_details_of_errors_are_harmless(bundle: tuple[OddBundle, ScriptedImages], control: str) -> None:
    bundle[0].script = [problem(422, "invalid_input", f"bad{control}detail")]
    result = run("utf-8", "play", "harbour", script="hello\n")
    assert result.exit_code == 1
    assert control not in result.output
    assert f"bad{terminal.clean(control)}detail" in result.output
    assert "\\" in terminal.clean(control)


# --- pipes and streams --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args", [("world", "list"), ("world", "list", "--json"), ("play", "harbour", "--json"), ("--help",), ("nonsense",)]
)
def test_a_reader_that_goes_is_no_traceback(args: tuple[str, ...], bundle: tuple[OddBundle, ScriptedImages]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sagaforge.cli.main", *args]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert done.returncode == (2 if args == ("nonsense",) else 0 if args[0] == "play" else 1)
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_a_full_disk_behind_stdout_is_told() -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "sagaforge.cli.main", "world", "list", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"stdout" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_shell_closed(closed: str) -> None:
    command = f"{sys.executable} -m sagaforge.cli.main play harbour {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "encoding"),
    [
        ("燈\n".encode("big5"), "utf-8"),
        ("燈\n".encode(), "ascii"),
        ("é\n".encode("latin-1"), "utf-8"),
        ("/lo\xff\n".encode("latin-1"), "utf-8"),
    ],
)
def test_lines_in_another_encoding_are_told(
    script: bytes, encoding: str, bundle: tuple[OddBundle, ScriptedImages]
) -> None:
    done = process("play", "harbour", "--json", script=script, PYTHONIOENCODING=encoding)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "E_INPUT"
    assert encoding in error["message"]
    assert "PYTHONIOENCODING" in error["suggested_actions"][0]
    assert not bundle[0].requests


def test_lines_in_the_encoding_of_stdin_arrive(bundle: tuple[OddBundle, ScriptedImages]) -> None:
    sent = "燈塔在哪裡?\n".encode("cp950")
    assert process("play", "harbour", script=sent, PYTHONIOENCODING="cp950").returncode == 0
    marked = "\ufeffWho?\n".encode()
    assert process("play", "harbour", script=marked).returncode == 0
    assert [body["message"] for _, body in bundle[0].requests] == ["燈塔在哪裡?", "Who?"]


# --- arguments and file names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ("world", "show", "w\udcff"),
        ("world", "search", "harbour", "q\udcff"),
        ("world", "search", "w\udcff", "q"),
        ("world", "upload", "lore.md", "--id", "w\udcff"),
        ("world", "upload", "lore.md", "--id", "w", "--license", "\udcff"),
        ("world", "upload", "l\udcff.md", "--id", "w"),
        ("world", "upload", "folder", "--id", "w"),
        ("play", "w\udcff"),
        ("play", "harbour", "--session", "\udcff"),
        ("image", "make", "p\udcff"),
        ("image", "make", "p", "--style", "\udcff"),
        ("image", "show", "\udcff.png"),
    ],
    ids=str,
)
def test_arguments_that_are_no_text_are_told(args: tuple[str, ...]) -> None:
    Path("lore.md").write_text("# Lore\n")
    Path("l\udcff.md").write_text("# Lore\n")
    Path("folder").mkdir()
    Path("folder/l\udcff.md").write_text("# Lore\n")
    error = document(holodeck(*args, "--json", expect=1))["error"]
    assert error["code"] == "E_INPUT"
    assert error["suggested_actions"]
    assert "\\udcff" in error["message"] or "unicode" in error["message"]


def test_a_file_name_with_a_line_break_is_one_name(bundle: tuple[OddBundle, ScriptedImages]) -> None:
    Path("a\nb\x1b.md").write_text("# Lore\n")
    assert document(holodeck("world", "upload", "a\nb\x1b.md", "--id", "w", "--json"))["ok"]
    assert "\x1b" not in holodeck("world", "upload", "a\nb\x1bc.md", "--id", "w", expect=1).output


NAMES = ["燈" * 90 + ".png", "x" * 252 + ".png", "x" * 300 + ".png", "/proc/燈.png", "file.txt/a.png"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_cant_be_written_is_told_before_painting(
    bundle: tuple[OddBundle, ScriptedImages], name: str
) -> None:
    Path("file.txt").touch()
    error = document(holodeck("image", "make", "x", "--out", name, "--json", expect=1))["error"]
    assert error["code"] == "E_INPUT"
    assert "--out" in error["suggested_actions"][0]
    assert not bundle[1].requests
    assert os.listdir() == ["file.txt"]


def test_the_longest_name_that_fits_is_written() -> None:
    name = "燈" * 83 + "ab.png"  # 255 bytes
    made = document(holodeck("image", "make", "x", "--out", name, "--json"))
    assert made["files"][0]["path"] == name
    assert os.listdir() == [name]


def test_a_picture_that_cant_be_written_in_the_end_is_kept_and_named(
    bundle: tuple[OddBundle, ScriptedImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, num_written = picture_files._write, 0

    def full(path: Path, png: bytes, mode: str) -> Path:
        nonlocal num_written
        num_written += 1
        if num_written > 1:
            raise picture_files._unwritable(path, OSError(28, "No space left on device"))
        return real(path, png, mode)

    monkeypatch.setattr(picture_files, "_write", full)
    error = document(holodeck("image", "make", "x", "--count", "3", "--seed", "5", "--json", expect=1))["error"]
    assert "No space left" in error["message"]
    kept = [action for action in error["suggested_actions"] if "curl" in action]
    assert [f"/images/{image_id(seed)}.png" in action for seed, action in zip((6, 7), kept, strict=True)] == [True] * 2
    assert len(os.listdir()) == 1


def test_a_disk_without_room_is_told_before_painting(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = picture_files.shutil.disk_usage(".")
    monkeypatch.setattr(picture_files.shutil, "disk_usage", lambda path: usage._replace(free=5 * 1024**2))
    Target(Path("here"), num_pictures=1)
    with pytest.raises(CliError, match="5120 KB"):
        Target(Path("here"), num_pictures=2)


@given(st.text(max_size=400))
def test_a_stem_fits_and_keeps_its_beginning(stem: str) -> None:
    short = fitted(stem, MAX_STEM_BYTES)
    assert stem.startswith(short)
    assert len(short.encode()) <= MAX_STEM_BYTES
    assert short == stem or len(stem[: len(short) + 1].encode()) > MAX_STEM_BYTES


def test_a_replay_of_a_long_name_is_written(bundle: tuple[OddBundle, ScriptedImages]) -> None:
    from tests.support.scripted_images import png

    name = "燈" * 83 + "ab.png"
    Path(name).write_bytes(png(7))
    made = document(holodeck("image", "replay", name, "--out", "again", "--json"))
    assert Path(made["path"]).is_file()


# --- a terminal ---------------------------------------------------------------------------------------------------


def test_a_player_in_another_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a pseudo-terminal that speaks ASCII: status lines, prompts and a line that is no text."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    player = Terminal("play", "harbour")
    try:
        player.until("> ")
        player.type("燈\n")
        assert "PYTHONIOENCODING" in player.until("> ")
        player.type("hello\n")
        assert r"\u9418\u8072" in player.until("> ")
        player.type("\x04")
        assert player.process.wait(15) == 0
    finally:
        player.close()


def test_no_half_blocks_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from sagaforge.cli.output import Output

    screen = Screen(Output(as_json=False))
    monkeypatch.setattr(screen.console, "_color_system", "truecolor")
    monkeypatch.setattr(screen.console, "_force_terminal", True)
    monkeypatch.setattr(type(screen.console), "color_system", "truecolor")
    for encoding, can_draw in (("utf-8", True), ("cp437", True), ("ascii", False), ("latin-1", False)):
        monkeypatch.setattr(terminal, "encoding_of", lambda stream, encoding=encoding: encoding)
        assert screen.can_draw is can_draw
