"""Mends the commonest faults of a small model: a phrase said again and again, a label told as if it were a sentence, a
quotation that stops halfway."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from sagaforge.strategies import Mending

# A phrase of 3 to 80 characters that follows itself twice or more, perhaps with a mark or a space between.
REPEATED_PHRASE = re.compile(r"((?!\d).{3,80}?)(?:[\s,.:;,。:;]*\1){2,}")
# A sentence is known to be a quotation by this many last characters.
MAX_TAIL, MIN_TAIL = 24, 6
CLOSING_MARKS = tuple('.!?…。！？"”’」』)）')
TWICE_SAID = re.compile(r"(.{12}).*\1")
REPEATED_CHARACTER = re.compile(r"([^\W\d_])\1{5,}")


def without_stutter(text: str) -> str:
    """`text` with each phrase that is said three times or more in a row said once."""
    return REPEATED_PHRASE.sub(r"\1", REPEATED_CHARACTER.sub(r"\1", text))


def without_label(text: str, sections: Collection[str]) -> str:
    """`text` without a section's title, or its own first words, before a colon ("Gannet Head: Gannet Head is …").

    A prompt shows its lore as "section: text", and a model that copies may begin too early. A sentence that needs its
    title ("Ottoline: Her brother …") keeps it.
    """
    label, colon, rest = text.partition(": ")
    begins_anew = rest.casefold().startswith(label.casefold())
    names_it = label in sections and any(word in rest for word in label.split())
    return rest if colon and label and (begins_anew or names_it) else text


def not_cut_short(text: str, lines: Iterable[str]) -> str:
    """`text` with the rest of the line of lore that it quotes, if it stops in its middle without a closing mark."""
    tail = text[-MAX_TAIL:]
    if len(tail) < MIN_TAIL or text.endswith(CLOSING_MARKS):
        return text
    return next((text + line.partition(tail)[2] for line in lines if tail in line), text)


def is_lost(text: str) -> bool:
    """Whether a short text, such as a choice, says one thing twice: so a small model does that has lost its place."""
    return bool(TWICE_SAID.search(text))


class PocketMending(Mending):
    """What the pocket LLM needs."""

    def sentence(self, text: str, sections: Collection[str], lines: Iterable[str]) -> str:
        return not_cut_short(without_label(without_stutter(text), sections), lines)

    def words(self, text: str) -> str:
        return without_stutter(text)

    def choice(self, text: str) -> str:
        return "" if is_lost(text := without_stutter(text)) else text
