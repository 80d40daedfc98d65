"""Old encodings are told, not guessed, in PDFs: 60 over the encodings of fonts come out right, or are refused by page."""

from __future__ import annotations

import io
import zlib

import pypdf
import pytest

from sagaforge.datasets.packs.pack import UploadLimits, read_upload
from sagaforge.errors import InvalidInput, TooLarge
from tests.faults.encoded_files import (
    ENGLISH,
    cid_font,
    drawn_font,
    line,
    pages_of,
    pdf_of,
    simple_font,
    stream,
    to_unicode,
)


def text_of(data: bytes) -> str:
    return read_upload("lore.pdf", io.BytesIO(data)).documents[0].text


def refusal(data: bytes, encoding: str | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_upload("lore.pdf", io.BytesIO(data), encoding=encoding)
    assert 20 <= len(caught.value.detail) <= 400
    return caught.value.detail


FONTS = {
    ("GB1", "潮汐守则 lamp"): {
        "gb2312": ["GB-EUC", "GBpc-EUC"],
        "gbk": ["GBK-EUC", "GBKp-EUC"],
        "gb18030": ["GBK2K"],
        "utf-16-be": ["UniGB-UCS2", "UniGB-UTF16"],
    },
    ("CNS1", "燈塔守則 lamp"): {
        "big5": ["B5pc", "ETen-B5", "ETenms-B5"],
        "big5hkscs": ["HKscs-B5"],
        "utf-16-be": ["UniCNS-UCS2", "UniCNS-UTF16"],
    },
    ("Japan1", "灯台の規則 lamp"): {
        "cp932": ["90ms-RKSJ", "90msp-RKSJ", "90pv-RKSJ", "Ext-RKSJ"],
        "euc_jp": ["EUC"],
        "utf-16-be": ["UniJIS-UCS2", "UniJIS-UTF16"],
    },
    ("Korea1", "등대 규칙 lamp"): {
        "cp949": ["KSCms-UHC", "KSCms-UHC-HW"],
        "euc_kr": ["KSC-EUC"],
        "utf-16-be": ["UniKS-UCS2", "UniKS-UTF16"],
    },
}
NAMED_CMAPS = [
    (f"{cmap}-{way}", ordering, codec, text)
    for (ordering, text), codecs in FONTS.items()
    for codec, cmaps in codecs.items()
    for cmap in cmaps
    for way in "HV"
    if f"{cmap}-{way}" not in ("GBpc-EUC-V", "90pv-RKSJ-V")  # PDF has no such
]
SIMPLE = [
    ("/Encoding/WinAnsiEncoding", "Helvetica", "The “café” costs 3 €.".encode("cp1252"), "The “café” costs 3 €."),
    ("/Encoding/MacRomanEncoding", "Helvetica", "The “café” is naïve.".encode("mac_roman"), "The “café” is naïve."),
    ("", "Helvetica", b"The lamp.", "The lamp."),
    ("", "Symbol", b"abg", "αβγ"),
    ("", "ZapfDingbats", b"abg", "❁❂❇"),
    ("/Encoding<</Differences[65/eacute/uni6F6E/Euro]>>", "Helvetica", b"ABC", "é潮€"),
]
UNKNOWN = [
    (cid_font("Identity-H", "Identity"), "潮汐".encode("utf-16-be")),
    (cid_font("NoSuch-H", "GB1"), "潮汐".encode("gbk")),
    (cid_font("UniGB-UTF8-H", "GB1"), "潮汐".encode()),
    (cid_font("CNS-EUC-H", "CNS1"), "燈塔".encode("big5")),
    (drawn_font(), b"ab"),
    (simple_font("/Encoding<</Differences[65/g1/g2]>>", "ABCDEF+Own"), b"AB"),
]


@pytest.mark.parametrize(("cmap", "ordering", "codec", "text"), NAMED_CMAPS)
def test_fonts_of_cjk_are_read_by_their_cmap(cmap: str, ordering: str, codec: str, text: str) -> None:
    data = pages_of(cid_font(cmap, ordering), line(text.encode(codec)))
    assert "".join(text_of(data).split()) == text.replace(" ", "")


@pytest.mark.parametrize(("encoding", "base", "codes", "text"), SIMPLE)
def test_simple_fonts_are_read(encoding: str, base: str, codes: bytes, text: str) -> None:
    assert text_of(pages_of(simple_font(encoding, base), line(codes))).strip() == text


@pytest.mark.parametrize(("fonts", "codes"), UNKNOWN)
def test_a_page_whose_characters_are_not_told_is_refused_by_number(fonts: list[bytes], codes: bytes) -> None:
    blank = b"q Q"
    detail = refusal(pages_of(fonts, blank, line(codes), blank, line(codes)))
    assert "on page 2, 4 a font" in detail


def test_there_are_60_pdfs() -> None:
    assert len(NAMED_CMAPS) + len(SIMPLE) + len(UNKNOWN) >= 60


def test_to_unicode_tells_the_characters() -> None:
    text = "潮汐守则"
    fonts = [*cid_font("Identity-H", "Identity", b"/ToUnicode 6 0 R"), to_unicode(text)]
    assert text_of(pages_of(fonts, line(text.encode("utf-16-be")))).strip() == text


def test_a_word_divided_at_the_end_of_a_line_keeps_its_hyphen() -> None:
    content = b"BT /F1 20 Tf 60 700 Td (The well-) Tj 0 -30 Td (known lamp.) Tj 0 -30 Td (It burns.) Tj ET"
    text = text_of(pages_of(simple_font(""), content))
    assert text.split("\n") == ["The well-", "known lamp.", "It burns."]


@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256"])
def test_an_empty_password_needs_none(algorithm: str) -> None:
    plain = pypdf.PdfReader(io.BytesIO(pages_of(simple_font(""), line(ENGLISH.encode()))))
    locked = {}
    for password in ("", "secret"):
        writer, buffer = pypdf.PdfWriter(clone_from=plain), io.BytesIO()
        writer.encrypt(password, "owner", algorithm=algorithm)
        writer.write(buffer)
        locked[password] = buffer.getvalue()
    assert text_of(locked[""]).strip() == ENGLISH
    assert "password" in refusal(locked["secret"])


PICTURE = b"/Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceRGB/BitsPerComponent 8"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pdf_of([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"]), "no pages"),
        (pages_of(simple_font(""), b""), "nothing on its pages"),
        (pages_of(simple_font(""), b"q Q", line(b"  ")), "nothing on its pages"),
        (pages_of([stream(b"\xff\0\0", PICTURE)], b"q 100 0 0 100 0 0 cm /I Do Q"), "OCR"),
        (b"%PDF-1.4\nnothing of it", "can't be read"),
        (b"lore", "not a PDF"),
    ],
)
def test_a_pdf_without_text_is_told_apart(data: bytes, words: str) -> None:
    assert words in refusal(data)


@pytest.mark.parametrize(
    "form",
    [
        b"/X Do /X Do",  # itself, twice in each
        zlib.compress(b" " * 300_000_000),
        zlib.compress(b"BT /F1 1 Tf " + b"(aaaaaaaaaaaaaaaaaaaa) Tj " * 300_000 + b"ET"),
    ],
)
def test_a_pdf_that_eats_memory_is_stopped(form: bytes) -> None:
    kind = b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 3 0 R>>/Font<</F1 4 0 R>>>>"
    packed = b"" if form.startswith(b"/X") else b"/Filter/FlateDecode"
    data = pages_of([stream(form, kind + packed), *simple_font("")], b"/I Do")
    with pytest.raises(TooLarge, match="200 MiB"):
        read_upload("lore.pdf", io.BytesIO(data), UploadLimits(max_pdf_bytes=200 * 1024**2))


def test_a_pdf_has_so_many_seconds_and_pages() -> None:
    data = pages_of(simple_font(""), *[line(b"The lamp.")] * 3)
    with pytest.raises(TooLarge, match="took over"):
        read_upload("lore.pdf", io.BytesIO(data), UploadLimits(max_pdf_seconds=0.001))
    with pytest.raises(TooLarge, match="more than 2 pages"):
        read_upload("lore.pdf", io.BytesIO(data), UploadLimits(max_pdf_pages=2))


def test_a_pdf_takes_no_encoding() -> None:
    assert refusal(pages_of(simple_font(""), line(b"x")), "gbk").startswith("encoding:")
