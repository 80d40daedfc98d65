"""The messages of a chat request, as OpenAI's clients send them and as vLLM takes them.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from sagaforge.schemas import Shape

Role = Literal["system", "user", "assistant", "tool", "developer"]


def wrong(message: str) -> PydanticCustomError:
    """An error of the field that is being checked."""
    return PydanticCustomError("not_possible", message)  # type: ignore[arg-type]


class TextPart(Shape):
    type: Literal["text"]
    text: str

    @field_validator("type", mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        if value != "text":
            raise wrong('the model reads text alone: parts have the form {"type": "text", "text": "…"}')
        return value


class CalledFunction(Shape):
    name: str = Field(min_length=1, max_length=200)
    arguments: str


class ToolCall(Shape):
    id: str = Field(max_length=200)
    type: Literal["function"]
    function: CalledFunction


class Message(Shape):
    """One message. The fields that an answer's message has may come back with it; those at the end only as null."""

    role: Role
    content: list[TextPart] | None = Field(None, validate_default=True, description="text, or a list of text parts")
    name: str | None = Field(None, max_length=200)
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = Field(None, max_length=200)
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: list[None] | None = Field(None, max_length=0)

    @field_validator("content", mode="before")
    @classmethod
    def _text_is_one_part(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [{"type": "text", "text": value}]
        if value is None or (isinstance(value, list) and value):
            return value
        raise wrong("must be text, or a list of text parts that is not empty")

    @field_validator("tool_calls")
    @classmethod
    def _assistants_call(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("role") != "assistant":
            raise wrong("only a message of the assistant has tool calls")
        if not value and value is not None and info.data.get("content", ()) is None:
            raise wrong("must not be empty where the message has no content")
        return value

    @field_validator("content")
    @classmethod
    def _is_said(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.data.get("role") not in ("assistant", None):
            raise wrong("must be text, or a list of text parts")
        return value

    def for_engine(self) -> dict[str, Any]:
        """The message as vLLM takes it. `developer` is OpenAI's newer word for `system`."""
        sent = self.model_dump(exclude_none=True, exclude={"content", "annotations"})
        texts = [part.text for part in self.content or ()]
        content = texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]
        return {**sent, "role": "system" if self.role == "developer" else self.role, "content": content or ""}
