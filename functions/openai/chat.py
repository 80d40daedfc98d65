"""What an `openai` client may ask of the language model: the request of `POST /v1/chat/completions`. Its messages are
in `openai_messages`.

Everything that can be judged without the model is judged here, in words of the API; the engine judges what needs its
vocabulary, its grammar compiler or the prompt's length. Fields that mean something only elsewhere (tools, audio, stored
answers) may be sent in the form that asks for nothing, as some clients do.

Sources: https://platform.openai.com/docs/api-reference/chat/create; the sampling fields of vLLM's own are those of
https://docs.vllm.ai/en/latest/serving/openai_compatible_server/.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from sagaforge.functions.openai.messages import Message, wrong
from sagaforge.schemas import Shape

MAX_MESSAGES = 1000
MAX_ANSWERS = 128
MAX_TOKEN_IDS = 1024
MAX_LOGPROBS = 20  # vLLM's limit; OpenAI's is the same
MAX_STOPS = 4  # as many as vLLM and OpenAI take
MAX_SEED = 2**63 - 1
GREEDY_BELOW = 1e-5  # vLLM takes the likeliest token at temperatures below it

NumTokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
TokenIds = Annotated[list[TokenId], Field(max_length=MAX_TOKEN_IDS)]
TokenKey = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]


class JsonSchema(Shape):
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    schema_: dict[str, Any] = Field(alias="schema", min_length=1)
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Shape):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = Field(None, validate_default=True)

    @field_validator("json_schema")
    @classmethod
    def _goes_with_its_type(cls, value: Any, info: ValidationInfo) -> Any:
        if (value is not None) != (info.data.get("type") == "json_schema") and "type" in info.data:
            raise wrong('belongs to the type "json_schema", which needs it: {"name": "…", "schema": {…}}')
        return value


class StructuredOutputs(Shape):
    """vLLM's own way to constrain an answer; exactly one of them."""

    json_: dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = Field(None, min_length=1, max_length=10_000)
    choice: list[str] | None = Field(None, min_length=1, max_length=1000)
    grammar: str | None = Field(None, min_length=1, max_length=100_000)


class StreamOptions(Shape):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: Literal[False] | None = None


class ChatCompletion(Shape):
    """A chat request: OpenAI's fields, and the sampling fields of vLLM."""

    model: str = Field(max_length=200)
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)

    # How it is answered.
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: NumTokens | None = None
    max_completion_tokens: NumTokens | None = None
    min_tokens: int | None = Field(None, ge=0, le=2**31 - 1)
    stop: list[Stop] | None = Field(None, max_length=MAX_STOPS, description="a text, or up to four")
    stop_token_ids: TokenIds | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    prompt_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    return_token_ids: bool | None = None

    # How it is sampled.
    temperature: float | None = Field(None, ge=0.0, le=2.0)
    n: int | None = Field(None, ge=1, le=MAX_ANSWERS)
    top_p: float | None = Field(None, gt=0.0, le=1.0)
    top_k: int | None = Field(None, ge=-1, le=2**31 - 1)
    min_p: float | None = Field(None, ge=0.0, le=1.0)
    seed: int | None = Field(None, ge=-MAX_SEED - 1, le=MAX_SEED)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: float | None = Field(None, gt=0.0, le=10.0)
    logit_bias: dict[TokenKey, Annotated[float, Field(ge=-100.0, le=100.0)]] | None = Field(
        None, max_length=MAX_TOKEN_IDS
    )
    allowed_token_ids: TokenIds | None = Field(None, min_length=1)
    bad_words: list[Stop] | None = Field(None, max_length=128)

    # How the messages become a prompt.
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    add_special_tokens: bool | None = None
    truncate_prompt_tokens: NumTokens | None = None
    cache_salt: str | None = Field(None, min_length=1, max_length=1024)

    # About the caller, or about what only OpenAI's service does: taken where nothing is asked by it.
    user: str | None = Field(None, max_length=1000)
    safety_identifier: str | None = Field(None, max_length=1000)
    prompt_cache_key: str | None = Field(None, max_length=1000)
    metadata: dict[str, str] | None = Field(None, max_length=16)
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    modalities: list[Literal["text"]] | None = Field(None, min_length=1, max_length=1)
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none"] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: Literal["none"] | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "pocket", "messages": [{"role": "user", "content": "Who keeps the lamp?"}]}]
        }
    )

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("tools", "functions")
    @classmethod
    def _no_tools(cls, value: Any) -> Any:
        if value is not None:
            raise wrong("leave it out: the model that runs here calls no tools")
        return value

    @field_validator("tool_choice", "function_call", mode="before")
    @classmethod
    def _no_choice(cls, value: Any) -> Any:
        if value not in (None, "none"):
            raise wrong('leave it out, or send "none": there are no tools to choose from')
        return value

    @field_validator("stream_options")
    @classmethod
    def _of_a_stream(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and not info.data.get("stream"):
            raise wrong('goes with "stream": true alone; an answer that is not streamed has its usage anyway')
        return value

    @field_validator("prompt_logprobs")
    @classmethod
    def _not_of_a_stream(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("stream"):
            raise wrong("is not there for streams; leave one of the two out")
        return value

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, value: Any, info: ValidationInfo) -> Any:
        if None not in (value, info.data.get("max_tokens")) and value != info.data["max_tokens"]:
            raise wrong("is the newer name of max_tokens, which says otherwise; send one of them")
        return value

    @field_validator("min_tokens")
    @classmethod
    def _below_the_limit(cls, value: Any, info: ValidationInfo) -> Any:
        limit = info.data.get("max_completion_tokens") or info.data.get("max_tokens")
        if None not in (value, limit) and value > limit:
            raise wrong("is more than max_tokens")
        return value

    @field_validator("structured_outputs")
    @classmethod
    def _one_constraint(cls, value: StructuredOutputs | None, info: ValidationInfo) -> Any:
        if value is None:
            return value
        if len(value.model_dump(exclude_none=True)) != 1:
            raise wrong("must have exactly one of json, regex, choice and grammar")
        other = info.data.get("response_format")
        if other is not None and other.type != "text":
            raise wrong("constrains the answer, and so does response_format; send one of them")
        return value

    @field_validator("allowed_token_ids")
    @classmethod
    def _unconstrained(cls, value: Any, info: ValidationInfo) -> Any:
        other = info.data.get("response_format")
        if value and (info.data.get("structured_outputs") or (other is not None and other.type != "text")):
            raise wrong("constrains the answer's tokens, and so does its format; send one of them")
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _of_logprobs(cls, value: Any, info: ValidationInfo) -> Any:
        if value and not info.data.get("logprobs"):
            raise wrong('goes with "logprobs": true alone')
        return value

    @field_validator("n")
    @classmethod
    def _not_the_same_again(cls, value: Any, info: ValidationInfo) -> Any:
        temperature = info.data.get("temperature")
        if (value or 1) > 1 and temperature is not None and temperature < GREEDY_BELOW:
            raise wrong("must be 1 at temperature 0, where every answer is the same")
        return value

    @field_validator("continue_final_message")
    @classmethod
    def _continues(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("add_generation_prompt"):
            raise wrong("goes on with the last message, and add_generation_prompt begins a new one; send one of them")
        messages = info.data.get("messages")
        if value and messages and (messages[-1].role != "assistant" or not messages[-1].content):
            raise wrong("needs a last message of the assistant's, with the text to go on with")
        return value

    @property
    def num_tokens_asked(self) -> tuple[str, int]:
        """Which field limits the answer, and to how many tokens (0: none does)."""
        name = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
        return name, getattr(self, name) or 0

    def for_engine(self) -> dict[str, Any]:
        """The request as vLLM takes it: what was sent, less what has no meaning here."""
        sent = self.model_dump(by_alias=True, exclude_none=True, exclude={"messages", *MEANS_NOTHING})
        if self.continue_final_message:
            sent["add_generation_prompt"] = False
        return {**sent, "messages": [message.for_engine() for message in self.messages]}


MEANS_NOTHING = {
    "user", "safety_identifier", "prompt_cache_key", "metadata", "store", "service_tier", "modalities",
    "reasoning_effort", "verbosity", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call",
}  # fmt: skip
