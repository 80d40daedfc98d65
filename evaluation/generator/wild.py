"""Seeded lore lines that state no known fact: dictionary words in a sentence's clothes, and the fields of packs.

They teach that any text must be copied, not only what was seen.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from sagaforge.evaluation.generator import banks, lexicon
from sagaforge.evaluation.generator.cast import CastMaker, title_of


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


class WildMaker(CastMaker):
    """Draws lines of dictionary words and of packs' fields from a random stream."""

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


def _bent(word: str, rng: random.Random) -> str:
    """The word in another form, now and then: a question rarely spells a word as its answer does."""
    if rng.random() < 0.7:
        return word
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            return word[: -len(ending)]
    return word + rng.choice(["s", "ed", "ing"])
