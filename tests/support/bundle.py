"""A running bundle for tests: started as a newcomer starts it, on a free port and with a storage of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.paths import ROOT

START_TIMEOUT_S = 300
TURN = {"message": "Who keeps the light on Gannet Head?", "world_id": "lantern_reach", "max_tokens": 160}


@dataclass(frozen=True)
class Bundle:
    """Where a bundle listens, and where it keeps what it keeps."""

    url: str
    storage: Path

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=120, **options)

    def async_client(self, **options: Any) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=64)
        return httpx.AsyncClient(base_url=self.url, timeout=180, limits=limits, **options)

    def turn(self, **fields: Any) -> dict[str, Any]:
        with self.client() as client:
            answer = client.post("/llm/turn", json={**TURN, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """Ours, without what conftest.py forbids this process alone."""
    ours = ("RAY_ENABLE_AUTO_CONNECT", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    return {name: value for name, value in os.environ.items() if name not in ours}


@contextmanager
def running_bundle(storage: Path, **environment: str) -> Iterator[Bundle]:
    """Start `python -m sagaforge.launch`, wait for its ready line, and stop it as Ctrl-C would."""
    port = free_port()
    log_path = storage.parent / "launch.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sagaforge.launch"],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **_environment(),
                "SAGAFORGE_STORAGE": str(storage),
                "SAGAFORGE_PORT": str(port),
                **environment,
            },
        )
        try:
            _wait_for_ready(process, log_path)
            yield Bundle(f"http://127.0.0.1:{port}", storage)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def deployed_bundle(storage: Path, **environment: str) -> Iterator[Bundle]:
    """The bundle as an operator puts it on a cluster: `ray start`, then `serve deploy` of the Serve config file (with a
    free port in it), wait for `/readyz`; at the end the cluster is stopped."""
    port, dashboard = free_port(), free_port()
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port
    path = storage.parent / "deploy.yaml"
    path.write_text(yaml.safe_dump(config))
    # Ray guards its API with a token (~/.ray/auth_token), which its own start makes where there is none.
    env = {**_environment(), "RAY_AUTH_MODE": "token", "SAGAFORGE_STORAGE": str(storage), **environment}
    ray_cli, serve_cli = ([sys.executable, "-m", module] for module in ("ray.scripts.scripts", "ray.serve.scripts"))
    # A folder of its own, or the address of this cluster would be the one that Ray's clients find first, for good. In
    # the system's: the path of a socket has to be short.
    folder = tempfile.mkdtemp(prefix="ray-")
    ports = ["--port=0", f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}"]
    head = ["start", "--head", "--block", f"--temp-dir={folder}", *ports]
    log_path = storage.parent / "ray_start.log"
    with log_path.open("w") as log:
        cluster = subprocess.Popen([*ray_cli, *head], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=env)
        try:
            command = [*serve_cli, "deploy", "-a", f"http://127.0.0.1:{dashboard}", str(path)]
            _deploy(command, env, cluster, log_path)
            bundle = Bundle(f"http://127.0.0.1:{port}", storage)
            _wait_for_readyz(bundle, cluster, log_path)
            yield bundle
        finally:
            cluster.terminate()
            try:
                cluster.wait(60)
            except subprocess.TimeoutExpired:
                cluster.kill()
            shutil.rmtree(folder, ignore_errors=True)


def _deploy(command: list[str], env: dict[str, str], cluster: subprocess.Popen[bytes], log_path: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while True:  # the dashboard takes its time to listen
        run = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, env=env)
        if run.returncode == 0:
            return
        told = f"{log_path.read_text()}\n{run.stdout}{run.stderr}"
        assert cluster.poll() is None, told
        assert time.monotonic() < end, told
        time.sleep(2)


def _wait_for_readyz(bundle: Bundle, cluster: subprocess.Popen[bytes], log_path: Path) -> None:
    end, last = time.monotonic() + START_TIMEOUT_S, ""
    while time.monotonic() < end:
        try:
            answer = httpx.get(f"{bundle.url}/readyz", timeout=10)
            if answer.status_code == 200:
                return
            last = answer.text
        except httpx.HTTPError as exc:
            last = str(exc)
        assert cluster.poll() is None, log_path.read_text()
        time.sleep(1)
    raise AssertionError(f"not ready after {START_TIMEOUT_S} s: {last}")


def _wait_for_ready(process: subprocess.Popen[bytes], log_path: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if "is ready on" in log_path.read_text():
            return
        assert process.poll() is None, log_path.read_text()
        time.sleep(0.5)
    raise AssertionError(f"not ready after {START_TIMEOUT_S} s:\n{log_path.read_text()}")


def events_of(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """The server-sent events of a streamed response."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
