"""What the signs in a prompt mean: weights in brackets, and adapters in angle brackets.

The syntax is that of AUTOMATIC1111's web interface, which most prompts that people share are written in: `(word)` is
1.1 times as heavy, `[word]` 1 / 1.1, `(word:1.3)` exactly 1.3, nested ones multiply, and a backslash before a bracket
makes it text. A bracket without its partner is text, and so are full-width ones. `<lora:name:0.8>` names an adapter.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from sagaforge.errors import InvalidInput
from sagaforge.image_schemas import MAX_ADAPTER_SCALE

BRACKET_WEIGHT = 1.1
MAX_WEIGHT = 10.0

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_TOKEN = re.compile(r"\\[()\[\]<]|[()\[\]]|[^\\()\[\]]+|\\")
_WEIGHTED = re.compile(rf"(.*):\s*({_NUMBER})\s*", re.DOTALL)
_ADAPTER = re.compile(r"(?<!\\)<\s*(lora|lyco|hypernet)\s*:([^<>]*)>", re.IGNORECASE)
_PARTNERS = {")": "(", "]": "["}


@dataclass(frozen=True)
class Fragment:
    """A part of a prompt, and how heavy it is: 1 for all but what stands in brackets."""

    text: str
    weight: float = 1.0


def parse(prompt: str) -> tuple[Fragment, ...]:
    """The prompt's parts in their order, without the signs; none of a blank prompt.

    Raises:
        InvalidInput: a weight is out of bounds, or `[from:to:when]` and `[this|that]`, which change a prompt while it
            is painted.
    """
    tokens = [match.group() for match in _TOKEN.finditer(prompt)]
    pairs = _pairs(tokens)
    closing = set(pairs.values())
    weights = [1.0]
    fragments: list[Fragment] = []
    for number, token in enumerate(tokens):
        if number in pairs:
            weights.append(weights[-1] * _opened(tokens, number, pairs[number]))
            if abs(weights[-1]) > MAX_WEIGHT:
                raise InvalidInput(f"A weight in the prompt comes to {weights[-1]:.4g}; {MAX_WEIGHT:g} is the most.")
        elif number in closing:
            weights.pop()
        else:
            text = token[1:] if len(token) == 2 and token[0] == "\\" else token
            if fragments and fragments[-1].weight == weights[-1]:
                text = fragments.pop().text + text
            if text:
                fragments.append(Fragment(text, weights[-1]))
    return tuple(fragments)


def plain(prompt: str) -> str:
    """The prompt without its weights."""
    return "".join(fragment.text for fragment in parse(prompt))


def escaped(text: str) -> str:
    """Text in which brackets are just brackets, as a prompt that says so."""
    return re.sub(r"([()\[\]<])", r"\\\1", text)


def without_adapters(prompt: str) -> tuple[str, list[tuple[str, float]]]:
    """The prompt without `<lora:NAME:SCALE>` and `<lora:NAME>`, and the names with their scales.

    Raises:
        InvalidInput: one that says something else, or is of a kind that does not exist here.
    """
    found = [_adapter(match) for match in _ADAPTER.finditer(prompt)]
    if not found:
        return prompt, []
    rest = _ADAPTER.sub("", prompt)
    # "a cat, <lora:ink:1>, night" leaves two commas with nothing between.
    return re.sub(r",(\s*,)+", ",", rest).strip(" ,\n"), found


def _pairs(tokens: list[str]) -> dict[int, int]:
    """Places of opening brackets and of their partners. An empty pair is text, as in "main()"."""
    pairs: dict[int, int] = {}
    is_open: list[int] = []
    for number, token in enumerate(tokens):
        if token in ("(", "["):
            is_open.append(number)
        elif token in _PARTNERS:
            partner = next((at for at in reversed(is_open) if tokens[at] == _PARTNERS[token]), None)
            if partner is None:
                continue
            # What was opened since and not closed has no partner.
            del is_open[is_open.index(partner) :]
            if number > partner + 1:
                pairs[partner] = number
    return pairs


def _opened(tokens: list[str], start: int, end: int) -> float:
    """The weight of a pair; a number at its end is taken out of the text."""
    last = tokens[end - 1]
    numbered = _WEIGHTED.fullmatch(last)
    if tokens[start] == "[":
        if numbered or any("|" in token for token in tokens[start + 1 : end]):
            raise InvalidInput(
                f"The prompt holds {''.join(tokens[start : end + 1])[:80]!r}: prompts that change while they are"
                r" painted are not known here. Write a weight as (word:0.8), and brackets that are text as \[ and \]."
            )
        return 1 / BRACKET_WEIGHT
    if numbered is None or (not numbered.group(1).strip() and end - 1 == start + 1):
        return BRACKET_WEIGHT
    tokens[end - 1] = numbered.group(1)
    return float(numbered.group(2))


def _adapter(match: re.Match[str]) -> tuple[str, float]:
    kind, (name, *rest) = match.group(1).lower(), [part.strip() for part in match.group(2).split(":")]
    if kind == "hypernet":
        raise InvalidInput(f"The prompt names {match.group()[:80]!r}: there are no hypernetworks here, only adapters.")
    scale = rest[0] if rest else "1"
    if not name or len(rest) > 1 or not re.fullmatch(_NUMBER, scale) or abs(float(scale)) > MAX_ADAPTER_SCALE:
        raise InvalidInput(
            f"The prompt holds {match.group()[:80]!r}; write an adapter as <lora:NAME:SCALE>, with a scale from"
            f" -{MAX_ADAPTER_SCALE:g} to {MAX_ADAPTER_SCALE:g}."
        )
    return unicodedata.normalize("NFC", name), float(scale)  # as adapters' files are listed
