"""Who shares a UNet call, the call itself, and what its failures mean."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from sagaforge.deployments.diffusion.adapters.mixer import AdapterMixer
from sagaforge.deployments.diffusion.engine.devices import working_device
from sagaforge.deployments.diffusion.engine.running import Running
from sagaforge.deployments.diffusion.engine.step_cache import StepCache
from sagaforge.errors import SagaForgeError, TooLarge, Unavailable

logger = logging.getLogger(__name__)

Key = TypeVar("Key")
# How PyTorch's CPU allocator words it; on a GPU there is a class.
OUT_OF_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def choose(running: Mapping[Key, Running], max_rows: int) -> list[Key]:
    """Those who share the next call: of one shape with whoever was served longest ago, in that order, as many as fit.

    So everybody takes turns, and with k calls for all of them each waits for at most k - 1 others.
    """
    chosen: list[Key] = []
    num_rows = 0
    for key in sorted(running, key=lambda key: running[key].served_at):
        one = running[key]
        if chosen and one.shape != running[chosen[0]].shape:
            continue
        if chosen and num_rows + one.num_rows > max_rows:
            break
        chosen.append(key)
        num_rows += one.num_rows
    return chosen


def parts(keys: Sequence[Key], size: int) -> list[list[Key]]:
    """The keys in lists of at most `size`."""
    return [list(keys[start : start + size]) for start in range(0, len(keys), size)]


def predict(
    unet: Any, mixer: AdapterMixer, batch: Sequence[Running], cache: StepCache | None = None, compiled: Any = None
) -> tuple[torch.Tensor, ...]:
    """One UNet call for all; each request's rows of what it says, [rows, channels, height, width].

    With a cache, the requests' next steps are all shallow, or none is. compiled: the same UNet, for calls without
    adapters: what is compiled does not see the mixer's hooks.
    """
    sizes = [one.num_rows for one in batch]
    # Integer timesteps and fractional ones mix; the UNet turns them into floats first thing.
    timesteps = torch.cat([one.timestep.float().expand(one.num_rows) for one in batch])
    conditions = [one.conditioning for one in batch]
    added = None
    if conditions[0].pooled is not None:
        added = {
            "text_embeds": torch.cat([c.pooled for c in conditions if c.pooled is not None]),
            "time_ids": torch.cat([c.time_ids for c in conditions if c.time_ids is not None]),
        }
    inputs = torch.cat([one.model_input() for one in batch]), timesteps.to(working_device(unet))
    options = {
        "encoder_hidden_states": torch.cat([c.embeddings for c in conditions]),
        "added_cond_kwargs": added,
    }
    with mixer.using([one.request.adapters for one in batch for _ in range(one.num_rows)]):
        if cache is None:
            call = unet if compiled is None or mixer.is_on else compiled
            predicted = call(*inputs, **options, return_dict=False)[0]
        elif batch[0].is_shallow:
            known = torch.cat([one.deep for one in batch if one.deep is not None])
            predicted = cache.shallow(known, *inputs, **options)
        else:
            predicted, deep = cache.full(*inputs, **options)
            for one, rows in zip(batch, torch.split(deep, sizes), strict=True):
                one.deep = rows
    return torch.split(predicted, sizes)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a smaller batch might do."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY_WORDS)


def free_memory() -> None:
    """Give back what a failed call left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def as_error(error: Exception) -> SagaForgeError:
    """The failure of one request, as its sender may read it."""
    if isinstance(error, SagaForgeError):
        return error
    if is_out_of_memory(error):
        return TooLarge("This picture does not fit the machine's memory: ask for a smaller one.")
    logger.error("a request failed in the diffusion engine", exc_info=error)
    return Unavailable("The diffusion engine failed to make this picture; try again.")
