"""What functions hold of the language model: a handle made typed, with its failures mapped.

A replica that dies takes its requests along; they are generated again from the start, a few times. The caller is
told by a `Restarted` between the pieces, because text of the lost attempt may already have been shown.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from ray.serve.handle import DeploymentHandle

from sagaforge.deployments import handles

WHAT = "The language model"


@dataclass(frozen=True)
class Piece:
    """Some generated text."""

    text: str


@dataclass(frozen=True)
class Restarted:
    """The engine was lost; everything generated so far is void and begins anew."""


@dataclass(frozen=True)
class Finished:
    """The end of a generation. `engine_s` is the engine's own time, from its timestamps (None: not reported)."""

    reason: str
    num_prompt_tokens: int
    num_tokens: int
    engine_s: float | None


GenerationEvent = Piece | Restarted | Finished


class LanguageModel(Protocol):
    """The text model as functions see it."""

    model_id: str
    max_model_len: int

    def generate(self, payload: dict[str, Any]) -> AsyncGenerator[GenerationEvent, None]:
        """Stream one chat completion; `payload` is OpenAI's, without `model` and `stream`."""
        ...

    def complete(self, payload: dict[str, Any]) -> AsyncGenerator[str, None]:
        """Pass an OpenAI chat request through: one JSON document, or server-sent events if it asks to stream."""
        ...

    async def ping(self) -> None:
        """Returns when a replica is there and healthy; raises what it raises."""
        ...


class LLMClient:
    """`LanguageModel` over the handle of the `llm` deployment."""

    def __init__(self, handle: DeploymentHandle, *, model_id: str, max_model_len: int) -> None:
        self._plain = handle
        self._handle = handle.options(stream=True)
        self.model_id = model_id
        self.max_model_len = max_model_len

    def generate(self, payload: dict[str, Any]) -> AsyncGenerator[GenerationEvent, None]:
        payload = {
            **payload,
            "model": self.model_id,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return handles.restarting(lambda: self._attempt(payload), Restarted(), WHAT)

    async def _attempt(self, payload: dict[str, Any]) -> AsyncGenerator[GenerationEvent, None]:
        reason = "stop"
        usage: dict[str, Any] = {}
        metrics: dict[str, Any] = {}
        async for event in _server_sent_json(self._stream(payload)):
            for choice in event.get("choices", ()):
                if text := choice["delta"].get("content"):
                    yield Piece(text)
                reason = choice.get("finish_reason") or reason
            usage = event.get("usage") or usage
            metrics = event.get("metrics") or metrics
        yield Finished(
            reason=reason,
            num_prompt_tokens=usage.get("prompt_tokens", 0),
            num_tokens=usage.get("completion_tokens", 0),
            engine_s=_engine_seconds(metrics),
        )

    def complete(self, payload: dict[str, Any]) -> AsyncGenerator[str, None]:
        return handles.until_sent(lambda: self._stream(payload), WHAT)

    async def ping(self) -> None:
        await self._plain.check_health.remote()

    def _stream(self, payload: dict[str, Any]) -> AsyncGenerator[str, None]:
        return handles.stream(self._handle.complete, payload, WHAT)


async def _server_sent_json(parts: AsyncGenerator[str, None]) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON bodies of server-sent events; one part may hold several of them."""
    async for part in parts:
        for line in part.splitlines():
            if line.startswith("data: {"):
                yield json.loads(line[len("data: ") :])


def _engine_seconds(metrics: dict[str, Any]) -> float | None:
    """Seconds from the engine's receipt of the request to its last token, by its own clock."""
    parts = [metrics.get(name) for name in ("queue_time_ms", "time_to_first_token_ms", "generation_time_ms")]
    return sum(part for part in parts if part is not None) / 1000 if any(p is not None for p in parts) else None
