"""Names of files that say nothing of their encoding: found by what is there, or else asked for.

A name in a zip is marked as UTF-8 by a flag or an extra field, or it is bytes of whatever code page the packing machine
had. The bytes of one name fit many code pages, so all unmarked names are read together, and a reading is taken only
where no other could be meant.
"""

from __future__ import annotations

import re
import struct
import unicodedata
import zipfile
import zlib

from sagaforge.datasets.packs.encodings import CODE_PAGES
from sagaforge.errors import InvalidInput
from sagaforge.text.terms import HAN

UTF8_FLAG = 0x800
UNICODE_PATH_FIELD = 0x7075
# Those of one family differ in a few signs; a name that holds one of them is not decided by a detector.
FAMILIES = {
    "gb18030": ("gb18030", "gb2312"),
    "big5hkscs": ("cp950", "big5", "big5hkscs"),
    "cp932": ("cp932", "shift_jis"),
    "euc_jis_2004": ("euc_jp", "euc_jis_2004"),
}
# Tried on 40,000 archives in nine code pages: on fewer bytes, or with less of a margin, the detector is wrong at times.
MIN_BYTES = 16
MIN_CONFIDENCE = 0.08
MARGIN_BYTES = 96  # at 16 bytes the best is six times as likely as the next, at 48 twice
MIN_MARGIN = 2.0
MIN_FOLLOWING_BYTES = 3  # of a UTF-8 name that also reads well
CERTAIN_FOLLOWING_BYTES = 8
SHOWN_READINGS = 3

Names = tuple[str, ...]

CJK = re.compile(rf"[{HAN}\u3040-\u30ff\uac00-\ud7a3]")
CJK_PAIR = re.compile(rf"(?=([{HAN}\u3040-\u30ff\uac00-\ud7a3]{{2}}))")
WORD = re.compile(r"[^\W\d_]+")
WESTERN_SIGNS = frozenset("¡¿«»°§©®·")
# Of bytes read as latin-1: three accented letters in a row, or two without another letter beside them.
NO_LATIN_WORD = re.compile(r"[^\x00-\x7f]{3}|(?<![A-Za-z])[^\x00-\x7f]{2}(?![A-Za-z])")
CJK_PAGES = CODE_PAGES[:5]
LETTERS = ("Lu", "Ll", "Lo", "Mn", "Mc", "Nd")
PUNCTUATION = frozenset("「」『』《》〈〉（）【】〔〕、。，：；！？・·ー—–…～“”‘’々〇　")


def marked_name(info: zipfile.ZipInfo) -> str | None:
    """The name of an entry that says how to read it, or `None`."""
    if info.flag_bits & UTF8_FLAG:
        # Not `filename`: zipfile cuts that at a first NUL, and so shows another name than other readers do.
        return info.orig_filename
    raw = raw_name(info)
    return raw.decode("ascii") if raw.isascii() else _unicode_path(info.extra, raw)


def raw_name(info: zipfile.ZipInfo) -> bytes:
    """The bytes of an entry's name: `zipfile` reads those without a mark as cp437, which loses nothing."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF8_FLAG else "cp437")


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """Info-ZIP's Unicode Path: version 1, the CRC of the name it stands for, the name in UTF-8."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        body, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind != UNICODE_PATH_FIELD or len(body) < 6 or body[0] != 1:
            continue
        if struct.unpack_from("<I", body, 1)[0] != zlib.crc32(raw):
            continue  # the name was changed since by a tool that doesn't know the field
        try:
            return body[5:].decode("utf-8")
        except UnicodeDecodeError:
            continue
    return None


def decode_names(archive: str, raws: list[bytes], encoding: str | None, texts: str) -> list[str]:
    """The names of unmarked entries, in order.

    Args:
        encoding: a codec that the uploader gave.
        texts: what the archive's UTF-8 files say; a name is often a word of them.

    Raises:
        InvalidInput: they fit several encodings, or not the one that was given.
    """
    names = [_utf8(raw) for raw in raws]
    others = [raw for raw, name in zip(raws, names, strict=True) if name is None]
    is_utf8_meant = any(name is not None and not name.isascii() for name in names)
    if is_utf8_meant and len(valid := _decoded(others, "utf-8")) == len(others):
        decoded = iter(valid)
    elif others:
        decoded = iter(_given(archive, others, encoding) if encoding else _found(archive, others, texts))
    else:
        decoded = iter(())
    return [next(decoded) if name is None else name for name in names]


def sent_name(filename: str, encoding: str | None, texts: str) -> str:
    """The name of an uploaded file: readers of forms take bytes that are no UTF-8 for latin-1."""
    if filename.isascii() or (raw := filename.encode("latin-1", "ignore")).decode("latin-1") != filename:
        return filename
    letters = "".join(c for c in filename if c not in WESTERN_SIGNS)
    is_latin = _reads_well(letters) and not NO_LATIN_WORD.search(letters)
    if is_latin or _decoded([raw], "utf-8") or not any(map(_reads_well, sum(_readings([raw]), ()))):
        return filename
    return decode_names("The upload", [raw], encoding, texts)[0]


def _utf8(raw: bytes) -> str | None:
    """The name where UTF-8 alone could be meant: a pair of bytes or two may as well be GBK ("隆" there, "¡" here)."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    foreign = [c for c in name if not c.isascii()]
    num_following = len("".join(foreign).encode()) - len(foreign)
    is_meant = _reads_well(name) or any(map(_is_astral, foreign)) or num_following >= CERTAIN_FOLLOWING_BYTES
    if not foreign or (is_meant and (num_following >= MIN_FOLLOWING_BYTES or _is_western(name))):
        return name
    return None if any(_reads_well(other) for page in CJK_PAGES for other in _decoded([raw], page)) else name


def _decoded(raws: list[bytes], codec: str) -> list[str]:
    """Those that fit the codec."""
    names = []
    for raw in raws:
        try:
            names.append(raw.decode(codec))
        except UnicodeDecodeError:
            continue
    return names


def _given(archive: str, raws: list[bytes], encoding: str) -> list[str]:
    names = []
    for raw in raws:
        try:
            names.append(raw.decode(encoding))
        except UnicodeDecodeError:
            raise InvalidInput(
                f"{archive}: a file's name is no {encoding}. It may be {_shown(_readings([raw]))}. Send as `encoding` "
                "the one that reads right, or pack again with names in UTF-8."
            ) from None
    return names


def _found(archive: str, raws: list[bytes], texts: str) -> list[str]:
    readings = _readings(raws)
    plausible = [names for names in readings if all(map(_reads_well, names))]
    known = [names for names in plausible if _stands_in(names, texts)]
    if len(known) == 1:
        return list(known[0])
    if len(plausible) == 1 and all(map(_is_western, plausible[0])):
        return list(plausible[0])
    if not known and (detected := _detected(plausible, readings)):
        return list(detected)
    likely = {names: readings[names] for names in (known or plausible or readings)}
    raise InvalidInput(
        f"{archive}: a file's name doesn't say its encoding. It may be {_shown(likely)}. Upload again with the one "
        "that reads right as the field `encoding`, or pack again with names in UTF-8."
    )


def _detected(plausible: list[Names], readings: dict[Names, tuple[str, float]]) -> Names | None:
    """The reading that a detector prefers by far, on enough bytes that no other plausible one reads the same way."""
    best = max(plausible, key=lambda names: readings[names][1], default=())
    codec, confidence = readings.get(best, ("ascii", 0.0))
    others = [names for names in readings if names != best]
    num_bytes = min(
        (_num_distinct_bytes(best, other, codec) for other in others if other in plausible),
        default=_num_distinct_bytes(best, (), codec),
    )
    rival = max((readings[names][1] for names in others), default=0.0)
    margin = max(MIN_MARGIN, MARGIN_BYTES / max(num_bytes, 1))
    return best if num_bytes >= MIN_BYTES and confidence >= max(MIN_CONFIDENCE, margin * rival) else None


def _num_distinct_bytes(names: Names, other: Names, codec: str) -> int:
    """Bytes outside ASCII that the two don't share: EUC-JP and GBK write kana alike, which decides nothing."""
    shared = set("".join(other))
    return len("".join(c for c in "".join(names) if not c.isascii() and c not in shared).encode(codec, "ignore"))


def _readings(raws: list[bytes]) -> dict[Names, tuple[str, float]]:
    """What the names are under each code page that fits: names → the code page and the detector's confidence in it."""
    import chardet

    found = chardet.detect_all(
        b"\n".join(raws), ignore_threshold=True, compat_names=False, include_encodings=CODE_PAGES
    )
    confidences = {str(guess["encoding"]): guess["confidence"] for guess in found}
    readings: dict[Names, tuple[str, float]] = {}
    for page in CODE_PAGES:
        for codec in FAMILIES.get(page, (page,)):
            names = tuple(_decoded(raws, codec))
            if len(names) < len(raws):
                continue
            confidence = confidences.get(page, 0.0)
            if names not in readings or confidence > readings[names][1]:
                readings[names] = (codec, confidence)
    return readings


def _shown(readings: dict[Names, tuple[str, float]]) -> str:
    best = sorted(readings.items(), key=lambda reading: -reading[1][1])[:SHOWN_READINGS]
    return " or ".join(f"{next(n for n in names if not n.isascii())[:60]!r} ({codec})" for names, (codec, _) in best)


# --- what reads as a name ---------------------------------------------------------------------------------------------


def _reads_well(name: str) -> bool:
    """Whether a name could be meant: letters of one script to a word, no signs within it, no capitals within it."""
    return all(c.isascii() or c in PUNCTUATION or unicodedata.category(c) in LETTERS for c in name) and all(
        _is_word(word) for word in WORD.findall(unicodedata.normalize("NFC", name))
    )


def _is_word(word: str) -> bool:
    if word.isascii():
        return True
    scripts = {_script(c) for c in word}
    if scripts & {"CJK", "HIRAGANA", "KATAKANA"}:
        return scripts <= {"CJK", "HIRAGANA", "KATAKANA", "ASCII"}
    if len(scripts - {"ASCII"}) > 1 or ("ASCII" in scripts and not scripts & {"LATIN", "HANGUL"}):
        return False
    return word.islower() or word.isupper() or word.istitle() or "HANGUL" in scripts


def _script(character: str) -> str:
    if character in "ー々〇":
        return "CJK"
    return "ASCII" if character.isascii() else unicodedata.name(character, "?").split(" ", 1)[0]


def _is_astral(character: str) -> bool:
    """Whether a character takes four bytes of UTF-8: emoji and rare Han."""
    return character > "\uffff" and unicodedata.category(character)[0] != "C"


def _is_western(name: str) -> bool:
    """Whether accents are all that lies outside ASCII, on no more than half of a word's letters."""
    name = unicodedata.normalize("NFC", name)
    words = [word for word in WORD.findall(name) if not word.isascii()]
    return all(c.isascii() or _script(c) == "LATIN" for c in name) and all(
        2 * sum(map(str.isascii, word)) >= len(word) for word in words
    )


def _stands_in(names: Names, texts: str) -> bool:
    """Whether each name has a word of the archive's own texts: two characters of CJK side by side, or a whole word."""
    return bool(texts) and all(name.isascii() or any(word in texts for word in _words(name)) for name in names)


def _words(name: str) -> list[str]:
    pairs = CJK_PAIR.findall(name)
    return pairs + [
        word for word in WORD.findall(name) if len(word) > 2 and not word.isascii() and not CJK.search(word)
    ]
