"""`holodeck image …`: paint pictures, list them, find out how one was made, and make it again."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from sagaforge.cli.failures import CliError
from sagaforge.cli.image_client import ImageClient
from sagaforge.cli.output import DEFAULT_URL, JsonFlag, Output, Url, table
from sagaforge.cli.painting import adapter, encoded, painted, request_of
from sagaforge.cli.picture_files import Target, decoded, difference, read_file, receipt_of, slug, watermark_of
from sagaforge.cli.receipt_view import print_receipt
from sagaforge.cli.terminal import clean
from sagaforge.image_schemas import (
    MAX_IMAGES,
    Fit,
    GeneratedImage,
    ImageDetail,
    ImageListRequest,
    ImageType,
    Receipt,
    SchedulerName,
)

if TYPE_CHECKING:
    from PIL import Image

app = typer.Typer(no_args_is_help=True, help="Paint pictures, list them, and find out how one was made.")

IMAGE_ID = re.compile(r"[0-9a-f]{32}")
# What the bundle's failures ask for here, where it is not what they ask for elsewhere.
NEXT_STEPS = {
    "E_NOT_FOUND": [
        "Look at what there is: `holodeck image styles`, `holodeck image list`, `holodeck world list`.",
    ],
    "E_INVALID_INPUT": ["`holodeck image make --help` tells what the options take."],
    "E_TOO_LARGE": ["Give a smaller picture."],
    "E_UNSUPPORTED_TYPE": ["Give a PNG, JPEG or WebP picture."],
    "E_DEADLINE_EXCEEDED": ["Try again, or ask for less: fewer steps, a smaller picture."],
}


@app.command()
def make(
    prompt: Annotated[str, typer.Argument(help="What to paint; (word:1.2) weighs a word.")],
    style: Annotated[str | None, typer.Option(help="A style; `holodeck image styles` shows them.")] = None,
    negative: Annotated[str | None, typer.Option(help="What not to paint.")] = None,
    width: Annotated[int | None, typer.Option(help="In pixels.")] = None,
    height: Annotated[int | None, typer.Option(help="In pixels.")] = None,
    steps: Annotated[int | None, typer.Option(help="More take longer, and come out finer.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt (cfg_scale).")] = None,
    seed: Annotated[int | None, typer.Option(help="The same picture again; of several, the first one's.")] = None,
    scheduler: Annotated[SchedulerName | None, typer.Option(help="How steps are taken.")] = None,
    count: Annotated[int, typer.Option(min=1, max=MAX_IMAGES, help="How many pictures.")] = 1,
    lora: Annotated[list[str] | None, typer.Option(metavar="NAME[:SCALE]", help="An adapter; repeatable.")] = None,
    image_type: Annotated[ImageType | None, typer.Option("--type", help="Its shape, by what it is for.")] = None,
    start: Annotated[Path | None, typer.Option("--from", metavar="FILE", help="A picture to start from.")] = None,
    mask: Annotated[Path | None, typer.Option(metavar="FILE", help="White is painted anew; needs --from.")] = None,
    strength: Annotated[float | None, typer.Option(help="How far from --from, up to 1.")] = None,
    fit: Annotated[Fit | None, typer.Option(help="What is done to a --from of another shape.")] = None,
    world: Annotated[str | None, typer.Option(help="The world that the picture belongs to.")] = None,
    out: Annotated[Path, typer.Option(help="A folder, or a file name that ends in .png.")] = Path(),
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Paint a picture, or several, and save them. Ctrl-C stops the painter."""
    output = Output(as_json)
    with _failures(output, "make"), ImageClient.from_environment(url) as client:
        given = {
            "prompt": prompt,
            "negative_prompt": negative,
            "width": width,
            "height": height,
            "steps": steps,
            "cfg_scale": guidance,
            "seed": seed,
            "style_preset": style,
            "image_type": image_type,
            "scheduler": scheduler,
            "lora": [adapter(one) for one in lora or []],
            "num_images": count,
            "image": encoded(start),
            "mask": encoded(mask),
            "strength": strength,
            "fit": fit,
            "world_id": world,
        }
        request = request_of(given)
        target = Target(out, num_pictures=count)
        client.health()  # not sent again: an address where nobody listens is told of at once
        client.on_resend = lambda error, pause_s: output.errors.print(
            Text(clean(f"{error.message}: trying again in {pause_s:g} s"), style="dim")
        )
        answer = painted(client, output, request)
        files = _saved(client, target, answer.images, prompt)
    output.result({**answer.model_dump(mode="json"), "files": files})
    for file in files:
        output.console.print(f"{file['path']}  seed {file['seed']}  {clean(file['url'])}", soft_wrap=True)
    for note in dict.fromkeys(note for image in answer.images for note in image.metadata.notes):
        output.errors.print(Text(clean(note), style="dim"), soft_wrap=True)


@app.command("list")
def list_images(
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 24,
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """List the newest pictures of the bundle."""
    output = Output(as_json)
    with _failures(output, "list"), ImageClient.from_environment(url) as client:
        listed = client.images(ImageListRequest(limit=limit))
        output.result(listed)
        rows = table("Picture", "Made", "Style", "Prompt")
        for column in rows.columns[:2]:
            column.no_wrap = True
        for image in listed.images:
            made = f"{image.created_at.astimezone():%Y-%m-%d %H:%M}"
            rows.add_row(image.image_id, made, clean(image.metadata.style_preset or "-"), clean(image.asked))
        output.console.print(rows if listed.images else "No pictures yet: `holodeck image make PROMPT`.")


@app.command()
def show(
    picture: Annotated[str, typer.Argument(help="A picture file, or the id of a picture.", metavar="FILE|ID")],
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Show how a picture was made: by the receipt in the file, or by its watermark."""
    output = Output(as_json)
    with _failures(output, "show"):
        found_by, found = _found(picture, url)
    receipt = found.receipt if isinstance(found, ImageDetail) else found
    document = found.model_dump(mode="json")
    output.result({"found_by": found_by, **(document if isinstance(found, ImageDetail) else {"receipt": document})})
    if found_by == "watermark":
        output.console.print("The file has no receipt; the bundle knows the picture by its watermark.\n")
    print_receipt(output, receipt)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A picture as the bundle made it.", metavar="FILE")],
    out: Annotated[Path | None, typer.Option(help="Keep the new picture: a folder, or a .png file.")] = None,
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Make a picture again from its receipt, and compare. Succeeds if no channel is off by more than 1 of 255."""
    output = Output(as_json)
    with _failures(output, "replay"), ImageClient.from_environment(url) as client:
        body = read_file(file)
        before = decoded(body, str(file))
        receipt = receipt_of(body, file)
        target = Target(out) if out else None
        is_watched = output.errors.is_terminal and not as_json
        with output.errors.status("Painting it again") if is_watched else nullcontext():
            answer = client.replay(receipt)
        png, after = _decoded_answer(answer.png)
        saved = target.write(f"{file.stem}-again", png) if target else None
        changed = ", ".join(answer.changed) or "nothing that the receipt tells of"
        if before.size != after.size:
            sizes = [f"{image.width} × {image.height}" for image in (before, after)]
            raise _different(f"it has {sizes[1]} pixels instead of {sizes[0]}", changed, saved)
        found = difference(before, after)
        if not found.is_same:
            raise _different(str(found), changed, saved)
    output.result(
        {
            "same": True,
            **found.model_dump(),
            "changed": answer.changed,
            "receipt": answer.receipt.model_dump(mode="json"),
            "path": str(saved) if saved else None,
        }
    )
    output.console.print(f"It came out the same: {found}.")
    output.console.print(f"Changed since then: {clean(changed)}.")
    if saved:
        output.console.print(f"The new picture is {saved}", soft_wrap=True)


@app.command()
def styles(url: Url = DEFAULT_URL, as_json: JsonFlag = False) -> None:
    """List the styles to paint in."""
    output = Output(as_json)
    with _failures(output, "styles"), ImageClient.from_environment(url) as client:
        listed = client.styles()
        output.result(listed)
        rows = table("Style", "Title", "Adds to the prompt", "Unless you say otherwise")
        for style in listed.styles:
            params = ", ".join(f"{name} {value}" for name, value in style.default_params.items())
            rows.add_row(style.style_id, clean(style.title), clean(style.style_suffix), clean(params))
        output.console.print(rows if listed.styles else "This bundle has no styles.")
        for problem in listed.problems:
            output.errors.print(clean(problem), style="yellow")


# --- what commands share --------------------------------------------------------------------------------------------


@contextmanager
def _failures(output: Output, stage: str) -> Iterator[None]:
    with output.failures(stage):
        try:
            yield
        except CliError as error:
            if error.component == "bundle":
                error.actions = NEXT_STEPS.get(error.code, error.actions)
            raise


def _saved(client: ImageClient, target: Target, images: Sequence[GeneratedImage], prompt: str) -> list[dict[str, Any]]:
    """Fetches and writes the pictures. When one can't be, it says where those that are not on disk are kept."""
    files: list[dict[str, Any]] = []
    for image in images:
        url, seed = client.address(image), image.metadata.seed
        try:
            path = target.write(f"{slug(prompt)}-{seed}", client.png(image.image_id))
        except CliError as error:
            kept = [client.address(one) for one in images[len(files) :]]
            error.message += f" (the picture is painted, and kept at {', '.join(kept)})"
            error.actions = [*error.actions, *(f"Fetch it with: curl -o picture.png {one}" for one in kept)]
            raise
        files.append({"image_id": image.image_id, "path": str(path), "seed": seed, "url": url})
    return files


def _found(picture: str, url: str) -> tuple[str, Receipt | ImageDetail]:
    """By what a picture was found, and what is known of it: the receipt in the file, or all that the bundle knows."""
    path = Path(picture)
    if IMAGE_ID.fullmatch(picture) and not path.exists():
        with ImageClient.from_environment(url) as client:
            return "id", client.image(picture)
    body = read_file(path)
    image = decoded(body, picture)
    try:
        return "receipt", receipt_of(body, path)
    except CliError as error:
        watermark = watermark_of(image)
        if watermark is None:
            raise CliError(
                f"{error.message} It carries no watermark either.",
                code="E_NOT_FOUND",
                actions=["Try a copy that is larger, or less cropped or compressed; or look for it in `image list`."],
            ) from error
    with ImageClient.from_environment(url) as client:
        listed = client.images(ImageListRequest(limit=1, watermark=watermark))
        if not listed.images:
            raise CliError(
                f"{path} has no receipt. Its watermark is {watermark}: this bundle has no picture of that number.",
                code="E_NOT_FOUND",
                actions=["Ask the bundle that painted it: name it with --url."],
            )
        return "watermark", client.image(listed.images[0].image_id)


def _decoded_answer(text: str) -> tuple[bytes, Image.Image]:
    try:
        png = base64.b64decode(text, validate=True)
        return png, decoded(png, "the new picture")
    except (binascii.Error, ValueError, CliError) as error:
        raise CliError(
            f"the bundle answered with a picture that can't be read: {error}",
            code="E_PROTOCOL",
            component="connection",
            actions=["Check that --url is a SagaForge bundle of this version (`holodeck debug health`)."],
        ) from error


def _different(how: str, changed: str, saved: Path | None) -> CliError:
    return CliError(
        f"the picture came out differently: {how}. Changed since then: {changed}.",
        code="E_DIFFERENT",
        component="bundle",
        actions=[
            "The model and the versions that the receipt names make the same picture again.",
            "If none of them changed, the file was edited after it was made.",
            f"Look at both: the new one is {saved}" if saved else "--out PATH keeps the new picture, to look at both.",
        ],
    )
