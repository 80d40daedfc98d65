"""The OpenAI-compatible verbs: what an `openai` client sends goes to the engine, and its answer comes back unread.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal

from sagaforge.deployments.llm.client import LanguageModel
from sagaforge.errors import InvalidInput, NotFound
from sagaforge.functions.openai.chat import ChatCompletion
from sagaforge.schemas import Shape


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
    """Raises `NotFound` for a model, `InvalidInput` and `ContextOverflow` for what the engine refuses."""
    if request.model != llm.model_id:
        raise NotFound(f"There is no model {request.model!r}; GET /v1/models lists the ones there are.").about("model")
    name, num_tokens = request.num_tokens_asked
    if num_tokens > llm.max_model_len:
        raise InvalidInput(
            f"{name} is {num_tokens}, and the model holds {llm.max_model_len} tokens, the prompt's among them; ask for "
            "less, or leave it out."
        ).about(name)
    async for part in llm.complete(request.for_engine()):
        yield part
