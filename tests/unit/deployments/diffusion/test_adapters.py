"""LoRA adapters: files of three layouts, stacks with scales mixed in one batch, and files that are no good."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save

from sagaforge.deployments.diffusion.adapters.files import read_adapter
from sagaforge.deployments.diffusion.adapters.mixer import Adapter
from sagaforge.deployments.diffusion.engine.engine import DiffusionEngine
from sagaforge.errors import InvalidInput, UnsupportedType
from tests.support.tiny_diffusion import make_pipeline
from tests.unit.deployments.diffusion.test_diffusion_engine import ASKED, assert_same, finished, image_of, stock

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
WIDER = [*ATTENTION, "proj_in", "ff.net.0.proj", "conv1", "time_emb_proj"]
TEXT = ["q_proj", "v_proj", "fc1"]
ALPHA, RANK = 6, 4


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def xl() -> Any:
    return make_pipeline("xl")


def random_lora(part: Any, targets: list[str], seed: int) -> dict[str, torch.Tensor]:
    """peft's own state of an adapter with random values."""
    torch.manual_seed(seed)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, init_lora_weights=False)
    part.add_adapter(config, adapter_name="new")
    state = {key: value.clone() * 2 for key, value in get_peft_model_state_dict(part, adapter_name="new").items()}
    part.delete_adapters("new") if hasattr(part, "delete_adapters") else part.delete_adapter("new")
    return state


def lora_files(seed: int = 0, targets: list[str] = WIDER, text: bool = True) -> dict[str, bytes]:
    """One adapter of the tiny SDXL in each layout."""
    pipeline = make_pipeline("xl")
    state = {f"unet.{key}": value for key, value in random_lora(pipeline.unet, targets, seed).items()}
    if text:
        for part in ("text_encoder", "text_encoder_2"):
            own = random_lora(getattr(pipeline, part), TEXT, seed + 1)
            state |= {f"{part}.{key}": value for key, value in own.items()}
    parts = {key.split(".")[0] for key in state}
    described = {f"{part}.{key}": value for part in parts for key, value in (("lora_alpha", ALPHA), ("r", RANK))}
    layouts = {
        "diffusers": save(state, {"lora_adapter_metadata": json.dumps(described)}),
        "old diffusers": save({_old(key): value * _strength(key) for key, value in state.items()}),
        "kohya": save(_kohya(state)),
    }
    unet_only = {key: value for key, value in state.items() if key.startswith("unet.")}
    if not text:
        layouts["peft"] = save(
            {f"base_model.model.{key.removeprefix('unet.')}": value for key, value in unet_only.items()},
            {"lora_adapter_metadata": json.dumps({"lora_alpha": ALPHA, "r": RANK})},
        )
    return layouts


def _strength(key: str) -> float:
    """The old layout has no alpha: it is in the numbers."""
    return ALPHA / RANK if ".lora_B." in key else 1.0


def _old(key: str) -> str:
    if key.startswith("unet."):
        return key.replace(".lora_A.", ".lora.down.").replace(".lora_B.", ".lora.up.")
    return key.replace(".lora_A.", ".lora_linear_layer.down.").replace(".lora_B.", ".lora_linear_layer.up.")


def _kohya(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
    out: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        part, path = key.split(".", 1)
        module, kind = path.split(".lora_")
        if part != "unet":
            module = f"text_model.{module}"
        name = f"{names[part]}_{module.replace('.', '_')}"
        out[f"{name}.lora_{'down' if kind.startswith('A') else 'up'}.weight"] = value
        out[f"{name}.alpha"] = torch.tensor(float(ALPHA))
    return out


def read(body: bytes, pipeline: Any) -> Adapter:
    loaded = read_adapter("test", body, pipeline)
    assert loaded.unmatched == ()
    return loaded.adapter


@pytest.mark.parametrize("layout", ["diffusers", "old diffusers", "kohya"])
def test_an_adapter_in_each_layout_changes_the_picture_as_in_diffusers(xl: Any, layout: str) -> None:
    files = lora_files()
    request = replace(ASKED, adapters=((read(files[layout], xl), 0.8),))
    (events,) = finished(DiffusionEngine(xl), request)
    other = make_pipeline("xl")
    other.load_lora_weights(_tensors(files["old diffusers"]), adapter_name="it")
    other.set_adapters("it", 0.8)
    assert_same(image_of(events), stock(other, ASKED))
    assert np.abs(image_of(events) - stock(xl, ASKED)).max() > 10


def _tensors(body: bytes) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    return load(body)


def test_pefts_own_layout(xl: Any) -> None:
    files = lora_files(text=False)
    one, other = (read(files[layout], xl) for layout in ("peft", "diffusers"))
    pictures = [image_of(finished(DiffusionEngine(xl), replace(ASKED, adapters=((a, 1.0),)))[0]) for a in (one, other)]
    assert_same(*pictures)


def test_stacks_are_mixed_in_a_batch_and_leave_no_trace(xl: Any) -> None:
    first, second, third = (
        read(lora_files(seed, targets)["diffusers"], xl)
        for seed, targets in ((1, ATTENTION), (2, WIDER), (3, ["conv1"]))
    )
    requests = [
        replace(ASKED, seed=number, adapters=stack)
        for number, stack in enumerate([
            (),
            ((first, 1.0),),
            ((second, 0.5),),
            ((first, 0.7), (second, -0.4), (third, 1.0)),
            ((third, 0.0),),
        ])
    ]  # fmt: skip
    plain = image_of(finished(DiffusionEngine(xl), requests[0])[0])
    alone = [image_of(finished(DiffusionEngine(xl), request)[0]) for request in requests]
    together = finished(DiffusionEngine(xl), *requests)
    for events, expected in zip(together, alone, strict=True):
        assert_same(image_of(events), expected)
    assert_same(image_of(finished(DiffusionEngine(xl), requests[0])[0]), plain)
    assert_same(alone[4], image_of(finished(DiffusionEngine(xl), replace(requests[4], adapters=()))[0]))


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_a_stack_is_the_stock_pipelines(xl: Any) -> None:
    files = [lora_files(seed, text=False)["old diffusers"] for seed in (5, 6)]
    other = make_pipeline("xl")
    for number, body in enumerate(files):
        other.load_lora_weights(_tensors(body), adapter_name=f"a{number}")
    other.set_adapters(["a0", "a1"], [0.6, 0.9])
    stack = tuple((read(body, xl), scale) for body, scale in zip(files, (0.6, 0.9), strict=True))
    (events,) = finished(DiffusionEngine(xl), replace(ASKED, adapters=stack))
    assert_same(image_of(events), stock(other, ASKED))


def test_what_the_model_has_no_place_for_and_changes_nothing_is_reported(xl: Any) -> None:
    state = _tensors(lora_files(text=False)["diffusers"])
    state["unet.nowhere.to_q.lora_A.weight"] = torch.zeros(4, 32)
    state["unet.nowhere.to_q.lora_B.weight"] = torch.zeros(32, 4)
    loaded = read_adapter("test", save(state), xl)
    assert set(loaded.unmatched) == {
        "unet.nowhere.to_q.lora_A.weight", "unet.nowhere.to_q.lora_B.weight",
    }  # fmt: skip
    assert set(loaded.matched) == set(state) - set(loaded.unmatched)


def _other(change: dict[str, torch.Tensor]) -> bytes:
    return save({**_tensors(lora_files(text=False)["diffusers"]), **change})


QUERY = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("body", "error", "word"),
    [
        (b"", UnsupportedType, "safetensors"),
        (b"hello, I am a file", UnsupportedType, "safetensors"),
        (pickle.dumps({"a": 1}), UnsupportedType, "pickle"),
        (b"\xff" * 100, UnsupportedType, "safetensors"),
        (save({"a": torch.zeros(3)}), InvalidInput, "matches nothing"),
        (save({"lora_unet_x.hada_w1_a": torch.zeros(3, 3)}), InvalidInput, "hada_w1_b is missing"),
        (save({"a": torch.zeros(3)})[:-4], InvalidInput, "damaged"),
        (lambda: _other({f"{QUERY}.lora_A.weight": torch.full((4, 32), float("nan"))}), InvalidInput, "not numbers"),
        (lambda: _other({f"{QUERY}.lora_A.weight": torch.zeros(4, 33)}), InvalidInput, "another model"),
        (lambda: _other({f"{QUERY}.lora_A.weight": torch.zeros(0, 32)}), InvalidInput, "is empty"),
        (lambda: _other({f"{QUERY}.lora_A.weight": torch.tensor(1.0)}), InvalidInput, "no matrix"),
    ],
)
def test_a_file_that_is_no_good_is_refused(xl: Any, body: Any, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        read_adapter("test", body() if callable(body) else body, xl)


def test_a_checkpoint_zip_is_refused_unread(xl: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(UnsupportedType, match="pickle"):
        read_adapter("test", buffer.getvalue(), xl)


def test_kohyas_own_converter_is_understood(xl: Any) -> None:
    """diffusers writes kohya's layout too."""
    state = _tensors(lora_files(text=False)["diffusers"])
    converted = convert_state_dict_to_kohya({k.removeprefix("unet."): v for k, v in state.items()})
    body = save({f"lora_unet_{key.removeprefix('lora_unet_')}": value.contiguous() for key, value in converted.items()})
    assert read_adapter("test", body, xl).adapter.updates["unet"].keys() == read(save(state), xl).updates["unet"].keys()
