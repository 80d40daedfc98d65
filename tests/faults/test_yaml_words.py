"""Kind 9: YAML's special words are text where text is meant, and what is no YAML is told with its line."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaforge.datasets.packs.pack import Pack, read_upload
from sagaforge.datasets.packs.plain_yaml import read_yaml
from sagaforge.datasets.packs.prose import character_sections
from sagaforge.datasets.styles import parse_style
from sagaforge.datasets.worlds.ingest import chunk_pack
from sagaforge.errors import InvalidInput

# Null, booleans, integers, floats, dates, times and YAML 1.1's own: each is read as itself by some reader of YAML.
WORDS = [
    "Null", "null", "NULL", "~", "yes", "No", "on", "OFF", "y", "n", "true", "False", "1_000", "0x1F", "0o17", "017", "1e3",
    "+1", "-.5", ".inf", "-.INF", ".NaN", "2024-01-01", "2024-01-01 07:30:00", "12:30:00", "1:30", "=", "0b101", "1.50",
]  # fmt: skip


def upload(**files: str) -> Pack:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "."), text)
    buffer.seek(0)
    return read_upload("w.zip", buffer)


def refusal(**files: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        upload(**files)
    for word in (
        "type=",
        "Input should",
        "valid string",
        "valid list",
        "valid dict",
        "union",
        "constrained",
        "pydantic",
    ):
        assert word not in caught.value.detail
    return caught.value.detail


# --- words are text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_text_in_every_field_of_a_character(word: str) -> None:
    pack = upload(
        characters__yaml=f"""
characters:
  m:
    name: {word}
    description: {word}
    appearance: {{hair_color: {word}, marks: [{word}, {word}]}}
    personality: [{word}]
    background: {word}
    relationships: {{tam: {word}}}
    goals: [{word}]
    motto: {word}
    more: {{ inner: {word} }}
"""
    )
    mara = pack.characters["m"]
    assert mara.model_dump() == {
        "name": word, "description": word, "appearance": {"hair_color": word, "marks": [word, word]},
        "personality": word, "background": word, "relationships": {"tam": word}, "goals": [word], "motto": word,
        "more": {"inner": word},
    }  # fmt: skip
    lines = character_sections(pack)[0].text.split("\n")
    assert f"Hair color of {word}: {word}" in lines
    assert f"{word} and tam: {word}" in lines
    assert f"Goals of {word}: {word}" in lines


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_text_in_every_field_of_a_scene_in_a_list(word: str) -> None:
    pack = upload(
        scenes__yaml=f"- id: s\n  title: {word}\n  location: {word}\n  atmosphere: {word}\n"
        f"  details: [{word}, x]\n  npcs: [{word}]\n  description: {word}\n"
    )
    assert pack.scenes["s"].model_dump() == {
        "title": word, "description": word, "location": word, "atmosphere": word, "details": f"{word}\nx", "npcs": [word],
    }  # fmt: skip


@pytest.mark.parametrize(
    "word", ["null", "Null", "yes", "No", "true", "1", "007", "0x1F", "1_000", "1e3", "2024-01-01", "1.50"]
)
def test_a_word_is_a_key_and_an_id(word: str) -> None:
    by_key = upload(characters__yaml=f"{word}:\n  name: Mara\n  {word}: x\n  relationships: {{{word}: y}}\n").characters
    assert list(by_key) == [word]
    assert (by_key[word].relationships, by_key[word].model_extra) == ({word: "y"}, {word: "x"})
    assert list(upload(characters__yaml=f"- id: {word}\n- id: x{word}").characters) == [word, f"x{word}"]


def test_a_key_of_a_relationship_and_of_an_appearance_may_be_any_word() -> None:
    pack = upload(characters__yaml="m: {name: M, relationships: {~: x, true: y}, appearance: {1: z}}")
    assert pack.characters["m"].relationships == {"~": "x", "true": "y"}
    assert pack.characters["m"].appearance == {"1": "z"}


def test_the_name_reaches_the_lore() -> None:
    (chunk,) = chunk_pack(upload(characters__yaml="m: {name: Null, goals: [~]}"), "w")
    assert (chunk.section, chunk.text) == ("Null", "Goals of Null: ~")


@pytest.mark.parametrize(
    ("yaml", "fields"),
    [
        ("m:\n  name: M\n  description:\n  goals:\n  relationships:\n  appearance:\n", {}),
        ("m: {name: M, description: '', goals: [], relationships: {}}", {}),
        (
            "m: {name: M, goals: [a, '', b], relationships: {tam: , bo: x}}",
            {"goals": ["a", "b"], "relationships": {"bo": "x"}},
        ),
        ("m:\n  name: M\n  goals:\n  -\n  - a\n", {"goals": ["a"]}),
        ("m: {name: M, goals: one}", {"goals": ["one"]}),
    ],
)
def test_what_is_left_empty_is_not_there(yaml: str, fields: dict[str, Any]) -> None:
    empty = {"name": "M", "description": "", "appearance": "", "personality": "", "background": "", "relationships": {}, "goals": []}  # fmt: skip
    assert upload(characters__yaml=yaml).characters["m"].model_dump() == empty | fields


@pytest.mark.parametrize(
    "file", ["", "# nothing yet\n", "characters:\n", "characters: {}\n", "characters: []\n", "---\n"]
)
def test_a_file_without_entries_is_none(file: str) -> None:
    assert upload(characters__yaml=file, lorebook__md="Lore.").characters == {}


def test_an_entry_without_a_name_is_shown_by_its_id() -> None:
    assert upload(characters__yaml="m: {background: Born.}").characters["m"].name == "m"


@settings(deadline=None)
@given(
    st.text(
        st.characters(codec="ascii", categories=["Lu", "Ll", "Nd"], include_characters="~=+-_.:"),
        min_size=1,
        max_size=8,
    )
)
def test_a_plain_word_is_what_was_typed(word: str) -> None:
    """Whatever stands there without spaces and YAML's own signs."""
    if word[0] in "-?:=" or word.endswith(":") or word.startswith("..."):
        word = "x" + word.rstrip(":")
    assert read_yaml("x.yaml", f"a: {word}\nb: [{word}]\nc: {{d: {word}}}\n") == {
        "a": word,
        "b": [word],
        "c": {"d": word},
    }


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yaml", "line", "column"),
    [
        ("characters:\n\tm:\n\t\tname: x\n", 2, 1),
        ("characters:\n  m:\n    name: Mara\n\tage: 3\n", 4, 1),
        ("characters:\n  m:\n  \tname: Mara\n", 3, 3),
        ("characters:\n  m:\n    name: Mara\n    goals:\n\t- a\n", 5, 1),
        ("\tcharacters:\n", 1, 1),
        ("characters:\n  燈:\n    name: 燈塔\n \t goals: x\n", 4, 2),
        ("characters:\n  m:\n    description: |\n\ttext\n", 4, 1),
        ("- id: m\n\tname: M\n", 2, 1),
    ],
)
def test_tabs_are_told_with_their_place(yaml: str, line: int, column: int) -> None:
    words = f"characters.yaml, line {line}, column {column}: YAML does not allow tabs for indentation; use spaces."
    assert refusal(characters__yaml=yaml) == words


def test_a_tab_elsewhere_is_a_space() -> None:
    assert upload(characters__yaml="m:\t{name:\tMara\t}\n").characters["m"].name == "Mara"


CHARACTERS = [
    ("m:\n  name:\n", 2, "m.name: is empty"),
    ("m:\n  goals: [a]\n  name: ''\n", 3, "m.name: is empty"),
    ("m:\n  name: [a]\n", 2, "m.name: must be text"),
    ("m:\n  name: {a: b}\n", 2, "m.name: must be text"),
    ("m:\n  name: M\n  goals: {a: b}\n", 3, "m.goals: must be a text or a list of texts"),
    ("m:\n  name: M\n  goals:\n  - a\n  - [b]\n", 5, "m.goals.1: must be a text or a list of texts"),
    ("m:\n  name: M\n  relationships: [tam]\n", 3, "m.relationships: must be keys with a text each"),
    ("m:\n  name: M\n  relationships:\n    tam: [x]\n", 4, "m.relationships.tam: must be keys with a text each"),
    ("m:\n  name: M\n  appearance: [[a]]\n", 3, "m.appearance: must be text, or keys with texts"),
    ("m:\n  name: M\n  motto: [[a]]\n", 1, "m: motto: must be text, a list of texts, or keys with texts"),
    ("m:\n  name: M\n  description: " + "x" * 20_001, 3, "m.description: has more than the 20,000 characters"),
    ("m:\n  name: " + "x" * 121, 2, "m.name: has more than the 120 characters"),
    ('m:\n  name: "a\\nb"\n', 2, "m.name, line 1, column 2: U+000A"),
    ("m: {name: M}\nn: {name: N}\nm: {name: O}\n", 3, "the key 'm' stands twice"),
    ("m:\n  name: M\n  1: a\n  '1': b\n", 4, "the key '1' stands twice"),
    ("- {id: m}\n- {id: m}\n", 2, "the id 'm' is used twice"),
    ("- {id: m}\n- {name: M}\n", 2, "each entry of the list must have keys: id, name"),
    ("- {id: m}\n- text\n", 2, "each entry of the list must have keys: id, name"),
    ("m: {name: M}\nthe keeper: {name: K}\n", 2, "'the keeper' is no id"),
    ("m: {name: M}\n~: {name: K}\n", 2, "'~' is no id"),
    ("m: {name: M}\nn: text\n", 2, "'n' must have keys such as name"),
    ("characters:\n  m: {name: M}\nscenes: {}\n", 3, "only 'characters' may stand at the top, not 'scenes'"),
    ("m:\n  name: M\n  ? [a]\n  : b\n", 3, "a key must be text"),
    ("m:\n  name: M\n  '': b\n", 3, "a key is empty"),
    ("m:\n  name: M\n  relationships:\n    " + "x" * 201 + ": b\n", 4, "a key has more than the 200 characters"),
    ("m:\n  name: M\n  " + "x" * 61 + ": b\n", 1, "is longer than 60 characters"),
    ("m:\n  name: M\n  <<: {a: b}\n", 3, "merge keys (<<) are not allowed"),
    ("m:\n  name: M\n  x: *star*\n", 3, "no YAML: "),
    ("m: &a {name: M}\nn: *a\n", 1, "anchors (&a) are not allowed; put the text in quotes"),
    ("m: {name: M}\nn: *a\n", 2, "aliases (*a) are not allowed; put the text in quotes"),
    ("m:\n  name: !important M\n", 2, "tags (!important) are not allowed; put the text in quotes"),
    ("m:\n  name: M\n  motto: so: it goes\n", 3, "a colon stands inside a text"),
    ("m:\n  name: M\n  motto: @home\n", 3, "a text may not begin with this character; put the text in quotes"),
    ("m:\n  name: M\n  motto: 'it's'\n", 3, "no YAML: expected `key: text`"),
    ("m:\n  name: 'M\n", 3, "a quotation mark is opened and never closed"),
    ('m:\n  name: "a\\qb"\n', 2, "a backslash in double quotes begins an escape"),
    ("m:\n  goals: [a\n", 3, "a list is opened with '['"),
    ("m: {name: M\n", 2, "keys are opened with '{'"),
    ("m: {name: M}\n---\nn: {name: N}\n", 2, "there is a second document after `---`"),
]  # fmt: skip


@pytest.mark.parametrize(("yaml", "line", "words"), CHARACTERS, ids=[words[:30] for _, _, words in CHARACTERS])
def test_a_refusal_is_in_words_of_the_pack_with_its_line(yaml: str, line: int, words: str) -> None:
    detail = refusal(characters__yaml=yaml)
    assert detail.startswith(f"characters.yaml, line {line}")
    assert words in detail


def test_scenes_are_refused_in_the_same_words() -> None:
    assert refusal(scenes__yaml="s:\n  title:\n").startswith("scenes.yaml, line 2: s.title: is empty; write a text")
    assert refusal(scenes__yaml="scenes:\n- id: s\n  npcs: {a: b}\n").startswith(
        "scenes.yaml, line 3: s.npcs: must be a list of character ids or names"
    )


# --- the other files that are no prose --------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["Null", "no", "1e3", "2024-01-01", "~"])
def test_a_style_preset_of_ones_own(word: str) -> None:
    style = parse_style(
        f"style_id: s{word.strip('~')}\ntitle: {word}\nbase_model: {word}\nnegative_prompt:\ntrigger_words: [{word}]\n"
        "default_params: {steps: 20, cfg_scale: 6.5}\n",
        "own.yaml",
    )
    assert (style.title, style.base_model, style.negative_prompt, style.trigger_words) == (word, word, "", [word])
    assert (style.default_params.steps, style.default_params.cfg_scale) == (20, 6.5)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("2089-10-01", "2089-10-01"),
        ("07:32:00", "07:32:00"),
        ("1979-05-27T07:32:00Z", "1979-05-27T07:32:00Z"),
        ("1979-05-27 07:32:00", "1979-05-27 07:32:00"),
        ("1979-05-27T00:32:00-07:00", "1979-05-27T00:32:00-07:00"),
        ("inf", "inf"),
        ("-nan", "-nan"),
        ("1e400", "1e400"),
        ("30", 30),
        ("6.5", 6.5),
        ("true", True),
    ],
)
def test_dates_of_toml_are_text_and_its_numbers_numbers(typed: str, kept: Any) -> None:
    style = upload(lorebook__md="Lore.", style__toml=f"[a]\nx = {typed}\ny = [{typed}]\n").style
    assert style == {"a": {"x": kept, "y": [kept]}}
    assert type(style["a"]["x"]) is type(kept)


@pytest.mark.parametrize("name", ["style_preset", "base_prompt", "prompt_suffix", "lighting", "negative_prompt"])
@pytest.mark.parametrize("value", ["5", "true", "['a']", "{a = 1}", "1.5"])
def test_what_stands_in_prompts_must_be_text(name: str, value: str) -> None:
    detail = refusal(lorebook__md="Lore.", style__toml=f"[visual_style]\n{name} = {value}\n")
    assert detail == f"style.toml: visual_style.{name} must be text; put it in quotes."


@pytest.mark.parametrize("typed", ["07:32:00.5", "1979-05-27 07:32:00.50"])
def test_a_time_that_would_change_is_refused(typed: str) -> None:
    assert "can't be kept as it was typed; put it in quotes" in refusal(
        lorebook__md="L.", style__toml=f"[a]\nx = {typed}"
    )
