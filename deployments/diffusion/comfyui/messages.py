"""What a ComfyUI server says about pictures: messages of its websocket, refusals, entries of its history. It is all
read as if anybody had sent it: what can't be understood is nothing, never an error."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from sagaforge.errors import InvalidInput, SagaForgeError, TooLarge, Unavailable

PREVIEW, PREVIEW_WITH_METADATA = 1, 4
JPEG, PNG = 1, 2
HEADER = struct.Struct(">II")  # both kinds of preview begin with two numbers
MAX_QUOTED_CHARS = 200
MAX_TIMESTAMP = 2**53  # milliseconds; a larger one is none, and may not fit a float
MAX_WORKED_S = 1e9  # receipts take no more

FAILURES = ("execution_error", "execution_interrupted")
# As PyTorch's allocators for CUDA, ROCm, Metal and CPU say it.
MEMORY_WORDS = ("out of memory", "outofmemory", "not enough memory", "can't allocate memory", "allocation on device")


@dataclass(frozen=True)
class Stepped:
    """A node has done `done` of `total`."""

    prompt_id: str
    node: str
    done: int
    total: int


@dataclass(frozen=True)
class Working:
    """Something is being done for that prompt."""

    prompt_id: str


@dataclass(frozen=True)
class Ended:
    """The prompt is over, with an error or without one."""

    prompt_id: str
    error: SagaForgeError | None = None


@dataclass(frozen=True)
class Previewed:
    """A preview. Older servers don't say whose: then `prompt_id` is None."""

    prompt_id: str | None
    data: bytes


Message = Stepped | Working | Ended | Previewed


def read(message: str | bytes) -> list[Message]:
    """What one message of the socket says; often nothing for us."""
    return _read_binary(message) if isinstance(message, bytes) else _read_text(message)


def _read_text(text: str) -> list[Message]:
    try:
        message = as_dict(json.loads(text))
    except (ValueError, RecursionError):
        return []
    kind, data = message.get("type"), as_dict(message.get("data"))
    prompt_id = data.get("prompt_id")
    if not isinstance(prompt_id, str) or not isinstance(kind, str):
        return []
    if kind == "progress":
        return _steps(prompt_id, data.get("node"), data)
    if kind == "progress_state":
        nodes = as_dict(data.get("nodes"))
        return [step for node, state in nodes.items() for step in _steps(prompt_id, node, as_dict(state))]
    if kind in FAILURES:
        return [Ended(prompt_id, failure(kind, data))]
    if kind == "execution_success" or (kind == "executing" and data.get("node") is None):
        return [Ended(prompt_id)]
    return [Working(prompt_id)]


def _steps(prompt_id: str, node: Any, state: dict[str, Any]) -> list[Message]:
    done, total = state.get("value"), state.get("max")
    if not isinstance(node, str) or not isinstance(done, int | float) or not isinstance(total, int | float):
        return [Working(prompt_id)]
    # `0 <= done` is also False for what is not a number.
    return [Stepped(prompt_id, node, int(done), int(total))] if 0 <= done <= total < float("inf") else []


def _read_binary(frame: bytes) -> list[Message]:
    if len(frame) < HEADER.size:
        return []
    kind, number = HEADER.unpack_from(frame)
    if kind == PREVIEW and number in (JPEG, PNG):
        return [Previewed(None, frame[HEADER.size :])]
    if kind == PREVIEW_WITH_METADATA and HEADER.size + number <= len(frame):
        try:
            prompt_id = as_dict(json.loads(frame[HEADER.size : HEADER.size + number])).get("prompt_id")
        except (ValueError, RecursionError):
            return []
        return [Previewed(prompt_id, frame[HEADER.size + number :])] if isinstance(prompt_id, str) else []
    return []


def failure(kind: str, data: dict[str, Any]) -> SagaForgeError:
    """The error that an `execution_error` or `execution_interrupted` tells of."""
    if kind == "execution_interrupted":
        return Unavailable("Somebody stopped this picture on the ComfyUI server.")
    said = f"{data.get('exception_type', '')}: {data.get('exception_message', '')}".strip(": \n")
    if any(word in said.lower() for word in MEMORY_WORDS):
        return TooLarge("This picture does not fit the memory of the ComfyUI server: ask for a smaller one.")
    return Unavailable(f"The ComfyUI server failed in {quote(data.get('node_type', 'a node'))}: {quote(said)}")


def failure_in_history(entry: dict[str, Any]) -> SagaForgeError | None:
    """The error of a prompt that is in the history; None if it went well."""
    if (status := as_dict(entry.get("status"))).get("status_str") != "error":
        return None
    for kind, data in _told(status):
        if kind in FAILURES:
            return failure(kind, data)
    return Unavailable("The ComfyUI server failed and does not say why.")


def seconds_in_history(entry: dict[str, Any]) -> float | None:
    """From the start of a prompt to its success, by the server's own clock."""
    at = {kind: data.get("timestamp") for kind, data in _told(as_dict(entry.get("status")))}
    start, end = at.get("execution_start"), at.get("execution_success")
    if not isinstance(start, int | float) or not isinstance(end, int | float):
        return None
    if not 0 <= start <= end <= MAX_TIMESTAMP:
        return None
    worked_s = (end - start) / 1000
    return worked_s if worked_s <= MAX_WORKED_S else None


def picture_in_history(entry: dict[str, Any], node: str) -> dict[str, str] | None:
    """Where the first picture of `node` lies, as `GET /view` wants it."""
    images = as_list(as_dict(as_dict(entry.get("outputs")).get(node)).get("images"))
    where = as_dict(images[0]) if images else {}
    found = {name: where.get(name) or "" for name in ("filename", "subfolder", "type")}
    is_text = all(isinstance(value, str) for value in found.values())
    return {name: str(value) for name, value in found.items()} if is_text and found["filename"] else None


def refusal(answer: dict[str, Any]) -> SagaForgeError | None:
    """The error in an answer to `POST /prompt`, which may be a success by its status; None if there is none."""
    for node in as_dict(answer.get("node_errors")).values():
        errors = as_list(as_dict(node).get("errors")) or [{}]
        return _node_error(str(as_dict(node).get("class_type")), as_dict(errors[0]))
    if not (error := answer.get("error")):
        return None
    said = as_dict(error).get("message") or error
    return Unavailable(f"The ComfyUI server refuses the workflow: {quote(said)}")


def _node_error(class_type: str, error: dict[str, Any]) -> SagaForgeError:
    extra = as_dict(error.get("extra_info"))
    kind, name, value = error.get("type"), quote(extra.get("input_name", "")), quote(extra.get("received_value", ""))
    if kind == "value_not_in_list" and class_type == "LoraLoader":
        return InvalidInput(f"The ComfyUI server has no adapter {value}.")
    if kind == "value_not_in_list" and class_type == "CheckpointLoaderSimple":
        return Unavailable(f"The ComfyUI server has no checkpoint {value}.")
    if kind in ("value_not_in_list", "value_smaller_than_min", "value_bigger_than_max"):
        return InvalidInput(f"The ComfyUI server does not take {value} for {name} of {class_type}.")
    # Without the details: they list what lies on the server.
    return Unavailable(f"The ComfyUI server refuses {quote(class_type)}: {quote(error.get('message', kind))}")


def _told(status: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    pairs = [pair for pair in as_list(status.get("messages")) if len(as_list(pair)) == 2]
    return [(str(kind), as_dict(data)) for kind, data in pairs]


def quote(value: Any) -> str:
    """On one line, and not for long."""
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_QUOTED_CHARS else text[: MAX_QUOTED_CHARS - 1] + "…"


def as_dict(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []
