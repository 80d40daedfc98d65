"""Seeded generator of scenes: lore lines whose meaning is known by construction, messages, and the turns they ask for.

A scene is one prompt without its message and several (message, answer) pairs on it, because they can share the
computation of the prompt in training. Narration is extractive: a cited sentence is its lore line, with a leading
pronoun replaced by the section's name. A small model binds facts badly but copies well.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field, replace

from sagaforge.functions.prompt import LoreLine, PastTurn, TurnPrompt
from sagaforge.schemas import Change, Condition, ModelChoice, ModelDialogue, ModelSentence, ModelTurn
from sagaforge.training.pocket_llm import banks, facts, lexicon



@dataclass
class Line:
    """A lore line, what it would be narrated as, and what can be asked of it."""

    section: str
    text: str
    told: str
    questions: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@dataclass
class Scene:
    prompt: TurnPrompt
    turns: list[tuple[str, ModelTurn]]


class SceneMaker:
    """Draws scenes in one language from a random stream."""

    def __init__(self, rng: random.Random, language: str, held_out: bool = False) -> None:
        self.rng = rng
        self.zh = language != "en"
        self.language = "zh-Hant" if self.zh else "en"
        self.held_out = held_out
        self.words = lexicon.load_lexicon()

    # --- names and words ---

    def person(self) -> str:
        return (lexicon.zh_person if self.zh else lexicon.en_person)(self.rng, self.words, self.held_out)

    def place(self) -> str:
        return (lexicon.zh_place if self.zh else lexicon.en_place)(self.rng, self.words, self.held_out)

    def thing(self) -> str:
        return (lexicon.zh_thing if self.zh else lexicon.en_thing)(self.rng, self.words, self.held_out)

    def word(self) -> str:
        return self.words.zh_word(self.rng) if self.zh else self.words.en_word(self.rng)

    def pick(self, en: list[str], zh: list[str]) -> str:
        return self.rng.choice(zh if self.zh else en)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    # --- lore ---

    def cast(self) -> dict[str, list[str]]:
        """The names that a scene's lines share, so that distractors talk of the same people and places."""
        return {
            "people": [self.person() for _ in range(self.rng.randint(2, 4))],
            "places": [self.place() for _ in range(self.rng.randint(1, 3))],
            "things": [self.thing() for _ in range(self.rng.randint(2, 4))],
        }

    def fact(self, cast: dict[str, list[str]]) -> Line:
        """A line from a form of fact."""
        form = self.rng.choice(facts.ZH_FACTS if self.zh else facts.EN_FACTS)
        people = self.rng.sample(cast["people"], 2)
        places = self.rng.sample(cast["places"] + [self.place()], 2)
        things = self.rng.sample(cast["things"], 2)
        slots = {
            "a": people[0],
            "b": people[1],
            "p": places[0],
            "q": places[1],
            "t": things[0],
            "u": things[1],
            "w": self.pick(lexicon.EN_JOBS, lexicon.ZH_JOBS),
            "m": self.pick(lexicon.EN_TIMES, lexicon.ZH_TIMES),
            "f": self.pick(lexicon.EN_ABSTRACT, lexicon.ZH_ABSTRACT),
            "n": str(self.rng.choice([self.rng.randint(2, 20), self.rng.randint(20, 3000)])),
            "x": self.word(),
            "y": self.word(),
        }
        told = _fill(self.rng.choice(form.told), slots)
        if self.chance(0.3):
            told = self.extended(told)
        questions = [_fill(question, slots) for question in form.asked]
        subject = slots[form.about[0]] if form.about[0] in slots else places[0]
        section = _title(subject) if self.chance(0.75) else self.heading(cast)
        text = told
        if section == _title(subject) and not section.startswith("The ") and self.chance(0.35):
            text, told = self.with_pronoun(told, subject, form.about[0])
        names = [slots[letter] for letter in form.about if letter in slots and letter in "abpqtu"]
        return Line(section, text, told, questions, names)

    def with_pronoun(self, told: str, subject: str, kind: str) -> tuple[str, str]:
        """The line with its leading subject as a pronoun, and as narrated: with the name."""
        if not told.startswith(subject):
            return told, told
        rest = told[len(subject) :]
        if self.zh:
            return ("它" if kind in "pqtu" else self.rng.choice("他她")) + rest, told
        pronoun = "It" if kind in "pqtu" else self.rng.choice(["He", "She"])
        return pronoun + rest, told

    def extended(self, text: str) -> str:
        """The sentence with a further clause."""
        w = [self.word() for _ in range(4)]
        if self.zh:
            tail = [
                f"，因為{w[0]}的{w[1]}", f"，而且{w[0]}{w[1]}", f"，但是沒有{w[0]}", f"，只留下{w[0]}和{w[1]}",
                f"，這讓{w[0]}非常{w[1]}", f"，雖然{w[0]}已經{w[1]}{w[2]}", f"——至少{w[0]}這麼說",
            ]  # fmt: skip
        else:
            tail = [
                f", because the {w[0]} was {w[1]}", f", and the {w[0]} still {w[1]}", f", but never without {w[0]}",
                f", leaving only {w[0]} and {w[1]}", f", which made the {w[0]} {w[1]} {w[2]}",
                f", though {w[0]} {w[1]} say otherwise", f" - or so the {w[0]} claims", f"; nobody saw the {w[1]}",
            ]  # fmt: skip
        return text[:-1] + self.rng.choice(tail) + text[-1]

    def heading(self, cast: dict[str, list[str]]) -> str:
        """A section's name that is not the subject of its line."""
        kind = self.rng.random()
        if kind < 0.4:
            return _title(self.rng.choice(cast["people"] + cast["places"]))
        if kind < 0.6:
            return self.pick(
                ["History", "Rumours", "People", "Places", "Secrets", "Rules", "Factions", "The city", "Overview"],
                ["歷史", "傳聞", "人物", "地點", "祕密", "規則", "勢力", "城市", "背景"],
            )
        if self.zh:
            return self.word() + self.rng.choice(["", "與", "的"]) + self.word()
        return f"{self.rng.choice(['The ', ''])}{self.word().capitalize()} {self.word()}"

    def wild(self, cast: dict[str, list[str]]) -> Line:
        """A line of dictionary words in a sentence's clothes: any text must be copied, not only what was seen."""
        text, rare = self.wild_zh(cast) if self.zh else self.wild_en(cast)
        section = self.heading(cast)
        keys = self.rng.sample(rare, min(len(rare), self.rng.choice([1, 2, 2, 3, 4])))
        if self.chance(0.7):
            keys.sort(key=text.find)
        return Line(section, text, text, [self.keyword_question(keys)], [])

    def keyword_question(self, keys: list[str]) -> str:
        """A message that shares words with a line, some of them bent, among words that it does not share."""
        if len(keys) < 3 and self.chance(0.4):
            joint = self.rng.choice(["", "", "的", "和"]) if self.zh else self.rng.choice([" ", " ", " and ", " the "])
            return self.pick(banks.EN_WORDS, banks.ZH_WORDS).format(o=joint.join(keys))
        words = list(keys)
        if self.chance(0.35):
            words.insert(self.rng.randint(0, len(words)), self.word())
        if self.zh:
            # Part of a word is enough to know it by.
            words = [word[:2] if len(word) > 2 and self.chance(0.3) else word for word in words]
            asked = self.rng.choice("為什麼 怎麼 是誰 什麼時候 哪裡 多少 哪個 是什麼".split())
            words.insert(self.rng.randint(0, len(words)), asked)
            text = words[0]
            for word in words[1:]:
                text += self.rng.choice(["", "", "的", "在", "有", "會", "了", "讓", "和", "是"]) + word
            return text + self.rng.choice(["？", "？", "", "的？", "呢？"])
        asked = self.rng.choice(
            ["How does", "What is", "Who", "When did", "Where does", "Why is", "Which", "How many", "What happens when",
             "Is it true that", "How long does", "What does", "Do you know if", "I want to know why", "Can", "Does"]
        )  # fmt: skip
        text = asked
        for word in words:
            link = self.rng.choice(["", "the", "the", "a", "to the", "of the", "in the", "at", "for", "and", "my", "with"])
            text += f" {link} {_bent(word, self.rng)}" if link else f" {_bent(word, self.rng)}"
        return text + self.rng.choice(["?", "?", "?", ""])

    def wild_en(self, cast: dict[str, list[str]]) -> tuple[str, list[str]]:
        rare: list[str] = []

        def w() -> str:
            rare.append(self.word())
            return rare[-1]

        def noun() -> str:
            kind = self.rng.random()
            if kind < 0.2:
                return self.rng.choice(cast["people"])
            if kind < 0.3:
                return self.rng.choice(cast["places"])
            if kind < 0.35:
                return f"the {self.rng.choice(cast['things'])}"
            if kind < 0.42:
                return f"{self.rng.randint(2, 999)} {w()}s"
            article = self.rng.choice(["the", "the", "a", "her", "his", "their", "every", "no", "this"])
            return f"{article} {w()} {w()}" if self.chance(0.4) else f"{article} {w()}"

        def clause() -> str:
            verb = self.rng.choice([
                "is", "was", "has", "had", "keeps", "found", "took", "made", "wants", "can", "will", "never", "said",
                "gave", "holds", "hears", "runs", "does not", "must", "used to", "may",
            ])  # fmt: skip
            verb = f"{verb} {w()}" if self.chance(0.6) else verb
            preposition = self.rng.choice(
                "in on under over with without from to by for near against behind between".split()
            )
            parts = [noun(), verb, noun()]
            if self.chance(0.6):
                parts += [preposition, noun()]
            if self.chance(0.2):
                parts.append(self.rng.choice(lexicon.EN_TIMES))
            return " ".join(parts)

        text = clause()
        for _ in range(self.rng.choice([0, 0, 1, 1, 2])):
            if len(text) < 150:
                joint = self.rng.choice([", and", ", but", "; ", " because", " when", ", so", ": ", " while", ", who"])
                text += f"{joint} {clause()}".replace("  ", " ")
        if self.chance(0.12):
            text += self.rng.choice([f', "{w()} {w()}"', f" ({w()} {w()})", f" – {w()}", f', which is "{w()}"'])
        text = text[0].upper() + text[1:] + self.rng.choice([".", ".", ".", ".", "!", "…"])
        return text[:260], [word for word in rare if text.lower().count(word) == 1] or rare

    def wild_zh(self, cast: dict[str, list[str]]) -> tuple[str, list[str]]:
        rare: list[str] = []

        def w() -> str:
            rare.append(self.word())
            return rare[-1]

        def noun() -> str:
            kind = self.rng.random()
            if kind < 0.2:
                return self.rng.choice(cast["people"])
            if kind < 0.3:
                return self.rng.choice(cast["places"])
            if kind < 0.36:
                return self.rng.choice(cast["things"])
            if kind < 0.43:
                return f"{self.rng.randint(2, 999)}{self.rng.choice('個名條座年次')}{w()}"
            return f"{w()}的{w()}" if self.chance(0.35) else self.rng.choice(["", "", "那", "這個", "每個"]) + w()

        def clause() -> str:
            verb = self.rng.choice(
                "是 有 在 把 被 讓 會 說 想 沒有 從 向 給 和 拿著 找到 不能 必須 曾經 仍然 為了".split()
            )
            return noun() + verb + (w() if self.chance(0.6) else "") + self.rng.choice(["", "", "了", "著"]) + noun()

        text = clause()
        for _ in range(self.rng.choice([0, 1, 1, 2, 3])):
            if len(text) < 60:
                text += self.rng.choice(["，", "，", "，", "；", "，但", "，因為", "，於是", "、", "："]) + clause()
        if self.chance(0.12):
            text += self.rng.choice([f"「{w()}{w()}」", f"（{w()}）", f"——{w()}"])
        text += self.rng.choice(["。", "。", "。", "。", "！", ""])
        return text[:100], [word for word in rare if text.count(word) == 1] or rare

    def lore(self, cast: dict[str, list[str]], wildness: float) -> list[Line]:
        count = self.rng.choice([1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 10, 12])
        lines = [self.wild(cast) if self.chance(wildness) else self.fact(cast) for _ in range(count)]
        # Sections come in runs, as the sentences of one chunk do.
        for before, line in zip(lines, lines[1:], strict=False):
            if self.chance(0.35) and line.told == line.text:
                line.section = before.section
        # A line may hold two short sentences, as joined lines do in play; it is told whole.
        for line in lines:
            extra = self.wild(cast).text
            if self.chance(0.1) and len(line.text) + len(extra) < (80 if self.zh else 200):
                space = "" if self.zh else " "
                line.text, line.told = f"{line.text}{space}{extra}", f"{line.told}{space}{extra}"
        for line in lines:
            line.told = curly(line.told)
        return lines

    # --- prompts ---

    def scene(self, wildness: float, turns: int) -> Scene:
        """A prompt and `turns` messages with their answers."""
        cast = self.cast()
        lines = self.lore(cast, wildness)
        someone = self.rng.choice(cast["people"])
        heard = self.wild(cast)
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
            relationships=[f"{someone} (acquaintance, affinity {self.rng.randint(0, 100)})"] if self.chance(0.4) else [],
            established=[self.fact(cast).told] if self.chance(0.12) else [],
            history=[PastTurn(self.ask(heard)[0], heard.told)] if self.chance(0.25) else [],
            lore=[LoreLine(f"c{number}", line.section, line.text) for number, line in enumerate(lines)],
        )
        if self.chance(0.05):
            lines, prompt = [], replace(prompt, lore=[])
        pairs = []
        for _ in range(turns):
            message, turn = self.turn(prompt, lines, cast)
            if self.zh and self.chance(0.25):
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
        mood, missing = "", ""
        kind = self.rng.random()
        chosen: list[int] = []
        about = ""
        if not lines or kind < 0.13:
            about = missing = self.rng.choice([self.person, self.place, self.thing])()
            if kind < 0.05 or not lines and self.chance(0.5):
                missing, message = "", self.pick(banks.EN_NONSENSE, banks.ZH_NONSENSE)
                about = ""
            elif self.zh:
                message = self.pick([], banks.ZH_ABOUT).format(o=about)
            else:
                message = self.rng.choice(banks.EN_ABOUT).format(o=about)
        elif kind < 0.60:
            # Retrieval ranks: what answers is usually near the top.
            near_top = self.rng.choice([1, 3, 3, len(lines)])
            index = self.rng.randrange(min(near_top, len(lines)))
            message, about = self.ask(lines[index])
            chosen = self.also(lines, index)
        elif kind < 0.76:
            index = self.rng.randrange(len(lines))
            about = lines[index].section
            message = self.pick(banks.EN_ABOUT, banks.ZH_ABOUT).format(o=about)
            chosen = [n for n, line in enumerate(lines) if line.section == about][:2]
        elif kind < 0.84:
            message, chosen = self.pick(banks.EN_OPEN, banks.ZH_OPEN), [0, 1][: min(len(lines), self.rng.choice([1, 2]))]
            about = lines[0].section
        elif kind < 0.88:
            bank, mood = [
                (self.pick(banks.EN_JOKE, banks.ZH_JOKE), "happy"),
                (self.pick(banks.EN_THREAT, banks.ZH_THREAT), "angry"),
            ][self.chance(0.5)]
            message = bank.format(s=who or self.pick(["them"], ["他們"]))
            chosen, about = [0], lines[0].section
            if who:
                value = -5 if mood == "angry" else 5
                changes = [Change(op="change", kind="relationship", name=who, value=value)]
        else:
            message, chosen, about, changes = self.act(prompt, lines, cast, who)
        narration = [ModelSentence(lore=[n + 1], text=lines[n].told) for n in chosen]
        if not chosen:
            if missing:
                text = self.pick(facts.EN_UNKNOWN, facts.ZH_UNKNOWN).format(o=missing)
            else:
                text = self.pick(facts.EN_UNKNOWN_BARE, facts.ZH_UNKNOWN_BARE)
            narration = [ModelSentence(lore=[], text=text[0].upper() + text[1:])]
        if self.chance(0.25):
            air = ModelSentence(lore=[], text=self.pick(facts.EN_AIR, facts.ZH_AIR))
            narration.insert(self.rng.choice([0, len(narration)]), air)
        entities = self.entities(prompt, lines, about if chosen else "")
        dialogues = self.dialogues(near, entities, mood, bool(chosen))
        choices = self.choices(prompt, entities, near, cast)
        return message, ModelTurn(narration=narration, dialogues=dialogues, choices=choices, changes=changes)

    def also(self, lines: list[Line], index: int) -> list[int]:
        """The asked line, and sometimes the next one of the same section, which goes on from it."""
        follows = index + 1 < len(lines) and lines[index + 1].section == lines[index].section
        return [index, index + 1] if follows and lines[index].names else [index]

    def act(
        self, prompt: TurnPrompt, lines: list[Line], cast: dict[str, list[str]], who: str
    ) -> tuple[str, list[int], str, list[Change]]:
        """Take, go or give: message, lines narrated, what it is about, changes of the state."""
        kind = self.rng.choice(["take", "go", "go", "give"])
        if kind == "give" and prompt.inventory and who:
            item = self.rng.choice(prompt.inventory)
            message = self.pick(banks.EN_GIVE, banks.ZH_GIVE).format(o=self.the(item), s=who)
            changes = [
                Change(op="remove", kind="item", name=item),
                Change(op="change", kind="relationship", name=who, value=5),
            ]
        elif kind == "go":
            item = self.rng.choice(cast["places"])
            message = self.pick(banks.EN_MOVE, banks.ZH_MOVE).format(o=item)
            changes = [Change(op="set", kind="location", name=item.removeprefix("the "))]
        else:
            item = self.rng.choice(cast["things"])
            message = self.pick(banks.EN_TAKE, banks.ZH_TAKE).format(o=self.the(item))
            changes = [Change(op="add", kind="item", name=item)]
        chosen = [n for n, line in enumerate(lines) if item in line.text or item in line.section][:1] or [0]
        return message, chosen, item, changes

    def the(self, item: str) -> str:
        return item if self.zh or self.chance(0.3) else f"the {item}"

    def entities(self, prompt: TurnPrompt, lines: list[Line], about: str) -> list[str]:
        """What can be named in choices, spelt as the prompt spells it; the current topic first."""
        named = [line.section for line in lines]
        named += [name for line in lines for name in line.names if name in line.text]
        named += [*prompt.people_here, *([prompt.location] if prompt.location else [])]
        self.rng.shuffle(named)
        ordered = list(dict.fromkeys([about, *named] if about else named))
        return [name for name in ordered if 0 < len(name) <= 40]

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
            said = banks.ZH_SAID if self.zh else banks.EN_SAID
            emotion = self.rng.choice(list(said))
            text = self.rng.choice(said[emotion]).format(o=entities[0])
        return [ModelDialogue(speaker=near[0], emotion=emotion, text=text[0].upper() + text[1:])]

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
            if "{s}" in form and not others or self.chance(0.25):
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


def curly(text: str) -> str:
    """Straight double quotes as curly ones: the grammar of a bounded string has no room for an escaped quote."""
    return re.sub(r'"([^"]*)"?', "\u201c\\1\u201d", text)


def serialise_text(text: str) -> str:
    """A text as it stands between the quotes of an answer."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _choice(text: str, change: Change | None = None, condition: Condition | None = None) -> ModelChoice:
    return ModelChoice(text=text, conditions=[condition] if condition else [], consequences=[change] if change else [])


def _bent(word: str, rng: random.Random) -> str:
    """The word in another form, now and then: a question rarely spells a word as its answer does."""
    if rng.random() < 0.7:
        return word
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            return word[: -len(ending)]
    return word + rng.choice(["s", "ed", "ing"])


def _title(name: str) -> str:
    return name[0].upper() + name[1:]


def _fill(form: str, slots: dict[str, str]) -> str:
    """The form with its slots filled; "the the" and small first letters mended."""
    text = form.format(**slots)
    text = re.sub(r"\b([Tt]he) the ", r"\1 ", text)
    return text[0].upper() + text[1:]
