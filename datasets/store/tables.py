"""Every table: its columns, its version, its indices, who writes it, and how an older one is brought up to date.

The version of a table's schema is kept in the metadata of its `id` column. A table older than its spec is migrated
by its writer when it opens it; a newer one is refused (somebody started an old release on new data).

No table has an index on `id`: with one, concurrent merges let duplicates through (docs: FACTS of LanceDB 0.40).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa
from lancedb import AsyncTable
from lancedb.index import FTS, Bitmap, BTree

from sagaforge.errors import Conflict, InvalidInput, StorageUnavailable

Group = Literal["library", "play"]
IndexKind = Literal["fts", "btree", "bitmap"]
Migration = Callable[[AsyncTable], Awaitable[None]]

VERSION_KEY = "sagaforge.version"
CHUNKS_PREFIX = "chunks_"
INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class TableSpec:
    """One table. `migrations[n]` takes version n to n + 1; it may run twice (a crash in between), so it must check
    what is already done: see `add_missing_columns`."""

    name: str
    version: int
    schema: pa.Schema
    writer: Group
    indices: Mapping[str, IndexKind] = field(default_factory=dict)
    migrations: Mapping[int, Migration] = field(default_factory=dict)

    def schema_to_create(self, vector_dim: int | None = None) -> pa.Schema:
        """The schema with its version written in, and with vectors of `vector_dim` numbers if it has any."""
        schema = self.schema
        if "vector" in schema.names:
            if not vector_dim:
                raise InvalidInput(f"table {self.name} needs the dimension of its vectors")
            place = schema.get_field_index("vector")
            schema = schema.set(place, pa.field("vector", pa.list_(pa.float32(), vector_dim)))
        place = schema.get_field_index("id")
        return schema.set(place, schema.field(place).with_metadata({VERSION_KEY: str(self.version)}))


def _schema(required: Mapping[str, pa.DataType], optional: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    fields = [pa.field(name, kind, nullable=False) for name, kind in required.items()]
    return pa.schema(fields + [pa.field(name, kind) for name, kind in (optional or {}).items()])


def add_missing_columns(*columns: pa.Field) -> Migration:
    """A migration that adds nullable columns, filled with nulls."""

    async def migration(table: AsyncTable) -> None:
        present = set((await table.schema()).names)
        missing = [column for column in columns if column.name not in present]
        if missing:
            await table.add_columns(missing)

    return migration


WORLDS = TableSpec(
    "worlds",
    2,
    _schema({"id": pa.string(), "version": pa.int64(), "updated_at": INSTANT}, {"deleted_at": INSTANT}),
    writer="library",
    migrations={1: add_missing_columns(pa.field("deleted_at", INSTANT))},
)
WORLD_VERSIONS = TableSpec(
    "world_versions",
    1,
    _schema(
        {
            "id": pa.string(),  # <world>@<version>
            "world_id": pa.string(),
            "version": pa.int64(),
            "title": pa.string(),
            "language": pa.string(),
            "manifest": pa.string(),  # JSON: characters, scenes, style, ids of documents, order of chunks
            "total_chunks": pa.int64(),
            "created_at": INSTANT,
        },
        {"license": pa.string()},
    ),
    writer="library",
)
CHUNKS = TableSpec(
    CHUNKS_PREFIX,
    1,
    _schema(
        {
            "id": pa.string(),
            "doc_id": pa.string(),
            "source": pa.string(),
            "section": pa.string(),
            "text": pa.string(),  # as written
            "terms": pa.string(),  # cut into tokens and folded, for the full-text index
            "content_hash": pa.string(),
            "kind": pa.string(),  # lore | character | scene
            "ordinal": pa.int64(),  # its place in its document when it was added; later insertions don't move it
            "valid_from": pa.int64(),  # the world version this row appeared in
        },
        {
            "license": pa.string(),
            "vector": pa.list_(pa.float32()),
            "ref": pa.string(),
            "valid_to": pa.int64(),  # the first world version it is no longer in
        },
    ),
    writer="library",
    indices={"terms": "fts"},
)
SESSIONS = TableSpec(
    "sessions",
    1,
    _schema(
        {"id": pa.string(), "world_id": pa.string(), "world_version": pa.int64(), "created_at": INSTANT},
        {"character_id": pa.string(), "scene_id": pa.string(), "claimed_key": pa.string()},
    ),
    writer="play",
)
TURNS = TableSpec(
    "turns",
    1,
    _schema(
        {
            "id": pa.string(),  # derived from session and parent: see sagaforge.datasets.sessions
            "session_id": pa.string(),
            "seq": pa.int64(),
            "message": pa.string(),
            "narration": pa.string(),
            "turn": pa.string(),  # JSON of the whole sagaforge.schemas.Turn
            "established": pa.string(),  # JSON list of short facts
            "world_id": pa.string(),
            "world_version": pa.int64(),
            "created_at": INSTANT,
        },
        {
            "parent_id": pa.string(),
            "idempotency_key": pa.string(),
            "body_hash": pa.string(),
            "engine_ms": pa.float64(),
        },
    ),
    writer="play",
    indices={"session_id": "btree"},
)
CLAIMS = TableSpec(
    "claims",
    1,
    _schema(
        {
            "id": pa.string(),  # hash of scope and idempotency key
            "body_hash": pa.string(),
            "session_id": pa.string(),
            "turn_id": pa.string(),
            "claimant": pa.string(),  # random: tells two claims of one key apart
            "claimed_at": INSTANT,
        },
        {"parent_id": pa.string()},
    ),
    writer="play",
)

IMAGES = TableSpec(
    "images",
    1,
    _schema(
        {
            "id": pa.string(),  # derived from all that decides the picture: see sagaforge.datasets.images
            "sha256": pa.string(),  # of the PNG
            "width": pa.int64(),
            "height": pa.int64(),
            "prompt": pa.string(),  # as asked
            "model": pa.string(),
            "receipt": pa.string(),  # JSON of sagaforge.image_schemas.Receipt
            "created_at": INSTANT,
        },
        {
            "style_preset": pa.string(),
            "world_id": pa.string(),
            "watermark": pa.string(),  # hexadecimal
            "license": pa.string(),
        },
    ),
    writer="play",
    indices={"watermark": "btree"},
)

SPECS: Mapping[str, TableSpec] = {
    spec.name: spec for spec in (WORLDS, WORLD_VERSIONS, CHUNKS, SESSIONS, TURNS, CLAIMS, IMAGES)
}


def spec_of(table: str, specs: Mapping[str, TableSpec] = SPECS) -> TableSpec:
    """The spec of a table by name; every `chunks_…` table has that of chunks."""
    if table.startswith(CHUNKS_PREFIX) and CHUNKS_PREFIX in specs:
        return replace(specs[CHUNKS_PREFIX], name=table)
    if table not in specs:
        raise InvalidInput(f"there is no table {table!r}")
    return specs[table]


def chunks_table(world_id: str) -> str:
    """The name of a world's chunk table: readable, legal in LanceDB, and its own even where the file system ignores
    case (hence the hash)."""
    readable = re.sub(r"[^a-z0-9]+", "_", world_id.lower()).strip("_")[:40]
    return f"{CHUNKS_PREFIX}{readable}_{hashlib.sha256(world_id.encode()).hexdigest()[:12]}"


def index_config(kind: IndexKind) -> FTS | BTree | Bitmap:
    if kind == "btree":
        return BTree()
    if kind == "bitmap":
        return Bitmap()
    # Tokens come cut and folded; anything the index did to them could only lose matches.
    return FTS(
        base_tokenizer="whitespace",
        max_token_length=None,
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
    )


# --- rows and SQL ---------------------------------------------------------------------------------------------------


def to_arrow(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly `schema`. Raises InvalidInput for unknown columns, missing or mistyped values."""
    rows = list(rows)
    unknown = {name for row in rows for name in row} - set(schema.names)
    if unknown:
        raise InvalidInput(f"no such columns: {', '.join(sorted(unknown))}")
    try:
        return check_table(pa.Table.from_pylist(rows, schema=schema), schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as exc:
        raise InvalidInput(f"a row doesn't fit its table: {exc}") from exc


def check_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with the columns of `schema` in its order. Raises InvalidInput if it doesn't fit."""
    missing = [item.name for item in schema if item.name not in table.column_names]
    if missing or len(table.column_names) != len(schema):
        raise InvalidInput(f"columns differ from the table's; missing: {', '.join(missing) or 'none'}")
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError) as exc:
        raise InvalidInput(f"a row doesn't fit its table: {exc}") from exc
    for item in schema:
        if not item.nullable and table.column(item.name).null_count:
            raise InvalidInput(f"{item.name} must not be empty")
    return table


def sql_literal(value: Any) -> str:
    """A value as SQL, quoted."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.isoformat(timespec='microseconds')}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise InvalidInput(f"a {type(value).__name__} can't stand in a condition")


def sql_in(column: str, values: Iterable[Any]) -> str:
    return f"{column} IN ({', '.join(sql_literal(value) for value in values)})"


# --- versions -------------------------------------------------------------------------------------------------------


async def stored_version(table: AsyncTable) -> int:
    metadata = (await table.schema()).field("id").metadata or {}
    return int(metadata.get(VERSION_KEY.encode(), b"1"))


async def refuse_newer(table: AsyncTable, spec: TableSpec) -> None:
    """Raises StorageUnavailable if the table is of a newer version than the spec."""
    version = await stored_version(table)
    if version > spec.version:
        raise StorageUnavailable(
            f"table {spec.name} has schema version {version}, and this release knows {spec.version} at most: "
            "run a newer SagaForge on this storage, or point SAGAFORGE_STORAGE at another place"
        )


async def migrate(table: AsyncTable, spec: TableSpec) -> None:
    """Brings a table up to its spec, one version at a time."""
    version = await stored_version(table)
    while version < spec.version:
        if version not in spec.migrations:
            raise Conflict(f"there is no migration of table {spec.name} from version {version}")
        await spec.migrations[version](table)
        version += 1
        await table.update_field_metadata({"path": "id", "metadata": {VERSION_KEY: str(version)}})
