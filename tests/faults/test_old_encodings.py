"""Old encodings are told, not guessed: names in zips and texts come out right, or are refused with what to do."""

from __future__ import annotations

import io
import unicodedata
from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sagaforge.datasets.packs.pack import Pack, read_upload
from sagaforge.errors import InvalidInput
from tests.faults.encoded_files import (
    ENGLISH,
    HANS,
    NAMES,
    Entry,
    named_zips,
    unicode_path,
    zip_of,
)
from tests.support.http_client import check_problem

LORE = b"# Lore\n\nThe lamp burns brown oil.\n"
HANS_LORE = f"# 设定\n\n{'。'.join(HANS.split())}。\n".encode()


def read(data: bytes, name: str = "world.zip", encoding: str | None = None) -> Pack:
    return read_upload(name, io.BytesIO(data), encoding=encoding)


def sources(data: bytes, encoding: str | None = None) -> list[str]:
    return [document.source for document in read(data, encoding=encoding).documents]


def refusal(data: bytes, name: str = "world.zip", encoding: str | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(data, name, encoding)
    assert 20 <= len(caught.value.detail) <= 400
    return caught.value.detail


# --- names in a zip ---------------------------------------------------------------------------------------------------


def test_of_200_zips_no_name_is_stored_wrong() -> None:
    outcomes: dict[str, Counter[str]] = {encoding: Counter() for encoding in NAMES}
    for encoding, names, data in named_zips(200, seed=12):
        try:
            stored = sources(data)
        except InvalidInput:
            outcomes[encoding]["refused"] += 1
            assert "`encoding`" in refusal(data)
            stored = sources(data, encoding)
        else:
            outcomes[encoding]["right"] += 1
        assert set(stored) == {*names, "lorebook.md"}, encoding
    assert outcomes["utf-8"]["refused"] == 0
    # Not by refusing everything: at least a third are read unasked in each.
    assert all(count["right"] >= 11 for count in outcomes.values()), outcomes


@pytest.mark.parametrize(
    ("encoding", "lore", "name"),
    [
        ("gbk", HANS_LORE, "灯塔守则.md"),
        ("gbk", HANS_LORE, "潮汐.md"),
        ("big5", "# 設定\n\n許功蓋守著燈塔。\n".encode(), "許功蓋.md"),  # two of the three hold the byte of a backslash
        ("shift_jis", "# 設定\n\nソードと表について。\n".encode(), "ソードと表.md"),  # and here
        ("euc_kr", "# 설정\n\n등대 규칙.\n".encode(), "등대.md"),
        ("koi8-r", "# Мир\n\nСтарый маяк стоит.\n".encode(), "маяк.md"),
        ("cp866", "# Мир\n\nСтарый маяк стоит.\n".encode(), "маяк.md"),
        ("cp437", "# Lore\n\nThe café is old.\n".encode(), "café.md"),
        ("cp1252", "# Lore\n\nThe café is old.\n".encode(), "café.md"),
        ("utf-8", LORE, "潮汐.md"),
        ("utf-8", LORE, "森.md"),
        ("utf-8", LORE, "café.md"),
        ("utf-8", LORE, "🏮 lamp.md"),
    ],
)
def test_a_name_without_a_mark_is_read_by_what_is_there(encoding: str, lore: bytes, name: str) -> None:
    data = zip_of(Entry(name.encode(encoding), LORE), Entry(b"lorebook.md", lore))
    assert sources(data) == sorted(["lorebook.md", name])


@pytest.mark.parametrize(
    ("encoding", "name"), [("gbk", "潮汐"), ("big5", "鐘樓"), ("shift_jis", "森"), ("cp949", "북쪽땅"), ("gbk", "隆")]
)
def test_a_name_that_could_be_several_is_asked_about(encoding: str, name: str) -> None:
    data = zip_of(Entry(f"{name}.md".encode(encoding), LORE))
    detail = refusal(data)
    assert "`encoding`" in detail
    assert "world.zip" in detail
    assert sources(data, encoding) == [f"{name}.md"]
    assert "no koi8-r" in detail or sources(data, "koi8-r") != [f"{name}.md"]


def test_a_refusal_shows_the_right_reading_with_its_encoding() -> None:
    assert "'潮汐.md' (gb18030)" in refusal(zip_of(Entry("潮汐.md".encode("gbk"), LORE)))


def test_an_encoding_that_does_not_fit_is_refused() -> None:
    data = zip_of(Entry("潮汐.md".encode("gbk"), LORE))
    assert "no ascii" in refusal(data, encoding="ascii")
    assert "no utf-8" in refusal(data, encoding="utf-8")


def test_the_flag_and_the_extra_field_win() -> None:
    raw = "潮汐.md".encode("gbk")
    changed = unicode_path(b"another name.md", "錯.md")
    data = zip_of(
        Entry(b"1.md", LORE),
        Entry(raw, LORE, extra=unicode_path(raw, "旧名.md")),
        Entry("é.md".encode(), LORE, is_flagged=True),
        Entry(b"2.md", LORE, extra=changed),  # its CRC is of another name: renamed by a tool that left the field
    )
    assert sources(data) == ["1.md", "2.md", "é.md", "旧名.md"]


def test_a_name_flagged_as_utf8_that_is_none_is_told() -> None:
    assert "marked as UTF-8" in refusal(zip_of(Entry("潮汐.md".encode("gbk"), LORE, is_flagged=True)))


def test_names_with_and_without_the_flag_in_one_zip() -> None:
    data = zip_of(Entry("灯塔守则.md".encode("gbk"), LORE), Entry("café.md".encode(), HANS_LORE, is_flagged=True))
    assert sources(data) == ["café.md", "灯塔守则.md"]


def test_a_single_top_folder_needs_no_encoding() -> None:
    top = "表ソ/".encode("shift_jis")
    assert sources(zip_of(Entry(top, b""), Entry(top + b"lorebook.md", LORE))) == ["lorebook.md"]


@pytest.mark.parametrize("path", ["..\\x.md", "a\\b.md", "../潮.md", "C:/潮.md", "潮/../../x.md"])
def test_paths_are_checked_after_they_are_decoded(path: str) -> None:
    assert (
        "use relative" in (detail := refusal(zip_of(Entry(path.encode("gbk"), LORE)), encoding="gbk"))
        or "'..'" in detail
    )


def test_one_name_composed_and_decomposed_is_there_twice() -> None:
    names = [unicodedata.normalize(form, "café.md").encode() for form in ("NFC", "NFD")]
    assert "twice" in refusal(zip_of(*(Entry(name, LORE) for name in names)))
    assert sources(zip_of(Entry(names[1], LORE))) == [names[1].decode()]  # shown as written


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("gbk", "灯塔守则.txt"), ("big5", "許功蓋.txt"), ("shift_jis", "ソードと表.txt"), ("utf-8", "潮.txt")],
)
def test_the_name_of_an_uploaded_file_too(encoding: str, name: str) -> None:
    """A form's reader makes latin-1 of bytes that are no UTF-8."""
    try:
        sent = name.encode(encoding).decode("utf-8")
    except UnicodeDecodeError:
        sent = name.encode(encoding).decode("latin-1")
    assert read(f"# {name[:-4]}\n".encode(), sent).documents[0].source == name
    assert read(LORE, sent, encoding).documents[0].source == name


@pytest.mark.parametrize("name", ["café.txt", "¡Hola!.txt", "10° N.txt", "«Été».txt", "Ærø.txt", "a.txt"])
def test_a_western_name_stays_as_it_is(name: str) -> None:
    assert read(LORE, name).documents[0].source == name


@settings(max_examples=150, deadline=None)
@given(
    encoding=st.sampled_from([encoding for encoding in NAMES if encoding != "utf-8"]),
    draw=st.data(),
    lore=st.booleans(),
)
def test_names_of_any_words_are_right_or_refused(encoding: str, draw: st.DataObject, lore: bool) -> None:
    words = draw.draw(st.lists(st.sampled_from(NAMES[encoding]), min_size=1, max_size=12), label="words")
    names = sorted({f"{first}{second}.md" for first, second in zip(words, [*words[1:], ""], strict=True)})
    texts = (" ".join(words) if lore else ENGLISH).encode()
    data = zip_of(*(Entry(name.encode(encoding), texts) for name in names))
    try:
        assert sources(data) == names
    except InvalidInput:
        assert sources(data, encoding) == names


# --- texts ------------------------------------------------------------------------------------------------------------

OLD = [
    ("gbk", "潮汐的灯塔很旧。", "gb18030 ('潮汐"),
    ("big5", "燈塔的守夜人許功蓋。", "big5hkscs ('燈塔"),
    ("shift_jis", "灯台の規則はとても古い。", "cp932 ('灯台"),
    ("euc_jp", "灯台の規則はとても古い。", "euc_jis_2004 ('灯台"),
    ("euc_kr", "등대 규칙은 오래되었다.", "cp949 ('등대"),
    ("cp1252", "The “café” is naïve.", "cp1252"),
    ("koi8-r", "Старый маяк стоит на берегу.", "koi8-r ('Старый"),
    ("cp1251", "Старый маяк стоит на берегу.", "cp1251 ('Старый"),
    ("utf-16-le", "潮汐的灯塔很旧。", "utf-16-le ('潮汐"),
    ("utf-16-be", "潮汐的灯塔很旧。", "utf-16-be ('潮汐"),
    ("utf-16-le", "The lamp burns.", "utf-16-le ('The lamp"),
    ("utf-32-be", "The lamp burns.", "utf-32-be ('The lamp"),
    ("utf_7", "潮汐的灯塔很旧。", "utf-7, in which it reads '潮汐"),
    ("hz", "潮汐的灯塔很旧。", "hz, in which it reads '潮汐"),
    ("iso2022_jp", "灯台の規則。", "in which it reads '灯台"),
    ("iso2022_kr", "등대 규칙은", "in which it reads '등대"),
]


@pytest.mark.parametrize(("encoding", "text", "told"), OLD)
def test_a_text_in_an_old_encoding_is_told_and_then_read(encoding: str, text: str, told: str) -> None:
    data = text.encode(encoding)
    detail = refusal(data, "lore.txt")
    assert told in detail
    assert "`encoding`" in detail
    assert read(data, "lore.txt", encoding).documents[0].text == text
    packed = zip_of(Entry(b"lore.txt", data), Entry(b"characters.yaml", b"a: {name: Ren\xc3\xa9}\n"))
    assert "lore.txt" in refusal(packed)
    pack = read(packed, encoding=encoding)
    assert (pack.documents[0].text, pack.characters["a"].name) == (text, "René")


def test_utf8_with_a_broken_byte_says_where() -> None:
    text = "潮汐的灯塔很旧。\n守夜人在塔上。".encode()
    detail = refusal(text.replace("塔上".encode(), b"\xe5\xff"), "lore.txt")
    assert "broken" in detail
    assert "line 2, after '守夜人在'" in detail
    assert "`encoding`" not in detail
    assert "after '潮汐的灯塔很'" in refusal("潮汐的灯塔很旧".encode()[:-1], "lore.txt")


def test_utf8_that_was_encoded_twice_is_told() -> None:
    twice = "Café, naïve, “été, señor".encode().decode("cp1252").encode()
    detail = refusal(twice, "lore.txt")
    assert "encoded twice" in detail
    assert "'Café, naïve" in detail
    assert "CafÃ©" in read(twice, "lore.txt", "utf-8").documents[0].text
    assert read("“Ã” is a letter, é too, ü".encode(), "lore.txt").documents[0].text.startswith("“Ã”")


def test_latin_1_with_the_quotes_of_windows_is_told() -> None:
    data = "The “café”.".encode("cp1252")
    assert "cp1252" in refusal(data, "lore.txt", "latin-1")
    assert read(data, "lore.txt", "cp1252").documents[0].text == "The “café”."


@pytest.mark.parametrize("encoding", ["nope", "zip", "rot13", "idna", "unicode_escape", "", "gb 18030\0"])
def test_an_unknown_encoding_is_told(encoding: str) -> None:
    assert refusal(LORE, "lore.txt", encoding).startswith("encoding:")


@settings(max_examples=300, deadline=None)  # the detector's models are loaded by the first refusal
@given(
    text=st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Co")), min_size=1),
    encoding=st.sampled_from(sorted({encoding for encoding, _, _ in OLD} | {"utf-8", "utf-8-sig", "utf-16", "cp437"})),
    is_given=st.booleans(),
)
def test_any_text_in_any_encoding_is_itself_or_refused(text: str, encoding: str, is_given: bool) -> None:
    data = text.encode(encoding, "ignore")
    written = data.decode(encoding)
    assume(written.strip())
    try:
        as_utf8 = data.decode("utf-8")
    except UnicodeDecodeError:
        as_utf8 = written
    try:
        got = read(data, "lore.txt", encoding if is_given else None).documents[0].text
    except InvalidInput:
        # UTF-8 and what the uploader says are read, unless a reader of UTF-8 would see something else.
        assert encoding not in ("utf-8", "utf-8-sig", "utf-16")
        assert not is_given or as_utf8 != written
    else:
        # Bytes that are valid UTF-8 are UTF-8 to every reader: two bytes of GBK may be a letter there.
        assert got in (written, as_utf8)


# --- the field --------------------------------------------------------------------------------------------------------


async def test_the_field_reaches_ingestion_and_a_wrong_one_is_a_problem(open_client: Any) -> None:
    client, house = await open_client()
    form = {"world_id": "w", "encoding": "GBK"}
    sent = await client.post("/rag/upload", data=form, files={"file": ("a.md", LORE)})
    assert sent.status_code == 200, sent.text
    assert house.ingestion.encoding == "gbk"
    form["encoding"] = "klingon"
    refused = await client.post("/rag/upload", data=form, files={"file": ("a.md", LORE)})
    problem = check_problem(refused, 422, "invalid_input")
    assert "encoding" in problem["detail"]
    assert "gb18030" in problem["detail"]
