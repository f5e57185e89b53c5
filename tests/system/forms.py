"""Every form of the texts about lists, written anew: what a sentence of each claims. Nothing of the program is read.

«E» stands for a title of the reader's own choice, «T» for the item's title, «G» for tags; of what `generate` writes
«U» stands for levels of a category, «S» for a sentence, «D» for details, «X» for titles of the reader's own choices,
«R» for the stars of reviews, «W» for the stars of one of them.
"""

from __future__ import annotations

import re

REASONS: dict[str, str] = {
    "later, often": """
Because you chose «E»: people who did often chose this later.
因为您选过«E»：选过它的人，后来常选这个。""",
    "later": """
Because you chose «E»: others who did chose this later.
因为您选过«E»：也有别人选过它，后来选了这个。""",
    "both, often": """
People who chose «E», as you did, often chose this too.
和您一样选过«E»的人，也常选这个。""",
    "both": """
Others who chose «E», as you did, chose this too.
有人和您一样选过«E»，也选了这个。""",
    "alike": """
Like «E», which you chose, it is tagged «G».
和您选过的«E»一样，带有标签«G»。""",
    "new": """
New, like «E», which you chose.
还没有人选过，但与您选过的«E»相近。""",
    "interest": """
Fits your interest in «G».
符合您对«G»的兴趣。""",
    "foremost": """
One of the items that the most people chose.
这是选的人最多的之一。""",
    "people": """
Chosen by «N» people.
有 «N» 个人选过。""",
    "one person": """
Chosen by one person.
有一个人选过。""",
    "nobody": """
Nobody has chosen it yet.
还没有人选过。""",
    "model of order": """
Picked by a model that reads your choices in order.
模型根据您选择的先后顺序选出。""",
    "model of others": """
Picked by a model that compares your choices with those of others.
模型比较您与其他人的选择后选出。""",
    "model of content": """
Picked by a model that compares what it is with what you chose.
模型比较它与您选过的内容后选出。""",
    "model": """
Picked by a model that reads what you chose.
模型根据您的选择选出。""",
}
WHY: dict[str, str] = {
    "followed": """
Because you chose «E»: others who did went on to choose this.
You chose «E»; others who did came to this later.
Others who chose «E», as you did, later picked this too.
From «E» to this: others have gone the same way.
Later choice of others who, like you, had chosen «E».
Others began with «E», as you did, and chose this later.
因为您选过«E»：选过它的人后来也选了这件。
您选过«E»，同样选过它的人之后选了这件。
和您一样选过«E»的人，后来又选了这件。
从«E»到这件：已经有人这样选过。
这是选过«E»的其他人后来的选择，您也选过它。
有人和您一样先选了«E»，后来选了这件。""",
    "together": """
Others who chose «E», as you did, chose this too.
You chose «E»; others who did also picked this.
Picked by others who share your choice of «E».
Like you, others chose «E», and this as well.
Also chosen by others who, like you, went for «E».
Others have both: this and «E», which you chose.
和您一样选过«E»的人，也选了这件。
您选过«E»，同样选过它的人也看中了这件。
与您同样喜好«E»的人也选择了它。
有人像您一样选了«E»，还选了这件。
选过«E»的人也选过它，而您也选过前者。
别人两件都选了：这件，还有您选过的«E»。""",
    "similar": """
Much like «E», which you chose: «G» again.
You chose «E»; here is more «G».
In the vein of «E», which you chose: «G» once more.
Since you chose «E»: another one for «G».
More «G», as with «E» from your choices.
Shares «G» with «E», which you chose.
与您选过的«E»相近：同样是«G»。
您选过«E»，这里还有«G»。
延续您选过的«E»：又一件«G»。
既然您选了«E»，不妨再看一件«G»。
更多«G»，正如您选过的«E»。
它和您选过的«E»都有«G»。""",
    "interest": """
You choose «G» more than others do, and this fits.
Fits your taste for «G».
More of what you like: «G».
Right up your street: «G».
You keep coming back to «G»: one more to look at.
Picked for your interest in «G».
您比别人更常选«G»，这件正合适。
符合您对«G»的喜好。
更多您喜欢的：«G»。
正合您的口味：«G»。
您常常选«G»，再看一件吧。
为您对«G»的兴趣而选。""",
    "favourite": """
One of the favourites here.
Few things here are chosen by more people.
Among the most popular choices of all.
A popular choice, close to the top of all.
High on the list of what people choose here.
这里最受欢迎的选择之一。
很少有东西被更多的人选过。
属于大家选得最多的一批。
人气之选，名列前茅。
在大家的选择中排名靠前。""",
    "chosen": """
Others have chosen this as well.
Other people have picked this before.
Some have already gone for this.
Already chosen by other people.
Others had an eye for this too.
也有别人选了它。
其他人以前选过这件。
已经有人看中了它。
已有其他人选过。
选它的不止一个人。""",
    "history": """
Picked to go with what you have chosen so far.
A suggestion drawn from your own choices.
Inspired by what you chose before.
Selected with your past choices in mind.
Your choices so far led us to this.
与您至今的选择相配。
从您自己的选择出发的推荐。
由您以前的选择而来。
参照您过去的选择挑出。
您至今的选择把我们带到了这里。""",
    "nothing": """
Something to discover.
Here is one to look at.
One to find out about.
A suggestion to try.
Worth a look.
值得发现的一件。
请看这一件。
不妨了解一下。
可以试一试的推荐。
这一件值得看看。""",
}
PUSH: dict[str, str] = {
    "together": """
You chose «E». How about «T»?
Because you chose «E»: «T»
«T»: others who chose «E» chose it too
«E» was your choice, «T» could be next
Picked for you, with «E» in mind: «T»
To go with your «E»: «T»
您选过«E»，看看«T»？
因为您选过«E»：«T»
«T»：选过«E»的人也选了它
选了«E»，下一件会是«T»吗？
为您挑选，参照«E»：«T»
与您的«E»相配：«T»""",
    "theme": """
More «G» for you: «T»
Meet «T»: «G» again
Back to «G» with «T»
«T»: more «G», picked for you
One more for «G»: «T»
«G» is your thing? See «T»
更多«G»：«T»
认识一下«T»：又是«G»
为您再选«G»：«T»
«T»：还是«G»
再来一件«G»：«T»
偏爱«G»？请看«T»""",
    "favourite": """
A favourite here: «T»
See what many choose: «T»
Popular here, maybe with you too: «T»
«T»: one of the most chosen
Others choose «T». And you?
这里的人气之选：«T»
看看大家都选什么：«T»
很受欢迎，也许您也喜欢：«T»
«T»：选的人最多的之一
许多人选了«T»，您呢？""",
    "nothing": """
A pick for you: «T»
Take a look at «T»
Found for you: «T»
Have you seen «T»?
«T» is waiting for you
为您推荐：«T»
看一看«T»
为您找到：«T»
您见过«T»吗？
«T»在等您""",
}
OPENINGS = {
    "opening": """
Picked for you: «N»
What we found for you: «N»
Your own selection, with «N»
Hello! Here is something for you: «N»
A newsletter for one reader, you: «N»
Have a look: «N», put together for you
Made for you: «N»
A little inspiration: «N»
For your next choice: «N»
为您挑选的 «N» 个推荐
我们为您找到 «N» 个推荐
您的专属精选，共 «N» 个推荐
您好！这里有为您准备的 «N» 个推荐
只写给您的简报，«N» 个推荐
请看：为您整理的 «N» 个推荐
为您而选：«N» 个推荐
一点灵感：«N» 个推荐
您的下一个选择：«N» 个推荐"""
}
HEADINGS = {
    "theme": """
All about «G»
On the theme of «G»
More of «G»
From the world of «G»
主题：«G»
关于«G»
更多«G»
走进«G»""",
    "others": """
And also
More for you
Further finds
Apart from that
To round it off
此外
还有这些
更多推荐
另外
最后""",
}
ITEM: dict[str, str] = {
    "what it is": """
«T» is listed under «U».
Under «U» is «T».
Listed under «U», this item is «T».
In the catalogue, under «U», is «T».
This is «T», listed under «U».
«T» is listed under «U», with «G».
Under «U» is «T», with «G».
Listed under «U», this item is «T», with «G».
In the catalogue, under «U», is «T», with «G».
This is «T», listed under «U», with «G».
«T» is an item with «G».
This is «T», with «G».
With «G», this is «T».
«T», with «G», is in the catalogue.
An item with «G» is «T».
«T» is in the catalogue.
The item is «T».
This item is «T».
In the catalogue is «T».
This is the item «T».
«T»归在«U»之下。
«T»属于«U»。
这是«T»，归在«U»之下。
«T»的类别是«U»。
目录中的«T»属于«U»。
«T»归在«U»之下，带有«G»。
«T»属于«U»，带有«G»。
这是«T»，归在«U»之下，带有«G»。
«T»的类别是«U»，带有«G»。
目录中的«T»属于«U»，带有«G»。
«T»带有«G»。
这是«T»，带有«G»。
带有«G»的是«T»。
«T»在目录中，带有«G»。
这件商品是«T»，带有«G»。
«T»在目录中。
这是«T»。
这件商品是«T»。
目录中有«T»。
这件是«T»。""",
    "without a title": """
This item is listed under «U».
This item is listed under «U», with «G».
This item is an item with «G».
This item is in the catalogue.
这件商品归在«U»之下。
这件商品归在«U»之下，带有«G»。
这件商品带有«G»。
这件商品在目录中。""",
    "own words": """
In its own words: «S».
The description says: «S».
From the description: «S».
It says: «S».
介绍中说：«S»。
商品介绍：«S»。
据介绍：«S»。
它的介绍：«S»。""",
    "details": """
Details: «D».
It has: «D».
Also: «D».
The details: «D».
详情：«D»。
具体：«D»。
另外：«D»。
商品详情：«D»。""",
    "place": """
It is one of the most chosen of all.
This is one of the most chosen of all.
Also one of the most chosen of all.
它是选的人最多的之一。
这是选的人最多的之一。
也是选的人最多的之一。""",
    "people": """
«N» people chose it.
有 «N» 个人选过。""",
    "one person": """
One person chose it.
有一个人选过。""",
    "nobody": """
Nobody has chosen it yet.
还没有人选过。""",
}
TASTE: dict[str, str] = {
    "leans": """
You lean towards «G».
Your choices lean towards «G».
You have a taste for «G».
More often than others you choose «G».
Your history leans towards «G».
Your history so far leans towards «G».
So far your choices lean towards «G».
Among your choices is a taste for «G».
A taste for «G» is in your choices.
You lean towards «G», as with «X».
Your choices lean towards «G», such as «X».
You have a taste for «G», as with «X».
More often than others you choose «G», as with «X».
Your history leans towards «G», with «X».
Leaning towards «G», you chose «X».
With «X», your choices lean towards «G».
You chose «X» and have a taste for «G».
A taste for «G» is in your choices, as with «X».
您偏爱«G»。
您的选择偏向«G»。
您比别人更常选«G»。
您的喜好是«G»。
从您的选择看，您偏爱«G»。
至今您偏爱«G»。
到目前为止，您的选择偏向«G»。
您的选择中比别人更多的是«G»。
您的记录偏向«G»。
您偏爱«G»，例如«X»。
您的选择偏向«G»，如«X»。
您比别人更常选«G»，例如«X»。
您的喜好是«G»，比如«X»。
从您的选择看，您偏爱«G»，例如«X»。
您选过«X»，偏爱«G»。
到目前为止，您的选择偏向«G»，包括«X»。
您的选择中比别人更多的是«G»，例如«X»。
您的记录偏向«G»，其中有«X»。""",
    "includes": """
Your choices include «X».
You chose «X».
Among your choices: «X».
Your history includes «X».
So far you chose «X».
From your history: «X».
Your choices so far include «X».
In your history: «X».
Your choices so far: «X».
您选过«X»。
您的选择包括«X»。
在您的选择中有«X»。
您的记录里有«X»。
到目前为止，您选过«X»。
来自您的选择：«X»。
您至今选了«X»。
您的记录包括«X»。
您选择了«X»。""",
    "lately": "\n".join(
        f"{begin}«G»{example}{stop}"
        for begins, examples, stop in (
            (
                ("Lately more ", "Of late more ", "Recently more ", "These days more "),
                ("", ", as in «E»", ", such as «E»", ", with «E»"),
                ".",
            ),
            (("最近更多是", "最近更常选", "近来更多是", "近来更常选"), ("", "，如«E»", "，例如«E»", "，比如«E»"), "。"),
        )
        for begin in begins
        for example in examples
    ),
    "begun": """
Your history has begun.
您的选择记录已经开始。""",
    "empty": """
Nothing chosen yet.
还没有选过任何商品。""",
}
REVIEW: dict[str, str] = {
    "how many": """
«T» has «N» reviews«R».
«N» reviews of «T»«R».
For «T» there are «N» reviews«R».
With «A», «T» has «N» reviews«R».
Written of «T»: «N» reviews«R».
There are «N» reviews of «T»«R».
«T»: «N» reviews«R».
Readers of «T»: «N» reviews«R».
«N» reviews for «T»«R».
«T»有 «N» 条评价«R»。
关于«T»有 «N» 条评价«R»。
«T»收到 «N» 条评价«R»。
«T»：«N» 条评价«R»。
关于«T»的 «N» 条评价«R»。
«T»的 «N» 条评价«R»。
«T»共有 «N» 条评价«R»。
«T»共收到 «N» 条评价«R»。
读者的 «N» 条评价，关于«T»«R»。""",
    "what one says": """
One «W»says «S».
«S» says one «W».
One «W»: «S».
一条«W»评价说«S»。
«S»是一条«W»评价所说。
一条«W»评价：«S»。""",
}
_MEAN = (
    r"(?:(?P<mean>[\d.]+) of (?P<most>[\d.]+) stars on average|平均 (?P<mean2>[\d.]+) 星（满分 (?P<most2>[\d.]+) 星）)"
)
_OFTEN = (
    r"(?P<share>[\d,]+) of them with (?P<usual>[\d.]+) of [\d.]+ stars"
    r"|其中 (?P<share2>[\d,]+) 条给了 (?P<usual2>[\d.]+) 星"
)
NEWS = {
    "opening": """
Your briefing, «N»: first «T»
Top of your page: «T», of «N»
Today in front: «T», one of «N»
First for you: «T», at the head of «N»
The headline is «T», out of «N»
«T» leads your «N»
In the lead: «T», with «N» in all
Start here: «T», the first of «N»
您的简报，共 «N» 条：首先是«T»
您的头条：«T»，共 «N» 条
今天排在前面：«T»，共 «N» 条
先看«T»，一共 «N» 条
头条是«T»，全部 «N» 条
«T»领衔您的 «N» 条推荐
领先的是«T»，总计 «N» 条
从«T»开始，全部 «N» 条"""
}
NEWS_HEADINGS = {
    "theme": """
In focus: «G»
Section «G»
The latest for you on «G»
Filed under «G»
聚焦：«G»
版块：«G»
为您关注«G»
专栏：«G»""",
    "others": """
In brief
Also on your page
Other picks
At a glance
And besides
简讯
您的页面上还有
其他推荐
一览
除此之外""",
}
_STARS = {
    "«R»": rf"(?:(?:, with |，){_MEAN})?(?:(?:[,;] |[，；])(?:{_OFTEN}))?",
    "«A»": r"(?P<mean3>[\d.]+) of (?P<most3>[\d.]+) stars on average",
    "«W»": r"(?:of them|with (?P<gives>[\d.]+) of [\d.]+ stars| (?P<gives2>[\d.]+) 星)? ?",
}
_NAMED = {"E": "event", "T": "title", "G": "tags", "U": "under", "S": "sentence", "X": "titles"}
_QUOTED = "“[^”]*”"
EITHER = '(?:“[^”]*”|"[^"]*")'
"""A quotation in either language."""


def patterns(forms: dict[str, str], quoted: str = _QUOTED) -> list[tuple[str, re.Pattern[str]]]:
    """(what it claims, the pattern of a whole text) for each line."""
    out = []
    for claim, lines in forms.items():
        for line in filter(None, lines.split("\n")):
            pattern = re.escape(line).replace("\\ ", " ")
            for sign, name in _NAMED.items():
                several = rf"{quoted}(?:(?:, | and |、|和| › |›){quoted})*" if sign in "GUX" else quoted
                pattern = pattern.replace(f"«{sign}»", f"(?P<{name}>{several})")
            for sign, stars in _STARS.items():
                pattern = pattern.replace(sign, stars)
            pattern = pattern.replace("«D»", rf"(?P<details>{DETAIL}(?:[,，] ?{DETAIL})*)")
            out.append((claim, re.compile(pattern.replace("«N»", "(?P<n>[0-9,]+)(?: ideas?| picks?)?"))))
    return out


DETAIL = rf"[^\"“”]+?(?:{EITHER}|(?: from |从){EITHER}(?: to |到){EITHER})"
