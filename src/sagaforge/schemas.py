"""The shapes that cross a boundary: HTTP bodies, what a handle carries, what the model must answer.

Three groups, in this order: the game (state, changes, choices), the model's answer, requests and responses. Shapes
of rows at rest are in `sagaforge.datasets.store.tables`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$"
Identifier = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
MAX_INVENTORY_SLOTS = 50


class Shape(BaseModel):
    """Base of every shape: unknown fields are an error, so that a misspelt one is not silently ignored, and a value has
    its field's own type (`true` is not 1, `"2"` is not 2, `2.0` is no whole number), so that none is guessed.

    Parameters of an address and fields of a form are text: FastAPI reads them before a shape sees them.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


def _read_iso(value: object) -> object:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("write the time as ISO 8601, for example 2026-11-22T12:00:00Z") from None


Timestamp = Annotated[datetime, BeforeValidator(_read_iso)]  # JSON has no type for it; its text is ISO 8601


# --- the game -------------------------------------------------------------------------------------------------------

FactKind = Literal["flag", "relationship", "item", "stat", "location"]
ChangeOp = Literal["set", "add", "remove", "change"]
ConditionOp = Literal["==", "!=", ">", "<", ">=", "<=", "has", "not_has", "discovered"]
Emotion = Literal["neutral", "happy", "sad", "angry", "afraid", "curious", "amused", "tense"]


class Change(Shape):
    """One proposed change of the state, by the model or as the consequence of a choice."""

    op: ChangeOp
    kind: FactKind
    name: str = Field(min_length=1, max_length=60)
    value: int | None = None


class Condition(Shape):
    """What must hold for a choice to be open."""

    kind: FactKind
    name: str = Field(min_length=1, max_length=60)
    op: ConditionOp
    value: int | None = None


class Player(Shape):
    name: str = "Player"
    level: int = 1
    health: int = Field(100, ge=0, le=100)
    energy: int = Field(100, ge=0, le=100)


class Relationship(Shape):
    relation_type: str = "acquaintance"
    affinity: int = Field(50, ge=0, le=100)
    trust: int = Field(50, ge=0, le=100)
    notes: str = ""


class Item(Shape):
    name: str
    quantity: int = Field(1, ge=1)
    description: str = ""
    properties: dict[str, Any] = Field(default_factory=dict)


class Place(Shape):
    discovered: bool = False
    accessible: bool = True
    characters_present: list[str] = Field(default_factory=list)
    items_present: list[str] = Field(default_factory=list)


class TimelineEvent(Shape):
    turn: int
    type: str
    text: str
    citations: list[str] = Field(default_factory=list)


class GameState(Shape):
    """Everything a session carries from turn to turn; one turn row holds it whole."""

    session_id: str
    world_id: str
    world_version: int
    character_id: str | None = None
    scene_id: str | None = None
    location: str | None = None
    turn_count: int = 0
    player: Player = Field(default_factory=Player)
    relationships: dict[str, Relationship] = Field(default_factory=dict)
    inventory: list[Item] = Field(default_factory=list, max_length=MAX_INVENTORY_SLOTS)
    world_flags: dict[str, bool | int | str] = Field(default_factory=dict)
    timeline: list[TimelineEvent] = Field(default_factory=list)
    locations: dict[str, Place] = Field(default_factory=dict)


# --- what the model answers -----------------------------------------------------------------------------------------
# Key order is the order of generation. A sentence's lore numbers come before its text: the model first picks what it
# rests on, then writes, which small models bind far better than the reverse.


class ModelSentence(Shape):
    lore: list[Annotated[int, Field(ge=1, le=24)]] = Field(max_length=3)
    text: str = Field(min_length=1, max_length=320)


class ModelDialogue(Shape):
    speaker: str = Field(min_length=1, max_length=60)
    emotion: Emotion
    text: str = Field(min_length=1, max_length=240)


# "if" and "then" are keywords of Python, hence the aliases.
class ModelChoice(Shape):
    text: str = Field(min_length=1, max_length=120)
    conditions: list[Condition] = Field(max_length=2, alias="if")
    consequences: list[Change] = Field(max_length=2, alias="then")

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class ModelTurn(Shape):
    """The JSON that the language model generates for a turn, under a static grammar."""

    narration: list[ModelSentence] = Field(min_length=1, max_length=6)
    dialogues: list[ModelDialogue] = Field(max_length=3)
    choices: list[ModelChoice] = Field(min_length=2, max_length=4)
    changes: list[Change] = Field(max_length=4)


# --- requests and responses -----------------------------------------------------------------------------------------


class ChunkMetadata(Shape):
    source: str
    section: str
    license: str | None = None


class Chunk(Shape):
    """A piece of lore. `id` has the form `doc_<hash>@section_<n>:chunk_<n>`."""

    id: str
    text: str
    score: float
    metadata: ChunkMetadata


class VersionSpan(Shape):
    """The versions of a world from `first` to `last`; without `last`, the newest is one of them."""

    first: int
    last: int | None = None


class ChunkDetail(Chunk):
    """A chunk as `version` has it, and all versions that do."""

    world_id: str
    version: int
    versions: list[VersionSpan]


class Pinned(Shape):
    """Which version of a world is meant; the current one when both are left out."""

    version: int | None = Field(None, ge=1, le=2**31 - 1, description="a version of the world")
    session_id: Identifier | None = Field(None, description="the version that this session plays in")


class UploadResponse(Shape):
    world_id: str
    version: int
    doc_ids: list[str]
    total_chunks: int


class RetrieveRequest(Pinned):
    world_id: Identifier
    query: str = Field(min_length=1, max_length=4000)
    top_k: int = Field(5, ge=1, le=100)
    rerank: bool = False
    source: str | None = Field(None, description="only chunks of this document")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"world_id": "neo_taipei", "query": "Alice 的背景故事", "top_k": 5, "rerank": True}]
        }
    )


class RetrieveResponse(Shape):
    version: int = Field(description="of the world, in which was searched")
    chunks: list[Chunk]
    query_time_ms: float


class WorldSummary(Shape):
    world_id: str
    title: str
    language: str = Field(description="en, zh-Hant or zh-Hans: the language most of its lore is written in")
    version: int
    license: str | None = None
    total_chunks: int


class WorldList(Shape):
    worlds: list[WorldSummary]


class DeletedWorld(Shape):
    world_id: str
    version: int = Field(description="the last one; an upload under this id goes on counting from it")
    deleted_at: datetime


class CharacterSummary(Shape):
    id: str
    name: str
    description: str = ""


class SceneSummary(Shape):
    id: str
    title: str
    location: str = ""
    description: str = ""
    npcs: list[str] = Field(default_factory=list, description="ids of the characters who are there")


class SessionRef(Shape):
    session_id: Identifier


class WorldDetail(WorldSummary):
    characters: list[CharacterSummary]
    scenes: list[SceneSummary]
    doc_ids: list[str]


class TurnRequest(Shape):
    message: str = Field(min_length=1, max_length=4000)
    world_id: Identifier
    character_id: Identifier | None = None
    session_id: Identifier | None = Field(None, description="left out, the turn starts a new session")
    use_rag: bool = True
    max_tokens: int = Field(500, ge=64, le=4096)
    temperature: float = Field(0.7, ge=0.0, le=2.0)
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    generate_image: bool = Field(False, description="paint the moment after the turn")
    style_preset: Identifier | None = Field(None, description="of that picture; the world's own when left out")
    stream: bool = False

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "message": "告訴我關於 Alice 的故事",
                    "world_id": "neo_taipei",
                    "character_id": "alice",
                    "use_rag": True,
                    "max_tokens": 500,
                    "temperature": 0.7,
                }
            ]
        }
    )


class Sentence(Shape):
    """One sentence of narration after the citation gate. `invented`: nothing retrieved holds it up; `claimed`: what the
    model itself cited for it, before the gate moved or took away what did not hold."""

    text: str
    citations: list[str]
    status: Literal["cited", "invented"]
    claimed: list[str] = Field(default_factory=list)


class Dialogue(Shape):
    speaker: str
    text: str
    emotion: str


class Choice(Shape):
    id: str
    text: str
    conditions: list[Condition] = Field(default_factory=list)
    consequences: list[Change] = Field(default_factory=list)
    available: bool = True


class RefusedChange(Shape):
    change: Change
    reason: str


class Turn(Shape):
    """The answer to a turn, and what its row in `turns` holds."""

    turn_id: str
    session_id: str
    narration: str
    sentences: list[Sentence]
    dialogues: list[Dialogue]
    choices: list[Choice]
    citations: list[str]
    game_state: GameState
    refused_changes: list[RefusedChange] = Field(default_factory=list)


class Problem(BaseModel):
    """RFC 9457 problem document: the body of every error, as `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, Any]] | None = Field(None, description="for a bad request, the fields at fault")


class Health(Shape):
    status: Literal["healthy"]
    version: str
    uptime: float = Field(description="seconds since this ingress replica started")
