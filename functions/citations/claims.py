"""What a sentence says, in the form that the citation gate compares: units with their numbers, names and negations."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple
from zlib import crc32

from sagaforge.functions.citations.lexicon import (
    FUNCTION_WORDS,
    HAN_NEGATORS,
    IRREGULAR,
    NARRATOR,
    NEGATORS,
    NO_NEGATION,
    ORDINALS,
    SCALES,
    TENS,
    UNIT_SIGNS,
    UNITS,
)
from sagaforge.text.terms import TERM, fold, stem

CLAUSE_BREAK = re.compile(r"[,;:.!?…()\[\]\"“”「」『』《》，。；：！？（）—\n]|--| - ")
SENTENCE_BREAK = re.compile(r"[.!?…:\"“”。！？：「」]")
UNIT_BEFORE = re.compile(r"([€$£¥])\s?(\d+(?:[.,]\d+)*)")
UNIT = re.compile(f"[{''.join(UNIT_SIGNS)}]")
MAX_CHARS = 600  # a prompt shows at most 400 of a line, and a sentence of narration has at most 320

# A Chinese claim becomes one string: a number or a Latin word is one character of a private plane in it, so that
# "十二台" and "12 台" are the same two characters.
NUMBER_PLANE, NUMBER_SLOTS = 0xE000, 0x1900
WORD_PLANE, WORD_SLOTS = 0xF0000, 0xFFF0
BREAK = "|"

HAN_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
HAN_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000}
HAN_NUMBER = re.compile(r"[零〇一二两三四五六七八九十百千万亿]+")
# 一 in these is no number.
HAN_ONE_WORDS = re.compile(
    r"一(?=[起直定样般切些律旦同向贯再边旁下致])|(?<=[统唯万之])一|万一|千万(?!年|元|人)|十分(?!钟)|百姓"
)


class Unit(NamedTuple):
    """One word or number of a text in a spaced script. `value` is set for numbers, and `key` is then "#" + value."""

    key: str
    is_content: bool
    is_capital: bool
    starts_sentence: bool
    is_negated: bool
    clause: int
    value: float | None = None


@dataclass(frozen=True)
class Claim:
    """A text as the gate reads it: `units` for spaced scripts, `han` for Chinese, either may be empty."""

    units: tuple[Unit, ...]
    num_negators: int
    han: str
    han_numbers: frozenset[float]
    num_han: int
    symbols: frozenset[str]  # pictures: emoji, weather signs, playing cards

    @cached_property
    def content(self) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if unit.is_content)

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(unit.key for unit in self.content)

    @cached_property
    def spelt(self) -> str:
        """The keys in their order, between spaces."""
        return f" {' '.join(unit.key for unit in self.units)} "

    @cached_property
    def is_passive(self) -> bool:
        return " by " in self.spelt

    @cached_property
    def negated(self) -> frozenset[str]:
        return frozenset(unit.key for unit in self.content if unit.is_negated)

    @cached_property
    def plain(self) -> frozenset[str]:
        """Keys that occur at least once without a negation; "she knows" counts here, though it needs no support."""
        return frozenset(unit.key for unit in self.units if not unit.is_negated and unit.key not in FUNCTION_WORDS)

    @cached_property
    def han_pairs(self) -> frozenset[str]:
        pairs = (self.han[i : i + 2] for i in range(len(self.han) - 1))
        return frozenset(pair for pair in pairs if BREAK not in pair)

    @property
    def is_chinese(self) -> bool:
        return self.num_han > len(self.units)


@lru_cache(maxsize=4096)
def read_claim(text: str) -> Claim:
    """Read a sentence or a lore line. Cached: a turn asks for each of its lines many times."""
    text = unicodedata.normalize("NFKC", text[:MAX_CHARS])
    text = UNIT_BEFORE.sub(lambda match: f"{match.group(2)} {UNIT_SIGNS[match.group(1)]}", text)
    text = UNIT.sub(lambda match: f" {UNIT_SIGNS[match.group()]} ", text)
    matches = list(TERM.finditer(text))
    num_han = sum(len(m.group()) for m in matches if m.lastgroup == "han")
    units, num_negators = _units(text, matches)
    han, numbers = _han(text, matches) if num_han else ("", frozenset[float]())
    symbols = frozenset() if text.isascii() else frozenset(c for c in text if unicodedata.category(c) == "So")
    return Claim(units, num_negators, han, numbers, num_han, symbols)


def han_spelling(name: str) -> str:
    """A name as it stands in `Claim.han`, be it in Chinese or in Latin letters."""
    name = unicodedata.normalize("NFKC", name)
    return _han(name, list(TERM.finditer(name)))[0].replace(BREAK, "")


# --- spaced scripts -------------------------------------------------------------------------------------------------


class _Word(NamedTuple):
    key: str
    is_function: bool
    is_narrator: bool
    is_negator: bool
    may_be_number: bool


@lru_cache(maxsize=16_384)
def _word(text: str) -> _Word:
    folded = fold(text).replace("’", "'")
    key = IRREGULAR.get(folded) or stem(folded)
    return _Word(
        key,
        is_function=key in FUNCTION_WORDS or folded in FUNCTION_WORDS or len(key) == 1,
        is_narrator=key in NARRATOR,
        is_negator=folded in NEGATORS or folded.endswith("n't"),
        may_be_number=folded in UNITS or folded in TENS or folded in SCALES or folded in ORDINALS,
    )


def _units(text: str, matches: list[re.Match[str]]) -> tuple[tuple[Unit, ...], int]:
    units: list[Unit] = []
    clause = num_negators = end = 0
    starts, negates = True, False
    words = [match for match in matches if match.lastgroup != "han"]
    index = 0
    while index < len(words):
        match = words[index]
        gap = text[end : match.start()]
        if gap != " ":
            if end and CLAUSE_BREAK.search(gap):
                clause += 1
                negates = False
            starts = starts or bool(SENTENCE_BREAK.search(gap))
        word = _word(match.group())
        is_number = word.may_be_number or match.lastgroup == "number"
        value, num_words = _number(words, index, text) if is_number else (None, 1)
        end = words[index + num_words - 1].end()
        index += num_words
        if value is not None:
            units.append(Unit(f"#{value:g}", True, False, starts, negates, clause, value))
            negates = False
        elif word.is_negator:
            num_negators += 1
            negates = True
            if word.key == "no" and index < len(words) and words[index].group().lower() in ("one", "longer"):
                index += 1
        else:
            # "Nobody spoke" is a claim, "she spoke" frames one.
            is_content = not word.is_function and (negates or not word.is_narrator)
            is_capital = match.group()[0].isupper()
            units.append(Unit(word.key, is_content, is_capital, starts, negates and is_content, clause))
            negates = negates and not is_content
        starts = False
    return tuple(units), num_negators


def _number(words: list[re.Match[str]], index: int, text: str) -> tuple[float | None, int]:
    """The number that starts at a word, and how many words it takes: "two hundred and forty-one" takes five."""
    first = words[index]
    if first.lastgroup == "number":
        return _digits(first.group()), 1
    total = current = 0
    num_words, last = 0, ""
    position = index
    while position < len(words):
        word = words[position].group().lower()
        if position > index and not re.fullmatch(r"[\s\-]*", text[words[position - 1].end() : words[position].start()]):
            break
        if word == "and" and last == "scale" and position + 1 < len(words):
            following = words[position + 1].group().lower()
            if following not in UNITS and following not in TENS:
                break
            position += 1
            continue
        if word in TENS and last in ("", "scale"):
            current, last = current + TENS[word], "tens"
        elif word in UNITS and (last in ("", "scale") or (last == "tens" and 0 < UNITS[word] < 10)):
            current, last = current + UNITS[word], "unit"
        elif word in SCALES and last:
            scale = SCALES[word]
            if scale >= 1000:
                total, current = total + max(1, current) * scale, 0
            else:
                current = max(1, current) * scale
            last = "scale"
        elif word in ORDINALS and last in ("", "scale", "tens"):
            current, last = current + ORDINALS[word], "unit"
            num_words = position - index + 1
            break
        else:
            break
        position += 1
        num_words = position - index
    return (float(total + current), num_words) if num_words else (None, 1)


def _digits(text: str) -> float:
    plain = text.replace(",", "")
    return float(plain) if plain.count(".") <= 1 else float(plain.replace(".", ""))


# --- Chinese --------------------------------------------------------------------------------------------------------


def _han(text: str, matches: list[re.Match[str]]) -> tuple[str, frozenset[float]]:
    parts: list[str] = []
    numbers: set[float] = set()
    end = 0

    def number(value: float) -> str:
        numbers.add(value)
        return chr(NUMBER_PLANE + int(value * 10) % NUMBER_SLOTS)

    for match in matches:
        if CLAUSE_BREAK.search(text[end : match.start()]):
            parts.append(BREAK)
        end = match.end()
        piece = match.group()
        if match.lastgroup == "number":
            value = _digits(piece)
            following = fold(text[end : end + 1])
            if following in ("万", "亿"):  # 610萬
                numbers.add(value * HAN_SCALES[following])
            parts.append(number(value))
        elif match.lastgroup == "word":
            parts.append(chr(WORD_PLANE + crc32(stem(fold(piece)).encode()) % WORD_SLOTS))
        else:
            folded = fold(piece)
            spared = {i for m in HAN_ONE_WORDS.finditer(folded) for i in range(m.start(), m.end())}
            start = 0
            for run in HAN_NUMBER.finditer(folded):
                if run.start() in spared:
                    continue
                parts.append(folded[start : run.start()])
                parts.append(number(_han_value(run.group())))
                start = run.end()
            parts.append(folded[start:])
    return "".join(parts).strip(BREAK), frozenset(numbers)


def _han_value(run: str) -> float:
    if not any(char in HAN_SCALES for char in run):  # 二〇八九
        return float("".join(str(HAN_DIGITS[char]) for char in run))
    total = section = digit = 0
    for char in run:
        if char in HAN_DIGITS:
            digit = HAN_DIGITS[char]
        elif HAN_SCALES[char] < 10_000:
            section += max(1, digit) * HAN_SCALES[char]
            digit = 0
        else:
            total += max(1, section + digit) * HAN_SCALES[char]
            section = digit = 0
    return float(total + section + digit)


@lru_cache(maxsize=4096)
def han_negations(han: str) -> tuple[tuple[int, str], ...]:
    """(position of what is negated, its first two characters) for each negation of a Chinese claim."""
    spared = {i for word in NO_NEGATION for m in re.finditer(word, han) for i in range(m.start(), m.end())}
    found = []
    for position, char in enumerate(han):
        if char not in HAN_NEGATORS or position in spared:
            continue
        start = position + 1
        while start < len(han) and han[start] in "有曾能会要再":
            start += 1
        scope = han[start : start + 2].split(BREAK)[0]
        if scope and scope[0] not in HAN_NEGATORS:
            found.append((start, scope))
    return tuple(found)
