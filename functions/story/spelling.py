"""Keeps a model to the characters that it can write, and puts the others back into what it wrote.

A model with a learned alphabet (`LLMProfile.alphabet`) writes anything else as noise, and may not find back from it. So
its prompt holds stand-ins ("Rene Luk" for "René Łuk", "Olga" for "Ольга"), which become the world's own words again on
the way out. A line of lore that holds such characters is told as it stands, and what is broken all the same does not
leave. A model that can write everything has no alphabet, and nothing here touches its texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from difflib import get_close_matches
from functools import cache, cached_property
from typing import Any, TypeVar

from anyascii import anyascii

from sagaforge.functions.story.prompt import TurnPrompt
from sagaforge.schemas import Change, Condition, ModelChoice, ModelDialogue, ModelTurn
from sagaforge.text.terms import HAN_CHARACTER, STOP_WORDS

# Shorter stand-ins would be found inside ordinary text.
MIN_STAND_IN = 3
# How alike a misspelt name must be, as difflib measures, to be put right (a long one), or to be taken for broken (after
# a text's first word, which has a capital letter whatever it is).
MENDED_LIKENESS, MIN_MENDED = 0.8, 5
MISSPELT_LIKENESS = 0.6
LATIN_WORD = re.compile(r"[A-Za-z0-9]+")
# What stands for a mark where transliteration has another idea. A mark is not put back.
MARKS = {"『": "「", "』": "」", "《": "「", "》": "」", "〈": "「", "〉": "」", "～": "—", "×": "x"}
MARKS |= {"%": " percent", "&": "and", "$": "USD "}

_Named = TypeVar("_Named", Change, Condition)


class Spelling:
    """The spelling of one prompt. `prompt` is what the model may read; `told` reads what it wrote."""

    def __init__(self, prompt: TurnPrompt, alphabet: str | None) -> None:
        self.prompt = prompt
        self._alphabet = alphabet or ""
        self._unwritten = _outside(alphabet) if alphabet else None
        self._original_of: dict[str, str] = {}  # by stand-in
        self._stand_in_of: dict[str, str] = {}
        if self._unwritten is None:
            return
        self._words = frozenset(self._plain_words(prompt))
        self._has_han = prompt.language.startswith("zh") or any(map(HAN_CHARACTER.search, _texts(prompt)))
        if any(map(self._unwritten.search, _texts(prompt))):
            # Without the message: the player may well have typed the plain form of a name.
            self._taken = frozenset(self._plain_words(replace(prompt, message=""))) | STOP_WORDS
            self.prompt = _mapped(prompt, self._shown)
            self._words |= frozenset(stand_in.casefold() for stand_in in self._original_of)

    def lacks(self, text: str) -> bool:
        """Whether a text holds what the model can't write."""
        return self._unwritten is not None and self._unwritten.search(text) is not None

    def told(self, text: str) -> str | None:
        """A text of the model with the world's own words in place of their stand-ins; None where it is broken."""
        if self._unwritten is None:
            return text
        is_mixed = not self._has_han and HAN_CHARACTER.search(text) and LATIN_WORD.search(text)
        if is_mixed or self._unwritten.search(text):
            return None
        if not self._original_of:
            return text
        text = LATIN_WORD.sub(self._spelt, text)
        if any(self._is_misspelt(match.group()) for match in LATIN_WORD.finditer(text) if match.start()):
            return None
        return self._stand_ins.sub(lambda match: self._written[match.group()], text)

    def dialogue(self, dialogue: ModelDialogue) -> ModelDialogue | None:
        """A line of dialogue as `told`; None where it, or its speaker, is broken."""
        speaker, text = self.told(dialogue.speaker), self.told(dialogue.text)
        if speaker is None or text is None:
            return None
        return dialogue.model_copy(update={"speaker": speaker, "text": text})

    def answer(self, answer: ModelTurn) -> ModelTurn:
        """The dialogues, choices and changes of an answer as `told`, without those that are broken."""
        if self._unwritten is None:
            return answer
        return answer.model_copy(
            update={
                "dialogues": [told for each in answer.dialogues if (told := self.dialogue(each))],
                "choices": [choice for each in answer.choices if (choice := self._choice(each))],
                "changes": self._named(answer.changes),
            }
        )

    def _choice(self, choice: ModelChoice) -> ModelChoice | None:
        text = self.told(choice.text)
        conditions, consequences = self._named(choice.conditions), self._named(choice.consequences)
        num_lost = len(choice.conditions) + len(choice.consequences) - len(conditions) - len(consequences)
        if text is None or num_lost:  # it would promise something else
            return None
        return choice.model_copy(update={"text": text, "conditions": conditions, "consequences": consequences})

    def _named(self, parts: list[_Named]) -> list[_Named]:
        # The rules know their own names ("has_key"), and refuse those that they don't.
        names = [self.told(part.name) or (part.name if part.name.isascii() else None) for part in parts]
        return [part.model_copy(update={"name": name}) for part, name in zip(parts, names, strict=True) if name]

    # --- stand-ins --------------------------------------------------------------------------------------------------

    def _shown(self, text: str) -> str:
        assert self._unwritten is not None
        if not self._unwritten.search(text):
            return text
        text = self._unwritten.sub(lambda match: _mark(match.group()), text)
        return _runs(self._alphabet).sub(lambda match: self._stand_in(match.group()), text)

    def _stand_in(self, original: str) -> str:
        key = unicodedata.normalize("NFC", original)
        if (known := self._stand_in_of.get(key)) is not None:
            return known
        stand_in = "".join(map(_letters, original))
        if unicodedata.category(original[0]) == "Lo":
            stand_in = stand_in[:1].upper() + stand_in[1:]  # a script without capitals: most of such words are names
        while stand_in and (len(stand_in) < MIN_STAND_IN or self._is_taken(stand_in)):
            stand_in += "o"
        self._stand_in_of[key] = stand_in
        if stand_in:
            self._original_of[stand_in] = original
        return stand_in

    def _is_taken(self, stand_in: str) -> bool:
        return stand_in in self._original_of or stand_in.casefold() in self._taken

    def _plain_words(self, prompt: TurnPrompt) -> Iterator[str]:
        """The words of the alphabet that a prompt holds."""
        runs = _runs(self._alphabet)
        for text in _texts(prompt):
            for word in LATIN_WORD.findall(runs.sub(" ", text)):
                yield word.casefold()

    @cached_property
    def _written(self) -> dict[str, str]:
        """The original of each stand-in, and of each that may begin a sentence."""
        capitals = {s[0].upper() + s[1:]: o[0].upper() + o[1:] for s, o in self._original_of.items()}
        return capitals | self._original_of

    @cached_property
    def _stand_ins(self) -> re.Pattern[str]:
        names = "|".join(map(re.escape, sorted(self._written, key=len, reverse=True)))
        return re.compile(rf"(?<![A-Za-z0-9])(?:{names})(?=s?(?![A-Za-z0-9]))")  # a plural's "s" may follow

    def _spelt(self, match: re.Match[str]) -> str:
        """A word of the model's, or the name that it nearly is."""
        word = match.group()
        if len(word) < MIN_MENDED or self._is_known(word):
            return word
        return next(iter(get_close_matches(word, self._names, 1, MENDED_LIKENESS)), word)

    def _is_misspelt(self, word: str) -> bool:
        return not self._is_known(word) and bool(get_close_matches(word, self._names, 1, MISSPELT_LIKENESS))

    def _is_known(self, word: str) -> bool:
        """Whether it is no name, or one that the prompt has."""
        return not word[0].isupper() or not self._words.isdisjoint((word.casefold(), word.casefold().removesuffix("s")))

    @cached_property
    def _names(self) -> list[str]:
        return [stand_in for stand_in in self._original_of if stand_in[0].isupper()]


@cache
def _outside(alphabet: str) -> re.Pattern[str]:
    return re.compile(rf"[^{alphabet}\s]")


@cache
def _runs(alphabet: str) -> re.Pattern[str]:
    """Words with a character outside the alphabet; one of Chinese has no more to it than these characters. The marks
    of ASCII are tokens of their own: they do no harm where they are only read."""
    outside = rf"[^{alphabet}\s!-~]"
    return re.compile(rf"[A-Za-z0-9]*(?:{outside}[A-Za-z0-9]*)+")


def _mark(char: str) -> str:
    """What stands for a mark outside the alphabet; a character that is part of a word stays."""
    category = unicodedata.category(char)
    is_of_word = category[0] in "LM" or category == "Cf" or _letters(char)  # Cf joins the parts of an emoji
    return char if is_of_word else MARKS.get(char) or anyascii(char)


@cache
def _letters(char: str) -> str:
    return "".join(c for c in anyascii(char) if c.isascii() and c.isalnum())


def _texts(prompt: TurnPrompt) -> list[str]:
    found: list[str] = []

    def keep(text: str) -> str:
        found.append(text)
        return text

    _mapped(prompt, keep)
    return found


def _mapped(part: Any, change: Callable[[str], str]) -> Any:
    """A prompt with `change` applied to every text of it that is data."""
    if isinstance(part, str):
        return change(part)
    if isinstance(part, list):
        return [_mapped(each, change) for each in part]
    names = {field.name for field in fields(part)} - {"chunk_id", "language"}
    return replace(part, **{name: _mapped(getattr(part, name), change) for name in names})
