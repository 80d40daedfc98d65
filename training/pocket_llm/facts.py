"""Forms of facts and of the questions that they answer, in English and Traditional Chinese.

A slot is one letter in braces: a b c people, p q places, t u things, w job, m time, f fear or dislike, n number,
x y dictionary words. The first name in `FactForm.about` is the subject, whose name is the section of the line.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FactForm:
    """Ways to tell one kind of fact, and ways to ask for it."""

    about: str
    told: tuple[str, ...]
    asked: tuple[str, ...]


def _forms(text: str) -> list[FactForm]:
    forms = []
    for block in text.strip().split("\n\n"):
        about, told, asked = block.split("\n")
        forms.append(FactForm(about.strip(), tuple(told.split(" | ")), tuple(asked.split(" | "))))
    return forms


EN_FACTS = _forms("""
ap
{a} is a {w} in {p}. | {a} works as a {w} at {p}. | {a}, a {w}, came to {p} {n} years ago. | {a} has been the {w} of {p} since {m}.
Who is the {w} of {p}? | What does {a} do? | Who works at {p}? | Tell me about the {w} in {p}. | What is {a}'s work?

apt
{a} hid the {t} in {p}. | {a} keeps the {t} under a floorboard in {p}. | {a} lost the {t} somewhere near {p} {m}. | {a} left the {t} behind in {p}, wrapped in {x} cloth.
Where is the {t}? | Where did {a} hide the {t}? | What did {a} leave in {p}? | Who hid the {t}? | I look for the {t}.

af
{a} is afraid of {f}. | {a} fears {f} more than anything else. | {a} cannot bear {f}, and no one knows why. | {a} never sleeps well because of {f}.
What is {a} afraid of? | What does {a} fear? | Is {a} scared of anything? | What frightens {a}?

ab
{a} and {b} have not spoken since {m}. | {a} secretly loves {b}. | {a} owes {b} {n} coins. | {a} trusts {b} with everything but the {x}. | {a} is the older sister of {b}. | {a} taught {b} everything about {x}. | {a} betrayed {b} over a {x} {m}.
What is between {a} and {b}? | How does {a} know {b}? | Does {a} trust {b}? | What happened between {a} and {b}? | Tell me about {a} and {b}. | Are {a} and {b} friends?

p
{p} was built {n} years ago by {x} traders. | {p} stands above the {x} and smells of {y}. | {p} is open only {m}. | {p} burned down {m} and was rebuilt in stone. | No one lives in {p} any more except {n} cats. | At the centre of {p} stands a {x} pillar that nobody dares to touch.
What is {p}? | Describe {p}. | What is {p} like? | Who built {p}? | When is {p} open? | Tell me more about {p}.

pq
{p} lies {n} steps north of {q}. | A hidden stair leads from {p} down to {q}. | The road from {p} to {q} is closed {m}. | You can reach {p} only by boat from {q}.
How do I get to {p}? | How can I reach {p} from {q}? | Is there a way from {p} to {q}? | Where is {p}? | Where does the road from {q} lead?

tp
The {t} opens the door of {p}. | The {t} was found in {p} {m}. | The {t} has {n} marks on it, one for each winter. | The {t} glows whenever someone lies. | The {t} is worth {n} coins in {p}.
What is the {t}? | What does the {t} do? | What is the {t} for? | Where was the {t} found? | How much is the {t} worth? | I examine the {t}.

ta
The {t} belonged to {a} before it was stolen. | The {t} was made by {a} out of {x} and {y}. | The {t} was a gift from {a}. | The {t} will only answer to {a}.
Who made the {t}? | Whose is the {t}? | Who owned the {t}? | Where does the {t} come from? | Who gave away the {t}?

a
{a} has never told anyone that the {x} was a forgery. | {a} knows {n} words of the {x} language. | {a} speaks slowly and counts every {x}. | {a} wears a {x} coat and limps a little. | {a} dreams of leaving for the {x} coast. | {a} drinks {x} tea {m}. | {a} once saved {n} people from the {x}. | {a} lies about the {x} when asked. | {a} was born {m}, in a house of {x} and {y}.
Who is {a}? | Tell me about {a}. | What is {a}'s secret? | What does {a} look like? | What does {a} want? | What do you know about {a}? | Why does {a} lie? | Where was {a} born?

aw
{a} pays {n} coins for any news of the {t}. | {a} wants the {t} and will trade a {u} for it. | {a} searched {n} nights for the {t}. | {a} sold the {t} to a stranger {m}. | {a} carries the {t} everywhere. | {a} broke the {t} and blamed the {x}.
Who wants the {t}? | What does {a} want with the {t}? | Who has the {t}? | What did {a} do with the {t}? | Why does {a} need the {t}? | Who sold the {t}?

pa
{p} belongs to {a}, who never comes. | {p} is guarded by {a} and {n} dogs. | {p} has been ruled by {a} since {m}. | {p} closed when {a} vanished. | {p} is where {a} buried the {t}.
Who owns {p}? | Who guards {p}? | Who rules {p}? | What happened at {p}? | What is buried in {p}? | Why did {p} close?

ma
The {x} festival is held {m}, and {a} lights the first lamp. | The war of the {x} ended when {a} signed the {y} treaty. | The {x} plague took {n} lives in {p}. | The {x} guild meets {m} in {p} behind a {y} door. | The law of {p} forbids anyone to sell {x}.
Tell me about the {x}. | When is the {x}? | What is the {x}? | Why is the {x} important? | How did the {x} end? | What do people say of the {x}?
""")

ZH_FACTS = _forms("""
ap
{a}是{p}的{w}。 | {a}在{p}當{w}，已經{n}年了。 | {a}原本是{w}，{m}才搬到{p}。 | {p}的{w}名叫{a}。
{p}的{w}是誰？ | {a}是做什麼的？ | 誰在{p}工作？ | {a}的工作是什麼？ | 我想找{p}的{w}

apt
{a}把{t}藏在{p}。 | {a}將{t}鎖在{p}的地板下。 | {a}{m}在{p}附近弄丟了{t}。 | {a}把{t}留在{p}，用{x}包著。
{t}在哪裡？ | {a}把{t}藏在哪裡？ | {a}在{p}留下了什麼？ | 是誰藏了{t}？ | 我要找{t}

af
{a}害怕{f}。 | {a}最怕的是{f}。 | {a}無法忍受{f}，沒有人知道原因。 | 因為{f}，{a}從來睡不好。
{a}怕什麼？ | {a}害怕什麼？ | 什麼會嚇到{a}？ | {a}的弱點是什麼？

ab
{a}和{b}自從{m}就沒說過話。 | {a}暗戀{b}。 | {a}欠{b}{n}枚硬幣。 | {a}什麼都信任{b}，除了{x}。 | {a}是{b}的姊姊。 | {a}教會{b}所有關於{x}的事。 | {a}為了{x}背叛了{b}。
{a}和{b}是什麼關係？ | {a}怎麼認識{b}的？ | {a}信任{b}嗎？ | {a}和{b}之間發生了什麼？ | 說說{a}和{b}的事 | {a}跟{b}是朋友嗎？

p
{p}是{n}年前由{x}商人建造的。 | {p}矗立在{x}之上，空氣中有{y}的味道。 | {p}只在{m}開放。 | {p}曾被燒毀，後來用石頭重建。 | {p}除了{n}隻貓，已經沒有人住了。 | {p}中央立著一根{x}石柱，沒有人敢碰。
{p}是什麼地方？ | 描述一下{p} | {p}長什麼樣子？ | 誰建造了{p}？ | {p}什麼時候開放？ | 多告訴我一些{p}的事

pq
{p}在{q}北方{n}步的地方。 | 一道暗梯從{p}通往{q}。 | {p}到{q}的路在{m}封閉。 | 要到{p}，只能從{q}搭船。
怎麼去{p}？ | 從{q}要怎麼到{p}？ | 有路從{p}到{q}嗎？ | {p}在哪裡？ | {q}的路通往哪裡？

tp
{t}能打開{p}的門。 | {t}是{m}在{p}被發現的。 | {t}上有{n}道刻痕，每個冬天一道。 | 只要有人說謊，{t}就會發光。 | {t}在{p}值{n}枚硬幣。
{t}是什麼？ | {t}有什麼用？ | {t}可以做什麼？ | {t}是在哪裡發現的？ | {t}值多少錢？ | 我仔細查看{t}

ta
{t}被偷之前屬於{a}。 | {t}是{a}用{x}和{y}做成的。 | {t}是{a}送的禮物。 | {t}只聽{a}的話。
{t}是誰做的？ | {t}是誰的？ | 誰擁有{t}？ | {t}從哪裡來？ | 誰送出了{t}？

a
{a}從沒告訴任何人{x}是假的。 | {a}會說{n}個{x}語的詞。 | {a}說話很慢，總在數{x}。 | {a}穿著{x}外套，走路有點跛。 | {a}夢想離開這裡，去{x}海岸。 | {a}{m}都喝{x}茶。 | {a}曾經從{x}手中救了{n}個人。 | 被問到{x}時，{a}總是說謊。 | {a}出生在{m}，家裡滿是{x}和{y}。
{a}是誰？ | 告訴我關於{a}的事 | {a}有什麼祕密？ | {a}長什麼樣子？ | {a}想要什麼？ | 你對{a}知道多少？ | {a}為什麼說謊？ | 告訴我關於 {a} 的故事 | {a}的背景故事

aw
{a}願意付{n}枚硬幣打聽{t}的消息。 | {a}想要{t}，願意用{u}交換。 | {a}找{t}找了{n}個晚上。 | {a}{m}把{t}賣給了陌生人。 | {a}隨身帶著{t}。 | {a}弄壞了{t}，卻怪罪{x}。
誰想要{t}？ | {a}要{t}做什麼？ | {t}在誰手上？ | {a}對{t}做了什麼？ | {a}為什麼需要{t}？ | 誰賣掉了{t}？

pa
{p}屬於{a}，但他從不出現。 | {p}由{a}和{n}隻狗看守。 | {p}自從{m}就由{a}統治。 | {a}失蹤後，{p}就關閉了。 | {a}把{t}埋在{p}。
{p}是誰的？ | 誰看守{p}？ | 誰統治{p}？ | {p}發生了什麼事？ | {p}埋著什麼？ | {p}為什麼關閉？

ma
{x}節在{m}舉行，由{a}點亮第一盞燈。 | {x}戰爭在{a}簽下{y}條約後結束。 | {x}瘟疫在{p}奪走了{n}條人命。 | {x}公會{m}在{p}的{y}門後聚會。 | {p}的法律禁止任何人販賣{x}。
告訴我{x}的事 | {x}是什麼時候？ | {x}是什麼？ | {x}為什麼重要？ | {x}是怎麼結束的？ | 大家怎麼說{x}？
""")

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
