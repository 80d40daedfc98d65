"""vLLM's engine arguments for a profile, and how it uses a CPU's cores. Nothing heavy is imported: benchmarks start the
bare engine with the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sagaforge.profiles import LLMProfile

# One message for four tokens: a reader can't tell the difference, and the processor has other work.
STREAM_INTERVAL_TOKENS = 4

FEW_CORES = 4
BINDING = "VLLM_CPU_OMP_THREADS_BIND"


def threads_of_one_process(num_cores: int, environment: Mapping[str, str]) -> int | None:
    """How many threads compute where engine and worker share a process, which leaves a core for everything else; None
    where vLLM does as it does: on many cores, and where the operator binds its threads."""
    return None if num_cores > FEW_CORES or BINDING in environment else max(1, num_cores - 1)


def engine_options(profile: LLMProfile) -> dict[str, Any]:
    """vLLM's engine arguments for a profile."""
    options: dict[str, Any] = {
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
        options["kv_cache_memory_bytes"] = profile.kv_cache_bytes
    if profile.quantization is not None:
        options["quantization"] = profile.quantization
    if profile.gpu_memory_utilization is not None:
        options["gpu_memory_utilization"] = profile.gpu_memory_utilization
    if profile.device == "cpu":
        options["enforce_eager"] = True
    return options
