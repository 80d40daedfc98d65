"""Which texts may enter: one rule for every door, be it a body, a form, a file's name or what stands in a file.

A text is kept as it was written: no Unicode normal form is applied, because a citation quotes it (comparing folds, see
`sagaforge.text.terms`). Refused is what no writer means, and what would act on a terminal or a page, or hide from
a reader's eye what a model reads. Checked is what a text means, after every escape was resolved.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from sagaforge.errors import InvalidInput

MAX_NAME_CHARS = 200  # a title, a heading, the name of a file

_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    chr(plane | last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
)
_OVERRIDES = "\u202d\u202e"
REFUSED = re.compile(
    f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{_OVERRIDES}{_NONCHARACTERS}]"
    # Tags spell text that nobody sees; they may follow a black flag, as the flags of England and Wales are written.
    "|(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0000-\U000e007f]"
)
# Embeddings and isolates of right-to-left text end with their line, so in a name they reorder what stands beside it.
REFUSED_IN_NAMES = re.compile(f"[\t\n\r\u2028\u2029\u202a-\u202c\u2066-\u2069]|{REFUSED.pattern}")
# What ends a line for some program: a page break, a vertical tab, and Unicode's own.
LINE_ENDS = ("\r\n", "\r", "\x0b", "\x0c", "\u2028", "\u2029")
BYTE_ORDER_MARK = "\ufeff"
_HOLDERS = (str, dict, list)


def check_text(text: str, where: str, *, is_name: bool = False, place: str | None = None) -> str:
    """The text as it is.

    `where` names it to its writer: a field, or a file. A name (a title, a heading, a file's name) is one line of
    something visible. `place` is said instead of line and column where these are not the text's own.

    Raises `InvalidInput` with the place and the character as U+XXXX.
    """
    rule = REFUSED_IN_NAMES if is_name else REFUSED
    found = rule.search(text) if is_name or is_suspicious(text) else None
    if found:
        raise InvalidInput(_refusal(text, found.start(), where, place))
    # Private use is a rare surname in many a Chinese text.
    if is_name and not any(kind[0] in "LNPS" or kind == "Co" for kind in map(unicodedata.category, text)):
        raise InvalidInput(f"{where}: is empty, or nothing of it can be seen; write a name.")
    return text


def check_name(text: str, where: str, *, max_chars: int = MAX_NAME_CHARS) -> str:
    """The name as it is. Raises `InvalidInput` as `check_text` does, and for one that is too long."""
    check_text(text, where, is_name=True)
    if len(text) > max_chars:
        raise InvalidInput(f"{where}: {len(text):,} characters are more than the {max_chars} allowed; shorten it.")
    return text


def check_texts(value: Any, where: str = "") -> None:
    """Check every text, keys too, in a value of JSON, YAML or TOML. Raises `InvalidInput` with the field's path."""
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), value)] if isinstance(value, _HOLDERS) else []
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, str):
            if is_suspicious(item):  # here too: a path is seldom needed
                check_text(item, _field(where, path))
        elif isinstance(item, dict):
            for key, inner in item.items():
                if isinstance(key, str) and is_suspicious(key):
                    check_text(key, f"{_field(where, path)}: a field's name")
                if isinstance(inner, _HOLDERS):
                    waiting.append(((*path, key), inner))
        else:
            waiting += [((*path, index), inner) for index, inner in enumerate(item) if isinstance(inner, _HOLDERS)]


def with_plain_line_ends(text: str) -> str:
    """The text of a document with one newline for every kind of line end, and without a byte order mark at its head."""
    text = text.lstrip(BYTE_ORDER_MARK)
    for line_end in LINE_ENDS:
        if line_end in text:
            text = text.replace(line_end, "\n")
    return text


def is_suspicious(text: str) -> bool:
    """Whether a text must be searched. Twenty times faster than the search, and true of some that is fine: of wide
    spaces, joiners, and characters that this Python does not know."""
    return not text.replace("\n", " ").isprintable()


def _field(where: str, path: tuple[Any, ...]) -> str:
    """`messages[0].content`, after what it is in."""
    inner = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:40]}" for part in path).lstrip(".")
    return f"{where}: {inner}" if where and inner else where or inner or "the text"


def _refusal(text: str, at: int, where: str, place: str | None) -> str:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return (
        f"{where}, {place or f'line {line}, column {column}'}: U+{ord(text[at]):04X} ({_kind(text[at])}). Take it out."
    )


def _kind(character: str) -> str:
    if character in "\t\n\r\u2028\u2029":
        return "a tab or line break, in what must be one line"
    if character in _OVERRIDES:
        return "makes text read backwards"
    if "\u202a" <= character <= "\u2069":
        return "turns the direction of what stands beside a name"
    if "\ud800" <= character <= "\udfff":
        return "half of a character, a lone surrogate"
    if "\U000e0000" <= character <= "\U000e007f":
        return "an invisible tag"
    return "no character of any text" if unicodedata.category(character) == "Cn" else "a control character"
