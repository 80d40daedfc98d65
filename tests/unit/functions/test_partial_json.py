"""The streamed JSON of a turn: any split gives the same turn, any cut leaves a usable one or a clear error."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaforge.errors import ModelAnswerInvalid
from sagaforge.functions.story.partial_json import DEFAULT_CHOICES, MAX_ANSWER_CHARS, TurnReader
from sagaforge.schemas import ModelDialogue, ModelSentence, ModelTurn

ANSWER: dict[str, Any] = {
    "narration": [
        {"lore": [1, 3], "text": 'The "Bishop" fills {forty} barrels, [1] they say.'},
        {"lore": [], "text": "霧裡有人輕聲說：「別回頭。」\\ \n"},
        {"lore": [2], "text": "Mist \U0001f32b beads on the brass."},
    ],
    "dialogues": [{"speaker": "Mother Tarn", "emotion": "curious", "text": "Is it }] late?"}],
    "choices": [
        {"text": "Ask about the oil.", "if": [], "then": [{"op": "set", "kind": "flag", "name": "asked", "value": 1}]},
        {"text": "Leave.", "if": [{"kind": "item", "name": "rope", "op": "has", "value": None}], "then": []},
    ],
    "changes": [{"op": "add", "kind": "item", "name": "rope", "value": 1}],
}
TEXTS = [json.dumps(ANSWER), json.dumps(ANSWER, ensure_ascii=False), json.dumps(ANSWER, indent=1)]


def read(deltas: list[str], language: str = "en") -> tuple[list[ModelSentence | ModelDialogue], ModelTurn, TurnReader]:
    reader = TurnReader(language)
    parts = [part for delta in deltas for part in reader.feed(delta)]
    return parts, reader.finish(), reader


def test_a_whole_answer_is_read_as_pydantic_reads_it() -> None:
    expected = ModelTurn.model_validate(ANSWER)
    for text in TEXTS:
        parts, turn, reader = read([text])
        assert turn == expected
        assert parts == [*expected.narration, *expected.dialogues]
        assert reader.is_done
        assert not reader.is_truncated
        assert (reader.num_dropped, reader.num_default_choices) == (0, 0)


@given(st.sampled_from(TEXTS), st.lists(st.integers(0, 1200), max_size=40))
def test_any_split_gives_the_same_parts_in_the_same_order(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts, turn, _ = read([text[a:b] for a, b in itertools.pairwise(edges)])
    whole_parts, whole_turn, _ = read([text])
    assert turn == whole_turn
    assert parts == whole_parts


def test_each_part_comes_with_the_character_that_closes_it() -> None:
    reader, text = TurnReader(), TEXTS[0]
    seen = [(position, part) for position, char in enumerate(text) for part in reader.feed(char)]
    assert [part for _, part in seen] == [*reader.finish().narration, *reader.finish().dialogues]
    for position, part in seen:
        assert text[position] == "}"
        assert json.loads(text[text.rindex('{"', 0, position) : position + 1])["text"] == part.text


@pytest.mark.parametrize("text", TEXTS)
def test_any_cut_leaves_a_valid_turn_or_says_that_nothing_came(text: str) -> None:
    whole = ModelTurn.model_validate(ANSWER)
    first_end = text.index("}", text.index("they say")) + 1
    for cut in range(len(text)):
        reader = TurnReader("zh-Hant")
        parts = reader.feed(text[:cut])
        if not parts:
            assert cut < first_end
            if cut_sentences := reader.cut_sentence():
                assert reader.finish().narration == cut_sentences
                assert whole.narration[0].text.startswith(cut_sentences[0].text.removesuffix("…"))
            else:
                with pytest.raises(ModelAnswerInvalid):
                    reader.finish()
            continue
        turn = reader.finish()
        assert reader.is_truncated
        assert turn.narration == whole.narration[: len(turn.narration)]
        assert turn.dialogues == whole.dialogues[: len(turn.dialogues)]
        assert turn.changes == whole.changes[: len(turn.changes)]
        num_own = len(turn.choices) - reader.num_default_choices
        assert turn.choices[:num_own] == whole.choices[:num_own]
        assert [c.text for c in turn.choices[num_own:]] == list(DEFAULT_CHOICES["zh-Hant"][: 2 - num_own])
        assert parts == [*turn.narration, *turn.dialogues]


@settings(max_examples=300)
@given(st.text(alphabet='{}[]",:\\ an1narration', max_size=80), st.integers(0, 400), st.integers(0, 80))
def test_garbage_and_damage_never_crash(noise: str, position: int, num_lost: int) -> None:
    text = TEXTS[0]
    for broken in (noise, text[:position] + noise + text[position + num_lost :]):
        one, many = TurnReader(), TurnReader()
        parts = one.feed(broken)
        assert [part for char in broken for part in many.feed(char)] == parts
        try:
            turn = one.finish()
        except ModelAnswerInvalid:
            assert not any(isinstance(part, ModelSentence) for part in parts)
        else:
            assert many.finish() == turn


def test_what_stands_around_the_object_is_passed_over() -> None:
    parts, turn, reader = read(["Sure! ", "```json\n", TEXTS[0], '\n``` {"narration": []}'])
    assert turn == ModelTurn.model_validate(ANSWER)
    assert len(parts) == 4
    assert not reader.is_truncated


def test_a_back_end_without_the_grammar_is_repaired_where_nothing_said_changes() -> None:
    answer = {
        "narration": [{"lore": [0, 2, 2, 99, "x", 4, 5, 6], "text": "A."}, {"text": "B."}, {"lore": [], "text": ""}]
        + [{"lore": [], "text": str(n)} for n in range(9)],
        "dialogues": [{"speaker": "Pim", "emotion": "gleeful", "text": "Buttons!"}, "nonsense"],
        "choices": [{"text": "Pay."}],
    }
    parts, turn, reader = read([json.dumps(answer)])
    assert [sentence.lore for sentence in turn.narration[:2]] == [[2, 4, 5], []]
    assert len(turn.narration) == 6
    assert turn.dialogues[0].emotion == "neutral"
    assert [choice.text for choice in turn.choices] == ["Pay.", "Continue."]
    assert reader.num_dropped == 1 + 5 + 1
    assert parts == [*turn.narration, *turn.dialogues]


def test_an_endless_answer_is_cut_and_what_came_before_is_kept() -> None:
    reader = TurnReader()
    reader.feed(TEXTS[0][:150])
    reader.feed("\n" * (2 * MAX_ANSWER_CHARS))
    assert reader.is_done
    assert len(reader.finish().narration) >= 1


def test_the_error_says_502_and_its_code() -> None:
    with pytest.raises(ModelAnswerInvalid) as caught:
        TurnReader().finish()
    assert (caught.value.status, caught.value.code) == (502, "model_answer_invalid")


def test_a_sentence_that_the_limit_cut_is_shown_up_to_its_last_whole_word() -> None:
    reader = TurnReader()
    assert reader.feed('{"narration":[{"lore":[2],"text":"The tide comes in over the Wet Mi') == []
    [sentence] = reader.finish().narration
    assert sentence == ModelSentence(lore=[], text="The tide comes in over the Wet…")
