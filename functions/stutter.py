"""Mends the commonest fault of a small model: a phrase said again and again."""

from __future__ import annotations

import re

# A phrase of 3 to 80 characters that follows itself twice or more, perhaps with a mark or a space between.
REPEATED_PHRASE = re.compile(r"((?!\d).{3,80}?)(?:[\s,.:;,。:;]*\1){2,}")
REPEATED_CHARACTER = re.compile(r"([^\W\d_])\1{5,}")


def without_stutter(text: str) -> str:
    """`text` with each phrase that is said three times or more in a row said once."""
    return REPEATED_PHRASE.sub(r"\1", REPEATED_CHARACTER.sub(r"\1", text))
