"""Bytes → text: UTF-8, what a byte order mark says, or the encoding that an uploader gave; others are told.

The text of a file is never guessed: between Big5 and GBK a guess is often wrong, and reads as nonsense that is then
cited. A refusal shows how the bytes read under the likeliest encodings.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

from sagaforge.errors import InvalidInput

MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
# Code pages of Windows, DOS and Unix in which files and their names are found, as Python and chardet call them.
CODE_PAGES = (
    "gb18030", "big5hkscs", "cp932", "euc_jis_2004", "cp949", "cp1252", "cp437", "cp850", "cp1250", "cp852", "cp1251",
    "cp866", "koi8-r", "cp1253", "cp737", "mac-roman",
)  # fmt: skip
# Python knows these as encodings of text, but no file is written in them.
NO_FILE_ENCODINGS = ("idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape", "mbcs", "oem")
# Encodings that write everything in ASCII, and so pass for UTF-8.
ESCAPED = ("hz", "iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_2004", "iso2022_jp_3", "iso2022_jp_ext",
           "iso2022_kr", "utf_7", "utf-7")  # fmt: skip
ESCAPE = re.compile(rb"~\{|\x1b[$(]|\x0e|\+[A-Za-z0-9+/]{3,}")
# Together these hold what is written in Latin, Cyrillic and CJK, and no large part of Unicode's Han.
COMMON_SETS = ("gb2312", "big5", "shift_jis", "euc_kr", "cp1252")
FOREIGN_RUN = re.compile("[^\x00-\x7f]+")
C1_CONTROL = re.compile("[\x80-\x84\x86-\x9f]")
SAMPLE_BYTES = 100_000
SHOWN_CHARS = 16
SHOWN_READINGS = 3
MIN_TWICE = 3


def codec_name(encoding: str) -> str:
    """Python's name of an encoding of text; `InvalidInput` when there is none by that name."""
    try:
        info = codecs.lookup(encoding)
        # bytes-to-bytes codecs such as zip and hex are looked up the same way
        "".encode(info.name)
    except (LookupError, ValueError, UnicodeError):
        info = None
    if info is None or info.name.replace("-", "_") in NO_FILE_ENCODINGS:
        raise InvalidInput(
            f"encoding: {encoding[:40]!r} is unknown; give a name such as gb18030, big5, shift_jis, euc-kr, cp1252, "
            "koi8-r or utf-16-le."
        )
    return info.name


def decode(name: str, data: bytes, encoding: str | None) -> str:
    """The text of a file.

    Args:
        encoding: what the uploader says of files that have no byte order mark and are no UTF-8.

    Raises:
        InvalidInput: the bytes are no such text; the message says where, and what they may be.
    """
    for mark, marked in MARKS:
        if data.startswith(mark):
            return _strictly(name, data.removeprefix(mark), marked)
    if encoding in ESCAPED and data.isascii():
        return _strictly(name, data, encoding)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        if encoding is None:
            raise InvalidInput(_unread(name, data, exc)) from None
        return _strictly(name, data, encoding)
    if "\0" in text and encoding is not None:
        return _strictly(name, data, encoding)
    if encoding is None:
        _refuse_disguised(name, data, text)
    return text


def _strictly(name: str, data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, ValueError) as exc:
        start = getattr(exc, "start", 0)
        raise InvalidInput(
            f"{name}: not valid {encoding.upper()} at byte {start} (line {_line(data, start)}). Save it "
            "as UTF-8, or send as `encoding` what it is."
        ) from None
    if control := C1_CONTROL.search(text):
        raise InvalidInput(
            f"{name}: read as {encoding.upper()}, it holds the control character U+{ord(control[0]):04X}; it may be "
            "cp1252 instead of latin-1. Save it as UTF-8, or send as `encoding` what it is."
        )
    return text


def _refuse_disguised(name: str, data: bytes, text: str) -> None:
    """Valid UTF-8 that is not what was written: escapes in ASCII, UTF-16 without a mark, UTF-8 encoded twice."""
    if "\0" in text:
        raise InvalidInput(f"{name}: holds NUL characters, so it is no UTF-8 text. {_remedy(_utf16(data))}")
    if text.isascii():
        if ESCAPE.search(data) and (guess := _escaped(data)):
            raise InvalidInput(
                f"{name}: written in {guess}, in which it reads {_foreign(data.decode(guess, 'ignore'))!r}. Save it as "
                f"UTF-8, or send {guess} as `encoding` (utf-8 takes it as it is)."
            )
    elif undone := _once(text):
        raise InvalidInput(
            f"{name}: its UTF-8 was encoded twice: {_foreign(text)!r} stands for {_foreign(undone)!r}. Repair it, or "
            "send utf-8 as `encoding` to take it as it is."
        )


def _unread(name: str, data: bytes, exc: UnicodeDecodeError) -> str:
    line = _line(data, exc.start)
    read = data.decode("utf-8", "replace")
    num_broken = read.count("\ufffd")
    if sum(c > "\x7f" for c in read) > 4 * num_broken:
        before = data[max(0, exc.start - 60) : exc.start].decode("utf-8", "ignore").split("\n")[-1][-SHOWN_CHARS:]
        places = "in one place" if num_broken == 1 else f"in about {num_broken} places"
        return (
            f"{name}: UTF-8 that is broken {places}, first at byte {exc.start} (line {line}, after {before!r}). "
            "Repair it there and save it as UTF-8."
        )
    sample = data[:SAMPLE_BYTES]
    return f"{name}: not valid UTF-8 at byte {exc.start} (line {line}). {_remedy(_utf16(sample) + _likely(sample))}"


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def _remedy(readings: list[tuple[str, str]]) -> str:
    """What to do, for the encodings that the bytes may be in, each with what they read in it."""
    shown = " or ".join(f"{codec} ({_foreign(text)!r})" for codec, text in readings[:SHOWN_READINGS])
    told = f"It may be {shown}. " if shown else ""
    return told + "Save it as UTF-8, or upload it again with the encoding that reads right as the field `encoding`."


def _utf16(data: bytes) -> list[tuple[str, str]]:
    """UTF-16 or UTF-32 without a mark: nearly all of its characters are in one common set, which chance doesn't do."""
    for codec, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        text = data[: len(data) // width * width].decode(codec, "replace")
        written = "".join(c for c in text if c >= " " or c in "\r\n\t")
        num_common = max(len(written.encode(common, "ignore").decode(common)) for common in COMMON_SETS)
        if num_common >= max(0.95 * len(text), 1):
            return [(codec, text)]
    return []


def _likely(data: bytes) -> list[tuple[str, str]]:
    import chardet

    readings: dict[str, str] = {}
    for guess in chardet.detect_all(data, ignore_threshold=True, compat_names=False, include_encodings=CODE_PAGES):
        codec = guess["encoding"]
        if codec is None:  # no text at all
            continue
        text = data.decode(codec, "ignore")  # a sample may end within a character
        if text and not text.isascii():
            readings.setdefault(_foreign(text), codec)
    return [(codec, text) for text, codec in readings.items()]


def _escaped(data: bytes) -> str | None:
    import chardet

    guess = chardet.detect(data[:SAMPLE_BYTES], compat_names=False)["encoding"]
    return guess if guess is not None and guess.replace("-", "_") in ESCAPED else None


def _once(text: str) -> str | None:
    """The text before its UTF-8 was read as Windows-1252 and encoded again; `None` unless all of it was."""
    try:
        num_runs = sum(bool(_bytes_of(run[0]).decode("utf-8")) for run in FOREIGN_RUN.finditer(text))
    except UnicodeError:
        return None
    if num_runs < MIN_TWICE:
        return None
    return FOREIGN_RUN.sub(lambda run: _bytes_of(run[0]).decode("utf-8", "ignore"), text[: 10 * SHOWN_CHARS])


def _bytes_of(run: str) -> bytes:
    """Windows-1252, its five unassigned bytes as the controls that browsers make of them."""
    return b"".join(bytes([ord(c)]) if "\x80" <= c < "\xa0" else c.encode("cp1252") for c in run)


def _foreign(text: str) -> str:
    """The first few characters from where a text leaves ASCII, on one line and without controls."""
    start = next((i for i, c in enumerate(text) if c > "\x7f"), 0)
    before = text[max(0, start - SHOWN_CHARS // 2) : start]
    start -= len(before) - max(map(before.rfind, " \n")) - 1  # from the word's beginning
    shown = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text[start : start + SHOWN_CHARS])
    return " ".join(shown.split())
