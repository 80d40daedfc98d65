"""The terminal is not ours: its encoding, its width and its control sequences are what we find.

What can't be shown is shown as an escape (`\\u71c8`), here and nowhere else; nothing is lost, and nothing that a bundle
or a file name holds can drive the terminal.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.text import Text

MIN_COLUMNS, MAX_COLUMNS = 10, 10_000
TAB = " " * 4
BYTE_ORDER_MARK = "\ufeff"
SURROGATE = re.compile("[\ud800-\udfff]")
# C0 but for tab and line feed, C1, line and paragraph separators, bidirectional controls, and halves of characters.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def prepare() -> None:
    """Make the standard streams take any text: what their encoding lacks is written, and read, as an escape.
    COLUMNS that make no sense are left out, or bounded."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # None where the shell closed it
            stream.reconfigure(errors=errors)
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdecimal() and int(columns[:9]) > 0:
        os.environ["COLUMNS"] = str(min(max(int(columns[:9]), MIN_COLUMNS), MAX_COLUMNS))
    else:
        os.environ.pop("COLUMNS", None)  # rich would take "²" for a number


class StdoutLost(Exception):
    """Stdout took no more: its reader has gone (`| head`), or the disk behind it is full."""


def write_line(line: str) -> None:
    with writing():
        if sys.stdout is not None:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


@contextmanager
def writing() -> Iterator[None]:
    """Raises `StdoutLost` where a write fails, and says why, unless the reader knows it."""
    try:
        yield
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            say_on_stderr(f"can't write to stdout: {error.strerror}")
        # What is still buffered goes nowhere, or Python would complain of it when it ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise StdoutLost from error


def say_on_stderr(text: str) -> None:
    """For what comes when no command is at work any more, or has crashed."""
    if sys.stderr is not None:
        sys.stderr.write(clean(text) + "\n")


def clean(text: str) -> str:
    """Text that can't drive the terminal, in characters that stdout can show; lines and nothing else break lines."""
    text = text.replace("\r\n", "\n").replace("\t", TAB)
    return shown_in(_HARMFUL.sub(_escape, text), encoding_of(sys.stdout))


def whole(text: str, form: str = "\\u{:04x}") -> str:
    """`text` with its half characters written out, for what takes none: JSON, and requests."""
    return SURROGATE.sub(lambda found: form.format(ord(found[0])), text)


def is_text(text: str) -> bool:
    """Whether `text` came whole through the encoding of the terminal, or of file names."""
    return not SURROGATE.search(text)


def can_show(text: str) -> bool:
    return shown_in(text, encoding_of(sys.stdout)) == text


def shown_in(text: str, encoding: str) -> str:
    return text.encode(encoding, "backslashreplace").decode(encoding, "replace")


def encoding_of(stream: Any) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class TerminalConsole(Console):
    """A console for text from elsewhere: every string that is printed, or stands in a table, is cleaned first.

    Markup and emoji codes are off: brackets and colons in a world's text are text. `Text` objects are taken as they
    are; whoever makes one of foreign text cleans it.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        return super().render_str(clean(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        with nullcontext() if self.stderr else writing():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        raise  # within rich's `except`; it would end the process itself

    @property
    def spinner(self) -> str:
        """The name of a spinner that can be shown here."""
        return "dots" if can_show("⠋") else "line"
