"""What `make serve` checks before it starts anything, and what it says."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from sagaforge import app, launch
from sagaforge.errors import InvalidInput, StorageUnavailable
from sagaforge.settings import load_settings
from tests.support.paths import ROOT


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m sagaforge.launch` in a process of its own; every use here must stop before anything is started."""
    env = {**os.environ, "SAGAFORGE_STORAGE": str(tmp_path / "storage"), **environment}
    command = [sys.executable, "-m", "sagaforge.launch"]
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)


def test_a_taken_port_is_said(tmp_path: Path, taken_port: int) -> None:
    run = start(tmp_path, SAGAFORGE_PORT=str(taken_port))
    assert run.returncode == 2
    assert f"127.0.0.1:{taken_port}" in run.stderr
    assert "SAGAFORGE_PORT" in run.stderr
    assert "Traceback" not in run.stderr


def test_storage_that_cant_be_written_is_said(tmp_path: Path, free_port: int) -> None:
    blocked = tmp_path / "a_file"
    blocked.write_text("in the way")
    run = start(tmp_path, SAGAFORGE_PORT=str(free_port), SAGAFORGE_STORAGE=str(blocked / "below"))
    assert run.returncode == 2
    assert str(blocked) in run.stderr
    assert "SAGAFORGE_STORAGE" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [("SAGAFORGE_PORT", "http", "SAGAFORGE_PORT"), ("SAGAFORGE_HOST", "0.0.0.0", "SAGAFORGE_API_KEY")],
)
def test_wrong_settings_are_said(tmp_path: Path, free_port: int, variable: str, value: str, told: str) -> None:
    run = start(tmp_path, **{"SAGAFORGE_PORT": str(free_port), variable: value})
    assert run.returncode == 2
    assert told in run.stderr
    assert "Traceback" not in run.stderr


def test_check_port(taken_port: int, free_port: int) -> None:
    launch.check_port(load_settings(port=free_port))
    with pytest.raises(InvalidInput, match="SAGAFORGE_PORT"):
        launch.check_port(load_settings(port=taken_port))
    with pytest.raises(InvalidInput, match=r"192\.0\.2\.1"):
        launch.check_port(load_settings(host="192.0.2.1", port=free_port))


def test_the_config_gets_the_address_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    source = launch.read_config(Path("serve_config.yaml"))
    path = launch.write_config(source, load_settings(host="::1", port=8123), tmp_path)
    written, original = yaml.safe_load(path.read_text()), yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    assert (written["http_options"]["host"], written["http_options"]["port"]) == ("::1", 8123)
    assert written["applications"] == original["applications"]
    assert written["http_options"]["keep_alive_timeout_s"] == original["http_options"]["keep_alive_timeout_s"]


@pytest.mark.parametrize("content", [None, "", "- a list", "a: [", "\udcff"])
def test_the_config_is_read_at_the_start_not_at_the_import(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    free_port: int,
) -> None:  # fmt: skip
    config = tmp_path / "elsewhere.yaml"
    if content is not None:
        config.write_bytes(content.encode(errors="surrogateescape"))
    monkeypatch.setenv("SAGAFORGE_SERVE_CONFIG", str(config))
    monkeypatch.setenv("SAGAFORGE_PORT", str(free_port))
    monkeypatch.setenv("SAGAFORGE_STORAGE", str(tmp_path / "storage"))
    assert launch.main() == 2
    told = capsys.readouterr().err
    assert str(config) in told
    assert "SAGAFORGE_SERVE_CONFIG" in told


def test_the_process_environment_yields_to_the_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "7")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    environment = launch.process_environment(load_settings(), tmp_path)
    assert environment["RAY_worker_niceness"] == "7"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in launch.process_environment(load_settings(profile="cpu"), tmp_path)


def test_two_bundles_have_a_proxy_each(tmp_path: Path) -> None:
    one, other = (launch.process_environment(load_settings(), tmp_path / name) for name in ("one", "other"))
    assert one["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    names = [*launch.HAPROXY_FILES, *launch.HAPROXY_PORTS]
    assert [name for name in names if one[name] == other[name]] == []
    assert len({one[name] for name in launch.HAPROXY_PORTS}) == len(launch.HAPROXY_PORTS)


def test_the_process_environment_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for name in [*launch.PROCESS_ENVIRONMENT, *launch.HAPROXY_ENVIRONMENT, "HF_HUB_OFFLINE", "SAGAFORGE_SERVE_CONFIG"]:
        assert f"`{name}`" in page


def test_the_ready_message_says_what_to_type_next() -> None:
    message = launch.ready_message(load_settings(port=8123))
    assert "ready on http://127.0.0.1:8123" in message
    (command,) = [line.split("play", 1)[1].split("(")[0] for line in message.splitlines() if line.startswith("  play")]
    words = shlex.split(command)
    assert words[1:] == ["play", "lantern_reach"]
    assert (ROOT / "datasets" / "samples" / words[2]).is_dir()


def test_an_ipv6_address_is_told_as_urls_have_it() -> None:
    assert "ready on http://[::1]:8123\n" in launch.ready_message(load_settings(host="::1", port=8123))


def test_a_failed_deployment_is_told_with_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's dashboard, in the form of its answer of 2.60 (it asks for Ray's token)."""
    (tmp_path / "token").write_text("a-token\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    deployments = {
        "llm": {"status": "UPDATING", "message": ""},
        "retrieval": {"status": "DEPLOY_FAILED", "message": "Traceback …\n  File …\nUnavailable: no such model.\n"},
    }
    application = {"status": "DEPLOY_FAILED", "message": "Failed to update.", "deployments": deployments}

    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.headers["Authorization"] == "Bearer a-token"
            self.send_response(200 if is_known else 401)
            self.end_headers()
            if is_known:
                self.wfile.write(json.dumps({"applications": {"sagaforge": application}}).encode())

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Dashboard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(launch, "DASHBOARD", f"http://127.0.0.1:{server.server_port}")
        assert launch._deploy_failure() == "Failed to update.\n  retrieval: Unavailable: no such model."
        monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
        assert launch._deploy_failure() == ""
        server.shutdown()


def test_behind_haproxy_a_bundle_without_a_key_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There every caller has this machine's address; `serve deploy` may well listen on others."""
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    monkeypatch.delenv(app.EXPOSURE_CHECKED, raising=False)
    with pytest.raises(InvalidInput, match="SAGAFORGE_API_KEY"):
        app.build({"storage": str(tmp_path)})
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StorageUnavailable):
        app.build({"storage": str(blocked / "below"), "api_key": "a-key-of-some-length"})
