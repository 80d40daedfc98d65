"""The prompt of a turn: typed parts in, chat messages out.

Training (`sagaforge.training`) builds its examples with the same function, so a model sees in training what it sees
in play. Lore and messages are data: every piece of them is squeezed to one line and cannot spell a control token, so
it can't leave its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sagaforge.deployments.retrieval.interface import LoreLine
from sagaforge.profiles import PromptLimits

SYSTEM = """You narrate the story world "{title}". {persona}Write in {language}.
Answer in JSON. Each item of "narration" is one sentence: "lore" lists the numbers of the lore lines that it rests on, \
and is empty for a sentence that states nothing from them; "text" is the sentence. State only what the lore says; when \
it does not answer the player, say so without a number. Then dialogues, 2 to 4 choices that follow from the scene, and \
changes to the state."""

LANGUAGES = {"en": "English", "zh-Hant": "Traditional Chinese", "zh-Hans": "Simplified Chinese"}

MAX_HISTORY_TURNS = 2


@dataclass(frozen=True)
class PastTurn:
    """What a prompt keeps of an earlier turn."""

    message: str
    narration: str


@dataclass(frozen=True)
class TurnPrompt:
    """Everything a turn's prompt is made of. `lore[0]` is line number 1."""

    title: str
    message: str
    language: str = "en"
    character: str = ""
    persona: str = ""
    scene: str = ""
    location: str = ""
    inventory: list[str] = field(default_factory=list)
    relationships: list[str] = field(default_factory=list)
    people_here: list[str] = field(default_factory=list)
    established: list[str] = field(default_factory=list)
    history: list[PastTurn] = field(default_factory=list)
    lore: list[LoreLine] = field(default_factory=list)


def as_data(text: str, max_chars: int) -> str:
    """One line of text that can't be mistaken for the prompt's own structure."""
    text = " ".join(text.split())
    text = text.replace("<|", "< |")
    # A message or a lore line that begins like one of our labels would forge a line of lore once it is quoted.
    text = re.sub(r"^\[(\d+)\]", r"(\1)", text)
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"


def build_messages(prompt: TurnPrompt, limits: PromptLimits) -> list[dict[str, str]]:
    """Chat messages (system, user) for one turn."""
    persona = ""
    if prompt.character:
        about = as_data(prompt.persona, limits.persona)
        persona = f"The player talks with {as_data(prompt.character, 60)}{': ' + about if about else ''} "
        if not persona.rstrip().endswith((".", "。")):
            persona = persona.rstrip() + ". "
    system = SYSTEM.format(
        title=as_data(prompt.title, 80),
        persona=persona,
        language=LANGUAGES.get(prompt.language, prompt.language),
    )
    return [{"role": "system", "content": system}, {"role": "user", "content": "\n".join(_user_lines(prompt, limits))}]


def _user_lines(prompt: TurnPrompt, limits: PromptLimits) -> list[str]:
    lines = []
    if prompt.scene:
        lines.append(f"Scene: {as_data(prompt.scene, limits.scene)}")
    if prompt.location:
        lines.append(f"Place: {as_data(prompt.location, 60)}")
    if prompt.people_here:
        lines.append(f"Here: {_listed(prompt.people_here, 6)}")
    if prompt.inventory:
        lines.append(f"Carries: {_listed(prompt.inventory, 8)}")
    if prompt.relationships:
        lines.append(f"Knows: {_listed(prompt.relationships, 6)}")
    if prompt.established:
        lines.append(f"Established: {_listed(prompt.established, 4, 100)}")
    for past in prompt.history[-MAX_HISTORY_TURNS:]:
        lines.append(
            f"Before: {as_data(past.message, limits.past_message)} → {as_data(past.narration, limits.past_narration)}"
        )
    if prompt.lore:
        lines.append("Lore:")
        lines += [
            f"[{number}] {as_data(line.section, 60)}: {as_data(line.text, limits.lore_line)}"
            for number, line in enumerate(prompt.lore, 1)
        ]
    else:
        lines.append("Lore: none")
    lines.append(f"Player: {as_data(prompt.message, limits.message)}")
    return lines


def _listed(parts: list[str], max_parts: int, max_chars: int = 60) -> str:
    return "; ".join(as_data(part, max_chars) for part in parts[:max_parts])
