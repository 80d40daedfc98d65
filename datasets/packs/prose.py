"""Characters and scenes → sections of prose: the author's words verbatim, short labels naming whom they are about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sagaforge.datasets.packs.pack import Pack
from sagaforge.datasets.worlds.sections import Section

# English labels read "Appearance of Oriel Vance: …", Chinese ones 林默的外貌：….
CHINESE_LABELS = {
    "appearance": "外貌",
    "personality": "性格",
    "background": "背景故事",
    "relationships": "關係",
    "goals": "目標",
    "location": "地點",
    "atmosphere": "氣氛",
    "details": "細節",
    "npcs": "在場人物",
    "hair_color": "髮色",
    "eye_color": "眼睛顏色",
    "height": "身高",
    "build": "體型",
    "distinctive_features": "特徵",
}


def character_sections(pack: Pack) -> list[Section]:
    """One section per character, under its name."""
    label = _Labels(pack.language)
    names = {key: character.name for key, character in pack.characters.items()}
    sections = []
    for key, character in pack.characters.items():
        name = character.name
        lines = [label.named(name, character.description)] if character.description else []
        for field in ("appearance", "personality", "background"):
            lines += label.lines(name, field, getattr(character, field))
        lines += [
            label.named(label.pair(name, names.get(other, other)), text)
            for other, text in character.relationships.items()
        ]
        lines += label.lines(name, "goals", character.goals)
        for field, value in (character.model_extra or {}).items():
            lines += label.lines(name, field, value)
        sections.append(Section(name, "\n".join(lines) or name, "character", key))
    return sections


def scene_sections(pack: Pack) -> list[Section]:
    """One section per scene, under its title."""
    label = _Labels(pack.language)
    names = {key: character.name for key, character in pack.characters.items()}
    sections = []
    for key, scene in pack.scenes.items():
        lines = [label.named(scene.title, scene.description)] if scene.description else []
        for field in ("location", "atmosphere", "details"):
            lines += label.lines(scene.title, field, getattr(scene, field))
        if scene.npcs:
            lines += label.lines(scene.title, "npcs", label.join([names.get(npc, npc) for npc in scene.npcs]))
        for field, value in (scene.model_extra or {}).items():
            lines += label.lines(scene.title, field, value)
        sections.append(Section(scene.title, "\n".join(lines) or scene.title, "scene", key))
    return sections


class _Labels:
    def __init__(self, language: str) -> None:
        self._is_chinese = language != "en"

    def named(self, name: str, text: str) -> str:
        """`Name: text`, without the name where the text begins with it."""
        text = " ".join(text.split("\n")).strip()
        if text.startswith(name):
            return text
        return f"{name}：{text}" if self._is_chinese else f"{name}: {text}"

    def pair(self, one: str, other: str) -> str:
        return f"{one}與{other}" if self._is_chinese else f"{one} and {other}"

    def join(self, names: list[str]) -> str:
        return "、".join(names) if self._is_chinese else ", ".join(names)

    def lines(self, name: str, field: str, value: Any) -> list[str]:
        """A field as lines: one for a text or a list, one per key for a structure."""
        return [
            self._labelled(name, leaf, text) if leaf else self.named(name, text)
            for leaf, text in self._leaves(field, value)
            if text.strip()
        ]

    def _labelled(self, name: str, field: str, text: str) -> str:
        text = " ".join(text.split("\n")).strip()
        if self._is_chinese:
            return f"{name}的{CHINESE_LABELS.get(field, field)}：{text}"
        words = field.replace("_", " ")
        return f"{words[:1].upper()}{words[1:]} of {name}: {text}"

    def _leaves(self, field: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from self._leaves(key, inner)
        elif isinstance(value, list):
            if field == "goals" or any(len(str(item)) > 60 for item in value):
                for item in value:
                    yield field, str(item)
            else:
                yield field, self.join([str(item) for item in value])
        else:
            yield field, str(value)
