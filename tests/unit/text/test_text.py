from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagaforge.text.terms import detect_language, fold, query_terms, sentence_spans, split_sentences, stem, terms


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The lamp burns brown oil.", "en"),
        ("", "en"),
        ("Alice 的背景故事", "zh-Hant"),
        ("龍山寺地下是萬華區的兩層舊商店街", "zh-Hant"),
        ("龙山寺地下是万华区的两层旧商店街", "zh-Hans"),
        ("山水火木", "zh-Hant"),
        ("A long English text with 燈 in it", "en"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [("為什麼裡面", "为什么里面"), ("著名的臺灣", "着名的台湾"), ("瞭解藉口", "了解借口"), ("頭髮後面", "头发后面")],
)
def test_either_script_folds_to_the_same(traditional: str, simplified: str) -> None:
    assert fold(traditional) == fold(simplified)


def test_fold_resolves_width_case_and_accents() -> None:
    assert fold("Ｃafé ÉCOLE １２") == "cafe ecole 12"


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0xFFFF, exclude_categories=["Cs"])))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_terms_are_stemmed_words_numbers_characters_and_pairs() -> None:
    assert terms("The Keepers' 1,350 houses") == ["the", "keeper", "1350", "hous"]
    assert terms("龍山寺") == ["龙", "山", "寺", "龙山", "山寺"]
    assert all(" " not in term for term in terms("Ünïcode  words—and 燈塔, mixed"))


@pytest.mark.parametrize(
    "forms",
    [("keeper", "keepers", "keeper's"), ("story", "stories"), ("hop", "hopping", "hopped"), ("burn", "burning", "burned"),
     ("sail", "sails", "sailed"), ("lamp", "Lamps"), ("glass", "glasses"), ("house", "houses", "housed")],
)  # fmt: skip
def test_forms_of_a_word_share_a_stem(forms: tuple[str, ...]) -> None:
    assert len({stem(form.lower()) for form in forms}) == 1


def test_different_words_keep_different_stems() -> None:
    assert len({stem(word) for word in ("sing", "red", "gas", "bus", "is", "seed", "ring", "this")}) == 8


def test_a_question_loses_its_question_words_but_never_everything() -> None:
    assert query_terms("Who is the keeper?") == ["keeper"]
    assert query_terms("告訴我關於 Alice 的故事") == ["alic", "故", "事", "故事"]
    assert query_terms("the who") == ["the", "who"]
    assert query_terms("什麼") != []
    assert query_terms("?!") == []


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Mr. Gask paid 3.5 crowns. Then he left.", ["Mr. Gask paid 3.5 crowns.", "Then he left."]),
        ("“Go!” she said. “Stop.” He left.", ["“Go!” she said.", "“Stop.”", "He left."]),
        ("J. R. Orme took No. 7. No. He said no. Fine.", ["J. R. Orme took No. 7.", "No.", "He said no.", "Fine."]),
        ("They ran... and fell. See e.g. the log.", ["They ran... and fell.", "See e.g. the log."]),
        ("她說：「走吧！」然後離開。真的嗎？", ["她說：「走吧！」", "然後離開。", "真的嗎？"]),
        ("雨停了；燈亮了……船來了。", ["雨停了；", "燈亮了……", "船來了。"]),
        ("One line\nand another", ["One line", "and another"]),
        ("  spaces   ", ["spaces"]),
        ("", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(st.text(alphabet=st.sampled_from("aB3 .!?。！？；…”」\n燈Mr"), max_size=80))
def test_sentences_lose_nothing_but_spaces(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
