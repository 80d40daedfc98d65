"""The entry point of `holodeck`; also `python -m sagaforge.cli.main`.

    holodeck play neo_taipei
    holodeck world upload my_world/ --id my_world
    holodeck image make "a lighthouse at night"
    holodeck debug health --json

Starts in well under a second: nothing here may import Ray, torch, LanceDB or Pillow.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import sagaforge
from sagaforge.cli import debug, image, models, terminal, world
from sagaforge.cli.failures import CliError
from sagaforge.cli.output import Output
from sagaforge.cli.play import play

EXIT_USAGE = 2
BOX = "╭─│"


class JsonAwareGroup(TyperGroup):
    """Answers a misused command line in JSON too, when it was asked for."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        terminal.prepare()
        given = list(sys.argv[1:] if args is None else args)
        if not terminal.can_show(BOX):
            _without_boxes(self)
        try:
            with terminal.writing():
                code = self._exit_code(given, *rest, **options)
                if sys.stdout is not None:
                    sys.stdout.flush()
        except terminal.StdoutLost:
            code = 1
        sys.exit(code)

    def _exit_code(self, given: list[str], *rest: Any, **options: Any) -> int:
        try:
            if "--json" in given:
                return self._main_json(given, *rest, **options)
            super().main(given, *rest, **options)
        except SystemExit as leaving:
            return leaving.code if isinstance(leaving.code, int) else 0
        return 0

    def _main_json(self, given: list[str], *rest: Any, **options: Any) -> int:
        try:
            code = super().main(given, *rest, **{**options, "standalone_mode": False})
        except typer.TyperException as error:
            usage = CliError(error.format_message(), code="E_USAGE", actions=["--help shows what a command takes."])
            Output(as_json=True).failure(usage, "usage")
            return EXIT_USAGE
        return code if isinstance(code, int) else 0


def _without_boxes(command: Any) -> None:
    """Help and usage errors as plain text, for a terminal that lacks the characters of frames."""
    command.rich_markup_mode = None
    for one in getattr(command, "commands", {}).values():
        _without_boxes(one)


app = typer.Typer(
    name="holodeck",
    cls=JsonAwareGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Play and keep interactive story worlds on a SagaForge bundle.",
    epilog="SAGAFORGE_URL names the bundle (default http://127.0.0.1:8000), SAGAFORGE_API_KEY is its key.",
)
app.command()(play)
app.add_typer(world.app, name="world")
app.add_typer(image.app, name="image")
app.add_typer(models.app, name="models")
app.add_typer(debug.app, name="debug")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"holodeck {sagaforge.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


if __name__ == "__main__":
    app()
