"""The rows of a world's chunk table: which of them a version holds, and which chunk a row is of."""

from __future__ import annotations


def valid_at(version: int) -> str:
    """The rows that a world version holds, as an SQL condition."""
    return f"valid_from <= {int(version)} AND (valid_to IS NULL OR valid_to > {int(version)})"


def chunk_id_of(row_id: str) -> str:
    """`<chunk id>#<version>.<attempt>`, the id of a row, without its tail."""
    return row_id.rsplit("#", 1)[0]
