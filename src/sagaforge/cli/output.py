"""Where commands write: people get rich text, scripts (`--json`) get one JSON document on stdout.

Results go to stdout; progress and failures meant for people go to stderr, so that a pipe carries results alone.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from pydantic import BaseModel
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sagaforge.cli.failures import CliError
from sagaforge.cli.terminal import StdoutLost, TerminalConsole, clean, is_text, say_on_stderr, whole, write_line

DEFAULT_URL = "http://127.0.0.1:8000"
MAX_ECHO_CHARS = 200
EXIT_INTERRUPTED = 130  # what a shell reports for a process that SIGINT ended

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document, also for a failure.")]
Url = Annotated[str, typer.Option("--url", envvar="SAGAFORGE_URL", help="Where the bundle listens.")]


def json_line(document: BaseModel | dict[str, Any]) -> str:
    """One line of ASCII, whatever the terminal: an encoding can't break it, nor can it break a line."""
    line = json.dumps(_body(document), ensure_ascii=False)
    return json.dumps(json.loads(whole(line, "\\\\u{:04x}")))


def _body(document: BaseModel | dict[str, Any]) -> dict[str, Any]:
    return document.model_dump(mode="json", by_alias=True) if isinstance(document, BaseModel) else document


def table(*columns: str) -> Table:
    """A borderless table that folds long cells instead of cutting them: an id that is cut is of no use."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


class Output:
    """One command's way to its user."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        # Silenced for a script, so that commands need not ask at every line whom they talk to.
        self.console = TerminalConsole(quiet=as_json)
        self.errors = TerminalConsole(stderr=True, quiet=as_json)
        self.session_id: str | None = None

    def result(self, document: BaseModel | dict[str, Any]) -> None:
        """The machine's view of a success; people see what the command prints to `console`."""
        if self.as_json:
            write_line(json_line({"ok": True, **_body(document)}))

    def failure(self, error: CliError, stage: str) -> None:
        envelope = error.envelope(stage, self.session_id)
        if self.as_json:
            write_line(json_line(envelope))
            return
        parts = [Text(clean(error.message))]
        parts += [Text(clean(f"→ {action}"), style="cyan") for action in error.actions]
        title = clean(f"{envelope.failed_stage}: {error.code}")
        self.errors.print(Panel(Group(*parts), title=Text(title), title_align="left", border_style="red", expand=False))

    @contextmanager
    def failures(self, stage: str) -> Iterator[None]:
        """The boundary of a command: whatever leaves it becomes an envelope or a panel, and an exit code."""
        try:
            yield
        except CliError as error:
            self._exit(error, stage)
        except KeyboardInterrupt:
            cancelled = CliError("interrupted", code="E_CANCELLED", retryable=True, exit_code=EXIT_INTERRUPTED)
            self._exit(cancelled, stage)
        except (typer.Exit, StdoutLost):
            raise
        except Exception as error:
            if lacking := _not_text(error):
                self._exit(lacking, stage)
            say_on_stderr(traceback.format_exc())  # it may hold the text that brought it about
            crash = CliError(
                f"{type(error).__name__}: {error}",
                code="E_CRASH",
                actions=["This is a bug in holodeck: please report it with the traceback on stderr."],
            )
            self._exit(crash, stage)

    def _exit(self, error: CliError, stage: str) -> NoReturn:
        self.failure(error, stage)
        raise typer.Exit(error.exit_code)


def _not_text(error: Exception) -> CliError | None:
    """What to say when an argument that can't be sent went into a request; None for any other error."""
    if not (isinstance(error, UnicodeEncodeError) and not is_text(error.object[error.start : error.end])):
        return None
    return CliError(
        f"{error.object[:MAX_ECHO_CHARS]!r} holds bytes that are no text in this terminal's encoding",
        code="E_INPUT",
        actions=["Write it in UTF-8, and set LC_ALL=C.UTF-8 or PYTHONUTF8=1 where the terminal is another's."],
    )
