"""`holodeck world …`: upload worlds, list them, look into one, search its lore, delete one."""

from __future__ import annotations

import io
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from sagaforge.cli.client import Client
from sagaforge.cli.failures import CliError
from sagaforge.cli.output import DEFAULT_URL, JsonFlag, Output, Url, table
from sagaforge.cli.terminal import clean, is_text
from sagaforge.schemas import RetrieveRequest

app = typer.Typer(no_args_is_help=True, help="Upload, list, show, search and delete worlds.")

WorldId = Annotated[str, typer.Argument(help="The world's id.")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="A version of it, instead of the current one.")]
SessionId = Annotated[str | None, typer.Option("--session", help="The version that this session plays in.")]


@app.command()
def upload(
    path: Annotated[Path, typer.Argument(help="A folder, a world pack (.zip), or a single .txt, .md or .pdf file.")],
    world_id: Annotated[str, typer.Option("--id", help="The world's id: letters, digits, and _ . - between them.")],
    license: Annotated[str | None, typer.Option(help="An SPDX id (CC-BY-SA-4.0), Fair-Use or Custom.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Make a new version of a world that is there already.")] = False,
    encoding: Annotated[str | None, typer.Option(help="Of names and texts that are not UTF-8: gb18030, big5.")] = None,
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Upload a world; a folder is packed on the way, without its hidden files."""
    output = Output(as_json)
    with output.failures("upload"), ExitStack() as closing:
        file, filename = _opened(path, closing)
        client = closing.enter_context(Client.from_environment(url))
        on_read = _shown(output, closing, filename=filename, world_id=world_id, num_bytes=_size(file))
        try:
            counting = _CountingReader(file, on_read)
            uploaded = client.upload(
                counting,
                filename=filename,
                world_id=world_id,
                license=license,
                overwrite=overwrite,
                encoding=encoding,
            )
        except CliError as error:
            if error.code == "E_CONFLICT" and not overwrite:
                error.actions = ["Add --overwrite to make a new version of this world, or choose another --id."]
            raise
    output.result(uploaded)
    output.console.print(
        f"{uploaded.world_id} is at version {uploaded.version}:"
        f" {len(uploaded.doc_ids)} documents, {uploaded.total_chunks} pieces of lore."
    )
    output.console.print(f"Play it with: holodeck play {uploaded.world_id}")


@app.command("list")
def list_worlds(url: Url = DEFAULT_URL, as_json: JsonFlag = False) -> None:
    """List the worlds of the bundle."""
    output = Output(as_json)
    with output.failures("list"), Client.from_environment(url) as client:
        listed = client.worlds()
        output.result(listed)
        rows = table("World", "Title", "Language", "Version", "Lore", "Licence")
        for world in listed.worlds:
            numbers = (str(world.version), str(world.total_chunks))
            rows.add_row(world.world_id, clean(world.title), world.language, *numbers, clean(world.license or "-"))
        output.console.print(rows if listed.worlds else "No worlds yet: `holodeck world upload PATH --id ID`.")


@app.command()
def show(
    world_id: WorldId,
    version: Version = None,
    session: SessionId = None,
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Show a world's characters, scenes and documents."""
    output = Output(as_json)
    with output.failures("show"), Client.from_environment(url) as client:
        world = client.world(world_id, version=version, session_id=session)
        output.result(world)
        output.console.print(
            f"{clean(world.title)} ({world.world_id}, version {world.version}, {world.language},"
            f" licence {clean(world.license or 'not given')})"
        )
        output.console.print(f"{len(world.doc_ids)} documents, {world.total_chunks} pieces of lore\n")
        people = table("Character", "Name", "Description")
        for character in world.characters:
            people.add_row(character.id, clean(character.name), clean(character.description))
        scenes = table("Scene", "Title", "Location", "Description")
        for scene in world.scenes:
            scenes.add_row(scene.id, clean(scene.title), clean(scene.location), clean(scene.description))
        output.console.print(people)
        output.console.print()
        output.console.print(scenes)


@app.command()
def search(
    world_id: WorldId,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    top_k: Annotated[int, typer.Option(min=1, max=100, help="How many pieces of lore.")] = 5,
    rerank: Annotated[bool, typer.Option(help="Order the best ones again, more carefully.")] = False,
    version: Version = None,
    session: SessionId = None,
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Search a world's lore."""
    output = Output(as_json)
    with output.failures("search"), Client.from_environment(url) as client:
        if not 0 < len(query) <= 4000:
            raise CliError("a query has 1 to 4,000 characters", code="E_INPUT")
        # Not validated here: what an id may look like is the bundle's to say, in the words of its problem document.
        request = RetrieveRequest.model_construct(
            world_id=world_id, query=query, top_k=top_k, rerank=rerank, version=version, session_id=session
        )
        found = client.retrieve(request)
        output.result(found)
        for number, chunk in enumerate(found.chunks, start=1):
            place = f"{clean(chunk.metadata.section)} · {clean(chunk.metadata.source)}"
            output.console.print(f"{number}. {place} ({chunk.score:.3f})", style="bold")
            output.console.print(f"{clean(chunk.text)}\n")
        output.console.print(
            f"{len(found.chunks)} found in version {found.version}, in {found.query_time_ms:.0f} ms", style="dim"
        )


@app.command()
def delete(
    world_id: WorldId,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask (only a terminal is asked).")] = False,
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Delete a world. Sessions that began in it go on, and keep the lore that they cite."""
    output = Output(as_json)
    with output.failures("delete"), Client.from_environment(url) as client:
        if sys.stdin.isatty() and not (yes or as_json or _agreed(output, world_id)):
            raise CliError(f"{clean(world_id)} was not deleted", code="E_CANCELLED")
        deleted = client.delete_world(world_id)
        output.result(deleted)
        output.console.print(f"{deleted.world_id} is deleted; its last version was {deleted.version}.")


def _agreed(output: Output, world_id: str) -> bool:
    try:
        question = f"Delete {clean(world_id)}? No new session can begin in it then. [y/N] "
        answer = output.console.input(question, markup=False)
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


# --- files to upload ------------------------------------------------------------------------------------------------


def _opened(path: Path, closing: ExitStack) -> tuple[BinaryIO, str]:
    """What to send for `path`, and the name it goes under."""
    try:
        if path.is_dir():
            packed = closing.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # closed by `closing`
            pack(path, packed)
            return packed, f"{_checked_name(path.resolve()).name}.zip"
        return closing.enter_context(_checked_name(path).open("rb")), path.name
    except OSError as error:
        reason = f"can't read {path}: {error.strerror or error}"
        raise CliError(reason, code="E_INPUT", actions=["Give a file or a folder that exists."]) from error


def pack(folder: Path, target: BinaryIO) -> None:
    """Zips `folder` in a fixed order, without hidden files and links (the bundle refuses packs that hold links)."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _belongs(path, folder)]
    if not files:
        raise CliError(f"{folder} holds no files", code="E_INPUT", actions=["docs/worlds.md tells what a world holds."])
    # Files from before 1980 (as some build systems date them) are stamped 1980 instead of being refused.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in files:
            archive.write(path, _checked_name(path.relative_to(folder)).as_posix())


def _checked_name(path: Path) -> Path:
    """`path`, whose name is to become the source of citations; bytes that are no text would be guessed at there."""
    if not is_text(str(path)):
        raise CliError(
            f"the name of {path} is no text in {sys.getfilesystemencoding()}",
            code="E_INPUT",
            actions=["Rename the file, or run with LC_ALL set to the encoding of its name."],
        )
    return path


def _belongs(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return False
    return not any(folder.joinpath(*parts[: depth + 1]).is_symlink() for depth in range(len(parts)))


def _size(file: BinaryIO) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


class _CountingReader(io.BufferedReader):
    """Reads from `file` and tells how much went out, for the progress bar."""

    def __init__(self, file: BinaryIO, on_read: Callable[[int], None]) -> None:
        super().__init__(file)  # type: ignore[arg-type]  # any readable file serves; the stub asks for a raw one
        self._on_read = on_read

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._on_read(len(data))
        return data


def _shown(
    output: Output, closing: ExitStack, *, filename: str, world_id: str, num_bytes: int
) -> Callable[[int], None]:
    """Shows a bar while bytes go out, then a spinner: nobody knows how long ingesting takes. Silent into a pipe."""
    if output.as_json or not output.errors.is_terminal:
        return lambda num_read: None
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    progress = closing.enter_context(Progress(*columns, console=output.errors, transient=True))
    task = progress.add_task(clean(f"Uploading {filename}"), total=num_bytes)
    spinner = output.errors.status(Text(clean(f"Ingesting {world_id}")), spinner=output.errors.spinner)
    closing.callback(spinner.stop)

    def on_read(num_read: int) -> None:
        progress.advance(task, num_read)
        if progress.finished and num_read:
            progress.stop()
            spinner.start()

    return on_read
