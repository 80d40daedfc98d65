"""Seeded scenes: a prompt made of generated lore, the messages of a player, and the turns that they ask for.

A scene is one prompt without its message and several (message, answer) pairs on it, because they can share the
computation of the prompt in training.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace

from sagaforge.datasets.lore_lines import LoreLine
from sagaforge.functions.prompt import PastTurn, TurnPrompt
from sagaforge.schemas import Change, Condition, ModelChoice, ModelDialogue, ModelSentence, ModelTurn
from sagaforge.training.pocket_llm import banks, facts
from sagaforge.training.pocket_llm.lore import Line, LoreMaker, title_of


@dataclass
class Scene:
    prompt: TurnPrompt
    turns: list[tuple[str, ModelTurn]]


class SceneMaker(LoreMaker):
    """Draws scenes in one language from a random stream."""

    def scene(self, wildness: float, turns: int) -> Scene:
        """A prompt and `turns` messages with their answers."""
        cast = self.cast()
        lines = self.lore(cast, wildness)
        someone = self.rng.choice(cast["people"])
        heard = [self.wild(cast) for _ in range(self.rng.choice([0, 0, 0, 1, 2]))]
        prompt = TurnPrompt(
            title=self.place().removeprefix("the ") if self.chance(0.5) else self.heading(cast),
            message="",
            language=self.language,
            character=someone if self.chance(0.6) else "",
            persona=self.wild(cast).told if self.chance(0.6) else "",
            scene=f"{self.heading(cast)}. {self.wild(cast).told}" if self.chance(0.5) else "",
            location=self.rng.choice(cast["places"]) if self.chance(0.5) else "",
            people_here=self.rng.sample(cast["people"], self.rng.randint(1, 2)) if self.chance(0.5) else [],
            inventory=self.rng.sample(cast["things"], self.rng.randint(1, 2)) if self.chance(0.4) else [],
            relationships=[f"{someone} (acquaintance, affinity {self.rng.randint(0, 100)})"]
            if self.chance(0.4)
            else [],
            established=[self.fact(cast).told] if self.chance(0.12) else [],
            history=[PastTurn(self.ask(line)[0], line.told) for line in heard],
            lore=[LoreLine(f"c{number}", line.section, line.text) for number, line in enumerate(lines)],
        )
        if self.chance(0.05):
            lines, prompt = [], replace(prompt, lore=[])
        pairs = []
        for _ in range(turns):
            message, turn = self.turn(prompt, lines, cast)
            # What the lore does not name can't be told in Traditional characters by copying: it is asked in them.
            if self.zh and all(sentence.lore for sentence in turn.narration) and self.chance(0.3):
                message = self.words.to_simplified(message)
            pairs.append((message, turn))
        return Scene(prompt, pairs)

    def ask(self, line: Line) -> tuple[str, str]:
        """A message that the line answers, and what it is about."""
        question = self.rng.choice(line.questions)
        about = line.names[0] if line.names else line.section
        if not self.zh:
            noise = self.rng.random()
            if noise < 0.15:
                question = question.lower()
            elif noise < 0.3:
                question = question.rstrip(".?")
        elif self.chance(0.2):
            question = question.rstrip("？")
        return question, about

    def turn(self, prompt: TurnPrompt, lines: list[Line], cast: dict[str, list[str]]) -> tuple[str, ModelTurn]:
        """A message and the answer it asks for."""
        near = list(dict.fromkeys([prompt.character or "", *prompt.people_here]))
        near = [name for name in near if name]
        who = near[0] if near else ""
        changes: list[Change] = []
        mood, missing, done = "", "", ""
        kind = self.rng.random()
        chosen: list[int] = []
        about = ""
        if not lines or kind < 0.18:
            if kind < 0.03 or (not lines and self.chance(0.5)):
                message = self.pick(banks.EN_NONSENSE, banks.ZH_NONSENSE)
            else:
                message, missing = self.unanswerable(cast, lines)
                about = missing
        elif kind < 0.64:
            # Retrieval ranks: what answers is usually near the top.
            index = 0 if self.chance(0.4) else self.rng.randrange(min(4, len(lines)))
            message, about = self.ask(lines[index])
            chosen = self.also(lines, index)
            if self.chance(0.06):
                second, missing = self.unanswerable(cast, lines)
                message = f"{message}還有，{second}" if self.zh else f"{message} And {second[0].lower()}{second[1:]}"
        elif kind < 0.78:
            line = self.rng.choice(lines)
            about = self.rng.choice(line.names) if line.names and self.chance(0.3) else line.section
            message = self.pick(banks.EN_ABOUT, banks.ZH_ABOUT).format(o=about)
            chosen = [n for n, line in enumerate(lines) if line.section == title_of(about)][:2]
            chosen = chosen or [n for n, line in enumerate(lines) if about in line.told][:1]
        elif kind < 0.84:
            message, chosen = (
                self.pick(banks.EN_OPEN, banks.ZH_OPEN),
                [0, 1][: min(len(lines), self.rng.choice([1, 2]))],
            )
            about = lines[0].section
        elif kind < 0.88:
            is_threat = self.chance(0.5)
            mood = "angry" if is_threat else "happy"
            en, zh = (banks.EN_THREAT, banks.ZH_THREAT) if is_threat else (banks.EN_JOKE, banks.ZH_JOKE)
            message = self.pick(*([way for way in ways if who or "{s}" not in way] for ways in (en, zh))).format(s=who)
            about = lines[0].section
            done = self.pick(facts.EN_AIR, facts.ZH_AIR)
            if who:
                done = self.pick(
                    banks.EN_MADE_ANGRY if is_threat else banks.EN_MADE_GLAD,
                    banks.ZH_MADE_ANGRY if is_threat else banks.ZH_MADE_GLAD,
                ).format(s=who)
                changes = [Change(op="change", kind="relationship", name=who, value=-5 if is_threat else 5)]
        else:
            message, done, chosen, about, changes = self.act(prompt, lines, cast, who)
        narration = [ModelSentence(lore=[n + 1], text=lines[n].told) for n in chosen]
        if missing:
            done = self.pick(facts.EN_UNKNOWN, facts.ZH_UNKNOWN).format(o=missing)
        elif not chosen and not done:
            done = self.pick(facts.EN_UNKNOWN_BARE, facts.ZH_UNKNOWN_BARE)
        if done:
            # What the player does is told before what the lore says of it, what nobody knows after what is known.
            narration.insert(len(narration) if missing else 0, ModelSentence(lore=[], text=done[0].upper() + done[1:]))
        if self.chance(0.2):
            air = ModelSentence(lore=[], text=self.pick(facts.EN_AIR, facts.ZH_AIR))
            narration.insert(self.rng.choice([0, len(narration)]), air)
        is_answered = bool(chosen) or bool(done and about and not missing)
        entities = self.entities(prompt, lines, about if is_answered else "")
        dialogues = self.dialogues(near, entities, mood, is_answered)
        choices = self.choices(prompt, entities, near, cast)
        return message, ModelTurn(narration=narration, dialogues=dialogues, choices=choices, changes=changes)

    def also(self, lines: list[Line], index: int) -> list[int]:
        """The asked line, and sometimes the next one of the same section, which goes on from it."""
        follows = index + 1 < len(lines) and lines[index + 1].section == lines[index].section
        return [index, index + 1] if follows and self.chance(0.12) else [index]

    def act(
        self, prompt: TurnPrompt, lines: list[Line], cast: dict[str, list[str]], who: str
    ) -> tuple[str, str, list[int], str, list[Change]]:
        """Take, go or give: message, what is told of it, lines that speak of it, what it is about, changes of the state."""
        kind = self.rng.choice(["take", "go", "go", "give"])
        if kind == "give" and prompt.inventory and who:
            item = self.rng.choice(prompt.inventory)
            asked, told = self.pick(banks.EN_GIVE, banks.ZH_GIVE), self.pick(banks.EN_GAVE, banks.ZH_GAVE)
            changes = [
                Change(op="remove", kind="item", name=item),
                Change(op="change", kind="relationship", name=who, value=5),
            ]
        elif kind == "go":
            item = self.rng.choice(cast["places"])
            asked, told = self.pick(banks.EN_MOVE, banks.ZH_MOVE), self.pick(banks.EN_WENT, banks.ZH_WENT)
            changes = [Change(op="set", kind="location", name=item.removeprefix("the "))]
        else:
            item = self.rng.choice(cast["things"])
            asked, told = self.pick(banks.EN_TAKE, banks.ZH_TAKE), self.pick(banks.EN_TOOK, banks.ZH_TOOK)
            changes = [Change(op="add", kind="item", name=item)]
        named = item if kind == "go" else self.the(item)
        chosen = [n for n, line in enumerate(lines) if item in line.text or title_of(item) == line.section][:1]
        return asked.format(o=named, s=who), told.format(o=named, s=who), chosen, item, changes

    def the(self, item: str) -> str:
        return item if self.zh or self.chance(0.3) else f"the {item}"

    def entities(self, prompt: TurnPrompt, lines: list[Line], about: str) -> list[str]:
        """What can be named in choices, spelt as the prompt spells it: the topic, then as the prompt names them. One order,
        because a small model spends itself on guessing a random one."""
        named = [line.section for line in lines]
        named += [*prompt.people_here, *([prompt.location] if prompt.location else [])]
        named += [name for line in lines for name in line.names if name in line.text]
        # "The Unlit" of a heading is "the Unlit" of a sentence: offered once, as it is met first.
        distinct: dict[str, str] = {}
        for name in [about, *named]:
            distinct.setdefault(name.casefold().removeprefix("the "), name)
        return [name for name in distinct.values() if 0 < len(name) <= 40]

    def dialogues(self, near: list[str], entities: list[str], mood: str, answered: bool) -> list[ModelDialogue]:
        if not near or not self.chance(0.9):
            return []
        if mood == "angry":
            emotion, text = "angry", self.pick(banks.EN_SAID_ANGRY, banks.ZH_SAID_ANGRY)
        elif mood:
            emotion, text = "happy", self.pick(banks.EN_SAID_GLAD, banks.ZH_SAID_GLAD)
        elif not answered:
            emotion, text = "neutral", self.pick(banks.EN_SAID_UNKNOWN, banks.ZH_SAID_UNKNOWN)
        else:
            ways = banks.ZH_SAID if self.zh else banks.EN_SAID
            emotion = self.rng.choice(list(ways))
            text = self.rng.choice(ways[emotion]).format(o=entities[0])
        said = [ModelDialogue(speaker=near[0], emotion=emotion, text=text[0].upper() + text[1:])]
        if len(near) > 1 and self.chance(0.3):
            other = self.pick(banks.EN_SAID_TOO, banks.ZH_SAID_TOO)
            said.append(ModelDialogue(speaker=near[1], emotion="neutral", text=other))
        return said

    def choices(
        self, prompt: TurnPrompt, entities: list[str], near: list[str], cast: dict[str, list[str]]
    ) -> list[ModelChoice]:
        count = self.rng.choice([2, 3, 3, 3])
        places = [name for name in entities if name in cast["places"] or f"the {name[4:]}" in cast["places"]]
        made: list[ModelChoice] = []
        for name in entities[: count - 1] or [""]:
            if not name:
                break
            if name in places and self.chance(0.7):
                text = self.pick(banks.EN_GO, banks.ZH_GO).format(o=name)
                made.append(_choice(text, Change(op="set", kind="location", name=name.removeprefix("the "))))
                continue
            others = [person for person in near if person != name]
            form = self.pick(banks.EN_ASK, banks.ZH_ASK)
            if ("{s}" in form and not others) or self.chance(0.25):
                form = self.pick(banks.EN_DO, banks.ZH_DO)
            made.append(_choice(form.format(o=name, s=others[0] if others else "")))
        if prompt.inventory and self.chance(0.3):
            item = prompt.inventory[0]
            text = f"使用{item}" if self.zh else f"Use the {item}"
            made.append(_choice(text, condition=Condition(kind="item", name=item, op="has")))
        while len(made) < count:
            idle = self.pick(banks.EN_IDLE, banks.ZH_IDLE)
            if idle not in [choice.text for choice in made]:
                made.append(_choice(idle))
        unique = {choice.text: choice for choice in made}
        while len(unique) < 2:
            idle = self.pick(banks.EN_IDLE, banks.ZH_IDLE)
            unique[idle] = _choice(idle)
        return list(unique.values())[:4]


def make_scene(seed: int, language: str, wildness: float = 0.5, turns: int = 3, held_out: bool = False) -> Scene:
    """The scene of a seed."""
    return SceneMaker(random.Random(f"{seed}-{language}-{held_out}"), language, held_out).scene(wildness, turns)


def serialise(turn: ModelTurn) -> str:
    """The one canonical spelling of an answer: compact, `value` only where there is one."""
    body = turn.model_dump(by_alias=True, exclude_none=True)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _choice(text: str, change: Change | None = None, condition: Condition | None = None) -> ModelChoice:
    return ModelChoice(text=text, conditions=[condition] if condition else [], consequences=[change] if change else [])
