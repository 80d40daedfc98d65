"""What the ComfyUI back end reads from messages: those of servers old and new, and whatever else may come."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaforge.deployments.diffusion.comfyui import messages
from sagaforge.deployments.diffusion.comfyui.messages import Ended, Previewed, Stepped, Working
from sagaforge.errors import InvalidInput, SagaForgeError, TooLarge, Unavailable

WORDS = ["type", "data", "prompt_id", "node", "nodes", "value", "max", "progress", "progress_state", "executing", "p"]
ERRORS = ["node_errors", "errors", "class_type", "extra_info", "error", "outputs", "10", "images", "filename", "status"]
NAMES = st.sampled_from([*WORDS, *ERRORS, "execution_error", "messages", "status_str", "timestamp"]) | st.text(
    max_size=3
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, ANYTHING, max_size=5)


def told(kind: str, **data: Any) -> list[messages.Message]:
    return messages.read(json.dumps({"type": kind, "data": {"prompt_id": "p", **data}}))


def test_what_is_said_about_a_prompt() -> None:
    assert told("execution_start") == [Working("p")]
    assert told("executing", node="8") == [Working("p")]
    assert told("progress", node="8", value=2, max=4) == [Stepped("p", "8", 2, 4)]
    states = {"8": {"value": 1.0, "max": 4.0, "state": "running"}, "9": {"state": "pending"}}
    assert told("progress_state", nodes=states) == [Stepped("p", "8", 1, 4), Working("p")]
    assert told("executing", node=None) == told("execution_success") == [Ended("p")]


@pytest.mark.parametrize(("value", "limit"), [(5, 4), (-1, 4), (float("nan"), 4), (1, float("inf"))])
def test_steps_that_make_no_sense(value: float, limit: float) -> None:
    assert told("progress", node="8", value=value, max=limit) == []


def test_previews() -> None:
    about = json.dumps({"prompt_id": "p", "image_type": "image/jpeg"}).encode()
    assert messages.read(struct.pack(">II", 4, len(about)) + about + b"jpeg") == [Previewed("p", b"jpeg")]
    assert messages.read(struct.pack(">II", 1, 2) + b"png") == [Previewed(None, b"png")]
    assert messages.read(struct.pack(">II", 3, 1) + b"8text") == []
    assert messages.read(struct.pack(">II", 4, 2**32 - 1) + about) == []


@pytest.mark.parametrize(
    "said",
    [
        {"exception_type": "torch.OutOfMemoryError", "exception_message": "Allocation on device "},
        {"exception_type": "RuntimeError", "exception_message": "CUDA error: out of memory\nCompile with ..."},
        {
            "exception_type": "RuntimeError",
            "exception_message": "[enforce fail] DefaultCPUAllocator: not enough memory",
        },
    ],
)
def test_memory_by_many_words(said: dict[str, str]) -> None:
    (ended,) = told("execution_error", **said)
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, TooLarge)


def test_long_errors_are_cut() -> None:
    error = messages.failure("execution_error", {"node_type": "VAEDecode", "exception_message": "x " * 9000})
    assert isinstance(error, Unavailable)
    assert len(error.detail) < 300


@pytest.mark.parametrize(
    ("start", "end", "seconds"), [(1000, 3500, 2.5), (5, 1, None), (0, 10**400, None), (0, "1", None)]
)
def test_seconds_by_the_clock_of_the_server(start: Any, end: Any, seconds: float | None) -> None:
    pairs = [["execution_start", {"timestamp": start}], ["x"], 7, ["execution_success", {"timestamp": end}]]
    assert messages.seconds_in_history({"status": {"messages": pairs}}) == seconds


def test_refusals() -> None:
    def of(kind: str, class_type: str) -> SagaForgeError | None:
        extra = {"input_name": "steps", "received_value": 0}
        errors = [{"type": kind, "message": "Value", "details": "all that lies here", "extra_info": extra}]
        return messages.refusal(
            {"error": {"message": "?"}, "node_errors": {"3": {"errors": errors, "class_type": class_type}}}
        )

    assert isinstance(of("value_not_in_list", "CheckpointLoaderSimple"), Unavailable)
    assert isinstance(of("value_not_in_list", "LoraLoader"), InvalidInput)
    assert isinstance(of("value_smaller_than_min", "KSampler"), InvalidInput)
    assert isinstance(of("custom_validation_failed", "LoadImage"), Unavailable)
    missing = {"type": "missing_node_type", "message": "Node 'KSampler' not found."}
    assert "KSampler" in str(messages.refusal({"error": missing, "node_errors": {}}))
    assert "no prompt" in str(messages.refusal({"error": "no prompt", "node_errors": []}))
    assert messages.refusal({"prompt_id": "p", "number": 1, "node_errors": {}}) is None


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=64) | st.text(max_size=64) | OBJECTS.map(json.dumps))
def test_anything_on_the_socket_is_read_without_an_error(message: str | bytes) -> None:
    for said in messages.read(message):
        assert said.prompt_id is None or isinstance(said.prompt_id, str)


@settings(deadline=None, max_examples=50)
@given(OBJECTS)
def test_any_answer_is_read_without_an_error(answer: dict[str, Any]) -> None:
    assert messages.refusal(answer) is None or isinstance(messages.refusal(answer), SagaForgeError)
    messages.failure_in_history(answer)
    messages.seconds_in_history(answer)
    messages.picture_in_history(answer, "10")
