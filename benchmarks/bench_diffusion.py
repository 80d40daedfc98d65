"""Sixteen pictures that arrive over time, by our engine and by diffusers' own pipeline one after another.

    python -m benchmarks.bench_diffusion            the pocket SDXL's architecture, on the CPU
    python -m benchmarks.bench_diffusion --sdxl     SDXL's own at 1024 × 1024 in float16, on a GPU

The load mixes 8 to 30 steps, guidance and none, and four LoRA adapters; the weights are random. Both get the same
requests, in turns, and must paint the same pictures. A request's fair share is when it would be done if the stock
pipeline could serve all who are there at equal speeds (processor sharing), by its own times. The adapters' cost is one
UNet call of sixteen rows without adapters, with eight by our batched product, and with the same eight by peft's own
mixing. On a GPU it also tells what share of a bare matrix product's speed the engine's UNet calls reach.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from benchmarks import sdxl
from benchmarks.__main__ import write
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save
from torch.utils.flop_counter import FlopCounterMode

from sagaforge.deployments.diffusion.adapters.files import read_adapter
from sagaforge.deployments.diffusion.adapters.mixer import Adapter, AdapterMixer
from sagaforge.deployments.diffusion.engine.engine import DiffusionEngine
from sagaforge.deployments.diffusion.engine.requests import Event, Failed, Generated, GenerationRequest
from sagaforge.profiles import EngineLimits
from sagaforge.training.pocket.sdxl import models

NUM_REQUESTS, NUM_ADAPTERS, NUM_MIXED = 16, 4, 8
ROUNDS, CALLS = 3, 20
RANK = 8
MATRIX = 8192
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
# Of the time that the stock pipeline needs for all: the last request arrives when this much of it is over.
ARRIVING_SHARE = 0.3


@dataclass(frozen=True)
class Load:
    requests: list[GenerationRequest]
    adapter_of: list[int | None]
    arrivals_s: list[float]


@dataclass
class Served:
    images: list[np.ndarray]
    latencies_s: list[float]
    total_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sdxl", action="store_true", help="SDXL's sizes, on a GPU")
    is_sdxl = parser.parse_args().sdxl
    torch.manual_seed(0)
    if is_sdxl:
        pipeline = sdxl.make_pipeline("cuda", torch.float16)
    else:
        pipeline = models.make_pipeline(models.make_tokenizer([f"picture {n} of a red cat" for n in range(50)]))
    # A second pipeline of the same weights for diffusers: what peft puts into it stays in it.
    other = copy.deepcopy(pipeline)
    states = [adapter_state(pipeline, seed) for seed in range(NUM_MIXED)]
    adapters = [read_adapter(f"a{n}", save(state), pipeline).adapter for n, state in enumerate(states)]
    for number, state in enumerate(states[:NUM_ADAPTERS]):
        other.load_lora_weights(dict(state), adapter_name=f"a{number}")

    load = make_load(adapters, pipeline.unet.config.sample_size * pipeline.vae_scale_factor)
    serve_stock(other, replace_arrivals(load, 0.0))  # warm-up
    solo = serve_stock(other, replace_arrivals(load, 0.0))
    load = replace_arrivals(load, ARRIVING_SHARE * solo.total_s)
    stock, ours = [], []
    for _ in range(ROUNDS):
        stock.append(serve_stock(other, load))
        ours.append(serve_ours(pipeline, load))
    difference = max(int(np.abs(a - b).max()) for a, b in zip(stock[0].images, ours[0].images, strict=True))
    works_s = [b - a for a, b in zip([0.0, *solo.latencies_s], solo.latencies_s, strict=False)]
    fair = fair_shares(works_s, load.arrivals_s)
    worst = max(statistics.median(run.latencies_s[n] for run in ours) / fair[n] for n in range(NUM_REQUESTS))
    stock_s, ours_s = (statistics.median(run.total_s for run in runs) for runs in (stock, ours))
    waits = {name: statistics.median(statistics.median(r.latencies_s) for r in runs) for name, runs in
             (("stock", stock), ("ours", ours))}  # fmt: skip
    print(f"{NUM_REQUESTS} pictures: stock {stock_s:.1f} s, ours {ours_s:.1f} s, {stock_s / ours_s:.2f} times as many")
    print(f"a picture's median wait: stock {waits['stock']:.1f} s, ours {waits['ours']:.1f} s")
    print(f"the slowest beside its fair share: {worst:.2f}; largest difference of a pixel: {difference} of 255")
    costs = adapter_costs(pipeline, other, adapters, states)
    print(" · ".join(f"{name} {value:.3f}" for name, value in costs.items()), "of a call without adapters")
    busy = {}
    if is_sdxl:
        busy = utilisation(pipeline, load, ours_s)
        print(f"{NUM_REQUESTS / ours_s:.2f} pictures a second; " + " · ".join(f"{k} {v:.3g}" for k, v in busy.items()))
    write("bench_diffusion_sdxl" if is_sdxl else "bench_diffusion", {
        "stock_s": stock_s, "ours_s": ours_s, "ratio": stock_s / ours_s, "median_wait_s": waits,
        "worst_fair_share": worst, "pixel_difference": difference, "adapter_costs": costs, "rounds": ROUNDS,
        **busy,
    })  # fmt: skip


def adapter_state(pipeline: Any, seed: int) -> dict[str, torch.Tensor]:
    """A LoRA of the UNet's attention with random values."""
    torch.manual_seed(seed)
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS, init_lora_weights=False)
    pipeline.unet.add_adapter(config, adapter_name="new")
    state = {f"unet.{k}": v.clone() for k, v in get_peft_model_state_dict(pipeline.unet, adapter_name="new").items()}
    pipeline.unet.delete_adapters("new")
    pipeline.unet.unload_lora()
    return state


def make_load(adapters: list[Adapter], side: int) -> Load:
    rng = random.Random(5)
    requests, adapter_of = [], []
    for number in range(NUM_REQUESTS):
        chosen = rng.choice([None, *range(NUM_ADAPTERS)])
        adapter_of.append(chosen)
        requests.append(
            GenerationRequest(
                prompt=f"picture {number} of a red cat",
                negative_prompt="",
                width=side,
                height=side,
                steps=rng.randint(8, 30),
                guidance_scale=rng.choice([1.0, 3.0, 5.0, 7.5]),
                seed=number,
                adapters=() if chosen is None else ((adapters[chosen], 0.8),),
            )
        )
    return Load(requests, adapter_of, [0.0] * NUM_REQUESTS)


def replace_arrivals(load: Load, until_s: float) -> Load:
    """The load with its arrivals spread evenly from 0 to `until_s`."""
    return replace(load, arrivals_s=[until_s * number / (NUM_REQUESTS - 1) for number in range(NUM_REQUESTS)])


def serve_stock(pipeline: Any, load: Load) -> Served:
    """First come, first served, by diffusers."""
    began = time.perf_counter()
    images, latencies_s = [], []
    for request, adapter, arrival_s in zip(load.requests, load.adapter_of, load.arrivals_s, strict=True):
        time.sleep(max(0.0, began + arrival_s - time.perf_counter()))
        if adapter is None:
            pipeline.disable_lora()
        else:
            pipeline.enable_lora()
            pipeline.set_adapters(f"a{adapter}", 0.8)
        image = pipeline(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]
        images.append(np.asarray(image).astype(int))
        latencies_s.append(time.perf_counter() - began - arrival_s)
    return Served(images, latencies_s, time.perf_counter() - began)


def serve_ours(pipeline: Any, load: Load) -> Served:
    """By the engine, in this thread."""
    engine = DiffusionEngine(pipeline, EngineLimits(max_rows=2 * NUM_REQUESTS))
    images: dict[int, np.ndarray] = {}
    latencies_s: dict[int, float] = {}
    began = time.perf_counter()

    def listener(number: int) -> Any:
        def listen(event: Event) -> None:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Generated):
                images[number] = np.asarray(event.image).astype(int)
                latencies_s[number] = time.perf_counter() - began - load.arrivals_s[number]

        return listen

    number = 0
    while len(images) < NUM_REQUESTS:
        while number < NUM_REQUESTS and time.perf_counter() - began >= load.arrivals_s[number]:
            engine.submit(load.requests[number], listener(number))
            number += 1
        if not engine.step():
            time.sleep(0.001)
    total_s = time.perf_counter() - began
    return Served([images[n] for n in range(NUM_REQUESTS)], [latencies_s[n] for n in range(NUM_REQUESTS)], total_s)


def fair_shares(works_s: list[float], arrivals_s: list[float]) -> list[float]:
    """How long each would take if all who are there were served at equal speeds."""
    left, done_s = dict(enumerate(works_s)), [0.0] * len(works_s)
    now_s = 0.0
    while left:
        here = [number for number in left if arrivals_s[number] <= now_s]
        coming = [arrivals_s[number] for number in left if arrivals_s[number] > now_s]
        if not here:
            now_s = min(coming)
            continue
        until_s = now_s + min(left[number] for number in here) * len(here)
        until_s = min([until_s, *coming])
        for number in here:
            left[number] -= (until_s - now_s) / len(here)
            if left[number] <= 1e-9:
                del left[number]
                done_s[number] = until_s - arrivals_s[number]
        now_s = until_s
    return done_s


@torch.inference_mode()
def adapter_costs(
    pipeline: Any, other: Any, adapters: list[Adapter], states: list[dict[str, torch.Tensor]]
) -> dict[str, float]:
    """Median time of a UNet call with eight adapters mixed, by our batch and by peft's, over one without."""
    rows = 2 * NUM_MIXED
    inputs = unet_inputs(pipeline, rows)
    for number, state in enumerate(states[NUM_ADAPTERS:], NUM_ADAPTERS):
        other.load_lora_weights(dict(state), adapter_name=f"a{number}")
    mixer = AdapterMixer("unet", pipeline.unet)
    stacks = [((adapters[row // 2], 0.8),) for row in range(rows)]
    names = [f"a{row // 2}" for row in range(rows)]

    def name_rows(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "adapter_names": names}

    other.enable_lora()
    hooks = [
        module.register_forward_pre_hook(name_rows, with_kwargs=True)
        for module in other.unet.modules()
        if isinstance(module, LoraLayer)
    ]
    times_s: dict[str, list[float]] = {"none": [], "ours": [], "peft": []}
    other.unet.eval()
    for _ in range(CALLS):
        began = now_s()
        pipeline.unet(**inputs)
        times_s["none"].append(now_s() - began)
        began = now_s()
        with mixer.using(stacks):
            pipeline.unet(**inputs)
        times_s["ours"].append(now_s() - began)
        began = now_s()
        other.unet(**inputs)
        times_s["peft"].append(now_s() - began)
    for hook in hooks:
        hook.remove()
    none_s = statistics.median(times_s["none"])
    return {name: statistics.median(values) / none_s for name, values in times_s.items() if name != "none"}


def unet_inputs(pipeline: Any, rows: int) -> dict[str, Any]:
    """Random inputs of one UNet call."""
    config = pipeline.unet.config
    options: dict[str, Any] = {"device": pipeline.unet.device, "dtype": pipeline.unet.dtype}
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return {
        "sample": torch.randn(rows, config.in_channels, config.sample_size, config.sample_size, **options),
        "timestep": torch.full((rows,), 500.0, **options),
        "encoder_hidden_states": torch.randn(
            rows, pipeline.tokenizer.model_max_length, config.cross_attention_dim, **options
        ),
        "added_cond_kwargs": {
            "text_embeds": torch.randn(rows, pooled, **options),
            "time_ids": torch.ones(rows, 6, **options),
        },
    }


def now_s() -> float:
    """The time when all that was asked of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@torch.inference_mode()
def utilisation(pipeline: Any, load: Load, took_s: float) -> dict[str, float]:
    """Of what a matrix product of the same type reaches on this device, the share that the UNet calls of a load do."""
    counter = FlopCounterMode(display=False)
    with counter:
        pipeline.unet(**unet_inputs(pipeline, 1))
    rows = sum(one.steps * (2 if one.guidance_scale > 1 else 1) for one in load.requests)
    reached = rows * counter.get_total_flops() / took_s
    left, right = (torch.randn(MATRIX, MATRIX, device=pipeline.unet.device, dtype=pipeline.unet.dtype) for _ in "ab")
    times_s = []
    for _ in range(CALLS):
        began = now_s()
        left @ right
        times_s.append(now_s() - began)
    peak = 2 * MATRIX**3 / statistics.median(times_s)
    return {"unet_tflop_per_s": reached / 1e12, "matrix_tflop_per_s": peak / 1e12, "share_of_peak": reached / peak}


if __name__ == "__main__":
    main()
