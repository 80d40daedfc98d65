"""The language model: `ray.serve.llm` on vLLM, as the deployment named `llm`.

Callers send plain dicts in OpenAI's chat form, so that no process but the replica has to import vLLM. What comes back
is already text: server-sent events as vLLM spells them, or one completed answer. `LanguageModel` (in
`sagaforge.deployments.llm_client`) is what functions hold.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.serve import Application
from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.deployment import LLMServer

from sagaforge.errors import BadRequest, ContextOverflow, InvalidInput, NotFound, SagaForgeError, Unavailable
from sagaforge.profiles import LLMProfile

# One message for four tokens: a reader can't tell the difference, and the processor has other work. So Ray need not
# gather messages for a while (50 ms unless told otherwise), which would hold the last one back.
STREAM_INTERVAL_TOKENS = 4
STREAM_BATCHING_INTERVAL_MS = 0


class LocalWeights(CallbackBase):
    """Skips Ray's download task: the weights are local, and a worker that only finds that out costs 10 s."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


class LLM(LLMServer):
    """Ray's LLM server with one more method, which takes a dict instead of vLLM's request class."""

    async def _start_engine(self) -> None:
        # Ray's own version also starts a telemetry actor, which costs 400 MB and has nobody to report to here.
        await self.engine.start()

    async def complete(self, payload: dict[str, Any]) -> AsyncIterator[str]:
        """Yield server-sent events (`stream: true`) or one JSON document. Errors are `SagaForgeError`s."""
        from pydantic import ValidationError
        from ray.serve.llm.openai_api_models import ChatCompletionRequest

        try:
            request = ChatCompletionRequest.model_validate(payload)
        except ValidationError as exc:
            first = exc.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidInput(f"{field}: {first['msg']}") from None
        if request.model != self._llm_config.model_id:
            raise NotFound(f"There is no model {request.model!r}; GET /v1/models lists the ones there are.")
        stream = await self.chat(request)
        try:
            async for batch in stream:
                for part in batch if isinstance(batch, list) else [batch]:
                    if hasattr(part, "error"):  # vLLM's ErrorResponse, which Ray hands on as it is
                        raise _engine_error(part)
                    yield part if isinstance(part, str) else part.model_dump_json(exclude_none=True)
        finally:
            # Closing the stream is what aborts the request inside the engine when the caller has gone.
            await stream.aclose()

    async def num_unfinished(self) -> int:
        """How many requests are inside the engine, waiting or running."""
        return int(self.engine._engine_client.output_processor.get_num_unfinished_requests())


def _engine_error(response: Any) -> SagaForgeError:
    status = int(response.error.code or 500)
    if status == 404:
        return NotFound(response.error.message)
    if "maximum context length" in response.error.message:
        return ContextOverflow(response.error.message)
    if 400 <= status < 500:
        return BadRequest(response.error.message)
    return Unavailable("The language model failed to answer; try again.")


def build_llm(profile: LLMProfile) -> Application:
    """The bound `llm` deployment. Its replica numbers come from the Serve config file."""
    engine_kwargs: dict[str, Any] = {
        "max_model_len": profile.max_model_len,
        "dtype": profile.dtype,
        "max_num_seqs": profile.max_num_seqs,
        "enable_prefix_caching": True,
        "stream_interval": STREAM_INTERVAL_TOKENS,
        # xgrammar, because llguidance forces a grammar's fixed text upon the model in tokens of its own choosing: one
        # trained with `{"lore":[3],"text":"` as a single token can't say it then. Free white space, because without
        # it xgrammar puts a space after each comma and colon; a model that writes compact JSON stays compact.
        "structured_outputs_config": {"backend": "xgrammar"},
        "enable_per_request_metrics": True,
    }
    if profile.kv_cache_bytes is not None:
        engine_kwargs["kv_cache_memory_bytes"] = profile.kv_cache_bytes
    if profile.quantization is not None:
        engine_kwargs["quantization"] = profile.quantization
    if profile.gpu_memory_utilization is not None:
        engine_kwargs["gpu_memory_utilization"] = profile.gpu_memory_utilization
    hardware: dict[str, Any] = {}
    if profile.device == "cpu":
        engine_kwargs["enforce_eager"] = True
        hardware["accelerator_config"] = {"kind": "cpu"}
    if Path(profile.source).is_dir():
        hardware["callback_config"] = {"callback_class": LocalWeights}
    config = LLMConfig(
        model_loading_config={"model_id": profile.model_id, "model_source": profile.source},
        engine_kwargs=engine_kwargs,
        log_engine_metrics=True,
        experimental_configs={"stream_batching_interval_ms": STREAM_BATCHING_INTERVAL_MS},
        **hardware,
    )
    return build_llm_deployment(config, deployment_cls=LLM, override_serve_options={"name": "llm"})
