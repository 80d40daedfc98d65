"""A turn, from the player's message to the committed row. The pipeline is `stream_turn`, read top to bottom.

retrieve → prompt → generate under a JSON schema → citation gate → rules → one commit → answer
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sagaforge.datasets.sessions import SessionStore, StoredTurn
from sagaforge.datasets.worlds.world_store import World, WorldStore
from sagaforge.deployments.llm.client import LanguageModel
from sagaforge.deployments.retrieval.interface import LoreSearch, RetrievedLore
from sagaforge.errors import InvalidInput, NotFound
from sagaforge.events import FoundLore, LoreEvent, StartedEvent, TurnEvent, TurnIds, TurnTakenEvent
from sagaforge.functions.citations.gate import CitationChecker, LexicalGate
from sagaforge.functions.story import assembly
from sagaforge.functions.story.generation import Clock, Generation
from sagaforge.functions.story.opening import Opening, Replay, open_turn, own_turn, recent_turns
from sagaforge.profiles import Profile
from sagaforge.schemas import SessionRef, Turn, TurnRequest

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
    """Take one turn, telling its stages as events (see `sagaforge.events`); the last one is the committed turn.

    Args:
        timings: filled with seconds by stage; `engine` is the engine's own time.
        lease_s: seconds after which an attempt under the same idempotency key counts as dead.

    Raises:
        NotFound: unknown world, session or character.
        Conflict, InFlight, KeyReused: see `opening.open_turn`.
        Overloaded, Unavailable: an engine takes no more, or is gone after its retries.
    """
    clock = Clock(timings)
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
        yield TurnTakenEvent(data=replayed)
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
        yield LoreEvent(data=FoundLore(chunks=lore.chunks))

        context = assembly.state_before(request, opening, world, character_id)
        prompt = assembly.make_prompt(context, world, history, lore.lines)
        clock.mark("prompt")

        checker = gate or LexicalGate(context.known_names)
        generation = Generation(prompt, llm, checker, profile, context.facts, clock)
        async with aclosing(generation.events(request)) as events:
            async for event in events:
                yield event
        clock.mark("generate")

        turn, established = assembly.assemble(opening, context, world, generation.result(), lore.chunks)
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
    yield TurnTakenEvent(data=turn)


async def _read(
    request: TurnRequest,
    history: list[StoredTurn],
    worlds: WorldStore,
    retrieval: LoreSearch,
    profile: Profile,
) -> tuple[World, str | None, RetrievedLore]:
    """What a turn reads before it makes anything: its world, the id of the character spoken to, and the lore."""
    parent = history[-1] if history else None
    world = await _pinned_world(request, parent, worlds)
    character_id = _character(request, world)
    if not request.use_rag:
        return world, character_id, RetrievedLore([], [])
    message = assembly.message_of(request, parent)
    lore = await retrieval.read(
        world.world_id,
        world.version,
        assembly.search_query(message, history),
        top_k=profile.retrieve_top_k,
        max_lines=profile.lore_max_lines,
        max_chars=profile.lore_max_chars,
        min_share=profile.lore_min_share,
        min_confidence=profile.lore_min_confidence,
        asked=message if assembly.stands_alone(message) else None,
    )
    return world, character_id, lore


def _started(session_id: str, turn_id: str) -> TurnEvent:
    return StartedEvent(data=TurnIds(session_id=session_id, turn_id=turn_id))


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
