"""What the pocket painter can make of any words, English or Chinese: a caption in the few words that it knows.

It learned some three hundred words (`training/pocket/sdxl/wording.py`); a world's own would be noise to it. Texts are
read clause by clause: a colour belongs to what its clause is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Table = Mapping[str, str]

# Word of the caption → what stands for it: English words, and Chinese in either script, separated by blanks.
PERSON: Table = {
    "woman": "woman girl lady she her princess queen witch mother daughter aunt sister 女 她 姑娘 婆 娘 妹 姐 媽 妈",
    "man": "man boy guy he his king prince father uncle brother son 男 他 叔 伯 爺 爷 老頭 老头 兄 弟",
}
COLOUR: Table = {
    "black": "black jet raven 黑 烏 乌",
    "brown": "brown chestnut hazel tan leather 棕 褐 咖啡色",
    "yellow": "yellow golden gold blonde blond amber 黃 黄 金",
    "red": "red ginger crimson scarlet copper rust 紅 红 朱 赤 緋",
    "white": "white ivory 白",
    "silver": "silver grey gray platinum 銀 银 灰",
    "blue": "blue azure navy teal 藍 蓝",
    "green": "green emerald olive 綠 绿 翠",
    "purple": "purple violet 紫",
    "pink": "pink rose 粉",
}
# A colour by the name that it has on what it is of.
OF_HAIR = {"yellow": "blonde", "white": "silver", "green": "blue", "purple": "pink"}
OF_EYES = {
    "purple": "violet",
    "yellow": "amber",
    "black": "brown",
    "red": "brown",
    "silver": "blue",
    "white": "blue",
    "pink": "violet",
}
OF_CLOTHES = {"silver": "white", "pink": "purple"}
HAIR = "hair haired braid braids locks 髮 发 馬尾 马尾 辮 辫 髻"
EYES = "eye eyes eyed 眼 瞳 眸"
HAIR_STYLE: Table = {
    "ponytail": "ponytail 馬尾 马尾 辮 辫",
    "hair in a bun": "bun topknot 髻 盤髮",
    "twin tails": "pigtails twintails 雙馬尾 双马尾",
    "short hair": "short cropped shaved cut 短髮 短发 寸頭 平頭 油頭",
    "long hair": "long flowing braid 長髮 长发",
}
GARMENT: Table = {
    "robe": "robe robes cloak cape vestment habit 袍 斗篷 袈裟 披風 披风",
    "coat": "coat jacket raincoat oilskin uniform suit 外套 大衣 夾克 夹克 西裝 西装 風衣 制服",
    "dress": "dress gown skirt apron 裙 洋裝 旗袍 圍裙 围裙",
    "armour": "armour armor mail plate 盔甲 鎧甲 铠甲",
    "tunic": "tunic shirt vest sweater 襯衫 衬衫 上衣 背心 毛衣 汗衫",
}
BUILD: Table = {
    "slim": "slim slender thin lean lanky 瘦 纖 纤 苗條",
    "sturdy": "sturdy stocky strong broad square burly 壯 壮 結實 结实 胖 寬",
}
ITEM: Table = {
    "holding a lantern": "lantern 燈籠 灯笼 提燈",
    "holding a sword": "sword blade dagger knife 劍 剑 刀",
    "holding a book": "book books ledger notebook 書 书 帳本",
    "holding a staff": "staff wand cane 法杖 杖 拐",
    "with a cat": "cat kitten 貓 猫",
}
PLACE: Table = {
    "a lighthouse": "lighthouse beacon light 燈塔 灯塔",
    "a harbour": "harbour harbor dock docks pier quay port ferry ship boat deck canal island 港 碼頭 码头 船 渡 浮市",
    "a tavern": "tavern inn pub taproom bar cafe kitchen 酒館 酒馆 客棧 咖啡廳 咖啡厅 茶館 茶馆 餐廳",
    "a library": "library archive archives study office bookshop school 圖書館 图书馆 書房 书房 檔案 學校",
    "a castle": "castle fortress palace keep citadel 城堡 宮 宫 要塞",
    "a forest": "forest woods grove jungle garden 森林 樹林 树林 花園 花园",
    "ancient ruins": "ruin ruins temple shrine church tomb graveyard 遺跡 遗迹 廟 庙 寺 神社 墓",
    "a village": "village hamlet market cottage farm street lane 村 夜市 市集 巷 街",
    "the mountains": "mountain mountains hill hills peak cliff 山 嶺 崖",
    "a desert": "desert dunes sand pyramid 沙漠 沙丘",
    "a cave": "cave cavern mine tunnel underground cellar 洞 礦坑 地下 隧道",
    "a city": "city town tower towers downtown metropolis station 城 都市 大樓 塔 樓",
}
TIME: Table = {
    "dawn": "dawn sunrise daybreak morning 黎明 清晨 早晨 日出",
    "sunset": "sunset dusk evening twilight 黃昏 黄昏 傍晚 夕陽 夕阳",
    "night": "night midnight moon moonlight stars neon 夜 月 深夜 霓虹",
    "noon": "noon midday daylight sunny 中午 正午 白天 陽光 阳光",
}
WEATHER: Table = {
    "rain": "rain rainy storm drizzle wet 雨 濕 湿",
    "snow": "snow snowy blizzard winter 雪",
    "fog": "fog foggy mist misty murk haze steam 霧 雾 蒸氣 蒸气",
}
STYLE: Table = {
    "cyberpunk": "cyberpunk neon synthwave 賽博 赛博 霓虹",
    "watercolor": "watercolor watercolour storybook fantasy 水彩 奇幻",
    "pen and ink": "ink sketch linework 墨 素描",
    "anime style": "anime manga cel 動漫 动漫 動畫",
    "realistic": "realistic photorealistic cinematic 寫實 写实",
}
CLAUSES = re.compile(r"[,.;:!?，。；：！？、\n()（）]|\band\b|\bwith\b|\bwearing\b|\bin an?\b")
IS_HAN = re.compile(r"[\u3400-\u9fff]")
# Words that say nothing of what is seen.
UNTOLD = frozenset(
    "a an and are as at before behind by for from has have in into is it its near of on or over that the their there"
    " they this to under was were wearing wears who whose with".split()
)
UNTOLD_HAN = re.compile("[的了在和與与及著着是有個个位名隻只條条]")
MAX_TOLD_CHARS = 1000


def has_chinese(text: str) -> bool:
    return IS_HAN.search(text) is not None


def pocket_prompt(text: str) -> str:
    """A caption of what the text shows, as far as the pocket painter knows it; "" where it knows nothing of it."""
    clauses = [clause for clause in CLAUSES.split(_prepared(text)) if clause.strip()]
    person = _person(clauses)
    place = _first(PLACE, clauses)
    parts = [person] if person else (["landscape"] if place else [])
    for table in (PLACE, TIME, WEATHER, STYLE):
        if found := _first(table, clauses):
            parts.append(found)
    return ", ".join(parts)


def left_out(text: str, caption: str) -> tuple[str, ...]:
    """A note of what the caption of a text does not say; none where it says everything."""
    tables = (PERSON, COLOUR, HAIR_STYLE, GARMENT, BUILD, ITEM, PLACE, TIME, WEATHER, STYLE)
    said = [HAIR] * ("hair" in caption) + [EYES] * ("eyes" in caption)
    told = f" {' '.join(re.findall(r'[a-z]+', caption))} "
    for word, names in (row for table in tables for row in table.items()):
        written = (word, *(own.get(word, word) for own in (OF_HAIR, OF_EYES, OF_CLOTHES)))
        if any(f" {one} " in told for one in written):
            said.append(names)
    words = {name for names in said for name in names.split()} | set(re.findall(r"\w+", caption))
    missing: list[str] = []
    for clause in CLAUSES.split(_prepared(text)):
        missing += _missing(clause, words)
    if not missing:
        return ()
    words_left = ", ".join(dict.fromkeys(missing))
    words_left = words_left if len(words_left) <= MAX_TOLD_CHARS else words_left[:MAX_TOLD_CHARS] + "…"
    return (f"The pocket painter was told {caption!r}; left out, as it has no words for it or no room: {words_left}.",)


def _missing(clause: str, said: set[str]) -> list[str]:
    """Words of a clause that were not said. One Chinese character alone beside a word that was is a part of that."""
    rest = clause
    for name in sorted((word for word in said if IS_HAN.search(word)), key=len, reverse=True):
        rest = rest.replace(name, " ")
    runs = re.findall(r"[\u3400-\u9fff]+", UNTOLD_HAN.sub(" ", rest))
    words = [word for word in re.findall(r"[^\W_]+", re.sub(r"[\u3400-\u9fff]", " ", rest)) if word not in UNTOLD]
    return [run for run in runs if len(run) > 1 or rest == clause] + [word for word in words if word not in said]


def _prepared(text: str) -> str:
    return text.lower().replace("雨衣", "外套").replace("防雨", "")  # against rain is no rain


def _person(clauses: list[str]) -> str:
    """Whoever is there: "a slim woman with black short hair and blue eyes, yellow coat"; "" where nobody is told of."""
    hair = _coloured(clauses, HAIR, OF_HAIR)
    eyes = _coloured(clauses, EYES, OF_EYES)
    garment = _first(GARMENT, clauses)
    clothes = _coloured(clauses, GARMENT[garment], OF_CLOTHES) if garment else ""
    who = _first(PERSON, clauses)
    if not (who or hair or eyes or garment):
        return ""
    style = _first(HAIR_STYLE, [clause for clause in clauses if _has(clause, HAIR)])
    of_head = []
    if hair or style:
        of_head.append(" ".join(part for part in (hair, style or "hair") if part))
    if eyes:
        of_head.append(f"{eyes} eyes")
    build = _first(BUILD, clauses)
    text = " ".join(part for part in ("a", build, who or "woman") if part)
    if of_head:
        text += f" with {' and '.join(of_head)}"
    if garment:
        text += f", {clothes + ' ' if clothes else ''}{garment}"
    if item := _first(ITEM, clauses):
        text += f", {item}"
    return text


def _coloured(clauses: list[str], nouns: str, names: Mapping[str, str]) -> str:
    """The colour of what a clause is about: in it, or in the one before or after the bare noun ("hair: black")."""
    for number, clause in enumerate(clauses):
        if not _has(clause, nouns):
            continue
        for near in (clause, *clauses[number + 1 : number + 2]):
            if colour := _first(COLOUR, [near]):
                return names.get(colour, colour)
    return ""


def _first(table: Table, clauses: list[str]) -> str:
    """The table's word for the first clause that has one; within a clause the one that stands first."""
    for clause in clauses:
        places = {word: _place(clause, names) for word, names in table.items()}
        if found := [word for word, place in places.items() if place is not None]:
            return min(found, key=lambda word: places[word] or 0)
    return ""


def _has(clause: str, names: str) -> bool:
    return _place(clause, names) is not None


def _place(clause: str, names: str) -> int | None:
    """Where the first of the names stands: an English one as a word, a Chinese one anywhere."""
    found = []
    for name in names.split():
        if name.isascii():
            if match := re.search(rf"\b{name}\b", clause):
                found.append(match.start())
        elif (at := clause.find(name)) >= 0:
            found.append(at)
    return min(found, default=None)
