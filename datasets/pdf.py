"""PDF → text, by PDFium: it knows the encodings of CJK fonts, and says which characters it can't name.

Bounded in pages, seconds and characters. A page whose characters can't be named is refused by its number: what a
program makes of it looks like text, and would be cited.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from sagaforge.datasets.archives import UploadLimits
from sagaforge.datasets.readers import CONTROLS
from sagaforge.errors import InvalidInput, SagaForgeError, TooLarge

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

SHOWN_PAGES = 8


def read_pdf(name: str, data: bytes, limits: UploadLimits) -> str:
    """The text of a PDF, a paragraph break between pages; pictures are passed over.

    Raises:
        InvalidInput: it can't be opened, holds no text, or has pages whose characters can't be told.
        TooLarge: more pages, seconds or characters than the limits allow.
    """
    import pypdfium2

    if not data[:1024].lstrip().startswith(b"%PDF-"):
        raise InvalidInput(f"{name}: not a PDF. Upload a .pdf, or rename the file to what it is.")
    try:
        document = pypdfium2.PdfDocument(data)  # with an empty password, which is none
    except pypdfium2.PdfiumError as exc:
        raise InvalidInput(f"{name}: {_unopened(data, exc.err_code)}") from exc
    try:
        with closing(document):
            return _text(name, document, limits)
    except SagaForgeError:
        raise
    except pypdfium2.PdfiumError as exc:
        raise InvalidInput(f"{name}: the PDF can't be read ({exc}); export it again.") from exc


def _unopened(data: bytes, error: int) -> str:
    import pypdfium2.raw as pdfium

    # A document without pages opens, and leaves the error of another one standing.
    if document := pdfium.FPDF_LoadMemDocument64(data, len(data), None):
        pdfium.FPDF_CloseDocument(document)
        return "the PDF has no pages; export it again."
    if error == pdfium.FPDF_ERR_PASSWORD:
        return "the PDF asks for a password; save it without one."
    if error == pdfium.FPDF_ERR_SECURITY:
        return "the PDF is encrypted for certain readers; save it without encryption."
    return "the PDF can't be read; export it again."


def _text(name: str, document: PdfDocument, limits: UploadLimits) -> str:
    deadline = time.monotonic() + limits.max_pdf_seconds
    if len(document) > limits.max_pdf_pages:
        raise TooLarge(f"{name}: more than {limits.max_pdf_pages} pages; split it.")
    pages: list[str] = []
    unknown: list[int] = []
    num_chars = 0
    has_pictures = False
    for number in range(1, len(document) + 1):
        if time.monotonic() > deadline:
            raise TooLarge(f"{name}: reading took over {limits.max_pdf_seconds:.0f} s; upload its text instead.")
        with closing(document[number - 1]) as page:
            text, is_known = _page_text(page)
            has_pictures = has_pictures or (not text.strip() and _is_drawn_on(page))
        num_chars += len(text)
        if num_chars > limits.max_text_chars:
            raise TooLarge(f"{name}: more than {limits.max_text_chars:,} characters; split it.")
        pages.append(text)
        if not is_known:
            unknown.append(number)
    if unknown:
        raise InvalidInput(f"{name}: {_unknown(unknown)}")
    text = "\n\n".join(pages)
    if not text.strip():
        what = "only pictures of text; recognise it first (OCR)" if has_pictures else "nothing on its pages"
        raise InvalidInput(f"{name}: the PDF holds {what}, or upload the text.")
    return text


def _is_drawn_on(page: PdfPage) -> bool:
    import pypdfium2.raw as pdfium

    return any(item.type != pdfium.FPDF_PAGEOBJ_TEXT for item in page.get_objects(max_depth=3))


def _page_text(page: PdfPage) -> tuple[str, bool]:
    """The text of a page, and whether every character of it is known: a font need not say what its shapes mean."""
    import pypdfium2.raw as pdfium

    with closing(page.get_textpage()) as textpage:
        text: str = textpage.get_text_range()
        is_unknown = pdfium.FPDFText_HasUnicodeMapError
        is_known = not any(is_unknown(textpage.raw, index) == 1 for index in range(textpage.count_chars()))
    # PDFium joins a word that a hyphen divides at the end of a line, with U+FFFE in its place.
    text = text.replace("\ufffe", "-\n").replace("\r\n", "\n").translate(CONTROLS)
    return text.encode("utf-8", "ignore").decode(), is_known  # fonts may map to lone surrogates


def _unknown(pages: list[int]) -> str:
    shown = ", ".join(map(str, pages[:SHOWN_PAGES])) + (", …" if len(pages) > SHOWN_PAGES else "")
    return (
        f"on page {shown} a font doesn't say which characters its shapes are, so the text can't be read. Export the "
        'PDF again with Unicode text ("ToUnicode"), recognise the pages (OCR), or upload the text.'
    )
