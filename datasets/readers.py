"""The suspicious readers of a single file under `packs`: text encodings and PDF, bounded in pages and seconds."""

from __future__ import annotations

import io
import time

from sagaforge.datasets.archives import UploadLimits
from sagaforge.errors import InvalidInput, SagaForgeError, TooLarge
from sagaforge.texts import check_text, with_plain_line_ends

BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
CONTROLS = dict.fromkeys([*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F])


def decode_text(name: str, data: bytes) -> str:
    """UTF-8, or UTF-8/16/32 with a byte order mark. Others are refused: a guess between Big5 and GBK is often wrong,
    and wrong guesses read as nonsense that is then cited."""
    encoding = "utf-8"
    for bom, bom_encoding in BOMS:
        if data.startswith(bom):
            data, encoding = data[len(bom) :], bom_encoding
            break
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            f"{name}: not valid {encoding.upper()} at byte {exc.start}. Save it as UTF-8 (it may be Big5, GBK or "
            "Windows-1252 now)."
        ) from None
    return check_text(with_plain_line_ends(text), name)


# --- PDF ------------------------------------------------------------------------------------------------------------


def read_pdf(name: str, data: bytes, limits: UploadLimits) -> str:
    """The text of a PDF, a paragraph break between pages. Bounded in pages, seconds and characters."""
    from pypdf import PdfReader

    if not data[:1024].lstrip().startswith(b"%PDF-"):
        raise InvalidInput(f"{name}: not a PDF. Upload a .pdf, or rename the file to what it is.")
    deadline = time.monotonic() + limits.max_pdf_seconds
    pages: list[str] = []
    num_chars = 0
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted:
            raise InvalidInput(f"{name}: the PDF is encrypted; save it without a password.")
        if len(reader.pages) > limits.max_pdf_pages:
            raise TooLarge(f"{name}: more than {limits.max_pdf_pages} pages; split it.")
        for page in reader.pages:
            if time.monotonic() > deadline:
                raise TooLarge(f"{name}: reading took over {limits.max_pdf_seconds:.0f} s; upload its text instead.")
            text = page.extract_text().translate(CONTROLS)
            text = text.encode("utf-8", "ignore").decode()  # fonts may map to lone surrogates
            num_chars += len(text)
            if num_chars > limits.max_text_chars:
                raise TooLarge(f"{name}: more than {limits.max_text_chars:,} characters; split it.")
            pages.append(text)
    except SagaForgeError:
        raise
    except Exception as exc:  # pypdf raises whatever a broken file provokes: KeyError, RecursionError, its own …
        raise InvalidInput(f"{name}: the PDF can't be read ({type(exc).__name__}); export it again.") from exc
    text = "\n\n".join(pages)
    if not text.strip():
        raise InvalidInput(f"{name}: the PDF holds no text, only pictures of it; upload the text.")
    return text
