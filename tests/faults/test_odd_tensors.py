"""Odd tensors and odd file names of adapters: refused with the key, or usable under the name that is listed."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from sagaforge.datasets.adapters import AdapterStore
from sagaforge.datasets.styles import parse_style
from sagaforge.deployments.diffusion.adapters.files import read_adapter
from sagaforge.errors import Conflict, InvalidInput, NotFound, UnsupportedType
from sagaforge.image_schemas import UsedLora
from sagaforge.storage import Storage
from tests.faults.adapter_layouts import LAYOUTS, SGM, factors
from tests.support.fakes import House
from tests.support.tiny_diffusion import make_pipeline

pytestmark = pytest.mark.usefixtures("one_thread")
PIPELINE: Any = make_pipeline("xl")
LAYER = next(iter(SGM))
Q = f"lora_unet_{LAYER.replace('.', '_')}"
DOWN, UP, ALPHA = f"{Q}.lora_down.weight", f"{Q}.lora_up.weight", f"{Q}.alpha"


def refusal(body: bytes) -> str:
    with pytest.raises((InvalidInput, UnsupportedType)) as failure:
        read_adapter("ink", body, PIPELINE)
    assert failure.value.status in (415, 422)
    return failure.value.detail


def changed(change: dict[str, torch.Tensor | None]) -> bytes:
    tensors = {**LAYOUTS["kohya"](factors()), **change}
    return save({key: value.contiguous() for key, value in tensors.items() if value is not None})


@pytest.mark.parametrize(
    ("change", "key", "word"),
    [
        ({ALPHA: torch.ones(2)}, ALPHA, "one number"),
        ({ALPHA: torch.ones(2, 2)}, ALPHA, "one number"),
        ({ALPHA: torch.zeros(0)}, ALPHA, "empty"),
        ({ALPHA: torch.zeros(())}, ALPHA, "is 0"),
        ({ALPHA: torch.tensor(float("nan"))}, ALPHA, "not numbers"),
        ({ALPHA: torch.tensor(float("inf"))}, ALPHA, "not numbers"),
        ({ALPHA: torch.tensor(True)}, ALPHA, "BOOL"),
        ({DOWN: torch.ones(4, 32).to(torch.float8_e4m3fn)}, DOWN, "F8_E4M3"),
        ({UP: torch.ones(32, 4).to(torch.float8_e5m2)}, UP, "F8_E5M2"),
        ({DOWN: torch.ones(4, 32, dtype=torch.int8)}, DOWN, "I8"),
        ({DOWN: torch.ones(4, 32, dtype=torch.int64)}, DOWN, "I64"),
        ({UP: torch.ones(32, 4, dtype=torch.bool)}, UP, "BOOL"),
        ({UP: torch.ones(32, 4, dtype=torch.complex64)}, UP, "C64"),
        ({DOWN: torch.full((4, 32), float("nan"))}, DOWN, "not numbers"),
        ({UP: torch.full((32, 4), -float("inf"))}, UP, "not numbers"),
        ({DOWN: torch.full((4, 32), 1e300, dtype=torch.float64)}, DOWN, "not numbers"),
        ({UP: torch.full((32, 4), 3e38), DOWN: torch.full((4, 32), 3e38), ALPHA: torch.tensor(4e9)}, Q, "infinite"),
        ({UP: None}, DOWN, "lora_up"),
        ({DOWN: None}, UP, "lora_down"),
        ({UP: None, DOWN: None}, ALPHA, "does not hold"),
        ({DOWN: torch.ones(3, 32)}, DOWN, "no pair"),
        ({DOWN: torch.ones(4, 31)}, DOWN, "another model"),
        ({UP: torch.ones(31, 4)}, UP, "another model"),
        ({DOWN: torch.ones(0, 32), UP: torch.ones(32, 0)}, Q, "empty"),
        ({DOWN: torch.tensor(1.0)}, DOWN, "no matrix"),
        ({UP: torch.ones(32)}, UP, "no matrix"),
        ({DOWN: torch.ones(4, 32, 1)}, DOWN, "no matrix"),
        ({DOWN: torch.ones(513, 32), UP: torch.ones(32, 513)}, DOWN, "rank 513"),
        ({f"{Q}.hada_w1_a": torch.ones(32, 2)}, f"{Q}.hada_w1_a", "two kinds"),
        ({DOWN: None, UP: None, f"{Q}.lokr_w1": torch.ones(5, 5), f"{Q}.lokr_w2": torch.ones(6, 6)}, "lokr_w1", "fit"),
        ({DOWN: None, UP: None, f"{Q}.lokr_w1": torch.ones(4, 4)}, f"{Q}.lokr_w1", "lokr_w2 is missing"),
        ({DOWN: None, UP: None, f"{Q}.hada_w1_a": torch.ones(32, 2), f"{Q}.hada_w1_b": torch.ones(2, 32)}, Q, "hada_w2_a"),
        ({"x\x1b[2J\n" + "y" * 500: torch.ones(2)}, "x?[2J?yyy", "not known"),
    ],
)  # fmt: skip
def test_an_odd_tensor_is_refused_with_its_key(change: dict[str, torch.Tensor | None], key: str, word: str) -> None:
    said = refusal(changed(change))
    assert key in said
    assert word in said
    assert said.isprintable()
    assert len(said) < 600


def _raw(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "empty"),
        (b"\0" * 7, "safetensors"),
        (b"\0" * 64, "safetensors"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "safetensors"),
        (struct.pack("<Q", 2**40) + b"{" * 100, "safetensors"),
        (_raw(b"{}"), "matches nothing"),
        (_raw(b'{"a":' * 5000 + b"1" + b"}" * 5000), "damaged"),
        (_raw(b'{"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}', b"\0"), "stored as F4"),
        (_raw(b'{"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 1]}}', b"\0"), "stored as X9"),
        (_raw(b'{"a": {"dtype": "F32", "shape": [99999999999], "data_offsets": [0, 4]}}', b"\0" * 4), "damaged"),
        (_raw(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', b"\0" * 4), "damaged"),
        (_raw(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}', b"\0" * 4), "damaged"),
        (_raw(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}', b"\0" * 4), "damaged"),
        (_raw(b'{"__metadata__": {"x": 5}}'), "damaged"),
        (_raw(b'{"__metadata__": 5}'), "damaged"),
        (_raw(b'{"a\xff": 1}'), "damaged"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"PK\x03\x04" + b"\0" * 60, "pickle"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(body: bytes, word: str) -> None:
    assert word in refusal(body)


@pytest.mark.parametrize("length", [640, 0x4B50, 0x0380])
def test_a_header_whose_length_looks_like_a_pickle_is_none(length: int) -> None:
    """640 bytes begin with 80 02, which is also how a pickle begins."""
    tensors = {key: value for key, value in LAYOUTS["kohya"](factors()).items() if key.startswith(Q)}
    body = save(tensors, {"note": ""})
    room = length - struct.unpack("<Q", body[:8])[0]
    body = save(tensors, {"note": "x" * room})
    assert struct.unpack("<Q", body[:8])[0] == length
    assert read_adapter("ink", body, PIPELINE).unmatched == ()


@pytest.mark.parametrize(
    ("about", "word"),
    [
        ("no json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "not an object"),
        ('{"unet.lora_alpha": "6"}', "not a number"),
        ('{"unet.lora_alpha": true}', "not a number"),
        ('{"unet.lora_alpha": NaN}', "not a number"),
        ('{"unet.alpha_pattern": [1]}', "not an object"),
        ('{"unet.alpha_pattern": {"(a+)+$": 1}}', "only names"),
    ],
)
def test_odd_words_about_alphas_are_refused(about: str, word: str) -> None:
    tensors = {key: value for key, value in LAYOUTS["diffusers"](factors()).items() if not key.endswith("alpha")}
    assert word in refusal(save(tensors, {"lora_adapter_metadata": about}))


ROLES = [
    "lora_down.weight", "lora_up.weight", "lora_mid.weight", "lora_up.bias", "alpha", "dora_scale", "diff", "diff_b",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "lokr_w1", "lokr_w1_a", "lokr_w1_b",
    "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
]  # fmt: skip
PATHS = [Q, "lora_unet_mid_block_resnets_0_conv1", "lora_unet_down_blocks_0_resnets_0_norm1", "lora_unet_none"]
SIDE = st.sampled_from([0, 1, 2, 3, 4, 8, 32])


@given(
    tensors=st.dictionaries(
        st.tuples(st.sampled_from(PATHS), st.sampled_from(ROLES)).map(".".join),
        st.tuples(st.lists(SIDE, max_size=5), st.sampled_from([torch.float32, torch.float16, torch.int8])),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=400, deadline=None)
def test_any_tensors_at_all_are_used_whole_or_refused(tensors: dict[str, tuple[list[int], torch.dtype]]) -> None:
    made = {key: torch.ones(shape[:4] or [1], dtype=dtype) for key, (shape, dtype) in tensors.items()}
    try:
        loaded = read_adapter("ink", save(made), PIPELINE)
    except (InvalidInput, UnsupportedType) as exc:
        said = exc.detail
    else:
        assert set(loaded.matched) == set(made)
        return
    assert any(key in said or key.rpartition(".")[0] in said for key in made), said


@given(at=st.integers(0, 4000), byte=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_is_never_our_error(at: int, byte: int) -> None:
    body = bytearray(save(LAYOUTS["kohya"](factors())))
    body[at % len(body)] = byte
    said = ""
    try:
        read_adapter("ink", bytes(body), PIPELINE)
    except (InvalidInput, UnsupportedType) as exc:
        said = exc.detail
    assert said == "" or said.isprintable()


# --- names ----------------------------------------------------------------------------------------------------------

GOOD = [
    "ink.safetensors", "INK2.SAFETENSORS", "Ink3.SafeTensors", "水墨 style.safetensors", "a b.safetensors",
    "été.safetensors", "v1.0 (final)+[x].safetensors", "👩‍🎨.safetensors", "a..b.safetensors", "x" * 180 + ".safetensors",
]  # fmt: skip
BAD = ["a:b.safetensors", "a<b>.safetensors", " a.safetensors", "a .safetensors", "a\x07.safetensors", "a‮b.safetensors"]


async def stored(folder: Path, *files: str) -> AdapterStore:
    storage = Storage(str(folder))
    await storage.put_artefact("adapters/first.safetensors", b"first")
    for file in files:
        (folder / "artefacts" / "adapters" / file).write_bytes(file.encode())
    return AdapterStore(storage)


@pytest.mark.parametrize("file", GOOD)
async def test_what_is_listed_can_be_asked_for_and_read(tmp_path: Path, file: str) -> None:
    store = await stored(tmp_path, file)
    names, problems = await store.all()
    (name,) = set(names) - {"first"}
    assert problems == []
    assert UsedLora(name=name).name == name
    assert store.read(name) == file.encode()
    assert parse_style(f"style_id: s\nbase_model: m\nlora_path: '{name}'\n", "s.yaml").lora_path == name


@pytest.mark.parametrize("file", BAD)
async def test_what_can_not_be_asked_for_is_listed_as_a_problem(tmp_path: Path, file: str) -> None:
    names, problems = await (await stored(tmp_path, file)).all()
    assert names == ["first"]
    assert len(problems) == 1
    assert ascii(file)[1:-1] in ascii(problems[0]).replace("\\\\", "\\")
    assert "rename" in problems[0]


async def test_names_that_differ_by_case_are_two_and_suffixes_that_do_are_a_problem(tmp_path: Path) -> None:
    store = await stored(
        tmp_path, "Ink.safetensors", "ink.safetensors", "two.safetensors", "two.SAFETENSORS", "old.ckpt"
    )
    names, problems = await store.all()
    assert names == ["Ink", "first", "ink"]
    assert (store.read("Ink"), store.read("ink")) == (b"Ink.safetensors", b"ink.safetensors")
    assert len(problems) == 2
    assert "'old.ckpt' is a pickle" in problems[0]
    assert "two" in problems[1]
    with pytest.raises(Conflict, match="rename"):
        store.read("two")
    with pytest.raises(Conflict, match="rename"):
        await store.hashed(["two"])
    with pytest.raises(NotFound):
        store.read("INK")


async def test_one_name_in_two_normal_forms_is_one_name(tmp_path: Path) -> None:
    store = await stored(tmp_path, "e\u0301te\u0301.safetensors")
    assert (await store.all())[0] == ["first", "\u00e9t\u00e9"]
    assert store.read(UsedLora(name="e\u0301te\u0301").name) == "e\u0301te\u0301.safetensors".encode()


@pytest.mark.parametrize(
    "name",
    ["", "../x", "a/b", "a\\b", ".hidden", " a", "a ", "a\n", "a\x85b", "\u202eb", "a:1", "<a>", "x" * 201],
)
async def test_a_name_that_no_file_has_is_refused(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/t2i/generate", json={"prompt": "x", "lora": [name]})
    assert answer.status_code == 422
    assert "lora" in answer.text


@pytest.mark.parametrize("name", ["水墨 style", "a b"])
async def test_a_picture_with_an_adapter_of_any_name_and_its_receipt(
    client: httpx.AsyncClient, house: House, name: str
) -> None:
    await house.storage.put_artefact(f"adapters/{name}.SAFETENSORS", b"bytes")
    await house.storage.put_artefact("adapters/a:b.safetensors", b"bytes")
    models = (await client.get("/t2i/models")).json()
    assert models["loras"] == [name]
    assert "rename" in models["problems"][0]
    answer = await client.post("/t2i/generate", json={"prompt": "x", "lora": [name]})
    assert answer.status_code == 200, answer.text
    assert [one["name"] for one in answer.json()["metadata"]["loras"]] == [name]
    shown = (await client.get(f"/images/{answer.json()['image_id']}")).json()
    replayed = await client.post("/t2i/replay", json=shown["receipt"])
    assert replayed.status_code == 200, replayed.text
    assert [one["name"] for one in replayed.json()["receipt"]["adapters"]] == [name]
