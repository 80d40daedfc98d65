"""No word of a request is dropped in silence: long prompts, weights, adapters in prompts, fields of OpenAI's clients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaforge.datasets.packs.pack import Character
from sagaforge.deployments.diffusion.engine.conditioning import Conditioner
from sagaforge.deployments.diffusion.engine.engine import DiffusionEngine
from sagaforge.deployments.diffusion.engine.loading import load_pipeline
from sagaforge.deployments.diffusion.engine.requests import Failed
from sagaforge.errors import InvalidInput
from sagaforge.functions.images import illustration
from sagaforge.imaging import prompts
from sagaforge.imaging.prompts import Fragment, parse
from sagaforge.imaging.receipts import read_receipt
from sagaforge.pocket.captions import left_out, pocket_prompt
from sagaforge.profiles import EngineLimits, ImageModel, get_profile
from tests.support.fakes import WORLD_ID, House
from tests.support.http_client import check_problem
from tests.support.tiny_diffusion import make_pipeline
from tests.support.turns import take
from tests.unit.deployments.diffusion.test_diffusion_engine import ASKED, assert_same, finished, image_of

pytestmark = pytest.mark.usefixtures("one_thread")
DOWN, UP = 1 / 1.1, 1.1
# A word is a token for each letter to the tiny pipelines: these are some 90.
LONG = " ".join(["a red cat on a mat"] * 7)


# --- the syntax -----------------------------------------------------------------------------------------------------

MEANINGS: list[tuple[str, list[tuple[str, float]]]] = [
    ("a cat", [("a cat", 1)]),
    ("", []),
    ("a (red:1.3) cat", [("a ", 1), ("red", 1.3), (" cat", 1)]),
    ("(red)", [("red", UP)]),
    ("[red]", [("red", DOWN)]),
    ("((red))", [("red", UP * UP)]),
    ("[[red]]", [("red", DOWN * DOWN)]),
    ("([red])", [("red", UP * DOWN)]),
    ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 1.0), (" c", 0.5)]),
    ("(a:b:1.2)", [("a:b", 1.2)]),
    ("(a: 1.2 )", [("a", 1.2)]),
    ("(a:-.5)", [("a", -0.5)]),
    ("(a:b)", [("a:b", UP)]),
    (r"\(a:1.2\) \[b\]", [("(a:1.2) [b]", 1)]),
    (r"(a \(b\):1.2)", [("a (b)", 1.2)]),
    ("a (b", [("a (b", 1)]),
    ("a) b]", [("a) b]", 1)]),
    ("(a [b) c]", [("a [b", UP), (" c]", 1)]),
    (":) 8-( main()", [(":) 8-( main()", 1)]),
    (r"c:\new \ (x)", [("c:\\new \\ ", 1), ("x", UP)]),
    ("（銀髮：1.3）少女", [("（銀髮：1.3）少女", 1)]),  # full-width: text
    ("(銀髮:1.3)少女", [("銀髮", 1.3), ("少女", 1)]),
    ("BREAK AND <b> {x|y}", [("BREAK AND <b> {x|y}", 1)]),
]


@pytest.mark.parametrize(("prompt", "meaning"), MEANINGS, ids=[prompt or "empty" for prompt, _ in MEANINGS])
def test_brackets_mean_weights(prompt: str, meaning: list[tuple[str, float]]) -> None:
    read = parse(prompt)
    assert [fragment.text for fragment in read] == [text for text, _ in meaning]
    assert [fragment.weight for fragment in read] == pytest.approx([weight for _, weight in meaning])


@pytest.mark.parametrize(
    "prompt", ["[cat:dog:0.5]", "[cat:0.5]", "[cat|dog]", "a [b (c|d)] e", "(a:11)", "(a:-20)", "((a:5):5)", "(" * 30 + "a" + ")" * 30]
)  # fmt: skip
def test_what_means_nothing_here_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidInput, match="prompt"):
        parse(prompt)


@given(st.text())
@settings(deadline=None)
def test_escaped_text_is_that_text(text: str) -> None:
    assert "".join(fragment.text for fragment in parse(prompts.escaped(text))) == text
    assert all(fragment.weight == 1.0 for fragment in parse(prompts.escaped(text)))
    assert prompts.without_adapters(prompts.escaped(text)) == (prompts.escaped(text), [])


@given(st.text("ab ()[]:\\<>.1", max_size=40))
@settings(deadline=None)
def test_whatever_the_signs_no_letter_is_lost(text: str) -> None:
    try:
        read = prompts.plain(text)
    except InvalidInput:
        return
    assert [c for c in read if c in "ab"] == [c for c in text if c in "ab"]


@given(st.text("abc xyz", min_size=1).filter(str.strip), st.floats(-9.9, 9.9).map(lambda w: round(w, 2)))
@settings(deadline=None)
def test_a_weight_is_what_is_written(text: str, weight: float) -> None:
    assert parse(f"({text}:{weight})") == (Fragment(text, weight),)


ADAPTERS: list[tuple[str, str, list[tuple[str, float]]]] = [
    ("a cat <lora:ink:0.8>", "a cat", [("ink", 0.8)]),
    ("<lora:ink>", "", [("ink", 1.0)]),
    ("a, <lora:ink:1>, b", "a, b", [("ink", 1.0)]),
    ("<LORA: 水墨 : -0.5 > a <lyco:x.y:2>", "a", [("水墨", -0.5), ("x.y", 2.0)]),
    ("a < b > c", "a < b > c", []),
    ("<lora:ink", "<lora:ink", []),
    ("＜lora：ink：1＞", "＜lora：ink：1＞", []),
    (r"\<lora:ink:1>", r"\<lora:ink:1>", []),
]


@pytest.mark.parametrize(("prompt", "rest", "found"), ADAPTERS, ids=[one[0] for one in ADAPTERS])
def test_adapters_are_named_in_prompts(prompt: str, rest: str, found: list[tuple[str, float]]) -> None:
    assert prompts.without_adapters(prompt) == (rest, found)


# --- what the model gets --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["xl", "sd15"])
def pipeline(request: pytest.FixtureRequest) -> Any:
    return make_pipeline(request.param)


def rows_of(pipeline: Any, prompt: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    with torch.inference_mode():
        encoded = Conditioner(pipeline, 2**24, 32)._encode(prompt, ())
    return encoded.embeddings, encoded.pooled


@pytest.mark.parametrize("prompt", ["", "a red cat", "A  red, cat!", "x" * 75])
def test_a_plain_short_prompt_is_encoded_as_ever(pipeline: Any, prompt: str) -> None:
    with torch.inference_mode():
        expected = pipeline.encode_prompt(
            prompt=prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    rows, pooled = rows_of(pipeline, prompt)
    assert torch.equal(rows, expected[0])
    assert pooled is None or torch.equal(pooled, expected[2])


def test_a_long_prompt_is_its_windows_side_by_side(pipeline: Any) -> None:
    first, second, third = "a" * 75, "b" * 75, "c" * 10
    rows, pooled = rows_of(pipeline, " ".join([*first, *second, *third]))
    parts = [rows_of(pipeline, " ".join(part)) for part in (first, second, third)]
    assert rows.shape[1] == 3 * 77
    torch.testing.assert_close(rows, torch.cat([part for part, _ in parts], dim=1), atol=1e-5, rtol=1e-4)
    if pooled is not None:
        torch.testing.assert_close(pooled, parts[0][1], atol=1e-5, rtol=1e-4)


def test_a_weight_moves_a_word_away_from_the_empty_prompt(pipeline: Any) -> None:
    (plain, _), (weighted, _), (empty, _) = (rows_of(pipeline, text) for text in ("a b c", "a (b:1.5) c", ""))
    expected = plain.clone()
    expected[:, 2] = empty[:, 2] + 1.5 * (plain[:, 2] - empty[:, 2])
    torch.testing.assert_close(weighted, expected, atol=1e-5, rtol=1e-4)
    (nothing, _) = rows_of(pipeline, "a (b:0) c")
    torch.testing.assert_close(nothing[:, 2], empty[:, 2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": LONG + " blue"},
        {"prompt": LONG, "negative_prompt": "dull"},
        {"prompt": "a cat", "negative_prompt": LONG},
        {"prompt": "a (red cat:9)"},
        {"prompt": "a [red] cat", "negative_prompt": "(dull)"},
        {"prompt": LONG * 3, "guidance_scale": 1.0},
    ],
    ids=["last word", "short negative", "long negative", "weight", "both", "three windows"],
)
def test_each_word_and_weight_changes_the_picture(pipeline: Any, change: dict[str, Any]) -> None:
    """And the picture is the same in a batch with others of other lengths."""
    others = [ASKED, replace(ASKED, prompt=LONG), replace(ASKED, seed=3, negative_prompt=LONG * 2)]
    request = replace(ASKED, **change)
    (alone,) = finished(DiffusionEngine(pipeline), request)
    batched = finished(DiffusionEngine(pipeline), *others, request)
    assert_same(image_of(batched[-1]), image_of(alone))
    for other in batched[:-1]:
        assert np.abs(image_of(other) - image_of(alone)).max() > 1


def test_the_pocket_model_reads_the_seventieth_word() -> None:
    profile = get_profile("pocket").image
    engine = DiffusionEngine(load_pipeline(profile.model))
    words = ", ".join(["a woman with silver hair and blue eyes, red robe, a harbour"] * 6)
    asked = replace(ASKED, prompt=words, width=128, height=128, steps=4)
    one, two = finished(engine, asked, replace(asked, prompt=words + ", night, snow"))
    assert len(words.split()) > 60
    assert np.abs(image_of(one) - image_of(two)).mean() > 2


def test_a_prompt_that_is_too_long_is_told_how_long_it_may_be(pipeline: Any) -> None:
    engine = DiffusionEngine(pipeline, EngineLimits(max_windows=2))
    good, bad = finished(engine, replace(ASKED, prompt="a " * 150), replace(ASKED, prompt="a " * 151))
    image_of(good)
    assert isinstance(bad[-1], Failed)
    assert isinstance(bad[-1].error, InvalidInput)
    assert "151 tokens; 150 are the most" in str(bad[-1].error)


def test_long_prompts_are_read_once() -> None:
    engine = DiffusionEngine(make_pipeline("xl"))
    finished(engine, *(replace(ASKED, prompt=LONG, seed=seed, negative_prompt="dull") for seed in range(3)))
    assert engine._conditioner.misses == 3, "the prompt, the negative one, and the empty one that pads it"


# --- over HTTP ------------------------------------------------------------------------------------------------------


async def test_weights_and_adapters_of_a_prompt_are_painted_and_in_its_receipt(
    client: httpx.AsyncClient, house: House
) -> None:
    for name in ("ink", "gold"):
        await house.storage.put_artefact(f"adapters/{name}.safetensors", b"bytes")
    body = {"prompt": "a (red:1.3) cat, <lora:ink:0.8>, night", "lora": ["gold"], "steps": 1}
    answer = (await client.post("/t2i/generate", json=body)).json()
    (spec,) = house.images.specs
    assert spec.prompt == "a (red:1.3) cat, night"
    assert spec.adapters == (("gold", 1.0), ("ink", 0.8))
    receipt = read_receipt((await client.get(answer["image_url"])).content)
    assert (receipt.prompt, receipt.request["prompt"]) == (spec.prompt, body["prompt"])
    assert [(one.name, one.scale) for one in receipt.adapters] == [("gold", 1.0), ("ink", 0.8)]


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"prompt": "a <lora:nobody:1>"}, 404, "nobody"),
        ({"prompt": "a <lora:ink:heavy>"}, 422, "<lora:ink:heavy>"),
        ({"prompt": "a <lora:ink:9>"}, 422, "scale"),
        ({"prompt": "a <lora:ink:1:1>"}, 422, "<lora:NAME:SCALE>"),
        ({"prompt": "a <lora::1>"}, 422, "<lora:NAME:SCALE>"),
        ({"prompt": "a <hypernet:x:1>"}, 422, "hypernet"),
        ({"prompt": "a <lora:ink:1>", "lora": ["ink"]}, 422, "twice"),
        ({"prompt": "a", "negative_prompt": "<lora:ink:1>"}, 422, "negative_prompt"),
        ({"prompt": "a (b:99)"}, 422, "weight"),
        ({"prompt": "a", "negative_prompt": "[b:c:3]"}, 422, "[b:c:3]"),
        ({"prompt": "a" * 4001}, 422, "prompt"),
        ({"prompt": "a", "negative_promt": "b"}, 422, "negative_prompt"),
        ({"prompt": "a", "cfgscale": 3}, 422, "cfg_scale"),
    ],
)
async def test_signs_and_fields_that_mean_nothing_are_refused(
    client: httpx.AsyncClient, house: House, fields: dict[str, Any], status: int, words: str
) -> None:
    await house.storage.put_artefact("adapters/ink.safetensors", b"bytes")
    response = await client.post("/t2i/generate", json={"steps": 1, **fields})
    problem = check_problem(response, status, "not_found" if status == 404 else "invalid_input")
    assert words in problem["detail"]
    assert house.images.specs == []


# --- the pocket model, and turns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a girl with silver hair in a red cloak, a harbour at night, rain", []),
        ("銀髮少女，紅色斗篷，夜晚的港口，下雨", []),
        ("a girl with silver hair, a heron on a bollard", ["heron", "bollard"]),
        ("a castle in the snow, a lighthouse", ["lighthouse"]),
        ("銀髮少女，紅色斗篷，量子泡沫", ["量子泡沫"]),
        ("銀髮少女，鷹", ["鷹"]),
        ("銀髮少女，hologram", ["hologram"]),
    ],
)
def test_what_the_pocket_painter_is_not_told_is_said(text: str, told: list[str]) -> None:
    notes = left_out(text, pocket_prompt(text))
    assert len(notes) == bool(told)
    assert all(word in notes[0].split(":")[-1] for word in told)


async def test_left_out_words_are_in_the_answer(client: httpx.AsyncClient) -> None:
    body = {"prompt": "銀髮少女，(量子泡沫:1.3)，夜晚的港口", "steps": 1}
    metadata = (await client.post("/t2i/generate", json=body)).json()["metadata"]
    assert metadata["prompt"] == "a woman with silver hair, a harbour, night"
    assert "量子泡沫" in metadata["notes"][0]


async def test_a_turns_picture_says_what_it_leaves_out(client: httpx.AsyncClient) -> None:
    body = {"message": "Who winds the clock?", "world_id": WORLD_ID, "character_id": "mara", "generate_image": True}
    notes = (await client.post("/llm/turn", json=body)).json()["image"]["metadata"]["notes"]
    assert "keeper" in notes[0]


@pytest.mark.parametrize(
    ("appearance", "prompt_start", "num_notes"),
    [
        ("tall (very), [old] <lora:ink:1>", r"tall \(very\), \[old\] \<lora:ink:1>", 0),
        (", ".join(f"mark {n}" for n in range(60)), ", ".join(f"mark {n}" for n in range(60)), 0),
        ("word " * 1500, "word word", 1),
    ],
    ids=["brackets", "long", "too long"],
)
async def test_a_turns_prompt_is_whole_and_the_worlds_words_are_text(
    house: House, appearance: str, prompt_start: str, num_notes: int
) -> None:
    turn = await take(house, "Who winds the clock?", character_id="mara")
    world = await house.services.worlds.current(WORLD_ID)
    studio = house.services.studio
    world.characters["mara"] = Character(name="Mara", appearance=appearance)
    world.style["visual_style"] = {"base_prompt": "(ink wash:1.2)"}
    profile = replace(studio.profile, is_pocket=False)
    asked, notes = await illustration.picture_of(turn, world, None, studio.styles, profile)
    assert asked.prompt.startswith(prompt_start)
    assert len(notes) == num_notes
    assert asked.prompt.endswith("(ink wash:1.2)") or num_notes
    assert len(asked.prompt) <= 4000


def test_no_model_is_taken_for_another() -> None:
    """The pocket model's window is 62 tokens, others' 75; both come from the tokenizer."""
    pocket = load_pipeline(ImageModel("p", get_profile("pocket").image.model.source))
    with torch.inference_mode():
        assert Conditioner(pocket, 2**24, 32)._encode("a " * 63, ()).embeddings.shape[1] == 2 * 64
        assert Conditioner(pocket, 2**24, 32)._encode("a " * 62, ()).embeddings.shape[1] == 64
