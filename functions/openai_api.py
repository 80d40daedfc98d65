"""The OpenAI-compatible verbs: what an `openai` client sends goes to the engine, and its answer comes back unread.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sagaforge.deployments.llm_client import LanguageModel
from sagaforge.schemas import Shape


class ChatCompletion(BaseModel):
    """Only what routing needs is checked here; the engine validates the rest and names the field at fault."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [{"model": "pocket", "messages": [{"role": "user", "content": "Who keeps the lamp?"}]}]
        },
    )

    model: str = Field(max_length=200)
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=1000)
    stream: bool = False


class Model(Shape):
    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "sagaforge"


class ModelList(Shape):
    object: Literal["list"] = "list"
    data: list[Model]


async def list_models(*, llm: LanguageModel) -> ModelList:
    return ModelList(data=[Model(id=llm.model_id)])


async def chat_completions(request: ChatCompletion, *, llm: LanguageModel) -> AsyncGenerator[str, None]:
    async for part in llm.complete(request.model_dump(exclude_unset=True)):
        yield part
