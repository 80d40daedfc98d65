"""Adapters: all of a file is used as its maker meant it, or it is refused and the key is named.

The truth is never our own reading: it is peft's layers, diffusers' converters, or the formula of the paper put into the
model's weights by hand.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save

from sagaforge.deployments.diffusion.adapters.files import read_adapter
from sagaforge.deployments.diffusion.adapters.keys import Layers, _sgm_names
from sagaforge.deployments.diffusion.engine.engine import DiffusionEngine
from sagaforge.errors import InvalidInput, UnsupportedType
from tests.faults.adapter_layouts import ALPHA, LAYOUTS, RANK, SGM, Tensors, changed_weight, factors, file_of
from tests.faults.adapter_mutations import MUTATIONS
from tests.support.tiny_diffusion import make_pipeline
from tests.unit.deployments.diffusion.test_diffusion_engine import ASKED, assert_same, finished, image_of, stock

pytestmark = pytest.mark.usefixtures("one_thread")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
QUERY, KEY = (next(layer for layer in SGM if layer.endswith(end)) for end in ("to_q", "to_k"))
CONV, POINT = "mid_block.resnets.0.conv1", "up_blocks.0.resnets.0.conv_shortcut"


@pytest.fixture(scope="module")
def xl() -> Any:
    return make_pipeline("xl")


def painted(pipeline: Any, body: bytes | None = None, scale: float = 1.0) -> np.ndarray:
    stack = () if body is None else ((read_adapter("it", body, pipeline).adapter, scale),)
    return image_of(finished(DiffusionEngine(pipeline), replace(ASKED, adapters=stack))[0])


def painted_with(weights: dict[str, tuple[torch.Tensor | None, torch.Tensor | None]]) -> np.ndarray:
    """By a model that has these added to its layers' weights and biases."""
    pipeline = make_pipeline("xl")
    with torch.no_grad():
        for layer, (weight, bias) in weights.items():
            module = pipeline.unet.get_submodule(layer)
            if weight is not None:
                module.weight += weight
            if bias is not None:
                module.bias += bias
    return painted(pipeline)


# --- layouts --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def merged() -> np.ndarray:
    """The picture of the update that all layouts hold."""
    return painted_with({layer: (up @ down * ALPHA / RANK, None) for layer, (down, up) in factors().items()})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_update_in_every_layout_and_type_paints_one_picture(xl: Any, merged: np.ndarray, layout: str) -> None:
    pictures = [painted(xl, file_of(layout, dtype)) for dtype in DTYPES.values()]
    for picture in pictures:
        assert_same(picture, merged)
        np.testing.assert_array_equal(picture, pictures[0])
    assert np.abs(merged - painted(xl)).max() > 10, "the update shows"


def test_layouts_may_be_mixed_in_one_file(xl: Any, merged: np.ndarray) -> None:
    mixed = {}
    for layer, layout in zip(factors(), LAYOUTS, strict=False):
        mixed |= LAYOUTS[layout]({layer: factors()[layer]})
    assert_same(painted(xl, save(mixed)), merged)


def test_stabilitys_names_of_sdxl_are_those_of_diffusers_own_converter() -> None:
    """Every weight of SDXL's UNet, through diffusers' reading of original checkpoints."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
            layers_per_block=2,
        )
    names = _sgm_names(unet)
    ours = {name: names[name] for name, module in unet.named_modules() if getattr(module, "weight", None) is not None}
    assert ours["down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"] == (
        "input_blocks.4.1.transformer_blocks.0.attn1.to_q"
    )
    checkpoint = {
        f"model.diffusion_model.{sgm}.{kind}": torch.tensor(n)
        for n, sgm in enumerate(ours.values())
        for kind in ("weight", "bias")
    }
    theirs = convert_ldm_unet_checkpoint(checkpoint, dict(unet.config))
    theirs = {key: n for key, n in theirs.items() if key.endswith(".weight")}
    assert {key.removesuffix(".weight"): list(ours)[int(n)] for key, n in theirs.items()} == {
        name: name for name in ours
    }
    assert len(ours) == len(theirs) > 700

    class Pipeline:
        pass

    pipeline: Any = Pipeline()
    pipeline.unet = unet
    layers = Layers(pipeline)
    assert all(layers.find("lora_unet_" + sgm.replace(".", "_")) == ("unet", name) for name, sgm in ours.items())
    assert all(layers.find("lora_unet_" + name.replace(".", "_")) == ("unet", name) for name in ours)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", ("text_encoder", "self_attn.q_proj")),
        ("lora_te2_text_model_encoder_layers_2_mlp_fc1", ("text_encoder_2", "mlp.fc1")),
        ("lora_te_text_model_encoder_layers_1_self_attn_out_proj", ("text_encoder", "self_attn.out_proj")),
        ("lora_te2_text_projection", ("text_encoder_2", "text_projection")),
        ("text_encoder.text_model.encoder.layers.0.self_attn.to_out", ("text_encoder", "self_attn.out_proj")),
        ("text_encoder_2.text_model.encoder.layers.0.self_attn.v_proj", ("text_encoder_2", "self_attn.v_proj")),
        ("clip_g.text_model.encoder.layers.1.mlp.fc2", ("text_encoder_2", "mlp.fc2")),
        ("lora_unet_time_embed_0", ("unet", "time_embedding.linear_1")),
        ("lora_unet_label_emb_0_2", ("unet", "add_embedding.linear_2")),
        ("lora_unet_input_blocks_0_0", ("unet", "conv_in")),
        ("lora_unet_input_blocks_2_0_op", ("unet", "down_blocks.0.downsamplers.0.conv")),
        ("lora_unet_output_blocks_1_2_conv", ("unet", "up_blocks.0.upsamplers.0.conv")),
        ("lora_unet_output_blocks_3_0_skip_connection", ("unet", "up_blocks.1.resnets.1.conv_shortcut")),
        ("lora_unet_middle_block_2_emb_layers_1", ("unet", "mid_block.resnets.1.time_emb_proj")),
        ("lora_unet_input_blocks_9_0_in_layers_2", None),
        ("lora_te3_text_model_encoder_layers_0_mlp_fc1", None),
    ],
)
def test_names_of_other_layers(xl: Any, key: str, place: tuple[str, str] | None) -> None:
    found = Layers(xl).find(key)
    assert (found is None) == (place is None)
    if found is not None and place is not None:
        assert (found[0], found[1].endswith(place[1])) == (place[0], True), found


# --- kinds ----------------------------------------------------------------------------------------------------------


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def _dora(weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, axes: tuple[int, ...]) -> tuple[Any, Any]:
    magnitude = weight.square().sum(axes, keepdim=True).sqrt() * (1.5 + rand(*weight.shape).mean(axes, keepdim=True))
    changed = weight + (up @ down).reshape(weight.shape)
    return magnitude, magnitude * changed / changed.square().sum(axes, keepdim=True).sqrt() - weight


def _kinds() -> dict[str, tuple[Tensors, dict[str, tuple[torch.Tensor | None, torch.Tensor | None]]]]:
    """Files of each kind of adapter, and what each adds to weights and biases by its paper's formula."""
    unet = make_pipeline("xl").unet
    query, conv = (unet.get_submodule(name).weight.detach() for name in (QUERY, CONV))
    q, k, c, p = (f"lora_unet_{name.replace('.', '_')}" for name in (QUERY, KEY, CONV, POINT))
    a, b = rand(3, 32), rand(32, 3)
    by_output, by_input = (_dora(query, a, b, (axis,)) for axis in (1, 0))
    conv_a, conv_b = rand(2, 32 * 9), rand(32, 2)
    of_conv = _dora(conv, conv_a, conv_b, (1, 2, 3))
    lora = {f"{q}.lora_down.weight": a, f"{q}.lora_up.weight": b}
    core, t1, t2 = rand(3, 2, 3, 3), rand(2, 2, 3, 3, seed=1), rand(2, 2, 3, 3, seed=2)
    w = {name: rand(2, 32, seed=n) for n, name in enumerate(("1a", "1b", "2a", "2b"))}
    point = rand(2, 64), rand(32, 2)
    return {
        "an alpha": ({**lora, f"{q}.alpha": torch.tensor(1.5)}, {QUERY: (b @ a * 0.5, None)}),
        "no alpha": (lora, {QUERY: (b @ a, None)}),
        "an alpha as whole number": ({**lora, f"{q}.alpha": torch.tensor([6])}, {QUERY: (b @ a * 2, None)}),
        "DoRA": ({**lora, f"{q}.dora_scale": by_output[0]}, {QUERY: (by_output[1], None)}),
        "DoRA of peft": (
            {f"unet.{QUERY}.lora_A.weight": a, f"unet.{QUERY}.lora_B.weight": b,
             f"unet.{QUERY}.lora_magnitude_vector": by_output[0].flatten()}, {QUERY: (by_output[1], None)},
        ),
        "DoRA over inputs": ({**lora, f"{q}.dora_scale": by_input[0]}, {QUERY: (by_input[1], None)}),
        "DoRA of a convolution": (
            {f"{c}.lora_down.weight": conv_a.reshape(2, 32, 3, 3), f"{c}.lora_up.weight": conv_b[:, :, None, None],
             f"{c}.dora_scale": of_conv[0]}, {CONV: (of_conv[1], None)},
        ),
        "LoCon": (
            {f"{c}.lora_down.weight": conv_a.reshape(2, 32, 3, 3), f"{c}.lora_up.weight": conv_b[:, :, None, None],
             f"{c}.alpha": torch.tensor(1.0)}, {CONV: ((conv_b @ conv_a).reshape(32, 32, 3, 3) / 2, None)},
        ),
        "LoCon of one pixel": (
            {f"{p}.lora_down.weight": point[0][:, :, None, None], f"{p}.lora_up.weight": point[1][:, :, None, None]},
            {POINT: ((point[1] @ point[0])[:, :, None, None], None)},
        ),
        "Tucker": (
            {f"{c}.lora_down.weight": rand(2, 32, 1, 1), f"{c}.lora_mid.weight": core,
             f"{c}.lora_up.weight": rand(32, 3, 1, 1)},
            {CONV: (torch.einsum("or,rskl,si->oikl", rand(32, 3, 1, 1)[..., 0, 0], core, rand(2, 32, 1, 1)[..., 0, 0]),
                    None)},
        ),
        "LoHa": (
            {f"{q}.hada_w1_a": w["1a"].T, f"{q}.hada_w1_b": w["1b"], f"{q}.hada_w2_a": w["2a"].T,
             f"{q}.hada_w2_b": w["2b"], f"{q}.alpha": torch.tensor(3.0)},
            {QUERY: ((w["1a"].T @ w["1b"]) * (w["2a"].T @ w["2b"]) * 1.5, None)},
        ),
        "LoHa of a convolution": (
            {f"{c}.hada_w1_a": w["1a"].T, f"{c}.hada_w1_b": rand(2, 288), f"{c}.hada_w2_a": w["2a"].T,
             f"{c}.hada_w2_b": rand(2, 288, seed=5)},
            {CONV: (((w["1a"].T @ rand(2, 288)) * (w["2a"].T @ rand(2, 288, seed=5))).reshape(32, 32, 3, 3), None)},
        ),
        "LoHa with cores": (
            {f"{c}.hada_w1_a": w["1a"], f"{c}.hada_w1_b": w["1b"], f"{c}.hada_t1": t1, f"{c}.hada_w2_a": w["2a"],
             f"{c}.hada_w2_b": w["2b"], f"{c}.hada_t2": t2},
            {CONV: (torch.einsum("ijkl,jr,ip->prkl", t1, w["1b"], w["1a"])
                    * torch.einsum("ijkl,jr,ip->prkl", t2, w["2b"], w["2a"]), None)},
        ),
        "LoKr": (
            {f"{q}.lokr_w1": rand(4, 2), f"{q}.lokr_w2_a": rand(8, 2), f"{q}.lokr_w2_b": rand(2, 16),
             f"{q}.alpha": torch.tensor(1.0)},
            {QUERY: (torch.kron(rand(4, 2), rand(8, 2) @ rand(2, 16)) / 2, None)},
        ),
        "LoKr in halves": (
            {f"{k}.lokr_w1_a": rand(4, 1), f"{k}.lokr_w1_b": rand(1, 4), f"{k}.lokr_w2": rand(8, 16)},
            {KEY: (torch.kron(rand(4, 1) @ rand(1, 4), rand(8, 16)), None)},
        ),
        "LoKr whole": (
            {f"{q}.lokr_w1": rand(4, 4), f"{q}.lokr_w2": rand(8, 8, seed=3), f"{q}.alpha": torch.tensor(9.0)},
            {QUERY: (torch.kron(rand(4, 4), rand(8, 8, seed=3)), None)},
        ),
        "LoKr of a convolution": (
            {f"{c}.lokr_w1": rand(4, 4), f"{c}.lokr_w2_a": rand(2, 8), f"{c}.lokr_w2_b": rand(2, 8, seed=1),
             f"{c}.lokr_t2": t1},
            {CONV: (torch.kron(rand(4, 4)[:, :, None, None],
                               torch.einsum("ijkl,jr,ip->prkl", t1, rand(2, 8, seed=1), rand(2, 8)).contiguous()), None)},
        ),
        "a difference": ({f"{q}.diff": rand(32, 32)}, {QUERY: (rand(32, 32), None)}),
        "a difference of a convolution": (
            {f"{c}.diff": rand(32, 32, 3, 3), f"{c}.diff_b": rand(32)}, {CONV: (rand(32, 32, 3, 3), rand(32))},
        ),
        "a bias alone": ({f"{c}.diff_b": rand(32)}, {CONV: (None, rand(32))}),
        "a bias of peft": (
            {f"unet.{CONV}.lora_A.weight": conv_a.reshape(2, 32, 3, 3),
             f"unet.{CONV}.lora_B.weight": conv_b[:, :, None, None], f"unet.{CONV}.lora_B.bias": rand(32),
             f"unet.{CONV}.alpha": torch.tensor(4.0)},
            {CONV: ((conv_b @ conv_a).reshape(32, 32, 3, 3) * 2, rand(32) * 2)},
        ),
        "a bias of kohya": (
            {**lora, f"{q}.lora_up.bias": rand(32) * 0, f"{c}.diff_b": rand(32)},
            {QUERY: (b @ a, None), CONV: (None, rand(32))},
        ),
    }  # fmt: skip


KINDS = _kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_paints_as_its_formula_says(xl: Any, kind: str) -> None:
    tensors, added = KINDS[kind]
    body = save({key: value.contiguous() for key, value in tensors.items()})
    loaded = read_adapter("it", body, xl)
    assert (set(loaded.matched), loaded.unmatched) == (set(tensors), ())
    for layer, (weight, bias) in added.items():
        module = xl.unet.get_submodule(layer)
        found = changed_weight(module, loaded.adapter.updates["unet"][layer])
        torch.testing.assert_close(found[0], module.weight + (0.0 if weight is None else weight), atol=1e-4, rtol=1e-4)
        if bias is not None:
            torch.testing.assert_close(found[1], module.bias + bias)
    picture = painted(xl, body)
    assert_same(picture, painted_with(added))
    assert np.abs(picture - painted(xl)).max() > 1, "the update shows"


@pytest.mark.parametrize("kind", ["DoRA", "LoHa", "LoKr whole", "a difference of a convolution"])
def test_half_of_an_adapter_is_half_of_its_change(xl: Any, kind: str) -> None:
    tensors, added = KINDS[kind]
    halved = {layer: tuple(None if one is None else one / 2 for one in both) for layer, both in added.items()}
    body = save({key: value.contiguous() for key, value in tensors.items()})
    assert_same(painted(xl, body, 0.5), painted_with(halved))  # type: ignore[arg-type]


def test_kinds_are_mixed_in_stacks_and_batches(xl: Any) -> None:
    """Rows with whole weights, with gains, biases and pairs, several in one row, and none: each as alone."""
    bodies = {kind: save({k: v.contiguous() for k, v in KINDS[kind][0].items()}) for kind in KINDS}
    adapters = {kind: read_adapter(kind, body, xl).adapter for kind, body in bodies.items()}
    names = ["LoKr whole", "a difference", "DoRA", "an alpha", "a difference of a convolution", "LoCon"]
    stacks = [(), *(tuple((adapters[name], 0.6) for name in names[start:]) for start in range(len(names)))]
    requests = [replace(ASKED, seed=n, adapters=stack) for n, stack in enumerate((*stacks, stacks[1]))]
    together = finished(DiffusionEngine(xl), *requests)
    for request, events in zip(requests, together, strict=True):
        assert_same(image_of(events), image_of(finished(DiffusionEngine(xl), request)[0]))
    sums: dict[str, list[Any]] = {}
    for name in names:
        for layer, (weight, bias) in KINDS[name][1].items():
            for at, one in enumerate((weight, bias)):
                both = sums.setdefault(layer, [None, None])
                both[at] = one if both[at] is None else both[at] if one is None else both[at] + one
    whole = painted_with({layer: tuple(x if x is None else 0.6 * x for x in both) for layer, both in sums.items()})  # type: ignore[misc]
    assert_same(image_of(finished(DiffusionEngine(xl), replace(requests[1], seed=ASKED.seed))[0]), whole)


@pytest.mark.parametrize("kind", ["DoRA", "LoKr whole", "LoKr in halves", "a difference", "LoHa"])
def test_every_kind_works_where_projections_are_fused(kind: str) -> None:
    tensors, added = KINDS[kind]
    fused = make_pipeline("xl")
    fused.unet.fuse_qkv_projections()
    assert_same(painted(fused, save({k: v.contiguous() for k, v in tensors.items()})), painted_with(added))


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_every_kind_works_in_text_encoders(xl: Any, part: str) -> None:
    prefix = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}[part]
    layer = f"{prefix}_text_model_encoder_layers_0_self_attn"
    a, b, kron = rand(3, 32), rand(32, 3), (rand(4, 4), rand(8, 8, seed=3))
    other = make_pipeline("xl")
    encoder = getattr(other, part)
    attention = next(module for name, module in encoder.named_modules() if name.endswith("layers.0.self_attn"))
    magnitude, change = _dora(attention.q_proj.weight.detach(), a, b, (1,))
    tensors = {
        f"{layer}_q_proj.lora_down.weight": a, f"{layer}_q_proj.lora_up.weight": b,
        f"{layer}_q_proj.dora_scale": magnitude, f"{layer}_k_proj.lokr_w1": kron[0], f"{layer}_k_proj.lokr_w2": kron[1],
        f"{layer}_v_proj.diff_b": rand(32),
    }  # fmt: skip
    with torch.no_grad():
        attention.q_proj.weight += change
        attention.k_proj.weight += torch.kron(*kron)
        attention.v_proj.bias += rand(32)
    picture = painted(xl, save({key: value.contiguous() for key, value in tensors.items()}))
    assert_same(picture, painted(other))
    assert np.abs(picture - painted(xl)).max() > 1, "the update shows"


PEFT = {
    "DoRA": LoraConfig(r=3, lora_alpha=3, target_modules=["to_q", "conv1"], use_dora=True, init_lora_weights=False),
    "LoHa": LoHaConfig(r=2, alpha=2, target_modules=["to_k", "conv1"], init_weights=False),
    "LoHa with cores": LoHaConfig(
        r=2, alpha=2, target_modules=["to_k", "conv1"], init_weights=False, use_effective_conv2d=True
    ),
    "LoKr": LoKrConfig(r=4, alpha=4, target_modules=["to_q", "conv2"], init_weights=False),
    "LoKr with cores": LoKrConfig(
        r=2, alpha=2, target_modules=["to_q", "conv2"], init_weights=False, use_effective_conv2d=True,
        decompose_both=True,
    ),
    "rank-stabilised": LoraConfig(r=4, lora_alpha=3, target_modules=["to_v"], use_rslora=True, init_lora_weights=False),
    "a bias": LoraConfig(r=4, lora_alpha=4, target_modules=["to_v"], lora_bias=True, init_lora_weights=False),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:`lora_bias=True`", "ignore:Adapter 'default'")
@pytest.mark.parametrize("kind", PEFT)
def test_pefts_own_layers_paint_the_same(xl: Any, kind: str) -> None:
    torch.manual_seed(1)
    other = make_pipeline("xl")
    inject_adapter_in_model(PEFT[kind], other.unet)
    with torch.no_grad():
        for name, value in other.unet.named_parameters():
            if "magnitude" in name:
                value *= 1.3
            elif "hada_" in name or "lokr_" in name:
                value.normal_(std=0.4)
    state = {key: value.contiguous() for key, value in get_peft_model_state_dict(other.unet).items()}
    about = {"lora_alpha": 3, "use_rslora": True} if kind == "rank-stabilised" else {}
    body = save(state, {"lora_adapter_metadata": json.dumps(about)})
    loaded = read_adapter("it", body, xl)
    assert (len(loaded.matched), loaded.unmatched) == (len(state), ())
    picture = painted(xl, body)
    assert_same(picture, stock(other, ASKED))
    assert np.abs(picture - painted(xl)).max() > 5, "the adapter shows"


def test_pefts_pattern_of_alphas(xl: Any) -> None:
    pairs = factors()
    about = {"unet.lora_alpha": 2, "unet.alpha_pattern": {QUERY.split(".", 2)[2]: 8, "attn1.to_v": 1}}
    tensors = {f"unet.{x}.lora_{h}.weight": t for x, pair in pairs.items() for h, t in zip("AB", pair, strict=True)}
    updates = read_adapter("it", save(tensors, {"lora_adapter_metadata": json.dumps(about)}), xl).adapter.updates[
        "unet"
    ]
    for layer, (down, up) in pairs.items():
        alpha = 8 if layer == QUERY else 1 if layer.endswith("attn1.to_v") else 2
        module = xl.unet.get_submodule(layer)
        weight, _ = changed_weight(module, updates[layer])
        torch.testing.assert_close(weight, module.weight + up @ down * alpha / RANK)


# --- refused --------------------------------------------------------------------------------------------------------

Q = f"lora_unet_{QUERY.replace('.', '_')}"
PLAIN = f"unet.{QUERY}"


@pytest.mark.parametrize(
    ("extra", "key", "word"),
    [
        ({f"{Q}.oft_blocks": rand(2, 2)}, "oft_blocks", "OFT"),
        ({"lora_unet_down_blocks_0_resnets_0_norm1.w_norm": rand(16)}, "w_norm", "normalisation"),
        ({"lora_unet_down_blocks_0_resnets_0_norm1.diff": rand(16)}, "norm1.diff", "GroupNorm"),
        ({"bundle_emb.x.string_to_param.*": rand(2, 32)}, "bundle_emb", "learned word"),
        ({"lora_te1_text_model_embeddings_token_embedding.diff": rand(221, 32)}, "token_embedding", "Embedding"),
        ({f"{Q}.strange": rand(2)}, "strange", "not known"),
        ({f"{Q}.lora_down.bias": rand(4)}, "lora_down.bias", "not known"),
        ({f"{Q}.diff": rand(32, 32)}, "diff", "two kinds"),
        ({f"{Q}.dora_scale": rand(31, 1)}, "dora_scale", "does not fit"),
        ({f"{Q}.dora_scale": rand(32, 1), f"{Q}.lora_up.bias": rand(32)}, "lora_up.bias", "DoRA"),
        ({f"{Q}.lora_mid.weight": rand(4, 4, 3, 3)}, "lora_mid", "does not fit"),
        ({f"{PLAIN}.lora_A.weight": rand(4, 32)}, f"{PLAIN}.lora_A.weight", "same thing"),
        ({"lora_unet_input_blocks_8_1_proj_in.lora_down.weight": rand(4, 9),
          "lora_unet_input_blocks_8_1_proj_in.lora_up.weight": rand(9, 4)}, "input_blocks_8_1", "does not have"),
        ({"lora_te3_x.lora_down.weight": rand(4, 9), "lora_te3_x.lora_up.weight": rand(9, 4)}, "lora_te3_x", "not have"),
        ({"lora_te3_x.lora_down.weight": rand(4, 9), "lora_te3_x.lora_up.weight": rand(9, 4),
          "lora_te3_x.lora_up.bias": torch.zeros(9)}, "lora_te3_x", "not have"),
        ({"vae.encoder.conv_in.lora_A.weight": rand(4, 27), "vae.encoder.conv_in.lora_B.weight": rand(16, 4)},
         "vae.encoder.conv_in", "not have"),
    ],
)  # fmt: skip
def test_what_can_not_be_used_beside_a_good_update_is_named(xl: Any, extra: Tensors, key: str, word: str) -> None:
    tensors = {**LAYOUTS["kohya"](factors()), **extra}
    with pytest.raises(InvalidInput) as failure:
        read_adapter("it", save(tensors), xl)
    assert key in failure.value.detail
    assert word in failure.value.detail
    assert "'it'" in failure.value.detail


@pytest.mark.parametrize("zero", ["lora_up.weight", "lora_down.weight"])
def test_an_update_of_zeros_for_another_models_layer_changes_nothing(xl: Any, merged: np.ndarray, zero: str) -> None:
    foreign = {f"lora_unet_nowhere.{end}": rand(4, 4) for end in ("lora_down.weight", "lora_up.weight")}
    tensors = {**LAYOUTS["kohya"](factors()), **foreign, f"lora_unet_nowhere.{zero}": torch.zeros(4, 4)}
    loaded = read_adapter("it", save(tensors), xl)
    assert loaded.unmatched == tuple(sorted(foreign))
    assert_same(painted(xl, save(tensors)), merged)


@pytest.mark.parametrize("number", range(100))
def test_a_hundred_mutated_files_are_right_or_refused_by_key(xl: Any, number: int) -> None:
    name, mutate = MUTATIONS[number % len(MUTATIONS)]
    body, expected = mutate(np.random.default_rng(number))
    try:
        updates = read_adapter("it", body, xl).adapter.updates["unet"]
    except (InvalidInput, UnsupportedType) as exc:
        said = exc.detail
    else:
        said = None
    if isinstance(expected, str):
        assert said is not None, f"{name}: nobody said anything of {expected!r}"
        assert expected in said, name
        return
    assert said is None, f"{name} is a good file"
    assert updates.keys() == expected.keys()
    for layer, whole in expected.items():
        module = xl.unet.get_submodule(layer)
        torch.testing.assert_close(changed_weight(module, updates[layer])[0], module.weight + whole, msg=name)


# --- the rule -------------------------------------------------------------------------------------------------------

ALPHAS = st.floats(min_value=-64, max_value=64).filter(lambda alpha: abs(alpha) > 1e-3)


@given(
    layout=st.sampled_from(sorted(set(LAYOUTS) - {"peft named"})),
    rank=st.integers(1, 40),
    alpha=st.none() | ALPHAS,
    dtype=st.sampled_from([*DTYPES.values(), torch.float64]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_an_update_is_alpha_by_rank_times_up_times_down(
    layout: str, rank: int, alpha: float | None, dtype: torch.dtype, seed: int
) -> None:
    pairs = {layer: (rand(rank, down.shape[1], seed=seed), rand(32, rank, seed=seed + 1))
             for layer, (down, _) in factors().items()}  # fmt: skip
    tensors = LAYOUTS[layout](pairs)
    for key in [key for key in tensors if key.endswith(".alpha")]:
        del tensors[key]
        if alpha is not None:
            tensors[key] = torch.tensor(alpha, dtype=torch.float64)
    pipeline = _PIPELINE
    body = save({key: value.to(dtype) if not key.endswith("alpha") else value for key, value in tensors.items()})
    updates = read_adapter("it", body, pipeline).adapter.updates["unet"]
    scale = 1.0 if alpha is None else alpha / rank
    for layer, (down, up) in pairs.items():
        module = pipeline.unet.get_submodule(layer)
        expected = module.weight.double() + scale * up.to(dtype).double() @ down.to(dtype).double()
        weight = changed_weight(module, updates[layer])[0]
        torch.testing.assert_close(
            weight, expected.float(), atol=1e-4 * max(1.0, abs(scale) * math.sqrt(rank)), rtol=1e-4
        )


_PIPELINE: Any = make_pipeline("xl")
