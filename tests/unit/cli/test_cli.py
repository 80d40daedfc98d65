"""The `holodeck` command line but for `play` (test_cli_play.py): worlds, debug, failures and their envelopes."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.responses import Response

from sagaforge.cli.terminal import clean
from sagaforge.cli.world import pack
from tests.support.scripted_bundle import LIGHT, TIDE, Bundle, document, holodeck, problem, serving


@pytest.fixture(scope="module")
def served() -> Iterator[Bundle]:
    """One server for the module: uvicorn takes its time to start and stop."""
    with serving() as scripted:
        yield scripted


@pytest.fixture
def bundle(served: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    served.reset()
    monkeypatch.setenv("SAGAFORGE_URL", served.url)
    monkeypatch.delenv("SAGAFORGE_API_KEY", raising=False)
    return served


# --- world --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "my_world"
    (root / "art").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "lorebook.md").write_text("# Lore\n")
    (root / "art" / "map.txt").write_text("map")
    (root / ".git" / "config").write_text("hidden")
    (root / ".DS_Store").write_text("hidden")
    (root / "link.md").symlink_to("/etc/hostname")
    return root


def test_a_folder_is_packed_without_hidden_files_and_links(bundle: Bundle, folder: Path) -> None:
    result = holodeck("world", "upload", str(folder), "--id", "mine", "--license", "CC-BY-4.0", "--json")
    uploaded = {"ok": True, "world_id": "mine", "version": 1, "doc_ids": ["doc_1"], "total_chunks": 2}
    assert document(result) == uploaded
    (sent,) = bundle.uploads
    assert sent["name"] == "my_world.zip"
    assert sent["license"] == "CC-BY-4.0"
    assert sent["overwrite"] is False
    assert zipfile.ZipFile(io.BytesIO(sent["data"])).namelist() == ["art/map.txt", "lorebook.md"]


def test_a_file_goes_as_it_is(bundle: Bundle, folder: Path) -> None:
    shown = holodeck("world", "upload", str(folder / "lorebook.md"), "--id", "harbour", "--overwrite").stdout
    assert "harbour is at version 1" in shown
    assert bundle.uploads[0] == {"name": "lorebook.md", "data": b"# Lore\n", "overwrite": True, "license": None}


def test_the_encoding_goes_with_the_file(bundle: Bundle, folder: Path) -> None:
    upload = ("world", "upload", str(folder / "lorebook.md"), "--id", "mine")
    holodeck(*upload, "--encoding", "gb18030")
    holodeck(*upload)
    assert bundle.encodings[-2:] == ["gb18030", None]


def test_a_world_that_is_there_needs_overwrite(bundle: Bundle, folder: Path) -> None:
    result = holodeck("world", "upload", str(folder), "--id", "harbour", expect=1)
    assert "E_CONFLICT" in result.stderr
    assert "--overwrite" in result.stderr
    assert not result.stdout


def test_upload_of_nothing(bundle: Bundle, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.zip", tmp_path):
        error = document(holodeck("world", "upload", str(path), "--id", "w", "--json", expect=1))["error"]
        assert error["code"] == "E_INPUT"
        assert error["suggested_actions"]


def test_packing_is_the_same_each_time(folder: Path) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    pack(folder, first)
    pack(folder, second)
    assert first.getvalue() == second.getvalue()


def test_list_show_and_search(bundle: Bundle) -> None:
    assert "harbour" in holodeck("world", "list").stdout
    assert document(holodeck("world", "list", "--json"))["worlds"][0]["license"] == "CC-BY-4.0"
    shown = holodeck("world", "show", "harbour").stdout
    assert "Mara Venn" in shown
    assert "The tower" in shown
    assert document(holodeck("world", "show", "harbour", "--json"))["characters"][0]["id"] == "mara"
    assert "1. Mara · lorebook.md (0.900)" in holodeck("world", "search", "harbour", "clock").stdout
    found = document(holodeck("world", "search", "harbour", "clock", "--top-k", "1", "--rerank", "--json"))
    assert [piece["id"] for piece in found["chunks"]] == [TIDE]


# --- models: `score` plays a real bundle in tests/integration/test_docs_run.py -------------------------------------


def test_answers_are_laid_beside_the_lore_they_cite(bundle: Bundle, tmp_path: Path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("Who is Mara?\n\n[bold]?\n", encoding="utf-8")
    shown = holodeck("models", "read", "harbour", str(questions)).stdout
    assert "[bold]?" in shown
    assert "cites Mara winds the tide clock." in shown
    assert "Mara keeps the tide clock." in shown
    assert "2 of 2 answers cite the lore." in shown
    answers = document(holodeck("models", "read", "harbour", str(questions), "--json"))["answers"]
    assert [answer["question"] for answer in answers] == ["Who is Mara?", "[bold]?"]
    assert set(answers[0]["cited"]) == {TIDE, LIGHT}


@pytest.mark.parametrize("content", [b"\n", b"\xff\xfe\x00"])
def test_questions_that_are_none(bundle: Bundle, tmp_path: Path, content: bytes) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_bytes(content)
    result = holodeck("models", "read", "harbour", str(questions), "--json", expect=1)
    assert document(result)["error"]["code"] == "E_INPUT"
    assert not bundle.requests


# --- debug --------------------------------------------------------------------------------------------------------


def test_health(bundle: Bundle) -> None:
    assert "up 1 min 15 s" in holodeck("debug", "health").stdout
    detailed = document(holodeck("debug", "health", "--detailed", "--json"))
    assert detailed["ready"]
    assert detailed["parts"]["llm"] == "ready"
    assert detailed["worlds"][0]["world_id"] == "harbour"
    assert "retrieval  " in holodeck("debug", "health", "--detailed").stdout


def test_health_fails_when_the_bundle_is_not_ready(bundle: Bundle) -> None:
    bundle.readiness = problem(503, "unavailable", "llm is starting")
    envelope = document(holodeck("debug", "health", "--json", expect=1))
    assert envelope["failed_stage"] == "health"
    assert envelope["error"]["message"] == "llm is starting"


def test_config_masks_secrets_and_names_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # away from a .env
    monkeypatch.setenv("SAGAFORGE_API_KEY", "k" * 24)
    result = holodeck("debug", "config", "--show", "--sources", "--json")
    settings = {setting["name"]: setting for setting in document(result)["settings"]}
    assert settings["api_key"]["source"] == "environment"
    assert settings["api_key"]["env"] == "SAGAFORGE_API_KEY"
    assert settings["port"]["source"] == "default"
    assert set(settings["api_key"]["value"]) == {"*"}
    assert "k" * 24 not in result.stdout + holodeck("debug", "config").stdout


def test_config_that_is_wrong_is_an_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAFORGE_PORT", "many")
    error = document(holodeck("debug", "config", "--json", expect=1))["error"]
    assert error["code"] == "E_CONFIG"
    assert "SAGAFORGE_PORT" in error["message"]


def test_system_info() -> None:
    found = document(holodeck("debug", "system-info", "--json"))
    assert found["packages"]["pydantic"]
    assert found["cores"]["usable"] >= 1
    assert found["disk_gib"]["free"] > 0
    assert "packages.torch" in holodeck("debug", "system-info").stdout


# --- failures -----------------------------------------------------------------------------------------------------


def test_nothing_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = holodeck("play", "harbour", "--url", url, expect=1)
        assert "make serve" in result.stderr
        assert not result.stdout
        envelope = document(holodeck("world", "list", "--url", url, "--json", expect=1))
    assert envelope["failed_stage"] == "connect"
    assert envelope["error"]["component"] == "connection"
    assert envelope["error"]["code"] == "E_CONNECT"
    assert envelope["error"]["retryable"]


def test_not_an_address() -> None:
    for url in ("localhost:8000", "http://host:port", "ftp://host"):
        error = document(holodeck("world", "list", "--url", url, "--json", expect=1))["error"]
        assert error["code"] == "E_INPUT", url


def test_not_found_and_fields_at_fault(bundle: Bundle) -> None:
    error = document(holodeck("world", "show", "atlantis", "--json", expect=1))["error"]
    assert error["code"] == "E_NOT_FOUND"
    assert "atlantis" in error["message"]
    fields = [{"field": "temperature", "message": "must be at most 2"}, {"loc": ["seed"], "msg": "is wrong"}]
    bundle.script = [problem(422, "invalid_input", "temperature: must be at most 2", errors=fields)]
    error = document(holodeck("play", "harbour", "--json", script="hello\n", expect=1))["error"]
    assert error["message"] == "temperature: must be at most 2; seed: is wrong"


def test_something_else_on_the_port(bundle: Bundle) -> None:
    bundle.script = [Response("<html>", 404), Response("<html>", media_type="text/html")]
    for flags in ((), ("--no-stream",)):
        error = document(holodeck("play", "harbour", *flags, "--json", script="hi\n", expect=1))["error"]
        assert error["code"] == "E_PROTOCOL"
        assert not error["retryable"]


def test_the_key_is_sent(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAFORGE_API_KEY", "secret")
    holodeck("world", "list")
    assert bundle.authorization == ["Bearer secret"]
    monkeypatch.setenv("SAGAFORGE_API_KEY", "schlüssel")
    assert document(holodeck("world", "list", "--json", expect=1))["error"]["code"] == "E_INPUT"


@pytest.mark.parametrize("args", [("world", "show"), ("world", "search", "w", "q", "--top-k", "0"), ("nonsense",)])
def test_a_misused_command_line(args: tuple[str, ...]) -> None:
    assert "Usage" in holodeck(*args, expect=2).stderr
    assert document(holodeck(*args, "--json", expect=2))["error"]["code"] == "E_USAGE"


def test_text_of_a_world_cannot_drive_the_terminal() -> None:
    assert clean("a\x1b[2J\x07b\r\n\u202ec\x9b") == r"a\x1b[2J\x07b" + "\n" + r"\u202ec\x9b"


def test_importing_the_command_line_stays_light() -> None:
    heavy = ("ray", "torch", "lancedb", "vllm", "transformers", "fastapi", "pyarrow", "numpy", "PIL", "cv2")
    code = f"import sys, sagaforge.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
