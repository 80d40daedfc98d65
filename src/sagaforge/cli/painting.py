"""Between the options of `holodeck image make` and its pictures: the request, and the bars while it is painted."""

from __future__ import annotations

import base64
import json
import uuid
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sagaforge.cli.failures import CliError
from sagaforge.cli.image_client import ImageClient
from sagaforge.cli.output import Output
from sagaforge.cli.picture_files import decoded, read_file
from sagaforge.cli.seam import parsed
from sagaforge.events import ReadEvent
from sagaforge.image_schemas import MAX_IMAGE_BYTES, ImageAnswer, ImageRequest

# What the request calls otherwise than the command line.
OPTIONS = {
    "prompt": "PROMPT",
    "negative_prompt": "--negative",
    "cfg_scale": "--guidance",
    "style_preset": "--style",
    "image_type": "--type",
    "num_images": "--count",
    "world_id": "--world",
    "image": "--from",
}
WAKING = "Waking the painter"  # it sleeps when nobody paints, and takes its time to get up


def request_of(given: dict[str, Any]) -> ImageRequest:
    """The request, without what was not given: the style and the model decide on that."""
    if given["image"] is None and any(given[name] is not None for name in ("mask", "strength", "fit")):
        reason = "--mask, --strength and --fit are about a picture to start from, and there is none"
        raise CliError(reason, code="E_INPUT", actions=["Name it with --from."])
    try:
        return ImageRequest.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        raise CliError(
            f"{OPTIONS.get(field, f'--{field}')}: {first['msg']}",
            code="E_INPUT",
            actions=["`holodeck image make --help` tells what the options take."],
        ) from error


def adapter(text: str) -> dict[str, Any]:
    """NAME or NAME:SCALE."""
    name, _, scale = text.partition(":")
    try:
        return {"name": name, **({"scale": float(scale)} if scale else {})}
    except ValueError as error:
        reason = f"--lora {text}: {scale!r} is no number"
        raise CliError(reason, code="E_INPUT", actions=["Write it as NAME or NAME:0.8."]) from error


def encoded(path: Path | None) -> str | None:
    """A picture to send along; looked at here, where the file's name can be told."""
    if path is None:
        return None
    body = read_file(path, MAX_IMAGE_BYTES)
    decoded(body, str(path))
    return base64.b64encode(body).decode()


def painted(client: ImageClient, output: Output, request: ImageRequest) -> ImageAnswer:
    # Closed at once when Ctrl-C comes, so that the bundle sees the client hang up and stops the painter.
    with closing(client.stream_images(request, uuid.uuid4().hex)) as events, Bars(output) as bars:
        for event in events:
            bars.show(event)
            if event.event == "done":
                return parsed(ImageAnswer, json.dumps(event.data))
    raise AssertionError("unreachable: a stream ends with its pictures or raises")


class Bars:
    """A bar for each picture, with its steps, on stderr; silent into a pipe and for a script."""

    def __init__(self, output: Output) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[steps]}", markup=False),
            TimeElapsedColumn(),
            console=output.errors,
            transient=True,
            disable=output.as_json or not output.errors.is_terminal,
        )
        self._waking: TaskID | None = None
        self._bars: list[TaskID] = []
        self._totals: list[int] = []

    def __enter__(self) -> Bars:
        self._begin([])
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: ReadEvent) -> None:
        data = event.data
        match event.event:
            case "started":
                self._begin(data["images"])
            case "step":
                self._totals[data["image"]] = data["total"]  # fewer than were asked for when it starts from a picture
                self._move(data["image"], data["done"])
            case "image":
                self._move(data["image"], self._totals[data["image"]])

    def _begin(self, pictures: list[dict[str, Any]]) -> None:
        """From the first line: a request that is sent again begins anew."""
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        self._waking = self._progress.add_task(WAKING, total=None, steps="")
        self._totals = [one["steps"] for one in pictures]
        self._bars = [self._progress.add_task(f"Seed {one['seed']}", total=one["steps"], steps="") for one in pictures]

    def _move(self, number: int, done: int) -> None:
        if self._waking is not None:
            self._progress.remove_task(self._waking)
            self._waking = None
        total = self._totals[number]
        self._progress.update(self._bars[number], completed=done, total=total, steps=f"{done} of {total} steps")
