"""What the language model's engine refuses of a chat request, and what it does: a client's mistakes are 4xx in OpenAI's
shape, in words of the API, with a line in the log and no traceback."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import openai
import pytest

from tests.support.bundle import Bundle

ASKED = [{"role": "user", "content": "Who keeps the light?"}]
INTERNALS = ("vllm", "xgrammar", "pydantic", "parameter=", "Traceback", "ChatCompletion", ".py", ".cc", "llm-")


def chat(bundle: Bundle, **fields: Any) -> httpx.Response:
    with bundle.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
        body = {"model": model, "messages": ASKED, "max_tokens": 8, **fields}
        return client.post("/v1/chat/completions", json=body)


def check_refusal(answer: httpx.Response) -> dict[str, Any]:
    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert not [word for word in INTERNALS if word in error["message"]], error["message"]
    return error


JSON_SCHEMA = {"type": "json_schema"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"logit_bias": {"99999999": 1.0}}, "logit_bias"),
    ({"stop_token_ids": [99_999_999]}, "stop_token_ids"),
    ({"allowed_token_ids": [99_999_999]}, "allowed_token_ids"),
    ({"response_format": {**JSON_SCHEMA, "json_schema": {"name": "x", "schema": {"type": "strin"}}}}, ""),
    ({"response_format": {**JSON_SCHEMA, "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/none"}}}}, ""),
    ({"structured_outputs": {"regex": "(unclosed"}}, ""),
    ({"structured_outputs": {"grammar": "no grammar at all"}}, ""),
    ({"max_tokens": 1_000_000}, "max_tokens"),
    ({"messages": [{"role": "user", "content": "a b c " * 4000}]}, "messages"),
    ({"truncate_prompt_tokens": 1_000_000}, "truncate_prompt_tokens"),
]


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_what_the_engine_refuses_is_the_callers(
    bundle: Bundle, fields: dict[str, Any], param: str, is_streamed: bool
) -> None:
    error = check_refusal(chat(bundle, stream=is_streamed, **fields))
    assert not param or error["param"] == param, error


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "developer", "content": "Be brief."}, *ASKED]},
        {"messages": [*ASKED, {"role": "tool", "tool_call_id": "call_1", "content": "Ines Vale"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": "is it?"}]}]},
        {"messages": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "ask", "arguments": "{}"}}
        ]}]},
        {"messages": [*ASKED, {"role": "assistant", "content": "Ines"}], "continue_final_message": True},
        {"temperature": 0, "seed": -(2**63), "stop": "xyzzy", "user": "me", "metadata": {"a": "b"}},
        {"n": 3, "temperature": 1, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "bad_words": ["xyzzy"]},
        {"logprobs": True, "top_logprobs": 2, "logit_bias": {"5": -100, "6": 1.5}, "stop_token_ids": [5]},
        {"tool_choice": "none", "parallel_tool_calls": True, "stream": None, "tools": None, "response_format": None},
        {"prompt_logprobs": 1, "return_token_ids": True, "ignore_eos": True, "min_tokens": 2},
        {"structured_outputs": {"choice": ["yes", "no"]}},
        {"response_format": {"type": "json_object"}},
        {"allowed_token_ids": [5, 6, 7], "cache_salt": "salt", "truncate_prompt_tokens": 5},
    ],
)  # fmt: skip
def test_what_is_asked_rightly_is_answered(bundle: Bundle, fields: dict[str, Any]) -> None:
    answer = chat(bundle, **fields)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["choices"]) == fields.get("n", 1)
    assert answer.json()["usage"]["completion_tokens"] > 0


POOL: dict[str, list[Any]] = {
    "stream": [True, False, None],
    "stream_options": [{"include_usage": True}, {"continuous_usage_stats": True}, {}],
    "temperature": [0, 1e-6, 0.5, 2, 2.1],
    "n": [1, 2, 4, 0],
    "top_p": [1, 0.01, 0],
    "top_k": [-1, 0, 1, 10**6],
    "min_p": [0, 1],
    "seed": [0, -1, 2**63 - 1, -(2**63), 2**63],
    "stop": ["e", ["e", "a"], [], "", "\ufffd"],
    "stop_token_ids": [[], [0], [7599], [7600]],
    "bad_words": [[], ["the"], [" "], ["\u200b"]],
    "logit_bias": [{}, {"0": -100}, {"7599": 100}, {"7600": 1}, {"-1": 1}],
    "allowed_token_ids": [[0], [5, 5], [7600], []],
    "logprobs": [True, False],
    "top_logprobs": [0, 1, 20, 21],
    "prompt_logprobs": [0, 1, 20],
    "min_tokens": [0, 4, 8, 9],
    "ignore_eos": [True],
    "skip_special_tokens": [False],
    "include_stop_str_in_output": [True],
    "truncate_prompt_tokens": [1, 10, 2048, 2049],
    "add_generation_prompt": [True, False],
    "continue_final_message": [True, False],
    "add_special_tokens": [True],
    "return_token_ids": [True],
    "repetition_penalty": [0.01, 10],
    "presence_penalty": [-2, 2],
    "response_format": [{"type": "text"}, {"type": "json_object"}],
    "structured_outputs": [{"choice": ["a", ""]}, {"regex": "[a-c]{2}"}, {"regex": "("}, {"json": {"type": 5}}, {"json": {}}],
    "messages": [
        [*ASKED, {"role": "assistant", "content": "The"}],
        [{"role": "user", "content": ""}],
        [{"role": "assistant", "content": " "}],
        [{"role": "tool", "content": "\u0928\u092e\u0938\u094d\u0924\u0947"}],
    ],
}  # fmt: skip


def test_whatever_is_combined_nothing_is_our_fault(bundle: Bundle) -> None:
    rng = random.Random(12)
    told, faults = set(), []
    for _ in range(150):
        fields = {name: rng.choice(POOL[name]) for name in rng.sample(sorted(POOL), rng.randint(1, 5))}
        answer = chat(bundle, **fields)
        told.add(answer.status_code)
        if answer.status_code >= 500:
            faults.append((fields, answer.text))
        elif answer.status_code >= 400:
            check_refusal(answer)
        elif fields.get("stream") and ('"error"' in answer.text or not answer.text.endswith("data: [DONE]\n\n")):
            faults.append((fields, answer.text[-300:]))
    assert not faults, "\n".join(map(str, faults))
    assert {200, 422} <= told


def test_a_schema_is_kept(bundle: Bundle) -> None:
    constrained = {**JSON_SCHEMA, "json_schema": {"name": "keeper", "schema": {"enum": ["Ines Vale"]}, "strict": True}}
    answer = chat(bundle, response_format=constrained, max_tokens=40)
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == "Ines Vale"


def test_a_streams_usage_comes_when_it_is_asked_for(bundle: Bundle) -> None:
    client = openai.OpenAI(base_url=f"{bundle.url}/v1", api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    options = {"include_usage": True}
    parts = list(
        client.chat.completions.create(  # type: ignore[call-overload]
            model=model, messages=ASKED, max_tokens=8, stream=True, stream_options=options
        )
    )
    assert parts[-1].usage.completion_tokens > 0
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(model=model, messages=ASKED, stream_options=options)  # type: ignore[call-overload]
    assert refused.value.param == "stream_options"
    assert refused.value.type == "invalid_request_error"
