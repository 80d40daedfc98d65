"""vLLM on a machine with few cores: engine and worker in one process.

By itself vLLM's CPU build binds a worker process to all cores but one, and the engine's own process waits for it in a
loop that never sleeps. On two cores that leaves none: requests, hops and answers wait for a turn on a core that
computes or spins. `benchmarks/bench_v1.py` measures it; docs/models.md has the figures.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

from sagaforge.deployments.llm.engine_options import threads_of_one_process

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class CPUEngine(VLLMEngine):  # type: ignore[misc]
    """Ray's vLLM engine, whose model runs in the engine's process where there are few cores."""

    def _start_async_llm_engine(self, engine_args: Any, config: VllmConfig, placement_group: Any) -> Any:
        num_threads = threads_of_one_process(len(os.sched_getaffinity(0)), os.environ)
        if num_threads is not None:
            # Ray sets it to the cores that the replica has in its books, and there it has half of one.
            os.environ["OMP_NUM_THREADS"] = str(num_threads)
            # No option of vLLM's says it: for a CPU it makes "mp" of "uni", because only a process can be bound.
            config.parallel_config.distributed_executor_backend = "uni"
        return super()._start_async_llm_engine(engine_args, config, placement_group)
