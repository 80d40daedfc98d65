"""A program: a PDF on standard input → the text of its pages as JSON on standard output. `pdf` runs it.

On its own because PDFium is not Python: a hostile file may make it allocate until it aborts, or loop where nothing can
interrupt it. It imports nothing of ours, so that it starts in a tenth of a second.
"""

from __future__ import annotations

import json
import resource
import sys
from contextlib import closing
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium


def read(data: bytes, max_pages: int, max_chars: int) -> dict[str, Any]:
    """`{pages}`: texts, `unknown`: numbers of pages with characters that a font doesn't tell, `is_drawn`; or `{error}`:
    one of password, security, empty, format, pages, characters."""
    try:
        document = pypdfium2.PdfDocument(data)  # with an empty password, which is none
    except pypdfium2.PdfiumError as exc:
        return {"error": _unopened(data, exc.err_code)}
    with closing(document):
        if len(document) > max_pages:
            return {"error": "pages"}
        texts: list[str] = []
        unknown: list[int] = []
        is_drawn = False
        for number in range(1, len(document) + 1):
            try:
                page = document[number - 1]
            except pypdfium2.PdfiumError:
                return {"error": "format"}
            with closing(page):
                text, is_known = _text(page)
                is_drawn = is_drawn or (not text.strip() and _is_drawn_on(page))
            texts.append(text)
            if not is_known:
                unknown.append(number)
            if sum(map(len, texts)) > max_chars:
                return {"error": "characters"}
        return {"pages": texts, "unknown": unknown, "is_drawn": is_drawn}


def _unopened(data: bytes, error: int) -> str:
    # A document without pages opens, and leaves the error of another one standing.
    if document := pdfium.FPDF_LoadMemDocument64(data, len(data), None):
        pdfium.FPDF_CloseDocument(document)
        return "empty"
    return {pdfium.FPDF_ERR_PASSWORD: "password", pdfium.FPDF_ERR_SECURITY: "security"}.get(error, "format")


def _text(page: pypdfium2.PdfPage) -> tuple[str, bool]:
    """The text of a page, and whether every character of it is known: a font need not say what its shapes mean."""
    with closing(page.get_textpage()) as textpage:
        text = textpage.get_text_range()
        is_unknown = pdfium.FPDFText_HasUnicodeMapError
        is_known = not any(is_unknown(textpage.raw, index) == 1 for index in range(textpage.count_chars()))
    # PDFium joins a word that a hyphen divides at the end of a line, with U+FFFE in its place.
    return text.replace("\ufffe", "-\n").replace("\r\n", "\n"), is_known


def _is_drawn_on(page: pypdfium2.PdfPage) -> bool:
    return any(item.type != pdfium.FPDF_PAGEOBJ_TEXT for item in page.get_objects(max_depth=3))


if __name__ == "__main__":
    max_pages, max_chars, max_bytes, max_seconds = map(int, sys.argv[1:])
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)  # the worker's own limit holds here too
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes if soft < 0 else min(max_bytes, soft), hard))
    resource.setrlimit(resource.RLIMIT_CPU, (max_seconds, max_seconds))  # where the one that waits is killed first
    json.dump(read(sys.stdin.buffer.read(), max_pages, max_chars), sys.stdout)
