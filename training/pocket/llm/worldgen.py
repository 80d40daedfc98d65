"""Seeded scenes: a prompt made of generated lore, the messages of a player, and the turns that they ask for.

A scene is one prompt without its message and several (message, answer) pairs on it, because they can share the
computation of the prompt in training.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace

from sagaforge.deployments.retrieval.interface import LoreLine
from sagaforge.evaluation.generator import banks, facts, lexicon
from sagaforge.evaluation.generator.cast import title_of
from sagaforge.evaluation.generator.lore import LoreMaker, fill
from sagaforge.evaluation.generator.wild import Line
from sagaforge.functions.story.prompt import PastTurn, TurnPrompt
from sagaforge.schemas import Change, Condition, Emotion, ModelChoice, ModelDialogue, ModelSentence, ModelTurn


@dataclass
class Scene:
    prompt: TurnPrompt
    turns: list[tuple[str, ModelTurn]]


@dataclass
class Asked:
    """A message and what an answer to it is made of.

    about: the name that it is about; chosen: the lines that answer it, counted from 0; done: what happens, which no lore
    says; missing: a name in it that the lore lacks; mood: of whoever speaks, "" for any; changes: of the state.
    """

    message: str
    about: str = ""
    chosen: list[int] = field(default_factory=list)
    done: str = ""
    missing: str = ""
    mood: str = ""
    changes: list[Change] = field(default_factory=list)


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

    def ask(self, line: Line, *, is_alone: bool = False) -> tuple[str, str]:
        """A message that the line answers, and what it is about. Names may fail where it is alone of its relation."""
        question = self.rng.choice(line.questions)
        about = line.names[0] if line.names else line.section
        if is_alone and line.relation and self.chance(0.2):
            question = self.loosely(question, line)
        if not self.zh:
            noise = self.rng.random()
            if noise < 0.15:
                question = question.lower()
            elif noise < 0.3:
                question = question.rstrip(".?")
        elif self.chance(0.2):
            question = question.rstrip("？")
        return question, about

    def loosely(self, question: str, line: Line) -> str:
        """The question with less than its line's subject's name: a part of it, or what players say in its stead."""
        slot = next(slot for slot, filled in line.slots.items() if filled == line.names[0])
        name, words = line.slots[slot], line.slots[slot].removeprefix("the ").split()
        kind = {"a": "person", "b": "person", "p": "place", "q": "place", "t": "thing", "u": "thing"}.get(slot, "other")
        if self.chance(0.5) and (len(words) > 1 or (self.zh and len(name) > 2)):
            said = self.rng.choice([name[-2:], name[:2]]) if self.zh else self.rng.choice(words[:1] + words[-1:])
        else:
            stand_ins = banks.ZH_STANDINS if self.zh else banks.EN_STANDINS
            said = self.spoken(self.rng.choice(stand_ins[kind]))
        for article in ("the ", "The ", "") if not self.zh else ("",):
            question = question.replace(article + name, said)
        return question[0].upper() + question[1:]

    def dressed(self, message: str) -> str:
        """The message among the other things that players say in one breath. None of it bears on the answer."""
        space = "" if self.zh else " "
        if self.chance(0.75):
            lead = self.spoken(self.pick(banks.EN_LEADS, banks.ZH_LEADS))
            goes_on = lead.endswith((",", "but")) and not message.startswith("I ")
            message = lead + space + (message[0].lower() if goes_on else message[0]) + message[1:]
        if self.chance(0.35):
            message += space + self.spoken(self.pick(banks.EN_TAILS, banks.ZH_TAILS))
        return message

    def spoken(self, form: str) -> str:
        """A form of what players say, its slots filled."""
        return form.format(
            x=self.word(),
            y=self.word(),
            w=self.pick(lexicon.EN_JOBS, lexicon.ZH_JOBS),
            k=self.pick(lexicon.EN_KIN, lexicon.ZH_KIN),
            m=self.pick(lexicon.EN_TIMES, lexicon.ZH_TIMES),
        )

    def turn(self, prompt: TurnPrompt, lines: list[Line], cast: dict[str, list[str]]) -> tuple[str, ModelTurn]:
        """A message and the answer it asks for."""
        near = list(dict.fromkeys(name for name in (prompt.character, *prompt.people_here) if name))
        who = near[0] if near else ""
        kind = self.rng.random()
        if kind < 0.03 or (not lines and kind < 0.5):
            asked = Asked(self.pick(banks.EN_NONSENSE, banks.ZH_NONSENSE))
        elif kind < 0.18 or not lines:
            message, missing = self.near_miss(cast, lines) if self.chance(0.4) else self.unanswerable(cast, lines)
            asked = Asked(message, missing=missing)
        elif kind < 0.64:
            asked = self.question(lines, cast)
        elif kind < 0.78:
            asked = self.about(lines)
        elif kind < 0.84:
            message = self.pick(banks.EN_OPEN, banks.ZH_OPEN)
            asked = Asked(message, lines[0].section, [0, 1][: min(len(lines), self.rng.choice([1, 2]))])
        elif kind < 0.88:
            asked = self.manner(lines[0].section, who)
        else:
            asked = self.act(prompt, lines, cast, who)
        if kind < 0.78 and self.chance(0.35):
            asked.message = self.dressed(asked.message)
        is_answered = bool(asked.chosen or asked.done) and not asked.missing
        entities = self.entities(prompt, lines, asked.about if is_answered else "")
        return asked.message, ModelTurn(
            narration=self.narration(asked, lines),
            dialogues=self.dialogues(near, entities, asked.mood, is_answered),
            choices=self.choices(prompt, entities, near, cast),
            changes=asked.changes,
        )

    def narration(self, asked: Asked, lines: list[Line]) -> list[ModelSentence]:
        """What the player does is told before what the lore says of it, what nobody knows after what is known."""
        told = [ModelSentence(lore=[n + 1], text=lines[n].told) for n in asked.chosen]
        if asked.missing:
            unknown = self.pick(facts.EN_UNKNOWN, facts.ZH_UNKNOWN).format(o=asked.missing)
            told.append(_uncited(unknown))
        elif asked.done:
            told.insert(0, _uncited(asked.done))
        elif not told:
            told.append(_uncited(self.pick(facts.EN_UNKNOWN_BARE, facts.ZH_UNKNOWN_BARE)))
        if self.chance(0.2):
            told.insert(self.rng.choice([0, len(told)]), _uncited(self.pick(facts.EN_AIR, facts.ZH_AIR)))
        return told

    def question(self, lines: list[Line], cast: dict[str, list[str]]) -> Asked:
        """A message that one line answers, and now and then a second one in the same breath that nothing answers."""
        # Retrieval ranks: what answers is the first line nine times in ten, but a scene's questions share their lines.
        index = 0 if self.chance(0.7) else self.rng.randrange(min(4, len(lines)))
        is_alone = [line.relation for line in lines].count(lines[index].relation) == 1
        message, about = self.ask(lines[index], is_alone=is_alone)
        asked = Asked(message, about, self.also(lines, index))
        if self.chance(0.06):
            second, asked.missing = self.unanswerable(cast, lines)
            asked.message += f"還有，{second}" if self.zh else f" And {second[0].lower()}{second[1:]}"
        return asked

    def near_miss(self, cast: dict[str, list[str]], lines: list[Line]) -> tuple[str, str]:
        """A message that a line would answer, were it not for one name, and that name, which is nearly the line's."""
        known = " ".join(f"{line.section} {line.text}" for line in lines)
        for line in self.rng.sample(lines, len(lines)):
            ways = [way for form in self.forms if form.relation == line.relation for way in form.ways(self.held_out)[1]]
            asked = [(way, slot) for way in ways for slot in "abpqtu" if f"{{{slot}}}" in way]
            if asked:
                way, slot = self.rng.choice(asked)
                name = self.twin(line.slots[slot])
                if name not in known:
                    return fill(way, line.slots | {slot: name}), name
        return self.unanswerable(cast, lines)

    def about(self, lines: list[Line]) -> Asked:
        """A message that asks for a name rather than for a fact."""
        line = self.rng.choice(lines)
        about = self.rng.choice(line.names) if line.names and self.chance(0.3) else line.section
        chosen = [n for n, line in enumerate(lines) if line.section == title_of(about)][:2]
        chosen = chosen or [n for n, line in enumerate(lines) if about in line.told][:1]
        return Asked(self.pick(banks.EN_ABOUT, banks.ZH_ABOUT).format(o=about), about, chosen)

    def manner(self, about: str, who: str) -> Asked:
        """A joke or a threat: no lore answers it, somebody does, if anyone is there."""
        is_threat = self.chance(0.5)
        en, zh = (banks.EN_THREAT, banks.ZH_THREAT) if is_threat else (banks.EN_JOKE, banks.ZH_JOKE)
        message = self.pick(*([way for way in ways if who or "{s}" not in way] for ways in (en, zh))).format(s=who)
        if not who:
            return Asked(message, about, done=self.pick(facts.EN_AIR, facts.ZH_AIR))
        en, zh = (banks.EN_MADE_ANGRY, banks.ZH_MADE_ANGRY) if is_threat else (banks.EN_MADE_GLAD, banks.ZH_MADE_GLAD)
        change = Change(op="change", kind="relationship", name=who, value=-5 if is_threat else 5)
        mood = "angry" if is_threat else "happy"
        return Asked(message, about, done=self.pick(en, zh).format(s=who), mood=mood, changes=[change])

    def also(self, lines: list[Line], index: int) -> list[int]:
        """The asked line, and sometimes the next one of the same section, which goes on from it."""
        follows = index + 1 < len(lines) and lines[index + 1].section == lines[index].section
        return [index, index + 1] if follows and self.chance(0.12) else [index]

    def act(self, prompt: TurnPrompt, lines: list[Line], cast: dict[str, list[str]], who: str) -> Asked:
        """Take, go or give."""
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
        done = told.format(o=named, s=who)
        return Asked(asked.format(o=named, s=who), item, chosen, done=done, changes=changes)

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
        emotion: Emotion
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


def _uncited(text: str) -> ModelSentence:
    return ModelSentence(lore=[], text=text[0].upper() + text[1:])


def _choice(text: str, change: Change | None = None, condition: Condition | None = None) -> ModelChoice:
    return ModelChoice(text=text, conditions=[condition] if condition else [], consequences=[change] if change else [])
