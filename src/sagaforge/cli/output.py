"""Where commands write: people get rich text, scripts (`--json`) get one JSON document on stdout.

Results go to stdout; progress and failures meant for people go to stderr, so that a pipe carries results alone.
"""

from __future__ import annotations

import json
import traceback
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from pydantic import BaseModel
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sagaforge.cli.failures import CliError

DEFAULT_URL = "http://127.0.0.1:8000"
EXIT_INTERRUPTED = 130  # what a shell reports for a process that SIGINT ended

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document, also for a failure.")]
Url = Annotated[str, typer.Option("--url", envvar="SAGAFORGE_URL", help="Where the bundle listens.")]

_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """Text that can't drive the terminal: lore and model output may hold escape sequences, rich lets those through."""
    return "".join(
        char for char in text if char in "\n\t" or (unicodedata.category(char) != "Cc" and char not in _BIDI_CONTROLS)
    )


def json_line(document: BaseModel | dict[str, Any]) -> str:
    return json.dumps(_body(document), ensure_ascii=False)


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
        # Markup and emoji codes are off: brackets and colons in a world's text are text. Silenced for a script, so
        # that commands need not ask at every line whom they talk to.
        self.console = Console(markup=False, emoji=False, highlight=False, quiet=as_json)
        self.errors = Console(stderr=True, markup=False, emoji=False, highlight=False, quiet=as_json)
        self.session_id: str | None = None

    def result(self, document: BaseModel | dict[str, Any]) -> None:
        """The machine's view of a success; people see what the command prints to `console`."""
        if self.as_json:
            typer.echo(json_line({"ok": True, **_body(document)}))

    def failure(self, error: CliError, stage: str) -> None:
        envelope = error.envelope(stage, self.session_id)
        if self.as_json:
            typer.echo(json_line(envelope))
            return
        parts = [Text(clean(error.message))]
        parts += [Text(f"→ {clean(action)}", style="cyan") for action in error.actions]
        title = f"{envelope.failed_stage}: {error.code}"
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
        except (typer.Exit, BrokenPipeError):  # of a pipe whose reader has gone (`| head`), typer disposes
            raise
        except Exception as error:
            traceback.print_exc()
            crash = CliError(
                f"{type(error).__name__}: {error}",
                code="E_CRASH",
                actions=["This is a bug in holodeck: please report it with the traceback on stderr."],
            )
            self._exit(crash, stage)

    def _exit(self, error: CliError, stage: str) -> NoReturn:
        self.failure(error, stage)
        raise typer.Exit(error.exit_code)
