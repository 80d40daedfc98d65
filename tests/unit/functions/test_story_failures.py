"""Turns that are repeated, raced, cancelled or fail: exactly one is stored, or none."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from sagaforge.datasets.sessions import IdempotencyClaim
from sagaforge.deployments.llm.client import Restarted
from sagaforge.deployments.retrieval.interface import LoreLine
from sagaforge.errors import (
    Conflict,
    ContextOverflow,
    InFlight,
    KeyReused,
    ModelAnswerInvalid,
    Overloaded,
    Unavailable,
)
from sagaforge.functions.story import assembly
from sagaforge.functions.story.prompt import PastTurn, TurnPrompt
from sagaforge.schemas import Turn
from tests.support.fakes import INVENTED, LIGHT, TIDE, Hang, House, answer
from tests.support.turns import events_of, stream, take

# --- idempotency and races ------------------------------------------------------------------------------------------


async def test_the_same_key_gives_the_stored_turn_again(house: House) -> None:
    first = await take(house, "Hello?", "k1")
    again = await events_of(stream(house, "Hello?", "k1"))
    assert [event.event for event in again] == ["started", "turn"]
    assert Turn.model_validate(again[-1].data) == first
    assert len(house.llm.payloads) == 1


async def test_a_replay_comes_even_when_the_session_went_on(house: House) -> None:
    first = await take(house, "Hello?", "k1")
    second = await take(house, "And then?", "k2", session_id=first.session_id)
    await take(house, "And then?", "k3", session_id=first.session_id)
    assert await take(house, "And then?", "k2", session_id=first.session_id) == second


async def test_a_turn_that_was_taken_keeps_its_claim(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what failed gives its claim up; that is a commit of its own, which a finished turn need not pay."""
    released: list[IdempotencyClaim] = []

    async def release(claim: IdempotencyClaim) -> None:
        released.append(claim)

    monkeypatch.setattr(house.services.sessions, "release", release)
    await take(house, "Hello?", "key")
    assert released == []


async def test_a_key_with_another_body_is_refused(house: House) -> None:
    await take(house, "Hello?", "k1")
    with pytest.raises(KeyReused):
        await take(house, "Goodbye.", "k1")


async def test_whether_it_streams_is_no_part_of_the_body(house: House) -> None:
    first = await take(house, "Hello?", "k1", stream=True)
    assert await take(house, "Hello?", "k1", stream=False) == first


async def test_a_key_being_worked_on_is_in_flight(house: House) -> None:
    house.llm.will(Hang())
    working = asyncio.create_task(take(house, "Hello?", "k1"))
    await house.llm.is_generating.wait()
    with pytest.raises(InFlight):
        await take(house, "Hello?", "k1")
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_a_dead_attempt_is_taken_over_after_its_lease(house: House) -> None:
    house.llm.will(Hang())
    dead = asyncio.create_task(take(house, "Hello?", "k1"))
    await house.llm.is_generating.wait()
    turn = await take(house, "Hello?", "k1", lease_s=0.0)
    dead.cancel()
    await asyncio.gather(dead, return_exceptions=True)
    assert await take(house, "Hello?", "k1") == turn


@pytest.mark.parametrize("keys", [(None, None), ("a", "b"), ("a", None)])
async def test_of_two_turns_at_once_one_wins(house: House, keys: tuple[str | None, str | None]) -> None:
    first = await take(house, "Hello?")
    house.retrieval.barrier = asyncio.Barrier(2)  # both have read the same head before either commits
    racing = [
        asyncio.create_task(take(house, f"Turn {number}.", key, session_id=first.session_id))
        for number, key in enumerate(keys)
    ]
    answers = await asyncio.gather(*racing, return_exceptions=True)
    assert sorted(type(answer) for answer in answers if not isinstance(answer, Turn)) == [Conflict]
    assert [isinstance(answer, Turn) for answer in answers].count(True) == 1
    assert len(await house.services.sessions.history(first.session_id, 9)) == 2


async def test_four_of_one_key_at_once_make_one_turn(house: House) -> None:
    answers = await asyncio.gather(*(take(house, "Hello?", "k1") for _ in range(4)), return_exceptions=True)
    turns = {answer.turn_id for answer in answers if isinstance(answer, Turn)}
    assert len(turns) == 1
    assert all(isinstance(answer, Turn | InFlight) for answer in answers)
    assert len(house.llm.payloads) == 1


# --- failures -------------------------------------------------------------------------------------------------------


async def test_a_turn_of_which_no_mark_holds_is_written_again_from_the_lines_it_pointed_to(house: House) -> None:
    house.llm.will(answer([(INVENTED, [1])]))
    house.llm.will(answer([(LIGHT, [1])]))
    events = await events_of(stream(house, "What burns in the light?"))
    assert [event.event for event in events] == ["started", "lore", "sentence", "restart", "sentence", "turn"]
    assert events[-1].data["narration"] == f"{LIGHT}[1]"
    assert TIDE in house.llm.prompts[0]
    assert TIDE not in house.llm.prompts[1]
    assert [payload["temperature"] for payload in house.llm.payloads] == [0.7, 0.0]


async def test_a_turn_without_marks_stands(house: House) -> None:
    house.llm.will(answer([(INVENTED, [])]))
    events = await events_of(stream(house, "What burns in the light?"))
    assert [event.event for event in events] == ["started", "lore", "sentence", "turn"]


async def test_a_restart_voids_what_was_said(house: House) -> None:
    lost = answer([(INVENTED, []), (INVENTED, [])])
    house.llm.will(lost[: lost.index("},") + 2], Restarted(), answer([(TIDE, [1])]))
    events = await events_of(stream(house, "Who winds the clock?"))
    assert [event.event for event in events] == ["started", "lore", "sentence", "restart", "sentence", "turn"]
    assert [sentence["text"] for sentence in events[-1].data["sentences"]] == [TIDE]


async def test_a_prompt_that_does_not_fit_is_made_shorter(house: House) -> None:
    first = await take(house, "Hello?")
    house.llm.will(ContextOverflow("maximum context length"))
    house.llm.will(ContextOverflow("maximum context length"))
    house.llm.will(answer([(TIDE, [1])]))
    turn = await take(house, "Who winds the clock?", session_id=first.session_id)
    lengths = [len(prompt) for prompt in house.llm.prompts[1:]]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) == 3
    assert "Before:" in house.llm.prompts[1]
    assert "Before:" not in house.llm.prompts[2]
    assert turn.narration


async def test_a_message_that_never_fits_is_told_so(house: House) -> None:
    for _ in range(12):
        house.llm.will(ContextOverflow("maximum context length"))
    with pytest.raises(ContextOverflow, match="shorter"):
        await take(house, "x " * 300, "k1")


def test_a_prompt_shortens_to_its_message_and_stops() -> None:
    prompt: TurnPrompt | None = TurnPrompt(
        title="T", message="m" * 3000, scene="s", persona="p", history=[PastTurn("a", "b")], established=["e"],
        lore=[LoreLine(f"c{n}", "s", "text") for n in range(6)],
    )  # fmt: skip
    num_steps = 0
    while (prompt := assembly.shorter(prompt)) is not None:
        last, num_steps = prompt, num_steps + 1
        assert num_steps < 20
    assert (last.history, last.established, last.scene, last.persona, len(last.lore)) == ([], [], "", "", 1)
    assert len(last.message) == 200


async def test_history_never_overflows_the_prompt(house: House) -> None:
    """However long messages and narrations are, what a prompt keeps of them is bounded."""
    session, lengths = None, []
    for number in range(8):
        house.llm.will(answer([(f"{INVENTED[:-1]} {number} " + "and on " * 40, []) for _ in range(6)]))
        turn = await take(house, f"Message {number} " + "so long " * 400, session_id=session)
        session = turn.session_id
        lengths.append(sum(len(message["content"]) for message in house.llm.payloads[-1]["messages"]))
    assert max(lengths[2:]) - min(lengths[2:]) < 100
    assert max(lengths) < 4000


async def test_what_was_established_outlives_the_history(house: House) -> None:
    session = None
    for number in range(5):
        house.llm.will(answer([(TIDE, [1])] if number == 0 else [(INVENTED, [])]))
        session = (await take(house, f"Tell me thing {number}.", session_id=session)).session_id
    prompt = house.llm.prompts[-1]
    assert "thing 0" not in prompt
    assert f"Established: {TIDE}" in prompt


@pytest.mark.parametrize("error", [Overloaded("full"), Unavailable("gone"), RuntimeError("a bug")])
async def test_a_failed_turn_gives_its_key_back(house: House, error: Exception) -> None:
    house.llm.will(error)
    house.llm.will(error)
    for _ in range(2):  # the second attempt has taken the key over from the first
        with pytest.raises(type(error)):
            await take(house, "Hello?", "k1")
    assert (await take(house, "Hello?", "k1")).narration


async def test_an_answer_without_a_sentence_is_an_error_and_no_turn(house: House) -> None:
    house.llm.will("{")
    house.llm.will("{")  # it is asked once more, without sampling
    with pytest.raises(ModelAnswerInvalid):
        await take(house, "Hello?", "k1")
    assert (await take(house, "Hello?", "k1")).narration


async def test_a_reader_that_goes_away_frees_key_and_engine(house: House) -> None:
    house.llm.will(answer([(TIDE, [1]), (LIGHT, [2])])[:200], Hang())
    async with aclosing(stream(house, "Hello?", "k1")) as events:
        async for event in events:
            if event.event == "sentence":
                break
    assert house.llm.num_abandoned == 1
    assert (await take(house, "Hello?", "k1")).narration


async def test_a_cancelled_call_frees_key_and_engine(house: House) -> None:
    house.llm.will(Hang())
    working = asyncio.create_task(take(house, "Hello?", "k1"))
    await house.llm.is_generating.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert house.llm.num_abandoned == 1
    assert (await take(house, "Hello?", "k1")).narration


async def test_a_search_that_fails_fails_the_turn_before_the_model_is_asked(house: House) -> None:
    house.retrieval.error = Unavailable("gone")
    with pytest.raises(Unavailable):
        await take(house, "Hello?")
    assert house.llm.payloads == []
