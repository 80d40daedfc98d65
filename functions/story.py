"""A turn, from the player's message to the committed row. The pipeline is `stream_turn`, read top to bottom.

retrieve → prompt → generate under a JSON schema → citation gate → rules → one commit → answer
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from sagaforge.datasets.sessions import SessionStore, StoredTurn
from sagaforge.datasets.worlds import World, WorldStore
from sagaforge.deployments.llm_client import Finished, LanguageModel, Piece, Restarted
from sagaforge.deployments.retrieval import LoreSearch, Reading
from sagaforge.errors import ContextOverflow, InvalidInput, NotFound
from sagaforge.functions import turn_parts
from sagaforge.functions.gate import CitationChecker, LexicalGate, Verdict
from sagaforge.functions.openings import Opening, Replay, open_turn, own_turn, recent_turns
from sagaforge.functions.partial_json import TurnReader
from sagaforge.functions.prompt import TurnPrompt, build_messages
from sagaforge.functions.rules import WorldFacts
from sagaforge.functions.spelling import Spelling
from sagaforge.functions.stutter import not_cut_short, without_label, without_stutter
from sagaforge.profiles import Profile
from sagaforge.schemas import (
    ModelDialogue,
    ModelSentence,
    ModelTurn,
    Sentence,
    SessionRef,
    Turn,
    TurnEvent,
    TurnRequest,
)

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Static, so that the engine compiles its grammar once.
RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "turn", "schema": ModelTurn.model_json_schema(), "strict": True},
}
# On top of what the caller allows for the story: room to close the JSON, choices and changes included.
CLOSING_TOKENS = 160
# How many turns before this one the prompt tells of.
HISTORY_TURNS = 2
# Names under which clients ask for a narrator rather than for somebody of the world.
NARRATOR_IDS = frozenset({"narrator", "protagonist", "player"})


async def last_turn(request: SessionRef, *, sessions: SessionStore) -> Turn:
    """The turn at which a session stands; `NotFound` if there is no such session."""
    head = await sessions.head(request.session_id)
    if head is None:
        raise NotFound(f"There is no session {request.session_id!r}.")
    return Turn.model_validate_json(head.turn)


async def stream_turn(
    request: TurnRequest,
    *,
    idempotency_key: str | None,
    timings: dict[str, float],
    llm: LanguageModel,
    retrieval: LoreSearch,
    worlds: WorldStore,
    sessions: SessionStore,
    profile: Profile,
    lease_s: float,
    gate: CitationChecker | None = None,
) -> AsyncGenerator[TurnEvent, None]:
    """Take one turn, telling its stages as events (see `schemas.TurnEvent`); the last one is the committed turn.

    Args:
        timings: filled with seconds by stage; `engine` is the engine's own time.
        lease_s: seconds after which an attempt under the same idempotency key counts as dead.

    Raises:
        NotFound: unknown world, session or character.
        Conflict, InFlight, KeyReused: see `openings.open_turn`.
        Overloaded, Unavailable: an engine takes no more, or is gone after its retries.
    """
    clock = _Clock(timings)
    history = await recent_turns(request.session_id, HISTORY_TURNS, sessions=sessions)
    parent = history[-1] if history else None
    # Side by side, because reading changes nothing. Nothing is made before the claim is ours.
    opening, read = await asyncio.gather(
        clock.timed(
            "claim", open_turn(request, parent, idempotency_key=idempotency_key, sessions=sessions, lease_s=lease_s)
        ),
        clock.timed("retrieve", _read(request, history, worlds, retrieval, profile)),
        return_exceptions=True,
    )
    if isinstance(opening, BaseException):
        raise opening
    if isinstance(opening, Replay):
        replayed = Turn.model_validate_json(opening.turn.turn)
        yield _started(replayed.session_id, replayed.turn_id)
        yield TurnEvent(event="turn", data=replayed.model_dump(by_alias=True))
        return
    try:
        if opening.parent != parent:  # an attempt taken over from one that had begun on an earlier turn
            history = await sessions.history(opening.session_id, HISTORY_TURNS)
            read = await _read(request, history, worlds, retrieval, profile)
        if isinstance(read, BaseException):
            raise read
        world, character_id, lore = read
        clock.mark("open")
        yield _started(opening.session_id, opening.turn_id)
        yield TurnEvent(event="lore", data={"chunks": [chunk.model_dump() for chunk in lore.chunks]})

        before = turn_parts.state_before(request, opening, world, character_id)
        prompt = turn_parts.make_prompt(before, world, history, lore.lines)
        clock.mark("prompt")

        checker = gate or LexicalGate(before.known_names)
        generation = _Generation(prompt, llm, checker, profile.llm.alphabet, before.facts, clock)
        async with aclosing(generation.events(request)) as events:
            async for event in events:
                yield event
        clock.mark("generate")

        turn, established = turn_parts.assemble(opening, before, world, generation.result(), lore.chunks)
        row = _row(request, opening, world, turn, established, clock.engine_s)
        stored, is_ours = await sessions.commit_turn(row)
        clock.mark("commit")
        if not is_ours:
            turn = Turn.model_validate_json(own_turn(stored, idempotency_key).turn)
    except BaseException:
        # Failed, too late or abandoned: a retry under the same key need not wait for the lease to run out.
        if opening.claim is not None:
            await asyncio.shield(sessions.release(opening.claim))
        raise
    # Outside the block above: a reader that closes the stream once it has the turn must not give its claim up.
    yield TurnEvent(event="turn", data=turn.model_dump(by_alias=True))


async def _read(
    request: TurnRequest,
    history: list[StoredTurn],
    worlds: WorldStore,
    retrieval: LoreSearch,
    profile: Profile,
) -> tuple[World, str | None, Reading]:
    """What a turn reads before it makes anything: its world, the id of the character spoken to, and the lore."""
    parent = history[-1] if history else None
    world = await _pinned_world(request, parent, worlds)
    character_id = _character(request, world)
    if not request.use_rag:
        return world, character_id, Reading([], [])
    message = turn_parts.message_of(request, parent)
    lore = await retrieval.read(
        world.world_id,
        world.version,
        turn_parts.search_query(message, history),
        top_k=profile.retrieve_top_k,
        max_lines=profile.lore_max_lines,
        max_chars=profile.lore_max_chars,
        min_share=profile.lore_min_share,
        min_confidence=profile.lore_min_confidence,
        asked=message if turn_parts.stands_alone(message) else None,
    )
    return world, character_id, lore


class _Clock:
    """Seconds by stage, each from the mark before it."""

    def __init__(self, timings: dict[str, float]) -> None:
        self._timings = timings
        self._last = time.perf_counter()
        self.engine_s: float | None = None

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self._timings[stage] = now - self._last
        self._last = now

    async def timed(self, stage: str, work: Awaitable[T]) -> T:
        """`work`, its time noted as a part of the stage that it runs in."""
        started = time.perf_counter()
        try:
            return await work
        finally:
            self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        self._timings[stage] = self._timings.get(stage, 0.0) + seconds


class _Generation:
    """One generation: streamed JSON in, events out; each sentence leaves only after the gate has seen it."""

    def __init__(
        self,
        prompt: TurnPrompt,
        llm: LanguageModel,
        checker: CitationChecker,
        alphabet: str | None,
        facts: WorldFacts,
        clock: _Clock,
    ) -> None:
        self._prompt = prompt
        self._llm = llm
        self._checker = checker
        self._alphabet = alphabet
        self._facts = facts
        self._clock = clock
        self._begin_anew()

    def result(self) -> turn_parts.Generated:
        """What was generated; raises `ModelAnswerInvalid` when nothing of it can be shown."""
        answer = self._spelling.answer(self._reader.finish())
        return turn_parts.Generated(answer, self._sentences, self._prompt.lore)

    async def events(self, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        prompt: TurnPrompt | None = self._prompt
        while prompt is not None:
            self._prompt = prompt
            self._begin_anew()
            try:
                async for event in self._attempt(request, request.temperature):
                    yield event
                if (again := self._to_write_again()) is not None:
                    self._prompt = again
                    self._begin_anew()
                    yield TurnEvent(event="restart", data={})
                    async for event in self._attempt(request, 0.0):
                        yield event
                if not self._sentences:
                    for element in self._reader.cut_sentence():
                        if (cut := self._checked(element)) is not None:
                            yield cut
                if not self._sentences and self._has_dropped:  # all that was written is broken, twice
                    yield self._told(turn_parts.nothing_told(self._prompt.language))
                return
            except ContextOverflow:
                logger.info("a prompt did not fit the model and was made shorter")
                prompt = turn_parts.shorter(prompt)
        raise ContextOverflow("The message alone is too long for this model; send a shorter one.")

    def _to_write_again(self) -> TurnPrompt | None:
        """The prompt of a second attempt, without sampling, for a turn in which a small model has lost its way: nothing
        to show, or marks of which none holds. In the second case it gets only the lines that it had pointed to."""
        if not self._sentences:
            return self._prompt
        if not self._claimed or any(sentence.citations for sentence in self._sentences):
            return None
        return replace(self._prompt, lore=[self._prompt.lore[number - 1] for number in sorted(self._claimed)])

    def _begin_anew(self) -> None:
        self._reader = TurnReader(self._prompt.language)
        self._spelling = Spelling(self._prompt, self._alphabet)
        self._sentences: list[Sentence] = []  # as the gate left them
        self._claimed: set[int] = set()  # the lines that they were marked with
        self._has_dropped = False

    async def _attempt(self, request: TurnRequest, temperature: float) -> AsyncGenerator[TurnEvent, None]:
        payload = {
            "messages": build_messages(self._spelling.prompt),
            "max_tokens": min(request.max_tokens + CLOSING_TOKENS, self._llm.max_model_len // 2),
            "temperature": temperature,
            "response_format": RESPONSE_FORMAT,
        }
        if request.seed is not None:
            payload["seed"] = request.seed
        async with aclosing(self._llm.generate(payload)) as generation:
            async for event in generation:
                if isinstance(event, Restarted):
                    self._begin_anew()
                    yield TurnEvent(event="restart", data={})
                elif isinstance(event, Finished) and event.engine_s is not None:
                    self._clock.engine_s = event.engine_s
                    self._clock.add("engine", event.engine_s)
                elif isinstance(event, Piece):
                    for element in self._reader.feed(event.text):
                        if (checked := self._checked(element)) is not None:
                            yield checked

    def _checked(self, element: ModelSentence | ModelDialogue) -> TurnEvent | None:
        """The event of what the model wrote; None where it is broken and nothing can stand for it."""
        if isinstance(element, ModelDialogue):
            dialogue = self._spelling.dialogue(element)
            told = turn_parts.told_dialogue(dialogue, self._facts) if dialogue else None
            return TurnEvent(event="dialogue", data=told.model_dump()) if told else None
        started = time.perf_counter()
        sentence = self._sentence(element)
        self._clock.add("gate", time.perf_counter() - started)
        self._has_dropped |= sentence is None
        return self._told(sentence) if sentence else None

    def _told(self, sentence: Sentence) -> TurnEvent:
        self._sentences.append(sentence)
        return TurnEvent(event="sentence", data=sentence.model_dump())

    def _sentence(self, element: ModelSentence) -> Sentence | None:
        lore = self._prompt.lore
        marks = [number for number in element.lore if 1 <= number <= len(lore)]
        self._claimed.update(marks)
        claimed = list(dict.fromkeys(lore[number - 1].chunk_id for number in marks))
        written = self._spelling.told(element.text)
        if written is None:
            text, verdict = "", Verdict([], "invented")
        else:
            text = without_label(without_stutter(written), {line.section for line in lore})
            text = not_cut_short(text, (line.text for line in lore))
            verdict = self._checker.check(text, element.lore, lore)
        for line in (lore[number - 1] for number in verdict.citations or marks):
            if written is None or self._spelling.lacks(line.text):
                is_told = any(line.text == sentence.text for sentence in self._sentences)
                quoted = Sentence(text=line.text, citations=[line.chunk_id], status="cited", claimed=claimed)
                return None if is_told else quoted
        if written is None:
            return None
        citations = list(dict.fromkeys(lore[number - 1].chunk_id for number in verdict.citations))
        return Sentence(text=text, citations=citations, status=verdict.status, claimed=claimed)


def _started(session_id: str, turn_id: str) -> TurnEvent:
    return TurnEvent(event="started", data={"session_id": session_id, "turn_id": turn_id})


async def _pinned_world(request: TurnRequest, parent: StoredTurn | None, worlds: WorldStore) -> World:
    """The world as the session knows it: a new session takes the current version and keeps it."""
    if parent is None:
        return await worlds.current(request.world_id)
    if parent.world_id != request.world_id:
        raise InvalidInput(f"Session {parent.session_id!r} plays in the world {parent.world_id!r}.")
    return await worlds.version(parent.world_id, parent.world_version)


def _character(request: TurnRequest, world: World) -> str | None:
    wanted = request.character_id
    if wanted is None or wanted in world.characters:
        return wanted
    if wanted in NARRATOR_IDS:
        return None
    known = ", ".join(world.characters) or "none"
    raise NotFound(f"The world {world.world_id!r} has no character {wanted!r}; it has: {known}.")


def _row(
    request: TurnRequest,
    opening: Opening,
    world: World,
    turn: Turn,
    established: tuple[str, ...],
    engine_s: float | None,
) -> StoredTurn:
    return StoredTurn(
        id=opening.turn_id,
        session_id=opening.session_id,
        parent_id=opening.parent.id if opening.parent else None,
        seq=opening.parent.seq + 1 if opening.parent else 1,
        message=request.message,
        narration=turn.narration,
        turn=turn.model_dump_json(by_alias=True),
        world_id=world.world_id,
        world_version=world.version,
        established=established,
        idempotency_key=opening.idempotency_key,
        body_hash=opening.body_hash,
        engine_ms=None if engine_s is None else 1000 * engine_s,
    )
