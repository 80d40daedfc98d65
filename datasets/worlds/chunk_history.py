"""One chunk over the versions of its world: what it was at one of them, and which of them hold it."""

from __future__ import annotations

from typing import Any

from sagaforge.errors import NotFound
from sagaforge.schemas import ChunkDetail, ChunkMetadata, VersionSpan

Row = dict[str, Any]


def chunk_at(world_id: str, chunk_id: str, rows: list[Row], version: int | None, newest: int) -> ChunkDetail:
    """The chunk as `version` has it; without one, as the newest version that holds it.

    Args:
        rows: all rows of the chunk that are valid at `newest`, the world's published version, or at one before.

    Raises:
        NotFound: there are no rows, or none that `version` holds.
    """
    if not rows:
        raise NotFound(f"The world {world_id!r} has no chunk {chunk_id!r}.")
    rows = sorted(rows, key=lambda row: row["valid_from"])
    row = next((row for row in reversed(rows) if version is None or _holds(row, version)), None)
    if row is None:
        held = ", ".join(f"{span.first} to {span.last or newest}" for span in _spans(rows, newest))
        raise NotFound(f"Version {version} of {world_id!r} has no chunk {chunk_id!r}; versions {held} have it.")
    # Storages of before ids were kept may have other texts under this id.
    spans = _spans([other for other in rows if other["content_hash"] == row["content_hash"]], newest)
    return ChunkDetail(
        id=chunk_id,
        text=row["text"],
        score=1.0,
        metadata=ChunkMetadata(source=row["source"], section=row["section"], license=row["license"]),
        world_id=world_id,
        version=version or spans[-1].last or newest,
        versions=spans,
    )


def _holds(row: Row, version: int) -> bool:
    return row["valid_from"] <= version and (row["valid_to"] is None or row["valid_to"] > version)


def _spans(rows: list[Row], newest: int) -> list[VersionSpan]:
    """The runs of versions that hold the rows, oldest first; a run that `newest` is in has no end."""
    spans: list[VersionSpan] = []
    for row in rows:
        first, end = row["valid_from"], row["valid_to"]
        last = None if end is None or end > newest else end - 1  # an upload that is not published has set it
        if spans and spans[-1].last == first - 1:
            first = spans.pop().first
        spans.append(VersionSpan(first=first, last=last))
    return spans
