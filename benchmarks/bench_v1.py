"""Chat completions: how many answers a second, and how long the slowest waits, by the number of clients.

    python -m benchmarks.bench_v1 [--clients 1 4 8 16] [--seconds 8] [--only ours|bare]

Ours is a bundle as `make serve` starts it. The bare side is vLLM's own OpenAI server with the same model and the same
engine options. They run one after the other, because either would take the other's cores. Every answer has 48 tokens
and a prompt of its own; each client asks again as soon as it is answered, and what is counted is what is answered
whole.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from benchmarks.__main__ import write
from tests.support.bundle import START_TIMEOUT_S, free_port, running_bundle

from sagaforge.deployments.llm.engine_options import engine_options
from sagaforge.profiles import get_profile

CLIENTS = (1, 4, 8, 16)
NUM_TOKENS = 48
WARM_UP_S = 3.0
PROFILE = get_profile("pocket").llm
NUMBERS = itertools.count()

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", choices=("ours", "bare"))
    arguments = parser.parse_args()
    measured: dict[str, dict[str, Figures]] = {}
    print(f"answers of {NUM_TOKENS} tokens; a second, and seconds that the median and the slowest took")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("ours", "bare"):
            if arguments.only in (None, name):
                with ours(Path(folder)) if name == "ours" else bare(Path(folder)) as url:
                    measured[name] = asyncio.run(measure_all(name, url, arguments.clients, arguments.seconds))
    figures: dict[str, object] = {"seconds": arguments.seconds, "num_tokens": NUM_TOKENS, **measured}
    if len(measured) == 2:
        ratios = {case: ours["per_s"] / measured["bare"][case]["per_s"] for case, ours in measured["ours"].items()}
        print("ours / bare: " + ", ".join(f"{case} {ratio:.2f}" for case, ratio in ratios.items()))
        figures["ratio_to_bare"] = ratios
    write("bench_v1", figures)


@contextmanager
def ours(folder: Path) -> Iterator[str]:
    with running_bundle(folder / "storage", SAGAFORGE_LOAD_SAMPLES="false") as bundle:
        yield bundle.url


@contextmanager
def bare(folder: Path) -> Iterator[str]:
    """vLLM's own server on the same weights."""
    port = free_port()
    options = [f"--{name.replace('_', '-')}={value}" for name, value in cli_options().items()]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", PROFILE.source, *options]
    command += ["--served-model-name", PROFILE.model_id, "--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
    environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with (folder / "vllm.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            wait_for_health(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        except AssertionError:
            print((folder / "vllm.log").read_text()[-3000:], file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def cli_options() -> dict[str, object]:
    """The engine's options as words of a command line; flags and nested ones, which change no speed, are left out."""
    return {name: value for name, value in engine_options(PROFILE).items() if not isinstance(value, bool | dict)}


def wait_for_health(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        assert process.poll() is None, "vLLM's server ended"
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"vLLM's server was not ready after {START_TIMEOUT_S} s")


async def measure_all(name: str, url: str, clients: list[int], seconds: float) -> dict[str, Figures]:
    measured = {}
    limits = httpx.Limits(max_connections=max(clients))
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        await measure(http, max(clients), False, WARM_UP_S)
        for is_streamed, num_clients in itertools.product((False, True), clients):
            case = f"{num_clients} {'streamed' if is_streamed else 'whole'}"
            measured[case] = figures = await measure(http, num_clients, is_streamed, seconds)
            first = f"; first words after {figures['first_s']:.2f} s" if is_streamed else ""
            print(
                f"  {name:<5}{case:<12}{figures['per_s']:7.1f} a second, {figures['median_s']:6.2f} "
                f"{figures['slowest_s']:6.2f} s{first}",
                flush=True,
            )
    return measured


async def measure(http: httpx.AsyncClient, num_clients: int, is_streamed: bool, seconds: float) -> Figures:
    """Answers a second over the time in which all clients were at it, with what one answer took."""
    started = time.perf_counter()
    spent: list[tuple[float, float, float]] = []  # the end of an answer, seconds to its first part, and to its last

    async def client() -> None:
        while time.perf_counter() - started < seconds:
            began = time.perf_counter()
            first = await (streamed(http) if is_streamed else whole(http))
            ended = time.perf_counter()
            spent.append((ended, first - began, ended - began))

    await asyncio.gather(*(client() for _ in range(num_clients)))
    num_in_time = sum(end - started <= seconds for end, _, _ in spent)
    return {
        "per_s": num_in_time / seconds,
        "first_s": statistics.median(first for _, first, _ in spent),
        "median_s": statistics.median(whole for _, _, whole in spent),
        "slowest_s": max(whole for _, _, whole in spent),
    }


def request() -> dict[str, object]:
    question = f"Question {next(NUMBERS)}: who keeps the lamp on the headland?"
    return {
        "model": PROFILE.model_id,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": NUM_TOKENS,
        "min_tokens": NUM_TOKENS,
        "temperature": 0.7,
    }


async def whole(http: httpx.AsyncClient) -> float:
    answer = await http.post("/v1/chat/completions", json=request())
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == NUM_TOKENS
    return time.perf_counter()


async def streamed(http: httpx.AsyncClient) -> float:
    first, is_done = 0.0, False
    async with http.stream("POST", "/v1/chat/completions", json={**request(), "stream": True}) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: {") and not first:
                first = time.perf_counter()
            is_done = is_done or line == "data: [DONE]"
    assert is_done
    return first


if __name__ == "__main__":
    main()
