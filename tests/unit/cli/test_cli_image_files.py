"""`holodeck image show` and `replay`: receipts, watermarks, files that are no pictures, and comparisons."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagaforge.cli import picture_files
from sagaforge.cli.picture_files import difference
from tests.support.scripted_bundle import document, holodeck
from tests.support.scripted_images import SIDE_PX, ScriptedImages, error_of, image_id, painted, png, receipt, saved_as

# --- show ---------------------------------------------------------------------------------------------------------


def test_the_receipt_in_a_file_is_shown_without_a_bundle(images: ScriptedImages) -> None:
    Path("x.png").write_bytes(png(7))
    shown = holodeck("image", "show", "x.png", "--url", "http://127.0.0.1:9").stdout
    facts = dict(line.split("  ", 1) for line in shown.splitlines() if "  " in line)
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts.pop("made").startswith("2026-11-2")
    assert facts == {
        "asked for": "a lighthouse at dusk",
        "prompt": "a lighthouse at dusk, neon",
        "negative prompt": "blurry",
        "style": "cyberpunk",
        "seed": "7",
        "size": "192 × 192, painted at 96 × 96",
        "steps": "3",
        "guidance": "4.5",
        "scheduler": "dpmpp_2m",
        "model": "pocket-sdxl",
        "model's hash": "0123456789abcdef",
        "adapter": "alice × 0.8 (ff00, licence CC-BY-4.0)",
        "painted by": "engine",
        "versions": "torch 2.13.0",
        "seconds": "1.2",
        "licence": "Apache-2.0",
        "watermark": "0000000007",
        "id": image_id(7),
    }
    found = document(holodeck("image", "show", "x.png", "--json"))
    assert found == {"ok": True, "found_by": "receipt", "receipt": receipt(7).model_dump(mode="json")}
    assert not images.queries


def test_an_id_is_asked_for(images: ScriptedImages) -> None:
    images.add(7)
    assert "a lighthouse at dusk, neon" in holodeck("image", "show", image_id(7)).stdout
    found = document(holodeck("image", "show", image_id(7), "--json"))
    assert found["found_by"] == "id"
    assert found["asked"] == found["receipt"]["request"]["prompt"]
    error = error_of("show", image_id(8))
    assert error["code"] == "E_NOT_FOUND"
    assert "holodeck image list" in error["suggested_actions"][0]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "crop", "damaged receipt"])
def test_a_picture_that_lost_its_receipt_is_found_by_its_watermark(images: ScriptedImages, kind: str) -> None:
    images.add(7)
    match kind:
        case "crop":
            body = saved_as(painted(7).crop((5, 9, SIDE_PX - 11, SIDE_PX - 7)), "PNG")
        case "damaged receipt":
            body = png_with_chunk(saved_as(painted(7), "PNG"), b"tEXt", b"sagaforge\0{}")
        case _:
            body = saved_as(painted(7), kind, quality=90)
    Path("found.img").write_bytes(body)
    shown = holodeck("image", "show", "found.img").stdout
    assert "by its watermark" in shown
    assert "a lighthouse at dusk, neon" in shown
    assert images.queries == [{"limit": "1", "watermark": "0000000007"}]
    found = document(holodeck("image", "show", "found.img", "--json"))
    assert (found["found_by"], found["receipt"]["seed"]) == ("watermark", 7)


def test_a_picture_that_nobody_knows(images: ScriptedImages) -> None:
    Path("marked.jpg").write_bytes(saved_as(painted(7), "JPEG", quality=90))
    error = error_of("show", "marked.jpg")
    assert error["code"] == "E_NOT_FOUND"
    assert "0000000007" in error["message"]
    Path("plain.jpg").write_bytes(saved_as(Image.new("RGB", (200, 200), "teal"), "JPEG"))
    error = error_of("show", "plain.jpg")
    assert error["code"] == "E_NOT_FOUND"
    assert "no watermark" in error["message"]
    assert len(images.queries) == 1


def png_with_chunk(body: bytes, kind: bytes, content: bytes) -> bytes:
    """With one more chunk, before the last."""
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return body[:-12] + chunk + body[-12:]


def bomb(width: int, height: int) -> bytes:
    """The head of a PNG that says it is large."""
    body = saved_as(Image.new("L", (1, 1)), "PNG")
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return body[:12] + head + struct.pack(">I", zlib.crc32(head)) + body[33:]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "is no picture"),
        (b"%PDF-1.7", "is no picture"),
        (saved_as(Image.new("RGB", (64, 64)), "BMP"), "is no picture"),
        (png(7)[:5000], "is damaged"),
        (bomb(9000, 9000), "9000 × 9000 pixels"),
        (bomb(60000, 60000), "pixels"),
    ],
    ids=["empty", "pdf", "bmp", "cut", "large", "bomb"],
)
@pytest.mark.parametrize("command", ["show", "replay"])
def test_files_that_are_no_pictures_to_us(images: ScriptedImages, command: str, body: bytes, told: str) -> None:
    Path("x.png").write_bytes(body)
    error = error_of(command, "x.png")
    assert error["code"] == "E_INPUT"
    assert told in error["message"]
    assert not images.replays


def test_files_that_are_too_large_or_missing(images: ScriptedImages) -> None:
    with Path("x.png").open("wb") as file:
        file.truncate(picture_files.MAX_FILE_BYTES + 1)
    assert "50 MB" in error_of("show", "x.png")["message"]
    for path in ("missing.png", ".", "x.png/x"):
        assert error_of("show", path)["code"] == "E_INPUT"


# --- replay -------------------------------------------------------------------------------------------------------


def shifted(by: int) -> bytes:
    """The picture of seed 7 with one channel of one pixel off."""
    pixels = np.array(painted(7))
    pixels[3, 4, 1] = np.clip(int(pixels[3, 4, 1]) - by, 0, 255)
    return saved_as(Image.fromarray(pixels), "PNG")


def test_a_picture_comes_out_the_same(images: ScriptedImages) -> None:
    Path("x.png").write_bytes(png(7))
    shown = holodeck("image", "replay", "x.png").stdout
    assert "no pixel differs" in shown
    assert "nothing that the receipt tells of" in shown
    assert images.replays == [receipt(7).model_dump(mode="json")]
    found = document(holodeck("image", "replay", "x.png", "--json"))
    assert (found["same"], found["max_difference"], found["psnr_db"], found["path"]) == (True, 0, None, None)
    assert [path.name for path in Path().iterdir()] == ["x.png"]


def test_rounding_is_no_difference_and_the_new_picture_can_be_kept(images: ScriptedImages) -> None:
    Path("x.png").write_bytes(png(7))
    images.replay = {"png": shifted(1), "changed": ["versions.torch"]}
    shown = holodeck("image", "replay", "x.png", "--out", "again").stdout
    assert "the largest difference is 1 of 255" in shown
    assert "Changed since then: versions.torch." in shown
    assert Path("again/x-again.png").read_bytes() == shifted(1)


def test_a_picture_that_comes_out_differently_fails(images: ScriptedImages) -> None:
    Path("x.png").write_bytes(png(7))
    images.replay = {"png": shifted(2), "changed": ["model_sha256", "versions.torch"]}
    error = error_of("replay", "x.png", "--out", "new.png")
    assert error["code"] == "E_DIFFERENT"
    assert "2 of 255" in error["message"]
    assert "PSNR" in error["message"]
    assert "model_sha256, versions.torch" in error["message"]
    assert "new.png" in error["suggested_actions"][-1]
    assert Path("new.png").read_bytes() == shifted(2)
    images.replay = {"png": saved_as(Image.new("RGB", (64, 32)), "PNG")}
    error = error_of("replay", "x.png")
    assert error["code"] == "E_DIFFERENT"
    assert "64 × 32 pixels instead of 192 × 192" in error["message"]


def test_only_the_original_can_be_replayed(images: ScriptedImages) -> None:
    Path("x.jpg").write_bytes(saved_as(painted(7), "JPEG"))
    Path("x.png").write_bytes(saved_as(painted(7), "PNG"))
    for path in ("x.jpg", "x.png"):
        assert error_of("replay", path)["code"] == "E_INPUT"
    Path("x.png").write_bytes(png(7))
    assert error_of("replay", "x.png", "--out", "x.png/y")["code"] == "E_INPUT"
    assert not images.replays


@pytest.mark.parametrize("answer", ["%%%", "", base64.b64encode(b"no picture").decode()])
def test_an_answer_that_is_no_picture(images: ScriptedImages, answer: str) -> None:
    Path("x.png").write_bytes(png(7))
    images.replay = {"png": answer}
    assert error_of("replay", "x.png")["code"] == "E_PROTOCOL"


def test_differences_are_measured() -> None:
    black, grey = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), (255, 0, 0))
    found = difference(black, grey)
    assert (found.max_difference, found.mean_difference) == (255, 85.0)
    assert found.psnr_db == pytest.approx(10 * np.log10(3))
    assert difference(Image.open(io.BytesIO(png(7))), painted(7)).psnr_db is None
