"""Seeded lore lines, whose meaning is known by construction: facts in many forms, and sentences of dictionary words.

Narration is extractive: a line is told as it stands, with a leading pronoun replaced by the section's name. A small
model binds facts badly but copies well.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sagaforge.training.pocket_llm import banks, facts, lexicon

# Of a fact's many wordings of its question, how many are made up: one is asked.
MAX_QUESTIONS = 3


@dataclass
class Line:
    """A lore line, what it would be narrated as, and what can be asked of it. `slots`: what a form of fact was filled
    with."""

    section: str
    text: str
    told: str
    questions: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    slots: dict[str, str] = field(default_factory=dict)
    relation: str = ""


class LoreMaker:
    """Draws names, words and lore lines in one language from a random stream."""

    def __init__(self, rng: random.Random, language: str, held_out: bool = False) -> None:
        self.rng = rng
        self.zh = language != "en"
        self.language = "zh-Hant" if self.zh else "en"
        self.held_out = held_out
        self.words = lexicon.load_lexicon()
        # What the scene's names are made of: in half of the scenes of a few parts, so that names are alike.
        self.kin: Sequence[str] = ()
        if held_out:
            self.kin = lexicon.HELD_OUT_ZH if self.zh else lexicon.HELD_OUT_EN
        elif self.chance(0.5):
            draw = lexicon.zh_kin if self.zh else lexicon.en_kin
            self.kin = draw(rng, self.words, rng.randint(4, 14))
        self.forms = facts.forms("zh" if self.zh else "en")

    # --- names and words ---

    def person(self) -> str:
        return (lexicon.zh_person if self.zh else lexicon.en_person)(self.rng, self.words, self.kin)

    def place(self) -> str:
        return (lexicon.zh_place if self.zh else lexicon.en_place)(self.rng, self.words, self.kin)

    def thing(self) -> str:
        return (lexicon.zh_thing if self.zh else lexicon.en_thing)(self.rng, self.words, self.kin)

    def event(self) -> str:
        return (lexicon.zh_event if self.zh else lexicon.en_event)(self.rng, self.words, self.kin)

    def group(self) -> str:
        return (lexicon.zh_group if self.zh else lexicon.en_group)(self.rng, self.words, self.kin)

    def word(self) -> str:
        return self.words.zh_word(self.rng) if self.zh else self.words.en_word(self.rng)

    def pick(self, en: list[str], zh: list[str]) -> str:
        return self.rng.choice(zh if self.zh else en)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    # --- lore ---

    def cast(self) -> dict[str, list[str]]:
        """The names that a scene's lines share, so that distractors talk of the same people and places."""
        cast = {
            "people": [self.person() for _ in range(self.rng.randint(2, 4))],
            "places": [self.place() for _ in range(self.rng.randint(1, 3))],
            "things": [self.thing() for _ in range(self.rng.randint(2, 4))],
            "events": [self.event()],
            "groups": [self.group()],
        }
        cast["hub"] = [self.rng.choice(cast[self.rng.choice(["people", "places", "things"])])]
        return cast

    def focus(self, cast: dict[str, list[str]]) -> tuple[str, str]:
        """A slot and the name that fills it: whom or what most lines of a scene are about, as they are in play."""
        slot, names = self.rng.choice(
            [("a", "people")] * 5 + [("p", "places")] * 4 + [("t", "things")] * 5 + [("e", "events"), ("g", "groups")]
        )
        return slot, self.rng.choice(cast[names])

    def slots(self, cast: dict[str, list[str]]) -> dict[str, str]:
        """What fills the slots of a form."""
        people = self.rng.sample(cast["people"], 2)
        places = self.rng.sample(cast["places"] + [self.place()], 2)
        things = self.rng.sample(cast["things"], 2)
        return {
            "a": people[0],
            "b": people[1],
            "p": places[0],
            "q": places[1],
            "t": things[0],
            "u": things[1],
            "e": self.rng.choice(cast["events"]),
            "g": self.rng.choice(cast["groups"]),
            "w": self.pick(lexicon.EN_JOBS, lexicon.ZH_JOBS),
            "k": self.pick(lexicon.EN_KIN, lexicon.ZH_KIN),
            "m": self.pick(lexicon.EN_TIMES, lexicon.ZH_TIMES),
            "f": self.pick(lexicon.EN_ABSTRACT, lexicon.ZH_ABSTRACT),
            "n": str(self.rng.choice([self.rng.randint(2, 20), self.rng.randint(20, 3000)])),
            "x": self.word(),
            "y": self.word(),
        }

    def fact(
        self,
        cast: dict[str, list[str]],
        focus: tuple[str, str] | None = None,
        used: Sequence[str] = (),
        relation: str = "",
    ) -> Line:
        """A line from a form of fact; where they are given about `focus`, of no relation in `used`, of `relation`."""
        choices = [form for form in self.forms if form.relation not in used and relation in ("", form.relation)]
        slots = self.slots(cast)
        if focus:
            slot, name = focus
            others = [other for other, filled in slots.items() if filled == name and other != slot]
            for other in others:
                slots[other] = slots[slot]
            slots[slot] = name
            about = [form for form in choices if slot in form.about]
            of_subject = [form for form in about if form.about[0] == slot] if self.chance(0.75) else []
            choices = of_subject or about or choices
        form = self.rng.choice(choices)
        ways_told, ways_asked = form.ways(self.held_out)
        told = fill(self.rng.choice(ways_told), slots)
        if self.chance(0.25):
            told = self.extended(told)
        asked = self.rng.sample(ways_asked, MAX_QUESTIONS) if len(ways_asked) > MAX_QUESTIONS else ways_asked
        questions = [fill(question, slots) for question in asked]
        subject = slots[form.about[0]]
        section = title_of(subject) if self.chance(0.75) else self.heading(cast)
        text = told
        if section == title_of(subject) and not section.startswith("The ") and self.chance(0.35):
            text, told = self.with_pronoun(told, subject, form.about[0])
        names = [slots[slot] for slot in form.about if slot in facts.NAME_SLOTS]
        return Line(section, text, told, questions, names, slots, form.relation)

    def unanswerable(self, cast: dict[str, list[str]], lines: Sequence[Line]) -> tuple[str, str]:
        """A message about a name that the lore lacks, and the name. Half of the names are nearly one that it has."""
        slot, names, make = self.rng.choice(
            [("a", "people", self.person), ("p", "places", self.place), ("t", "things", self.thing)]
        )
        known = " ".join(f"{line.section} {line.text}" for line in lines)
        name = ""
        while not name or name in known:
            name = self.twin(self.rng.choice(cast[names])) if self.chance(0.5) else make()
        form = self.rng.choice(self.forms)
        ways = [way for way in form.ways(self.held_out)[1] if f"{{{slot}}}" in way]
        if ways and self.chance(0.7):
            return fill(self.rng.choice(ways), self.slots(cast) | {slot: name}), name
        return self.pick(banks.EN_ABOUT, banks.ZH_ABOUT).format(o=name), name

    def twin(self, name: str) -> str:
        """Another name that shares a part with this one."""
        if self.zh:
            at = self.rng.randrange(len(name))
            return name[:at] + self.rng.choice(self.words.zh_chars[:1500]) + name[at + 1 :]
        first, *rest = name.removeprefix("the ").split()
        new = lexicon.en_name(self.rng, self.kin)
        if not rest:
            return first[:2] + new.lower()[-4:]
        rest_or_new = [first, new] if self.chance(0.3) else [new if first[0].isupper() else new.lower(), *rest]
        return " ".join(rest_or_new)

    def with_pronoun(self, told: str, subject: str, kind: str) -> tuple[str, str]:
        """The line with its leading subject as a pronoun, and as narrated: with the name."""
        if not told.startswith(subject):
            return told, told
        rest = told[len(subject) :]
        if self.zh:
            return ("它" if kind in "ptueg" else self.rng.choice("他她")) + rest, told
        pronoun = "It" if kind in "ptueg" else self.rng.choice(["He", "She"])
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
            return title_of(self.rng.choice(cast["people"] + cast["places"]))
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
        if self.chance(0.4):
            # Lines of one section tend to begin alike: which line is being copied must be kept in mind.
            name = cast["hub"][0]
            verbs = (["說", "的", "裡", "是", "知道", "在"], ["is", "keeps", "says that", "of", "and", "never"])[
                not self.zh
            ]
            space = "" if self.zh else " "
            text = f"{title_of(name)}{space}{self.rng.choice(verbs)}{space}{text[0].lower()}{text[1:]}"
            section = title_of(name)
        rare = rare or [self.rng.choice(cast["people"])]
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
            link = self.rng.choice(
                ["", "the", "the", "a", "to the", "of the", "in the", "at", "for", "and", "my", "with"]
            )
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
            if kind < 0.50:
                return f"{self.rng.choice(cast['people'])}'s {w()}"
            if kind < 0.58:
                return f"the {w()} of {self.rng.choice(['the ', 'a ', ''])}{w()}"
            if kind < 0.62:
                return f"{w()}-{w()}"
            if kind < 0.66:
                return f"{w()}, {w()} and {w()}"
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
        if self.chance(0.35):
            text = self.echoed(text.split(" "), " ")
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
            if kind < 0.46:
                return f"{self.rng.randint(2, 12)}月{self.rng.randint(1, 30)}日"
            if kind < 0.49:
                return f"{self.rng.randint(1800, 2300)}年"
            if kind < 0.52:
                return f"「{w()}」"
            if kind < 0.56:
                return f"{w()}、{w()}和{w()}"
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
        if self.chance(0.35):
            text = self.echoed(list(text), "")
        text += self.rng.choice(["。", "。", "。", "。", "！", ""])
        return text[:100], [word for word in rare if text.count(word) == 1] or rare

    def echoed(self, parts: list[str], space: str) -> str:
        """The text with a few of its words said again further on, as prose does ("one half ... one third")."""
        for _ in range(self.rng.choice([1, 1, 2])):
            size = self.rng.choice([1, 2, 2, 3])
            if len(parts) > size + 2:
                start = self.rng.randrange(len(parts) - size)
                at = self.rng.randrange(start + size, len(parts))
                parts = [*parts[:at], *parts[start : start + size], *parts[at:]]
        return space.join(parts)

    def lore(self, cast: dict[str, list[str]], wildness: float) -> list[Line]:
        # The bundle's profile gives the pocket model three lines.
        count = self.rng.choice([1, 2, 3, 3, 3, 3, 3, 3, 4, 4, 5, 6])
        focus = self.focus(cast) if self.chance(0.65) else None
        lines: list[Line] = []
        for _ in range(count):
            if self.chance(wildness * (0.4 if focus else 1.0)):
                lines.append(self.entry(cast, focus) if self.chance(0.2) else self.wild(cast))
            elif focus and self.chance(0.85):
                lines.append(self.fact(cast, focus, [line.relation for line in lines]))
            else:
                lines.append(self.fact(cast))
        if self.chance(0.5):
            self.add_rival(lines)
        # Sections come in runs, as the sentences of one chunk do.
        for before, line in itertools.pairwise(lines):
            if self.chance(0.35) and line.told == line.text and not focus:
                line.section = before.section
        # A line may hold two short sentences, as joined lines do in play; it is told whole.
        for line in lines:
            extra = (self.wild(cast) if self.chance(0.5) else self.fact(cast)).told
            if self.chance(0.12) and len(line.text) + len(extra) < (80 if self.zh else 200):
                space = "" if self.zh else " "
                line.text, line.told = f"{line.text}{space}{extra}", f"{line.told}{space}{extra}"
            elif self.chance(0.05) and line.told == line.text:
                line.text = line.told = self.labelled(line)
        for line in lines:
            line.told = curly(line.told)
        return lines

    def add_rival(self, lines: list[Line]) -> None:
        """Put a line of another's relation, about other names, in the place of a third one or behind a lone one.

        Retrieval finds such lines by the words that the question shares with them: then the name decides.
        """
        told = [line for line in lines if line.relation]
        if not told:
            return
        line = self.rng.choice(told)
        rival = line
        while set(rival.slots.values()) & set(line.slots.values()):
            rival = self.fact(self.cast(), relation=line.relation)
        others = [number for number, other in enumerate(lines) if other is not line]
        if others:
            lines[self.rng.choice(others)] = rival
        else:
            lines.append(rival)

    def entry(self, cast: dict[str, list[str]], focus: tuple[str, str] | None) -> Line:
        """A field of a pack's character or scene, as its chunk has it: "Hair color of Oriel Vance: copper"."""
        _slot, name = focus or ("a", self.rng.choice(cast["people"]))
        name = title_of(name)
        kind = self.rng.random()
        prose = self.wild(cast).text
        if kind < 0.15:
            text = f"{name}：{prose}" if self.zh else f"{name}: {prose}"
            return Line(name, text, text, [self.pick(banks.EN_ABOUT, banks.ZH_ABOUT).format(o=name)])
        if kind < 0.3:
            other = self.rng.choice([person for person in cast["people"] if person != name])
            text = f"{name}與{other}：{prose}" if self.zh else f"{name} and {other}: {prose}"
            return Line(name, text, text, [self.pick(banks.EN_BETWEEN, banks.ZH_BETWEEN).format(a=name, b=other)])
        label, *said = self.pick(banks.EN_FIELDS, banks.ZH_FIELDS).split("/")
        if self.chance(0.2):
            label, said = self.word(), []
        value = prose if self.chance(0.4) else self.value()
        text = f"{name}的{label}：{value}" if self.zh else f"{title_of(label)} of {name}: {value}"
        asked = self.pick(banks.EN_FIELD_ASKED, banks.ZH_FIELD_ASKED)
        return Line(name, text, text, [asked.format(o=name, l=self.rng.choice([label, *said]))])

    def value(self) -> str:
        """What a short field holds: a few words, with a number now and then."""
        w = [self.word() for _ in range(self.rng.randint(1, 5))]
        if self.chance(0.25):
            w[0] = (
                f"{self.rng.randint(2, 400)}{self.rng.choice('個名條座年')}"
                if self.zh
                else str(self.rng.randint(2, 400))
            )
        return self.rng.choice(["", "，", "的", "、"]).join(w) if self.zh else self.rng.choice([" ", " ", ", "]).join(w)

    def labelled(self, line: Line) -> str:
        """The line behind a label, as a pack's fields stand in their chunk ("Goal of Oriel: …")."""
        if self.zh:
            label = self.rng.choice(["目標", "背景", "地點", "外貌", "弱點", "祕密", "備註", self.word()])
            return self.rng.choice([f"{line.section}的{label}：", f"{label}：", f"{label}: "]) + line.text
        label = self.rng.choice(["Goal", "Background", "Location", "Looks", "Fear", "Secret", "Note", self.word()])
        label = label.capitalize()
        return (
            self.rng.choice([f"{label} of {line.section}: ", f"{label}: ", f"{line.section}'s {label}: "]) + line.text
        )


def curly(text: str) -> str:
    """Straight double quotes as curly ones: the grammar of a bounded string has no room for an escaped quote."""
    return re.sub(r'"([^"]*)"?', "\u201c\\1\u201d", text)


def _bent(word: str, rng: random.Random) -> str:
    """The word in another form, now and then: a question rarely spells a word as its answer does."""
    if rng.random() < 0.7:
        return word
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            return word[: -len(ending)]
    return word + rng.choice(["s", "ed", "ing"])


def title_of(name: str) -> str:
    """A name as a section's heading spells it."""
    return name[0].upper() + name[1:]


def fill(form: str, slots: dict[str, str]) -> str:
    """The form with its slots filled; "the the" and small first letters mended."""
    text = form.format(**slots)
    text = re.sub(r"\b([Tt]he) the ", r"\1 ", text)
    return text[0].upper() + text[1:]
