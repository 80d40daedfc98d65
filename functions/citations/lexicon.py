"""The closed word lists of the citation gate: what carries a fact and so may not be swapped, and what carries none.

Chinese entries are in folded (simplified) form, as `sagaforge.text.terms.fold` makes them.
"""

from __future__ import annotations

from sagaforge.text.terms import STOP_WORDS, stem


def _words(text: str) -> list[str]:
    return text.split()


def _stems(words: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words.split())


# --- English --------------------------------------------------------------------------------------------------------

NEGATORS = frozenset(_words("no not never without nobody nothing none neither nor cannot nowhere"))

# Words that narrate rather than claim: they need no support.
NARRATOR = _stems(
    "say tell speak ask answer reply explain mention remember recall know hear see look nod smile whisper murmur shrug "
    "story lore record word tale indeed perhaps now here well yes reader quietly softly slowly again still "
    "however therefore thus although though whereas according"
)
FUNCTION_WORDS = frozenset(stem(word) for word in STOP_WORDS) | STOP_WORDS | {"though", "also", "th", "rd", "nd", "st"}

AUXILIARIES = _stems("is are was were has have had do does did can could will would may must")

# One of these that the line does not say is a swapped or an added fact, however alike the rest is.
ATTRIBUTES = _stems(
    "red green blue yellow black white grey gray brown orange purple violet pink golden gold silver scarlet crimson "
    "amber pale dark bright "
    "big small large little great tiny huge tall short long wide narrow deep shallow high low heavy light thick thin "
    "fast slow full empty half double whole single "
    "north south east west northern southern eastern western left right upper lower inner outer above below under over "
    "inside outside front behind before after first last next previous top bottom near far "
    "old young new ancient modern early late eldest youngest elder younger older newer "
    "hot cold warm cool wet dry hard soft open closed shut sealed broken whole clean dirty safe dangerous poor rich "
    "alive dead living true false good bad best worst better worse "
    "brass iron steel copper bronze bone wood wooden stone glass gold silver tin lead clay paper leather cloth marble "
    "mother father sister brother son daughter wife husband uncle aunt cousin grandmother grandfather friend enemy "
    "master servant apprentice widow twin rival ally king queen "
    "all some every each most few many several only always often sometimes rarely seldom hardly once twice "
    "morning noon evening night midnight dawn dusk spring summer autumn winter day week month year hour minute second "
    "monday tuesday wednesday thursday friday saturday sunday "
    "love hate fear trust win lose begin end start stop rise fall buy sell give take build destroy save kill "
    "more less fewer larger smaller longer shorter higher lower "
    "loud quiet silent round square straight crooked sharp blunt sweet sour bitter salt fresh "
    "male female man woman boy girl"
)

# A line and a claim may differ in tense. Forms that are another word's base ("found", "left", "wound") stay out.
IRREGULAR = {
    form: stem(base)
    for base, forms in {
        "run": "ran",
        "light": "lit",
        "fight": "fought",
        "lead": "led",
        "lose": "lost",
        "keep": "kept",
        "hold": "held",
        "build": "built",
        "write": "wrote written",
        "give": "gave given",
        "take": "took taken",
        "sell": "sold",
        "tell": "told",
        "say": "said",
        "make": "made",
        "see": "saw seen",
        "know": "knew known",
        "go": "went gone",
        "come": "came",
        "stand": "stood",
        "begin": "began begun",
        "break": "broke broken",
        "draw": "drew drawn",
        "grow": "grew grown",
        "wear": "wore worn",
        "send": "sent",
        "buy": "bought",
        "bring": "brought",
        "catch": "caught",
        "teach": "taught",
        "pay": "paid",
        "drive": "drove driven",
        "ride": "rode ridden",
        "rise": "rose risen",
        "sink": "sank sunk",
        "steal": "stole stolen",
        "speak": "spoke spoken",
        "hide": "hid hidden",
        "sleep": "slept",
        "wake": "woke woken",
        "win": "won",
        "die": "dying",
        "man": "men",
        "woman": "women",
        "child": "children",
        "person": "people",
        "foot": "feet",
    }.items()
    for form in forms.split()
}

UNITS = {
    word: value
    for value, word in enumerate(
        _words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        )
    )
}
# A number's unit says as much as its word does: "€3" is 3 euro.
UNIT_SIGNS = {"€": "euro", "$": "dollar", "£": "pound", "¥": "yen", "%": "percent", "‰": "permille", "°": "degree"}
TENS = {word: 10 * n for n, word in enumerate(_words("twenty thirty forty fifty sixty seventy eighty ninety"), 2)}
SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "dozen": 12}
ORDINALS = {
    word: value
    for value, word in enumerate(
        _words(
            "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
            "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
        ),
        1,
    )
} | {"thirtieth": 30, "hundredth": 100}

# --- Chinese --------------------------------------------------------------------------------------------------------

HAN_NEGATORS = frozenset("不没未无非别莫勿")
# Words with a negator in them that negate nothing.
NO_NEGATION = _words(
    "不过 不但 不仅 不久 不同 不只 不管 不断 不如 不论 不禁 不时 差不多 无论 无线 无人机 未来 未婚 非常 非法 除非 别人 "
    "特别 分别 告别 类别 性别 别墅 无妨 不少 不满 不足"
)
HAN_FUNCTION = frozenset(
    "的了是在有和与及而就也都又还才却但且则曾已经会能可要让使被把由为以于从到向对跟给所其此该这那他她它们你您我之地得着过"
    "个位名吧呢吗啊呀嘛么很更最太只将并或如因便即仍再那于"
)
HAN_NARRATOR = _words(
    "说道 告诉 知道 听说 据说 听见 看见 记得 记载 原来 其实 似乎 也许 传说 故事 提到 解释 回答 轻声 低声 点头 微笑 "
    "望着 看着 因此 所以 然而 虽然 不过 于是 这里 那里 如今 现在"
)
HAN_ATTRIBUTES = frozenset(
    "红绿蓝黄黑白灰棕橙紫粉金银朱青大小高矮低长短宽窄深浅厚薄轻重快慢多少左右东西南北上下前后内外里顶底新旧老幼早晚"
    "冷热湿干硬软开关真假好坏男女父母兄弟姐妹儿女夫妻师徒敌友死活春夏秋冬晨午夜昼日月年时分秒全半每仅总常铜铁钢木石"
)
HAN_PASSIVE = frozenset("被把由所受")
HAN_ADJUNCT = frozenset("在从于到自当每")
HAN_TIME = frozenset("年月日点时岁天周")
