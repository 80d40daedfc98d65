"""PDF → text, by PDFium: it knows the encodings of CJK fonts, and says which characters it can't name.

Bounded in pages, seconds, memory and characters. A page whose characters can't be named is refused by its number: what
a program makes of it looks like text, and would be cited.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sagaforge.datasets.packs.zip_archive import UploadLimits
from sagaforge.errors import InvalidInput, TooLarge

PROGRAM = Path(__file__).with_name("pdf_pages.py")
# What fonts without a meaning leave in a text.
CONTROLS = dict.fromkeys([*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F])
SHOWN_PAGES = 8


def read_pdf(name: str, data: bytes, limits: UploadLimits) -> str:
    """The text of a PDF, a paragraph break between pages; pictures are passed over.

    Raises:
        InvalidInput: it can't be opened, holds no text, or has pages whose characters can't be told.
        TooLarge: more pages, seconds, memory or characters than the limits allow.
    """
    if not data[:1024].lstrip().startswith(b"%PDF-"):
        raise InvalidInput(f"{name}: not a PDF. Upload a .pdf, or rename the file to what it is.")
    bounds = (limits.max_pdf_pages, limits.max_text_chars, limits.max_pdf_bytes, max(1, int(limits.max_pdf_seconds)))
    try:
        program = subprocess.run(
            [sys.executable, "-P", PROGRAM, *map(str, bounds)],
            input=data,
            capture_output=True,
            timeout=limits.max_pdf_seconds,
        )
    except subprocess.TimeoutExpired:
        raise TooLarge(f"{name}: reading took over {limits.max_pdf_seconds:.0f} s; upload its text instead.") from None
    if program.returncode or not program.stdout:  # it aborts where it gets no more memory
        raise TooLarge(
            f"{name}: the PDF is broken, or needs more than the {limits.max_pdf_bytes // 1024**2} MiB that reading it "
            "may take; split it, export it again, or upload its text."
        )
    read = json.loads(program.stdout)
    if error := read.get("error"):
        raise _refused(name, error, limits)
    if read["unknown"]:
        raise InvalidInput(f"{name}: {_unknown(read['unknown'])}")
    text = "\n\n".join(read["pages"]).translate(CONTROLS)
    text = text.encode("utf-8", "ignore").decode()  # fonts may map to lone surrogates
    if not text.strip():
        what = "only pictures of text; recognise it first (OCR)" if read["is_drawn"] else "nothing on its pages"
        raise InvalidInput(f"{name}: the PDF holds {what}, or upload the text.")
    return text


def _refused(name: str, error: str, limits: UploadLimits) -> InvalidInput | TooLarge:
    if error == "pages":
        return TooLarge(f"{name}: more than {limits.max_pdf_pages} pages; split it.")
    if error == "characters":
        return TooLarge(f"{name}: more than {limits.max_text_chars:,} characters; split it.")
    told = {
        "empty": "has no pages; export it again.",
        "password": "asks for a password; save it without one.",
        "security": "is encrypted for certain readers; save it without encryption.",
        "format": "can't be read; export it again.",
    }
    return InvalidInput(f"{name}: the PDF {told[error]}")


def _unknown(pages: list[int]) -> str:
    shown = ", ".join(map(str, pages[:SHOWN_PAGES])) + (", …" if len(pages) > SHOWN_PAGES else "")
    return (
        f"on page {shown} a font doesn't say which characters its shapes are, so the text can't be read. Export the "
        'PDF again with Unicode text ("ToUnicode"), recognise the pages (OCR), or upload the text.'
    )
