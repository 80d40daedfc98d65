"""The text of a file in a pack."""

from __future__ import annotations

from sagaforge.datasets.packs.encodings import decode
from sagaforge.text.characters import check_text, with_plain_line_ends

CONTROLS = dict.fromkeys([*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F])


def decode_text(name: str, data: bytes, encoding: str | None = None) -> str:
    """By its byte order mark, as UTF-8, or else in the `encoding` that the uploader gave."""
    return check_text(with_plain_line_ends(decode(name, data, encoding)), name)
