"""Reads the JSON of a model's turn while it is still being written.

`TurnReader` hands out each sentence and line of dialogue as soon as its object is closed, and makes a whole
`ModelTurn` of what came, even when the token limit cut the text. `pydantic_core.from_json` does the parsing; the scan
here only finds the places where an element ends, so that nothing unfinished is ever shown.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from sagaforge.errors import ModelAnswerInvalid
from sagaforge.schemas import Change, ModelChoice, ModelDialogue, ModelSentence, ModelTurn, Shape

MAX_ANSWER_CHARS = 64_000  # A turn under our grammar ends below 6,000; a back end without one may babble for ever.
MAX_NARRATION, MAX_DIALOGUES, MAX_CHOICES, MAX_CHANGES = 6, 3, 4, 4
MIN_CHOICES = 2
MAX_TEXT_CHARS = 320
MAX_LORE_MARKS, MAX_LORE_NUMBER = 3, 24
EMOTIONS = ("neutral", "happy", "sad", "angry", "afraid", "curious", "amused", "tense")

# What a player can always do. Plainly generic, so that nobody takes them for the story's own.
DEFAULT_CHOICES = {
    "en": ("Continue.", "Look around."),
    "zh-Hant": ("繼續。", "看看四周。"),
    "zh-Hans": ("继续。", "看看四周。"),
}

_Part = TypeVar("_Part", bound=Shape)


class TurnReader:
    """Incremental reader of one streamed `ModelTurn`.

    `is_done` says that nothing more of the stream will be read (the object is closed, or broken beyond use), so that
    the caller may stop the engine. After `finish`, `is_truncated` says that the text ended before its JSON did,
    `num_dropped` how many finished elements broke their schema or came over its limit, and `num_default_choices` how
    many of the last choices are generic ones that the model did not write. `language` (en, zh-Hant, zh-Hans) chooses
    their words.
    """

    def __init__(self, language: str = "en") -> None:
        self.is_done = False
        self.is_truncated = True
        self.num_dropped = 0
        self.num_default_choices = 0
        self._defaults = DEFAULT_CHOICES.get(language, DEFAULT_CHOICES["en"])
        self._text = ""  # from the answer's first brace on
        self._closers: list[str] = []  # what closes each bracket that is open, outermost first
        self._is_in_string = False
        self._is_escaped = False
        self._answer: dict[str, Any] = {}  # the last parse that held whole elements only
        self._num_handed_out = {"narration": 0, "dialogues": 0}

    def feed(self, delta: str) -> list[ModelSentence | ModelDialogue]:
        """Take the next piece of text; return the sentences and dialogues that it completed, in order."""
        fresh: list[ModelSentence | ModelDialogue] = []
        if not self._text:
            # A back end without a grammar may fence the answer, or say a word before it.
            delta = delta[delta.find("{") :] if "{" in delta else ""
        start = len(self._text)
        self._text = (self._text + delta)[:MAX_ANSWER_CHARS]
        for position in range(start, len(self._text)):
            if self.is_done:
                break
            # Parsed at each element rather than once a delta: a break later in the delta then costs nothing before it.
            if self._ends_element(self._text[position]) and self._parse(position + 1):
                fresh += self._fresh(ModelSentence, "narration", MAX_NARRATION)
                fresh += self._fresh(ModelDialogue, "dialogues", MAX_DIALOGUES)
        self.is_done = self.is_done or len(self._text) == MAX_ANSWER_CHARS
        return fresh

    def finish(self) -> ModelTurn:
        """The whole turn, made of the elements that are complete, or of `cut_sentence` where not one sentence is.

        Raises `ModelAnswerInvalid` when there is nothing at all to show.
        """
        self.num_dropped = 0
        narration = self._valid(ModelSentence, "narration", MAX_NARRATION) or self.cut_sentence()
        if not narration:
            raise ModelAnswerInvalid("the model's answer holds no complete sentence; try again or raise max_tokens")
        choices = self._valid(ModelChoice, "choices", MAX_CHOICES)
        self.num_default_choices = max(0, MIN_CHOICES - len(choices))
        for text in self._defaults[: self.num_default_choices]:
            choices.append(ModelChoice(text=text, conditions=[], consequences=[]))
        return ModelTurn(
            narration=narration,
            dialogues=self._valid(ModelDialogue, "dialogues", MAX_DIALOGUES),
            choices=choices,
            changes=self._valid(Change, "changes", MAX_CHANGES),
        )

    def cut_sentence(self) -> list[ModelSentence]:
        """The first sentence up to where the token limit cut it, without marks: what it rests on can't be judged."""
        try:
            answer = from_json(self._text, allow_partial="trailing-strings")
        except ValueError:
            return []
        elements = answer.get("narration") if isinstance(answer, dict) else None
        first = elements[0] if isinstance(elements, list) and elements else None
        text = first.get("text") if isinstance(first, dict) else None
        if not isinstance(text, str) or not text.strip():
            return []
        whole_words = text.strip().rpartition(" ")[0] or text.strip()
        return [ModelSentence(lore=[], text=whole_words[: MAX_TEXT_CHARS - 1] + "…")]

    def _ends_element(self, char: str) -> bool:
        """Step over one character; true when it closes an element of a list of the answer, or the answer."""
        if self._is_escaped:
            self._is_escaped = False
        elif self._is_in_string:
            self._is_escaped = char == "\\"
            self._is_in_string = char != '"'
        elif char == '"':
            self._is_in_string = True
        elif char in "{[":
            self._closers.append("}" if char == "{" else "]")
        elif char in "}]":
            if self._closers.pop() != char:
                self.is_done = True
                return False
            if not self._closers:
                self.is_done, self.is_truncated = True, False
                return True
            return char == "}" and self._closers == ["}", "]"]
        return False

    def _parse(self, end: int) -> bool:
        try:
            answer = from_json(self._text[:end], allow_partial=True)
        except ValueError:
            self.is_done, self.is_truncated = True, True
            return False
        self._answer = answer
        return True

    def _fresh(self, shape: type[_Part], key: str, limit: int) -> list[_Part]:
        valid = self._valid(shape, key, limit)
        fresh = valid[self._num_handed_out[key] :]
        self._num_handed_out[key] += len(fresh)
        return fresh

    def _valid(self, shape: type[_Part], key: str, limit: int) -> list[_Part]:
        valid: list[_Part] = []
        elements = self._answer.get(key)
        for element in elements if isinstance(elements, list) else []:
            try:
                valid.append(shape.model_validate(_repaired(shape, element)))
            except ValidationError:
                self.num_dropped += 1
        self.num_dropped += len(valid[limit:])
        return valid[:limit]


def _repaired(shape: type[Shape], element: Any) -> Any:
    """Put right what a back end without our grammar gets wrong, where that changes nothing of what is said."""
    if not isinstance(element, dict):
        return element
    if shape is ModelSentence and isinstance(element.get("lore", []), list):
        numbers = [n for n in element.get("lore", []) if type(n) is int and 1 <= n <= MAX_LORE_NUMBER]
        return {**element, "lore": list(dict.fromkeys(numbers))[:MAX_LORE_MARKS]}
    if shape is ModelDialogue and element.get("emotion") not in EMOTIONS:
        return {**element, "emotion": "neutral"}
    if shape is ModelChoice:
        return {"if": [], "then": [], **element}
    return element
