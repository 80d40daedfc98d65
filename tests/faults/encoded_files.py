"""Zip files and PDFs in many encodings, made from a seed: bytes as packers and printers wrote them."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

UTF8_FLAG = 0x800

HANS = "潮汐 灯塔守则 人物 第一章 设定集 世界观 魔法体系 城市地图 历史年表 旧码头 船长的日记 雾中来客 红色信件 钟楼 守夜人 家族谱系 怪物图鉴 道具 西岸渔村 王国与教会 说明 地理"
HANT = "潮汐 燈塔守則 人物 第一章 設定集 世界觀 魔法體系 城市地圖 歷史年表 舊碼頭 船長的日記 霧中來客 紅色信件 鐘樓 守夜人 家族譜系 怪物圖鑑 道具 西岸漁村 許功蓋 說明 地理"
JAPANESE = "灯台の規則 登場人物 第一章 設定集 世界観 都市地図 歴史年表 古い波止場 船長の日記 霧の中の客 海図 時計塔 夜警 モンスター図鑑 アイテム 呪文一覧 ソードと表 能力 森 はじめに"
KOREAN = "등장인물 등대 제일장 설정집 세계관 마법체계 도시지도 역사연표 낡은부두 선장의일기 안개속손님 붉은편지 시계탑 괴물도감 아이템 북쪽땅 은하철도 부록 용어집"
WESTERN = (
    "café Über señor naïve façade Café_Müller château mañana Straße crème_brûlée España résumé Köln forêt Jäger Größe"
)
# What a script calls each encoding, and names in the language that it is used for.
NAMES = {
    "utf-8": " ".join((HANS, HANT, JAPANESE, KOREAN, WESTERN)).split(),
    "gbk": HANS.split(),
    "big5": HANT.split(),
    "shift_jis": JAPANESE.split(),
    "euc_kr": KOREAN.split(),
    "cp437": WESTERN.split(),
}
# The rest of what the packs say, so that a name is sometimes a word of theirs and sometimes not.
ENGLISH = "The lamp burns brown oil."


@dataclass(frozen=True)
class Entry:
    """One file of a zip: the bytes of its name, whether they are flagged as UTF-8, and an extra field."""

    name: bytes
    data: bytes
    is_flagged: bool = False
    extra: bytes = b""


def zip_of(*entries: Entry) -> bytes:
    """A zip with stored members and names of any bytes, which `zipfile` can't write."""
    body = directory = b""
    for entry in entries:
        flags = UTF8_FLAG if entry.is_flagged else 0
        common = struct.pack(
            "<HHHHHIIIHH", 20, flags, 0, 0, 0x21, zlib.crc32(entry.data), len(entry.data), len(entry.data),
            len(entry.name), len(entry.extra),
        )  # fmt: skip
        place = struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + common + place + entry.name + entry.extra
        body += b"PK\x03\x04" + common + entry.name + entry.extra + entry.data
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def unicode_path(raw: bytes, name: str) -> bytes:
    """Info-ZIP's extra field for a name."""
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(field)) + field


def named_zips(num_zips: int, seed: int) -> Iterator[tuple[str, list[str], bytes]]:
    """Encoding, the names that are meant, and a zip that doesn't say its encoding; six encodings in turn."""
    rng = random.Random(seed)
    for number in range(num_zips):
        encoding = list(NAMES)[number % len(NAMES)]
        words = sorted(set(NAMES[encoding]))
        names = [f"{word}.md" for word in rng.sample(words, rng.choice((1, 1, 2, 3, 5, 8)))]
        lore = rng.choice((ENGLISH, " ".join(rng.sample(words, len(words) // 2)), HANS))
        entries = [Entry(name.encode(encoding), f"# {ENGLISH}\n\n{lore}\n".encode()) for name in names]
        yield encoding, names, zip_of(*entries, Entry(b"lorebook.md", lore.encode()))


# --- PDF ------------------------------------------------------------------------------------------------------------


def pdf_of(objects: list[bytes]) -> bytes:
    """A PDF of these objects, the first of which is its catalogue."""
    data, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    return (
        data + head + table + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(data))
    )


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(data), entries, data)


def pages_of(fonts: list[bytes], *pages: bytes) -> bytes:
    """A PDF with these contents of pages; the first of the font objects is /F1, and they begin at number 3."""
    first = 3 + len(fonts)
    kids = b" ".join(b"%d 0 R" % (first + 2 * index) for index in range(len(pages)))
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(pages)), *fonts]
    for index, content in enumerate(pages):
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R>>/XObject<</I 3 0 R>>>>>>" % (first + 2 * index + 1)
        )
        objects.append(stream(content))
    return pdf_of(objects)


def line(codes: bytes) -> bytes:
    """The content of a page that shows one line."""
    return b"BT /F1 20 Tf 60 700 Td <%s> Tj ET" % codes.hex().encode()


def cid_font(cmap: str, ordering: str, to_unicode: bytes = b"") -> list[bytes]:
    """A font of CJK that is not embedded: the name of a CMap says what its codes are."""
    return [
        b"<</Type/Font/Subtype/Type0/BaseFont/Sung/Encoding/%s/DescendantFonts[4 0 R]%s>>"
        % (cmap.encode(), to_unicode),
        b"<</Type/Font/Subtype/CIDFontType0/BaseFont/Sung/DW 1000/FontDescriptor 5 0 R"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(%s)/Supplement 2>>>>" % ordering.encode(),
        b"<</Type/FontDescriptor/FontName/Sung/Flags 4/FontBBox[0 0 1000 1000]/ItalicAngle 0/Ascent 800/Descent -200"
        b"/CapHeight 700/StemV 80>>",
    ]


def to_unicode(text: str) -> bytes:
    """A ToUnicode stream that maps each two-byte code of UTF-16 to itself."""
    pairs = "".join(f"<{ord(c):04x}> <{ord(c):04x}>\n" for c in sorted(set(text)))
    return stream(
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        b"1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        + f"{len(set(text))} beginbfchar\n{pairs}endbfchar\nendcmap end end".encode()
    )


def simple_font(encoding: str, base: str = "Helvetica") -> list[bytes]:
    return [f"<</Type/Font/Subtype/Type1/BaseFont/{base}{encoding}>>".encode()]


def drawn_font(entries: bytes = b"") -> list[bytes]:
    """A Type 3 font: two shapes with names of its own."""
    shape = stream(b"750 0 0 0 750 750 d1 0 0 750 750 re f")
    return [
        b"<</Type/Font/Subtype/Type3/FontBBox[0 0 750 750]/FontMatrix[.001 0 0 .001 0 0]/FirstChar 97/LastChar 98"
        b"/CharProcs<</s1 4 0 R/s2 4 0 R>>/Encoding<</Differences[97/s1/s2]>>/Widths[1000 1000]/Resources<<>>%s>>"
        % entries,
        shape,
    ]
