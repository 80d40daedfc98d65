"""Characters that a model never saw: what it breaks does not leave the bundle, and what it says of them is right."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaforge.deployments.llm.client import Finished, GenerationEvent, Piece
from sagaforge.deployments.retrieval.interface import LoreLine
from sagaforge.functions.citations.gate import LexicalGate
from sagaforge.functions.story.prompt import TurnPrompt, build_messages
from sagaforge.functions.story.spelling import Spelling
from sagaforge.profiles import POCKET_PROMPT, PROFILES
from sagaforge.schemas import Chunk, ChunkMetadata
from sagaforge.text.terms import query_terms, terms
from sagaforge.training.pocket.llm import worldgen
from tests.support.fakes import House, answer
from tests.support.turns import events_of, stream, take

ALPHABET = PROFILES["pocket"].llm.alphabet
assert ALPHABET is not None
OUTSIDE = re.compile(rf"[^{ALPHABET}\s]")

LORE = [
    "The café belongs to René Łuk. It costs €3.",
    "Ольга Ким guards the old gate of the harbour.",
    "The sign of the inn shows 😀 and a brass bell.",
    "Captain レネ・カフェ keeps two grey cats on the quay.",
    "한솔 sells dried fish on the quay every morning.",
    "The door says {open} [now] <here> to the sailors.",
    "The price of “Old Mara’s” rope rose by 30% this year.",
    "The oﬃce of the harbour master closes at nine.",
    unicodedata.normalize("NFD", "The café of Zoë Ångström closes at nine."),
    "Mwana wa Nguyễn Thị Ánh sings at dawn.",
    'The keeper said "never" to the whalers.',
    "守燈人𠮷田在《霧港》唱歌，每晚三次。",
]


class Copier:
    """A model that tells the first line of its prompt, and breaks each character that it never saw as the pocket model
    does: into Han characters or halves of them."""

    model_id, max_model_len = "copier", 2048

    def __init__(self, noise: str = "客�", claims: list[int] | None = None) -> None:
        self.noise, self.claims = noise, [1] if claims is None else claims

    async def generate(self, payload: dict[str, Any]) -> AsyncGenerator[GenerationEvent, None]:
        prompt = payload["messages"][-1]["content"]
        line = re.search(r"^\[1\] .*?: (.*)$", prompt, re.MULTILINE)
        told = OUTSIDE.sub(self.noise, line.group(1) if line else "Nothing is known.")
        here = re.search(r"^Knows: (.*?) \(", prompt, re.MULTILINE)
        speaker = OUTSIDE.sub(self.noise, here.group(1) if here else "Mara")
        text = answer(
            [(told, self.claims)],
            dialogues=[{"speaker": speaker, "emotion": "neutral", "text": f"Ask {speaker}."}],
            choices=[{"text": f"Ask about {told[:60]}"}, {"text": f"Follow {speaker}"}],
        )
        for start in range(0, len(text), 5):
            yield Piece(text[start : start + 5])
        yield Finished(reason="stop", num_prompt_tokens=1, num_tokens=1, engine_s=None)

    def complete(self, payload: dict[str, Any]) -> AsyncGenerator[str, None]:
        raise NotImplementedError


def of_line(text: str, section: str = "Harbour") -> list[Chunk]:
    return [
        Chunk(
            id="doc_1@section_1:chunk_1", text=text, score=1.0, metadata=ChunkMetadata(source="l.md", section=section)
        )
    ]


def spelling(*lines: str, message: str = "Who?", language: str = "en", **fields: Any) -> Spelling:
    lore = [LoreLine(f"c_{number}@x", "Harbour", line) for number, line in enumerate(lines)]
    return Spelling(TurnPrompt(title="Fog", message=message, language=language, lore=lore, **fields), ALPHABET)


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


# --- turns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", LORE)
async def test_a_line_is_told_in_its_own_words(house: House, line: str) -> None:
    house.retrieval.chunks = of_line(line)
    object.__setattr__(house.services, "llm", Copier())
    events = await events_of(stream(house, "Who is that?"))
    turn = events[-1].data
    assert [sentence["text"] for sentence in turn["sentences"]] == [line]
    assert turn["sentences"][0]["citations"] == ["doc_1@section_1:chunk_1"]
    assert turn["narration"] == f"{line}[1]"
    # What was streamed is what the turn holds.
    assert [event.data["text"] for event in events if event.event == "sentence"] == [line]
    shown = json.dumps(turn["choices"] + turn["dialogues"], ensure_ascii=False)
    assert "�" not in shown
    assert "客" not in shown


@pytest.mark.parametrize("claims", [[], [1]])
async def test_noise_is_never_shown(house: House, claims: list[int]) -> None:
    """Broken although no character of the prompt is strange: told in the line's words, or not at all."""
    noisy = [("The harbour light burns whale客 oil.", claims), ("Nobody answers.", [])]
    house.llm.will(answer(noisy, choices=[{"text": "Ask about whal\u0448"}, {"text": "Walk to the light."}]))
    turn = await take(house, "What burns?")
    told = [sentence.text for sentence in turn.sentences]
    assert told[-1] == "Nobody answers."
    assert len(told) == (2 if claims else 1)
    assert all("客" not in text for text in told)
    assert [choice.text for choice in turn.choices if "Ask" in choice.text] == []


async def test_a_turn_of_noise_alone_says_so(house: House) -> None:
    noise = answer([("Whal客 oil\ufffd.", [])])
    house.llm.will(noise)
    house.llm.will(noise)
    turn = await take(house, "What burns?")
    assert [(sentence.text, sentence.citations) for sentence in turn.sentences] == [
        ("There is nothing to tell of that.", [])
    ]
    assert len(house.llm.payloads) == 2


async def test_a_line_is_quoted_once(house: House) -> None:
    house.retrieval.chunks = of_line(LORE[0])
    house.llm.will(answer([("The cafe belongs to Rene Luk.", [1]), ("It costs EUR3.", [1]), ("Fog comes.", [])]))
    turn = await take(house, "Who owns the café?")
    assert [sentence.text for sentence in turn.sentences] == [LORE[0], "Fog comes."]


async def test_speakers_have_the_world_s_own_name(house: House) -> None:
    house.llm.will(answer(dialogues=[{"speaker": "mara vénn", "emotion": "happy", "text": "Hello."}]))
    broken = answer(dialogues=[{"speaker": "MARA  VENN", "emotion": "happy", "text": "Hello."}])
    house.llm.will(broken)
    assert (await take(house, "Hello?")).dialogues == []  # é is not the model's to write
    assert [dialogue.speaker for dialogue in (await take(house, "Hello?")).dialogues] == ["Mara Venn"]


async def test_a_message_of_strange_characters_is_read(house: House) -> None:
    await take(house, "Où est la café de Łuk ☕? Где Ольга?")
    asked = house.llm.prompts[0].splitlines()[-1]
    assert asked.startswith("Player: Ouo est la cafe de Luk coffee? Gde Olga?")


async def test_a_model_that_writes_all_is_left_alone(house: House) -> None:
    profile = PROFILES["gpu"]
    assert profile.llm.alphabet is None
    object.__setattr__(house.services, "profile", profile)
    house.retrieval.chunks = of_line(LORE[0])
    house.llm.will(answer([("The café belongs to René Łuk.", [1]), ("Elle rit 😀 — 客.", [])]))
    turn = await take(house, "Who owns the café?")
    assert [sentence.text for sentence in turn.sentences] == ["The café belongs to René Łuk.", "Elle rit 😀 — 客."]
    assert "René Łuk" in house.llm.prompts[0]


# --- stand-ins ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "written", "told"),
    [
        ("René Łuk sings.", "Ask about Rene Luk", "Ask about René Łuk"),
        ("The café is shut.", "Cafes are shut", "Cafés are shut"),
        ("Ольга Ким sings.", "Olga's song", "Ольга's song"),
        ("レネ sings.", "Look closer at Rene", "Look closer at レネ"),
        ("守燈人𠮷田唱歌。", "問守燈人Kichi田", "問守燈人𠮷田"),
        ("Łukasz Żak sings.", "Follow Lukasx Zak", "Follow Łukasz Żak"),  # misspelt on the way
        ("Lê sings.", "Ask Leo", "Ask Lê"),  # two letters would be found in ordinary words
        ("René met Rene.", "Rene and Reneo", "Rene and René"),
        ("Für Elise is played.", "Fur in a fur coat? Fur!", "Für in a fur coat? Für!"),
        ("Zoë sings.", "Zo sings of zones", "Zo sings of zones"),
    ],
)
def test_names_come_back(line: str, written: str, told: str) -> None:
    assert spelling(line).told(written) == told


@pytest.mark.parametrize("text", ["caf客是", "Ren�", "The {gate}", "Ольга", "ﬁn", "café", "😀", "3€"])
def test_what_the_model_cannot_have_read_is_broken(text: str) -> None:
    assert spelling("The café of René.").told(text) is None


@pytest.mark.parametrize("text", ["Ask Rene Lux", "Follow Renn", "See Lukk now"])
def test_a_name_that_is_nearly_the_world_s_is_broken(text: str) -> None:
    assert spelling("René Łuk sings.").told(text) is None
    assert spelling("René Łuk sings to Lux and Renn, and to Lukk.").told(text) is not None


def test_a_player_may_type_the_plain_name() -> None:
    of_plain = spelling("René Łuk sings.", message="Where is Rene Luk?")
    assert "Rene Luk sings." in build_messages(of_plain.prompt, POCKET_PROMPT)[1]["content"]
    assert of_plain.told("Rene Luk sings.") == "René Łuk sings."


def test_every_part_of_the_prompt_is_spelt() -> None:
    spelt = spelling(
        "Ángel sings.",
        character="Zoë",
        persona="Naïve.",
        scene="Café",
        location="Møn",
        people_here=["Jürgen"],
        inventory=["crêpe"],
        established=["Søren left."],
    )
    content = "".join(message["content"] for message in build_messages(spelt.prompt, POCKET_PROMPT))
    assert not re.search(r"[^\x00-\x7f]", content)
    for plain in ("Angel", "Zoe", "Naive", "Cafe", "Mon", "Jurgen", "crepe", "Soren"):
        assert plain in content


def test_an_alphabet_holds_all_that_the_model_learned_from() -> None:
    rng = random.Random(12)
    for number in range(60):
        scene = worldgen.make_scene(rng.randrange(2**40), "zh" if number % 3 == 0 else "en", wildness=0.4, turns=1)
        turn = scene.turns[0][1]
        for part in [*turn.narration, *turn.dialogues, *turn.choices]:
            assert not OUTSIDE.search(part.text), part.text


NAMES = st.text(st.characters(codec="utf-8", categories=["L", "M", "So", "Sc"]), min_size=2, max_size=12)


@settings(max_examples=150, deadline=None)
@given(name=NAMES, other=NAMES, language=st.sampled_from(["en", "zh-Hant"]))
def test_any_name_is_readable_and_comes_back(name: str, other: str, language: str) -> None:
    spelt = spelling(f"Then {name} met {other} there.", language=language)
    shown = spelt.prompt.lore[0].text
    strange = OUTSIDE.findall(shown)
    assert all(char.isascii() for char in strange)
    told = spelt.told(shown)
    assert (told is None) == bool(strange)
    line = f"Then {name} met {other} there."
    # A symbol without a name of its own has nothing to come back from; letters always have.
    if all(unicodedata.category(char)[0] == "L" and spelling(char).prompt.lore[0].text for char in name + other):
        assert unicodedata.normalize("NFC", str(told)) == unicodedata.normalize("NFC", line)


# --- the gate and the search ----------------------------------------------------------------------------------------

PRICE = "The café belongs to René Łuk. It costs €3 and gives 30% back."


@pytest.mark.parametrize(
    ("line", "claim", "is_held"),
    [
        (PRICE, "The café belongs to René Łuk.", True),
        (PRICE, unicodedata.normalize("NFD", "The café belongs to René Łuk."), True),
        (PRICE, "The cafe belongs to Rene Luk.", True),
        (PRICE, "The café belongs to René Žuk.", False),
        (PRICE, "It costs 3 euros and gives 30 percent back.", True),
        (PRICE, "It costs $3 and gives 30% back.", False),
        (PRICE, "It costs €3 and gives 30‰ back.", False),
        (PRICE, "It costs €3.", True),
        ("The sign shows 😀 and a brass bell.", "The sign shows 😀 and a brass bell.", True),
        ("The sign shows 😀 and a brass bell.", "The sign shows 😡 and a brass bell.", False),
        ("Ольга Ким guards the old gate.", "Анна Ким guards the old gate.", False),
        ("レネ守著城門，他有三隻狗。", "レネ守著城門。", True),
        ("レネ守著城門，他有三隻狗。", "カイ守著城門。", False),
    ],
)
def test_the_gate_reads_them(line: str, claim: str, is_held: bool) -> None:
    verdict = LexicalGate().check(claim, [1], [LoreLine("c", "Harbour", line)])
    assert (verdict.status == "cited") == is_held, verdict.reasons


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("Rene", "René"),
        ("Luk", "Łuk"),
        ("Oyvind", "Øyvind"),
        ("Dordevic", "Đorđević"),
        ("Aesir", "Æsir"),
        ("strasse", "Straße"),
        ("Nguyen", unicodedata.normalize("NFD", "Nguyễn")),
        ("office", "oﬃce"),
        ("thor", "Þor"),
    ],
)
def test_plain_letters_find_them(asked: str, written: str) -> None:
    assert query_terms(asked) == terms(written)
