"""The text of a file in a pack: decoded, with plain line ends, and of characters that may enter."""

from __future__ import annotations

from sagaforge.datasets.packs.encodings import decode
from sagaforge.text.characters import check_text, with_plain_line_ends


def decode_text(name: str, data: bytes, encoding: str | None = None) -> str:
    """By its byte order mark, as UTF-8, or else in the `encoding` that the uploader gave."""
    return check_text(with_plain_line_ends(decode(name, data, encoding)), name)
