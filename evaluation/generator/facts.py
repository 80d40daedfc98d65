"""Forms of facts and of the questions that they answer, in English and Traditional Chinese.

They stand in facts_en.txt and facts_zh.txt, a relation a block: its name and its slots, ways to tell it, ways to ask for
it. A question fits its own relation only, so that among several lines about one name just one answers. What follows
` || ` is kept for scoring: a model never sees it in training.

A slot is one letter in braces: a b people, p q places, t u things, e an event, g a group, w job, k kinship, m time,
f fear, n number, x y dictionary words. The first slot of a block is its subject, whose name is the section of the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

NAME_SLOTS = "abpqtueg"


@dataclass(frozen=True)
class FactForm:
    """One relation: its slots, ways to tell it and ways to ask for it, in training and held out of it."""

    relation: str
    about: str
    told: tuple[str, ...]
    asked: tuple[str, ...]
    told_held_out: tuple[str, ...]
    asked_held_out: tuple[str, ...]

    def ways(self, held_out: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ways to tell it, ways to ask for it."""
        return (self.told_held_out, self.asked_held_out) if held_out else (self.told, self.asked)


@lru_cache
def forms(language: str) -> tuple[FactForm, ...]:
    """All relations in `en` or `zh`."""
    text = (files(__package__) / f"facts_{language}.txt").read_text(encoding="utf-8")
    return tuple(_form(block) for block in text.strip().split("\n\n"))


def _form(block: str) -> FactForm:
    head, told, asked = block.split("\n")
    relation, about = head.removeprefix("[").split("] ")
    (told_seen, told_held), (asked_seen, asked_held) = (
        [tuple(ways.split(" | ")) for ways in line.split(" || ")] for line in (told, asked)
    )
    return FactForm(relation, about, told_seen, asked_seen, told_held, asked_held)


# Sentences with no fact in them: they may stand uncited in a narration.
EN_AIR = """The air is still for a moment.|Somewhere a door closes.|You wait, and listen.|Light moves across the wall.|A cup is set down.
The silence stretches.|You lean closer.|Footsteps pass outside and fade.|Nobody hurries you.|The question hangs in the air.
For a while there is only breathing.|A shutter creaks in the wind.|You feel eyes on your back.|The light changes a little.
Someone clears a throat.|You take a step forward.|The moment passes slowly.|Dust turns in the light.|You gather your thoughts.
The answer comes quietly.|Around you the talk dies down.|A breath, and then the words come.|You keep your hands still.|Time seems to slow.""".replace(
    "\n", "|"
).split("|")
ZH_AIR = """空氣安靜了片刻。|遠處有扇門關上了。|你靜靜等著，豎起耳朵。|光線在牆上移動。|有人放下了杯子。|沉默慢慢拉長。|你靠近了一些。
外頭的腳步聲漸漸遠去。|沒有人催你。|問題懸在空中。|一時之間只剩呼吸聲。|窗板在風中輕響。|你感覺到背後的目光。|光線微微變了。
有人清了清喉嚨。|你向前走了一步。|時間彷彿慢了下來。|塵埃在光裡打轉。|你整理了一下思緒。|答案輕輕地傳來。|四周的交談聲停了。|你深吸一口氣。""".replace(
    "\n", "|"
).split("|")

# What is said when the lore does not answer. {o}: what was asked for.
EN_UNKNOWN = """No one here can tell you anything about {o}.|Nobody you ask has heard of {o}.|About {o} the stories are silent.|You find nothing about {o}.
If anyone knows about {o}, they are not saying.|The name {o} means nothing to anyone here.|You ask around, but {o} is unknown here.""".replace(
    "\n", "|"
).split("|")
EN_UNKNOWN_BARE = """Nobody here can answer that.|No one has an answer for you.|The stories say nothing of this.|You wait for an answer, but none comes.
Only puzzled looks answer you.|That is something nobody here knows.|You find nothing that would answer it.""".replace(
    "\n", "|"
).split("|")
ZH_UNKNOWN = """這裡沒有人知道{o}的事。|沒有人聽說過{o}。|關於{o}，傳說中隻字未提。|你找不到任何關於{o}的線索。|就算有人知道{o}，也沒有人說出口。
{o}這個名字對大家來說很陌生。|你四處打聽，沒有人認得{o}。""".replace("\n", "|").split("|")
ZH_UNKNOWN_BARE = """這裡沒有人能回答。|沒有人有答案。|傳說中沒有提到這件事。|你等著回答，卻什麼也沒有。|回應你的只有困惑的眼神。|這件事沒有人知道。|你找不到任何答案。""".replace(
    "\n", "|"
).split("|")
