"""The parts that a turn is put together from: state before, prompt, and the turn that goes into the row. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sagaforge.datasets.sessions import StoredTurn
from sagaforge.datasets.worlds.world_store import World
from sagaforge.deployments.retrieval.interface import LoreLine, section_title
from sagaforge.errors import InvalidInput
from sagaforge.functions.story.game_state import SceneFacts, initial_state, record_events
from sagaforge.functions.story.opening import Opening
from sagaforge.functions.story.partial_json import DEFAULT_CHOICES
from sagaforge.functions.story.prompt import PastTurn, TurnPrompt
from sagaforge.functions.story.rules import WorldFacts, apply_changes, choice_is_open, same_name
from sagaforge.schemas import (
    Choice,
    Chunk,
    Dialogue,
    GameState,
    ModelChoice,
    ModelDialogue,
    ModelTurn,
    RefusedChange,
    Sentence,
    Turn,
    TurnRequest,
)
from sagaforge.text.terms import query_terms

MIN_CHOICES, MAX_CHOICES = 2, 4
LEADS = {"en": "Ask about {}.", "zh-Hant": "打聽{}。", "zh-Hans": "打听{}。"}
MAX_ESTABLISHED = 16
MAX_ESTABLISHED_CHARS = 100
# Plainly generic, as the default choices are.
NOTHING_TOLD = {"en": "There is nothing to tell of that.", "zh-Hant": "這件事無可奉告。", "zh-Hans": "这件事无可奉告。"}
# A message of fewer telling words ("And why?") is searched together with the one before it.
FEW_TERMS = 3
QUESTION_WORDS = frozenset("who whom whose what which when where why how".split())
POINTING_BACK = frozenset(
    "he him his she her hers it its they them their theirs this that these those there then and but so".split()
)


@dataclass(frozen=True)
class TurnContext:
    """What holds before the model is asked. `message` is the player's, or the text of the choice they took."""

    state: GameState
    message: str
    chosen: Choice | None
    facts: WorldFacts
    established: tuple[str, ...]

    @property
    def known_names(self) -> tuple[str, ...]:
        """Names that a sentence may use without the lore's word for it."""
        return (self.state.player.name, *self.facts.characters.values(), *self.facts.locations)


@dataclass(frozen=True)
class Generated:
    """The model's answer, its narration as the gate left it, and the lore lines it was given."""

    answer: ModelTurn
    sentences: list[Sentence]
    lore: list[LoreLine]


def state_before(request: TurnRequest, opening: Opening, world: World, character_id: str | None) -> TurnContext:
    """The state that the session's head left, or a new session's first one, and the choice taken, if it was one.

    Raises `InvalidInput` when the message takes a choice that is not open.
    """
    parent = opening.parent
    previous = Turn.model_validate_json(parent.turn) if parent else None
    names = {key: character.name for key, character in world.characters.items()}
    if previous is None:
        state = initial_state(
            session_id=opening.session_id,
            world_id=world.world_id,
            world_version=world.version,
            scenes=_scenes(world),
            characters=names,
            character_id=character_id,
        )
    else:
        state = previous.game_state
        if character_id is not None:
            state = state.model_copy(update={"character_id": character_id})
    chosen = _chosen(request.message, previous)
    if chosen is not None and not chosen.available:
        raise InvalidInput(f"The choice {chosen.text!r} is not open now: its conditions do not hold.")
    facts = WorldFacts(
        characters=names,
        locations=tuple(dict.fromkeys(scene.location for scene in world.scenes.values() if scene.location)),
        text=" ".join(scene.details for scene in world.scenes.values()),
    )
    return TurnContext(
        state=state,
        message=chosen.text if chosen else request.message,
        chosen=chosen,
        facts=facts,
        established=parent.established if parent else (),
    )


def message_of(request: TurnRequest, parent: StoredTurn | None) -> str:
    """The player's message, or the text of the choice of the last turn that it takes."""
    chosen = _chosen(request.message, Turn.model_validate_json(parent.turn) if parent else None)
    return chosen.text if chosen else request.message


def search_query(message: str, history: Sequence[StoredTurn]) -> str:
    """What to search the lore for."""
    if history and len(set(query_terms(message))) < FEW_TERMS:
        return f"{message} {history[-1].message}"
    return message


def stands_alone(message: str) -> bool:
    """Whether a question can be understood without what was said before it: it points back at nothing."""
    words = re.findall(r"[a-z]+", message.casefold())
    return bool(words) and ("?" in message or words[0] in QUESTION_WORDS) and POINTING_BACK.isdisjoint(words)


def make_prompt(context: TurnContext, world: World, history: Sequence[StoredTurn], lore: list[LoreLine]) -> TurnPrompt:
    """The prompt of this turn, its parts in the order of `TurnPrompt`."""
    state = context.state
    character = world.characters.get(state.character_id or "")
    scene = world.scenes.get(state.scene_id or "")
    names = context.facts.characters
    here = state.locations.get(state.location or "")
    return TurnPrompt(
        title=world.title,
        message=context.message,
        language=world.language,
        character=character.name if character else "",
        persona=(character.personality or character.description) if character else "",
        scene=f"{scene.title}. {scene.description}" if scene else "",
        location=state.location or "",
        inventory=[f"{item.name} ×{item.quantity}" if item.quantity > 1 else item.name for item in state.inventory],
        relationships=[
            f"{names.get(key, key)} ({relation.relation_type}, affinity {relation.affinity})"
            for key, relation in state.relationships.items()
        ],
        people_here=[names.get(key, key) for key in here.characters_present] if here else [],
        # The last ones: the first are what an old session can best do without.
        established=list(context.established[-4:]),
        history=[PastTurn(turn.message, turn.narration) for turn in history],
        lore=lore,
    )


def shorter(prompt: TurnPrompt) -> TurnPrompt | None:
    """The prompt with the least needed part left out; None when only the message and one line of lore are left."""
    if prompt.history or prompt.established:
        return replace(prompt, history=[], established=[])
    if len(prompt.lore) > 1:
        return replace(prompt, lore=prompt.lore[: len(prompt.lore) // 2])
    if prompt.scene or prompt.persona or prompt.relationships:
        return replace(prompt, scene="", persona="", relationships=[], people_here=[], inventory=[])
    if len(prompt.message) > 200:
        return replace(prompt, message=prompt.message[:200])
    return None


def assemble(
    opening: Opening, context: TurnContext, world: World, generated: Generated, chunks: Sequence[Chunk]
) -> tuple[Turn, tuple[str, ...]]:
    """The turn as it is stored and answered, and what the session has established after it."""
    citations = list(dict.fromkeys(id for sentence in generated.sentences for id in sentence.citations))
    facts = replace(context.facts, text=" ".join([context.facts.text, *(chunk.text for chunk in chunks)]))
    state, refused = _next_state(context, generated, facts, citations, world.language)
    answer = generated.answer
    turn = Turn(
        turn_id=opening.turn_id,
        session_id=opening.session_id,
        narration=_narration(generated.sentences, citations, world.language),
        sentences=generated.sentences,
        dialogues=[told_dialogue(dialogue, facts) for dialogue in answer.dialogues],
        choices=_choices(answer, state, facts, world.language, _lead(generated, chunks)),
        citations=citations,
        game_state=state,
        refused_changes=refused,
    )
    told = [sentence.text[:MAX_ESTABLISHED_CHARS] for sentence in generated.sentences if sentence.citations]
    established = tuple(dict.fromkeys([*context.established, *told]))[-MAX_ESTABLISHED:]
    return turn, established


def told_dialogue(dialogue: ModelDialogue, facts: WorldFacts) -> Dialogue:
    """A line of dialogue as players get it; somebody of the world has the name that the world spells."""
    speaker = next((name for name in facts.characters.values() if same_name(name) == same_name(dialogue.speaker)), None)
    return Dialogue(speaker=speaker or dialogue.speaker, text=dialogue.text, emotion=dialogue.emotion)


def nothing_told(language: str) -> Sentence:
    """What stands for a narration of which nothing can be shown."""
    return Sentence(text=NOTHING_TOLD.get(language, NOTHING_TOLD["en"]), citations=[], status="invented", claimed=[])


def _next_state(
    context: TurnContext, generated: Generated, facts: WorldFacts, citations: list[str], language: str
) -> tuple[GameState, list[RefusedChange]]:
    # The choice's consequences were promised to the player, so they come first; one call, because the rules' limits
    # hold for one.
    changes = [*(context.chosen.consequences if context.chosen else ()), *generated.answer.changes]
    unique = list({change.model_dump_json(): change for change in changes}.values())
    state, refused = apply_changes(context.state, unique, known=facts)
    state = state.model_copy(update={"turn_count": context.state.turn_count + 1})
    state = record_events(context.state, state, citations=citations, names=facts.characters, language=language)
    return state, refused


def _lead(generated: Generated, chunks: Sequence[Chunk]) -> str:
    """What the lore has instead, where none of it was about the message; else ""."""
    titles = (section_title(chunk.metadata.section) for chunk in chunks)
    return "" if generated.lore else next((title for title in titles if title), "")


def _choices(answer: ModelTurn, state: GameState, facts: WorldFacts, language: str, lead: str) -> list[Choice]:
    """The model's choices without doubles, numbered, and filled up with generic ones to the least there must be.

    A `lead` comes first: a model that was given no lore can name nothing of the world to go on with.
    """
    distinct: dict[str, tuple[str, ModelChoice]] = {}
    for choice in answer.choices:
        distinct.setdefault(_offer(choice.text), (choice.text, choice))
    offered = [(text, c.conditions, c.consequences) for text, c in distinct.values()]
    if lead:
        ask = LEADS.get(language, LEADS["en"]).format(lead)
        offered = [(ask, [], []), *(offer for offer in offered if _offer(offer[0]) != _offer(ask))][:MAX_CHOICES]
    for text in DEFAULT_CHOICES.get(language, DEFAULT_CHOICES["en"]):
        if len(offered) < MIN_CHOICES and _offer(text) not in distinct:
            offered.append((text, [], []))
    return [
        Choice(
            id=f"choice_{number}",
            text=text,
            conditions=conditions,
            consequences=consequences,
            available=choice_is_open(conditions, state, known=facts),
        )
        for number, (text, conditions, consequences) in enumerate(offered, 1)
    ]


def _offer(text: str) -> str:
    """The form in which two choices are compared: "Ask about the Unlit" offers what "Ask about Unlit" does."""
    return same_name(text).replace(" the ", " ")


def _narration(sentences: Sequence[Sentence], citations: Sequence[str], language: str) -> str:
    """The sentences as one text, each followed by its marks; [n] is the nth of the turn's citations."""
    number_of = {id: number for number, id in enumerate(citations, 1)}
    marked = [s.text + "".join(f"[{number_of[id]}]" for id in s.citations) for s in sentences]
    return ("" if language.startswith("zh") else " ").join(marked)


def _chosen(message: str, previous: Turn | None) -> Choice | None:
    """The choice of the last turn that a message takes, by its id or its text."""
    wanted = same_name(message)
    for choice in previous.choices if previous else ():
        if wanted in (same_name(choice.id), same_name(choice.text)):
            return choice
    return None


def _scenes(world: World) -> list[SceneFacts]:
    return [
        SceneFacts(id=key, title=scene.title, location=scene.location, npcs=tuple(scene.npcs))
        for key, scene in world.scenes.items()
    ]
