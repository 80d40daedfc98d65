"""The language model: `ray.serve.llm` on vLLM, as the deployment named `llm`.

Callers send plain dicts in OpenAI's chat form, so that no process but the replica has to import vLLM. What comes back
is already text: server-sent events as vLLM spells them, or one completed answer. `LanguageModel` (in
`sagaforge.deployments.llm.client`) is what functions hold.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.serve import Application
from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.deployment import LLMServer

from sagaforge.deployments import handles
from sagaforge.deployments.llm import refusals
from sagaforge.deployments.llm.cpu_engine import CPUEngine
from sagaforge.deployments.llm.engine_options import engine_options
from sagaforge.deployments.loopback import listen_on_loopback
from sagaforge.profiles import LLMProfile

# Messages need not be gathered for a while (50 ms unless told otherwise), which would hold the last one back.
STREAM_BATCHING_INTERVAL_MS = 0


class LocalWeights(CallbackBase):
    """Skips Ray's download task: the weights are local, and a worker that only finds that out costs 10 s."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


class LLM(LLMServer):
    """Ray's LLM server with one more method, which takes a dict instead of vLLM's request class."""

    def _get_default_engine_class(self) -> type[Any]:
        is_on_cpu = getattr(self._llm_config.accelerator_config, "kind", None) == "cpu"
        return CPUEngine if is_on_cpu else super()._get_default_engine_class()

    async def _start_engine(self) -> None:
        listen_on_loopback()
        # Ray's own version also starts a telemetry actor, which costs 400 MB and has nobody to report to here.
        await self.engine.start()
        logging.getLogger("vllm.entrypoints.openai.chat_completion.serving").addFilter(_is_not_the_callers)

    @handles.telling
    async def complete(self, payload: dict[str, Any]) -> AsyncGenerator[str, None]:
        """Yield server-sent events (`stream: true`) or one JSON document. Errors are `SagaForgeError`s."""
        from pydantic import ValidationError
        from ray.serve.llm.openai_api_models import ChatCompletionRequest
        from vllm.exceptions import GenerationError, VLLMClientError

        try:
            request = ChatCompletionRequest.model_validate(payload)
        except (ValidationError, VLLMClientError) as exc:
            raise refusals.of_exception(exc) from None
        stream = await self.chat(request)
        try:
            async for batch in stream:
                for part in batch if isinstance(batch, list) else [batch]:
                    if (error := refusals.of_part(part, payload)) is not None:
                        raise error
                    yield part if isinstance(part, str) else part.model_dump_json(exclude_none=True)
        except GenerationError as exc:
            raise refusals.of_failure(payload) from exc
        finally:
            # Closing the stream is what aborts the request inside the engine when the caller has gone.
            await stream.aclose()

    async def num_unfinished(self) -> int:
        """How many requests are inside the engine, waiting or running."""
        return int(self.engine._engine_client.output_processor.get_num_unfinished_requests())


def _is_not_the_callers(record: logging.LogRecord) -> bool:
    """vLLM logs a traceback of whatever ends a stream; of a caller's mistake `handles.telling` writes a line."""
    from vllm.exceptions import VLLMClientError

    return not (record.exc_info and isinstance(record.exc_info[1], VLLMClientError))


def build_llm(profile: LLMProfile) -> Application:
    """The bound `llm` deployment. Its replica numbers come from the Serve config file."""
    hardware: dict[str, Any] = {}
    if profile.device == "cpu":
        hardware["accelerator_config"] = {"kind": "cpu"}
    if Path(profile.source).is_dir():
        hardware["callback_config"] = {"callback_class": LocalWeights}
    config = LLMConfig(
        model_loading_config={"model_id": profile.model_id, "model_source": profile.source},
        engine_kwargs=engine_options(profile),
        log_engine_metrics=True,
        experimental_configs={"stream_batching_interval_ms": STREAM_BATCHING_INTERVAL_MS},
        **hardware,
    )
    return build_llm_deployment(config, deployment_cls=LLM, override_serve_options={"name": "llm"})
