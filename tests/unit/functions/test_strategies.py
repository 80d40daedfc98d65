"""What only a small model needs is chosen by its profile: a real model's words reach the player as it wrote them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sagaforge.errors import ModelAnswerInvalid
from sagaforge.profiles import PROFILES
from sagaforge.strategies import Mending, NoLineMatcher
from tests.support.fakes import House, answer
from tests.support.turns import take

REAL = PROFILES["gpu"]
CHOICE = "Ask about the Lamp room, top of the Gannet Light, or the stairs at the top of the Gannet Light"


@pytest.fixture
def real(house: House) -> House:
    """The house with a real model's strategies."""
    profile = replace(
        house.services.profile,
        llm=replace(house.services.profile.llm, alphabet=REAL.llm.alphabet),
        mending=REAL.mending,
        prompt_limits=REAL.prompt_limits,
        writes_again=REAL.writes_again,
    )
    return replace(house, services=replace(house.services, profile=profile))


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "pocket"])
def test_other_profiles_choose_nothing_of_it(name: str) -> None:
    profile = PROFILES[name]
    assert type(profile.mending) is Mending
    assert profile.line_matcher is NoLineMatcher
    assert (profile.writes_again, profile.llm.alphabet, profile.lore_min_confidence) == (False, None, 0.0)


@pytest.mark.parametrize("text", ["Run! Run! Run!", "Hahahahahaha!", "哈哈哈哈哈哈哈哈", "It is. It is. It is."])
async def test_what_is_said_again_and_again_is_told_so(real: House, text: str) -> None:
    dialogue: Any = {"speaker": "Mara", "emotion": "tense", "text": text}
    real.llm.will(answer([(text, [])], dialogues=[dialogue]))
    turn = await take(real, "What now?")
    assert [sentence.text for sentence in turn.sentences] == [text]
    assert [line.text for line in turn.dialogues] == [text]


async def test_the_pocket_model_s_stutter_is_mended(house: House) -> None:
    house.llm.will(answer([("Run! Run! Run! Run!", [])]))
    assert (await take(house, "What now?")).sentences[0].text == "Run!"


async def test_a_choice_that_names_a_place_twice_is_offered(real: House, house: House) -> None:
    for each, is_offered in ((real, True), (house, False)):
        each.llm.will(answer(choices=[{"text": CHOICE}, {"text": "Wait."}, {"text": "Leave."}]))
        assert (CHOICE in [choice.text for choice in (await take(each, "And now?")).choices]) is is_offered


async def test_a_long_message_reaches_the_model_whole(real: House) -> None:
    message = "Tell me, " + "word " * 790 + "at last."
    await take(real, message)
    assert message in real.llm.prompts[-1]


async def test_nothing_is_written_again_behind_a_real_model_s_back(real: House, house: House) -> None:
    real.llm.will("{}")
    with pytest.raises(ModelAnswerInvalid):
        await take(real, "What now?")
    assert len(real.llm.prompts) == 1
