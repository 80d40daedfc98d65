"""Style presets: the shipped ones, what they make of a prompt, and files that are wrong."""

from __future__ import annotations

import pytest

from sagaforge.datasets.styles import Styles, parse_style, shipped_styles
from sagaforge.errors import InvalidInput, NotFound

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


def test_a_studios_own_style_wins() -> None:
    styles = Styles([parse_style(OWN, "noir.yaml"), parse_style(OWN.replace("noir", "realistic", 1), "r.yaml")])
    assert {style.style_id for style in styles.all()} == SHIPPED | {"noir"}
    assert styles.get("realistic").style_suffix == "film noir"
    with pytest.raises(NotFound, match="cyberpunk"):
        styles.get("cubism")


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
        ("!!python/object/apply:os.system ['exit 1']", "no YAML"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text: str, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        parse_style(text, "own.yaml")
