"""A pack becomes a world version: chunk, compare, give ids, embed what changed, stage, index, publish.

The one who works on a version holds the lease on it (`version_lease`). Everything is staged under a version number that
readers don't reach yet; moving the pointer in `worlds` publishes it whole. A crash before that leaves readers where
they were, and the next upload clears what was left behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sagaforge.datasets.packs.pack import Pack
from sagaforge.datasets.packs.prose import character_sections, scene_sections
from sagaforge.datasets.store.tables import CHUNKS, chunks_table, sql_in, sql_literal
from sagaforge.datasets.worlds.chunk_ids import PublishedChunk, assign_ids
from sagaforge.datasets.worlds.chunk_rows import chunk_id_of, valid_at
from sagaforge.datasets.worlds.chunking import ChunkDraft, chunk_sections, split_sections
from sagaforge.datasets.worlds.embedder import Embedder, is_name_of
from sagaforge.datasets.worlds.version_lease import leased
from sagaforge.datasets.worlds.world_store import Pointer, WorldStore, manifest_of
from sagaforge.errors import Conflict, InvalidInput
from sagaforge.schemas import UploadResponse
from sagaforge.storage import Storage, storage_errors
from sagaforge.text.terms import terms

if TYPE_CHECKING:
    from sagaforge.datasets.store.writer import Writer

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with a stage (chunk, embed, index, publish), what is done of it, and of how much."""

BATCH_ROWS = 1024  # rows embedded and written at a time: ~10 MB with 192-number vectors
MAX_CHUNKS = 200_000
UPDATE_IDS = 1000


@dataclass
class _Plan:
    """What the new version does to the chunk table. `drafts` are all its chunks, with their ids."""

    drafts: list[ChunkDraft]
    added: list[ChunkDraft] = field(default_factory=list)
    removed_ids: list[str] = field(default_factory=list)
    known_vectors: dict[str, np.ndarray] = field(default_factory=dict)  # by content hash


def chunk_pack(pack: Pack, world_id: str) -> list[ChunkDraft]:
    """All chunks of a pack: documents in the order of their names, then characters, then scenes."""
    drafts: list[ChunkDraft] = []
    for document in pack.documents:
        is_markdown = document.source.lower().endswith(".md")
        sections = split_sections(document.text, markdown=is_markdown, source=document.source)
        drafts += chunk_sections(world_id, document.source, sections)
    drafts += chunk_sections(world_id, "characters.yaml", character_sections(pack))
    drafts += chunk_sections(world_id, "scenes.yaml", scene_sections(pack))
    return drafts


async def ingest(
    pack: Pack,
    world_id: str,
    license: str | None,
    overwrite: bool,
    *,
    storage: Storage,
    writer: Writer,
    embedder: Embedder,
    progress: Progress | None = None,
) -> UploadResponse:
    """Publish a pack as the world's next version; the whole world is what the pack holds.

    The same content as the current version publishes nothing and answers with that version, whatever `overwrite` is,
    so an upload may be repeated. `license` None keeps the one the world has.

    Raises:
        Conflict: the world exists with other content and `overwrite` is false, or another upload of it is under way.
        InvalidInput: there is nothing to cite in the pack, or more chunks than a world may have.
    """
    report = progress or (lambda stage, done, total: None)
    drafts = await asyncio.to_thread(chunk_pack, pack, world_id)
    if not drafts:
        raise InvalidInput("There is no text in the upload: add lore to lorebook.md, characters.yaml or scenes.yaml.")
    if len(drafts) > MAX_CHUNKS:
        raise InvalidInput(f"The world has {len(drafts):,} chunks; {MAX_CHUNKS:,} are allowed. Split it.")
    report("chunk", len(drafts), len(drafts))

    worlds = WorldStore(storage, writer)
    pointer = await worlds.pointer(world_id)
    base = pointer.version if pointer else 0
    previous = await worlds.version(world_id, base) if pointer else None
    current = previous if pointer and not pointer.is_deleted else None
    license = license if license is not None or current is None else current.license
    table = chunks_table(world_id)
    has_other_vectors = previous is not None and not is_name_of(previous.embedder, embedder)
    plan = await _compare(storage, table, drafts, base, license, embedder, has_other_vectors)
    doc_ids = list(dict.fromkeys(draft.doc_id for draft in drafts))
    order = _order(plan.drafts)
    manifest = manifest_of(pack.characters, pack.scenes, pack.style, doc_ids, embedder.name, order)
    response = UploadResponse(world_id=world_id, version=base, doc_ids=doc_ids, total_chunks=len(drafts))
    if current is not None:
        same = (current.title, current.language, current.license) == (pack.title, pack.language, license)
        named = current if has_other_vectors else replace(current, embedder=embedder.name)
        if same and named.manifest(order) == manifest and not plan.added and not plan.removed_ids:
            return response
        if not overwrite:
            raise Conflict(
                f"The world {world_id!r} exists, at version {base}. Send overwrite=true to publish this as its "
                "next version (games in progress keep theirs), or choose another world_id."
            )

    response.version = version = base + 1
    async with leased(writer, worlds, world_id, version, pack, license) as lease:
        await writer.ensure_table(table, vector_dim=embedder.dim)
        await _clear_leftovers(writer, table, base)
        done = 0
        for start in range(0, len(plan.added), BATCH_ROWS):
            batch = plan.added[start : start + BATCH_ROWS]
            rows = await asyncio.to_thread(_rows, batch, plan, license, version, lease.attempt, embedder)
            lease.check()
            await writer.append(table, rows)
            done += len(batch)
            report("embed", done, len(plan.added))
        for start in range(0, len(plan.removed_ids), UPDATE_IDS):
            part = plan.removed_ids[start : start + UPDATE_IDS]
            await writer.update_where(table, sql_in("id", part), {"valid_to": version})
        # A dead upload's last batch may have come in late; it bears another attempt's mark.
        mark = sql_literal("%." + lease.attempt)
        await writer.delete_where(table, f"valid_from >= {version} AND NOT (id LIKE {mark})")
        report("index", 0, 1)
        await writer.build_indices(table)
        report("index", 1, 1)
        await lease.finish(manifest, len(drafts))
        await _move_pointer(writer, world_id, pointer, version)
    report("publish", 1, 1)
    return response


async def _compare(
    storage: Storage,
    table: str,
    drafts: list[ChunkDraft],
    base: int,
    license: str | None,
    embedder: Embedder,
    has_other_vectors: bool,
) -> _Plan:
    """Which id each chunk has, which rows are new, which go, and which vectors can be used again."""
    if not base:
        drafts = assign_ids(drafts, ())
        return _Plan(drafts, drafts)
    connection = await storage.connect(read_consistency_interval=timedelta(0))
    with storage_errors(f"reading {table}"):
        opened = await connection.open_table(table)
        dim = getattr((await opened.schema()).field("vector").type, "list_size", 0)
        if dim != embedder.dim:
            raise Conflict(
                f"This world has vectors of {dim} numbers, and {embedder.name!r} makes {embedder.dim}. Upload "
                "it under another world_id, or under the profile that it was uploaded with."
            )
        columns = ["id", "source", "kind", "ref", "license", "content_hash", "valid_from", "valid_to"]
        # All versions: what only an old one held keeps its id too.
        rows = await opened.query().where(f"valid_from <= {base}").select(columns).to_list()
        current = {row["id"]: row for row in rows if row["valid_to"] is None or row["valid_to"] > base}
        drafts = await asyncio.to_thread(
            assign_ids, drafts, (_published(row, is_current=row["id"] in current) for row in rows)
        )
        if has_other_vectors:
            return _Plan(drafts, drafts, list(current))
        present = {(chunk_id_of(row_id), row["license"]): row_id for row_id, row in current.items()}
        wanted = {(draft.chunk_id, license) for draft in drafts}
        plan = _Plan(drafts)
        plan.added = [draft for draft in drafts if (draft.chunk_id, license) not in present]
        plan.removed_ids = [row_id for identity, row_id in present.items() if identity not in wanted]
        hashes = {draft.content_hash for draft in plan.added} & {row["content_hash"] for row in current.values()}
        if hashes:  # relicensed, or doubled: the text is the same, so the vector is
            query = opened.query().where(valid_at(base)).select(["content_hash", "vector"])
            async for batch in await query.to_batches(max_batch_length=BATCH_ROWS):
                for content_hash, vector in zip(
                    batch.column("content_hash").to_pylist(), _matrix(batch.column("vector"), dim), strict=True
                ):
                    if content_hash in hashes:
                        plan.known_vectors[content_hash] = vector
    return plan


def _published(row: dict[str, Any], *, is_current: bool) -> PublishedChunk:
    content = row["source"], row["kind"], row["ref"] or "", row["content_hash"]
    return PublishedChunk(chunk_id_of(row["id"]), content, row["valid_from"], is_current)


def _order(drafts: list[ChunkDraft]) -> str:
    """Tells one order of the chunks from another: a pack whose sections were only moved is a version too."""
    return hashlib.sha256("\n".join(draft.chunk_id for draft in drafts).encode()).hexdigest()[:16]


def _matrix(column: Any, dim: int) -> np.ndarray:
    return np.asarray(column.flatten(), dtype=np.float32).reshape(-1, dim)


def _rows(
    batch: list[ChunkDraft], plan: _Plan, license: str | None, version: int, attempt: str, embedder: Embedder
) -> pa.Table:
    fresh = [index for index, draft in enumerate(batch) if draft.content_hash not in plan.known_vectors]
    vectors = np.zeros((len(batch), embedder.dim), dtype=np.float32)
    if fresh:
        vectors[fresh] = embedder.encode([batch[index].search_text for index in fresh])
    for index, draft in enumerate(batch):
        if (known := plan.known_vectors.get(draft.content_hash)) is not None:
            vectors[index] = known
    columns: dict[str, Any] = {
        "id": [f"{draft.chunk_id}#{version}.{attempt}" for draft in batch],
        "doc_id": [draft.doc_id for draft in batch],
        "source": [draft.source for draft in batch],
        "section": [draft.section for draft in batch],
        "text": [draft.text for draft in batch],
        "terms": [" ".join(terms(draft.search_text)) for draft in batch],
        "content_hash": [draft.content_hash for draft in batch],
        "kind": [draft.kind for draft in batch],
        "ordinal": [draft.ordinal for draft in batch],
        "valid_from": [version] * len(batch),
        "license": [license] * len(batch),
        "ref": [draft.ref or None for draft in batch],
        "valid_to": [None] * len(batch),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), embedder.dim),
    }
    schema = CHUNKS.schema_to_create(embedder.dim)
    schema = pa.schema([f.remove_metadata() for f in schema])
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


async def _clear_leftovers(writer: Writer, table: str, base: int) -> None:
    """Undo what an upload that never published has staged: its rows, and the ends it set."""
    num_rows = await writer.delete_where(table, f"valid_from > {base}")
    num_ends = await writer.update_where(table, f"valid_to > {base}", {"valid_to": None})
    if num_rows or num_ends:
        log.warning("cleared %d rows and %d ends that an unpublished upload left in %s", num_rows, num_ends, table)


async def _move_pointer(writer: Writer, world_id: str, pointer: Pointer | None, version: int) -> None:
    """Publish `version`, unless the pointer is not what it was when the upload began."""
    now = datetime.now(UTC)
    if pointer is None:
        row = {"id": world_id, "version": version, "updated_at": now, "deleted_at": None}
        (answer,) = await writer.insert_if_absent("worlds", [row])
        moved = answer.inserted
    else:
        seen = {"version": pointer.version, "deleted_at": pointer.deleted_at}
        changes = {"version": version, "updated_at": now, "deleted_at": None}
        moved = (await writer.update_if_unchanged("worlds", world_id, seen, changes)).updated
    if not moved:
        raise Conflict(
            f"Meanwhile {world_id!r} was deleted, or another upload of it published. Look, then upload again."
        )
