"""Style presets: the shipped ones, what they make of a prompt, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagaforge.datasets.styles import Styles, parse_style, shipped_styles
from sagaforge.errors import InvalidInput, NotFound
from sagaforge.storage import Storage

SHIPPED = {"anime_style", "anime_portrait", "fantasy_art", "realistic", "cyberpunk"}
OWN = "style_id: noir\nbase_model: sdxl\nprompt_template: '{prompt} at night'\nstyle_suffix: film noir\n"


def test_the_five_are_shipped() -> None:
    assert set(shipped_styles()) == SHIPPED
    assert all(style.title and style.pocket for style in shipped_styles().values())


def test_a_prompt_gets_its_style_and_keeps_its_own_braces() -> None:
    style = shipped_styles()["anime_portrait"]
    assert style.resolve("a {girl}", is_pocket=True) == "a portrait of a {girl}, anime style"
    assert style.resolve("a girl", is_pocket=False) == "a portrait of a girl, anime style, close-up, detailed eyes"
    for one in shipped_styles().values():
        assert "{prompt}" not in one.resolve("{style_suffix} {prompt}", is_pocket=False).replace(
            "{style_suffix} {prompt}", ""
        )


def test_what_a_template_leaves_out_is_added() -> None:
    style = parse_style(OWN + "trigger_words: [nwr]\n", "noir.yaml")
    assert style.resolve("a cat", is_pocket=False) == "a cat at night, film noir, nwr"
    assert style.title == "Noir"


async def test_a_studios_own_style_wins_and_a_bad_file_is_told_of(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    await storage.put_artefact("styles/noir.yaml", OWN.encode())
    await storage.put_artefact("styles/r.yml", OWN.replace("noir", "realistic", 1).encode())
    await storage.put_artefact("styles/bad.yaml", b"style_id: bad")
    await storage.put_artefact("styles/odd.yaml", b"\xff\xfe")
    await storage.put_artefact("styles/notes.txt", b"nothing")
    styles = Styles(storage)
    found, problems = await styles.all()
    assert {style.style_id for style in found} == SHIPPED | {"noir"}
    assert len(problems) == 2
    assert "bad.yaml: base_model" in problems[0]
    assert "odd.yaml" in problems[1]
    assert (await styles.get("realistic")).style_suffix == "film noir"
    with pytest.raises(NotFound, match="cyberpunk"):
        await styles.get("cubism")


def test_the_path_of_an_adapter_becomes_its_name() -> None:
    assert parse_style(OWN + "lora_path: ../ai_warehouse/models/lora/my_style", "noir.yaml").lora_path == "my_style"
    assert parse_style(OWN + "lora_path: ink.safetensors", "noir.yaml").lora_path == "ink"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[", "no YAML"),
        ("style_id: x", "base_model"),
        (OWN + "colour: red", "colour"),
        (OWN.replace("{prompt}", "nothing"), "must hold {prompt}"),
        (OWN.replace("{prompt}", "{prompt} {name}"), "name"),
        (OWN.replace("{prompt}", "{prompt"), "braces"),
        (OWN + "default_params: {width: 100}", "width"),
        (OWN + "default_params: {steps: 0}", "steps"),
        (OWN + "lora_scale: 9", "lora_scale"),
        (OWN.replace("noir", "../etc", 1), "style_id"),
        ("x" * 30_000, "characters"),
        ("!!python/object/apply:os.system ['exit 1']", "tags"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text: str, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        parse_style(text, "own.yaml")
