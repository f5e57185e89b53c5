"""The languages that texts are written in: how each fact is worded, and the words around facts, which claim nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """One language."""

    name: str
    words: Mapping[str, frozenset[str]]
    """Kind of text -> words that join facts without adding one. No negation, no praise, no figure."""
    opens: Mapping[str, str]
    """Phrase that begins a list -> the name of the facts that may stand in it."""
    joints: frozenset[str]
    """Words that leave a list open: what follows belongs to the same list."""
    letters: str
    """What a word is, as a regular expression."""
    edge: tuple[str, str]
    """What stands before and after one, likewise; nothing where words are written without blanks."""
    mark: str
    """Quotation marks around {}."""
    listed: tuple[str, str]
    """Between the elements of a list, and before the last one."""
    shortest: int
    """Characters of a text."""
    chosen: tuple[str, str, str]
    """That nobody chose an item, one person did, {n} people did."""
    place: tuple[str, str]
    """That an item is at {rank} of {n}, and among the foremost."""
    begun: tuple[str, str]
    """What is said of a history that nothing is known of: without events, with some."""
    detail: tuple[str, str]
    """An attribute of one {value}, and of several from {value} to {most}."""
    reviews: tuple[str, str, str]
    """How many reviews there are, their mean of {stars}, and that {share} of them give the {usual} stars."""
    one: tuple[str, str]
    """A review: of a log without ratings, and with the stars that it gives."""
    says: tuple[str, str, str]
    """What a review says in a {quote}, in three forms."""

    def word(self, kind: str) -> str:
        """What a word of a text of this kind is, as a regular expression."""
        return self.letters if any(self.edge) else f"{either(self.words[kind])}|{self.letters}"

    def quoted(self, words: Iterable[str]) -> list[str]:
        """Each in quotation marks."""
        return [self.mark.format(word) for word in words]

    def listing(self, words: Iterable[str]) -> str:
        """`listing` as it is done in this language."""
        return listing(list(words), *self.listed)

    def chosen_by(self, people: int) -> str:
        """ "nobody has chosen it yet", "one person chose it", "2,000 people chose it"."""
        return self.chosen[min(people, 2)].format(n=f"{people:,}")

    def attribute(self, name: str, value: str, most: str) -> str:
        """Name and value of an attribute; its lowest and highest value where there is a `most`."""
        value, highest = self.quoted((value, most))
        return self.detail[bool(most)].format(name=name, value=value, most=highest)


def listing(words: Sequence[str], comma: str = ", ", last: str = " and ") -> str:
    """ "a", "a and b", "a, b and c"."""
    return last.join([comma.join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def either(phrases: Iterable[str]) -> str:
    """A regular expression that matches one of the phrases, the longest first; nothing where there are none."""
    return "|".join(map(re.escape, sorted(phrases, key=lambda each: (-len(each), each)))) or "(?!)"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


EMPTY = _words("""a an the this that these it its is are was were has have with and or as of in on to for from by which
    such like also both plus more including includes include""")
"""Words of English that say nothing of what they stand beside."""
_LEAN = ("leans towards", "lean towards", "leaning towards", "a taste for", "more often than others you choose")
_LATELY = ("lately more", "of late more", "recently more", "these days more")
ENGLISH = Language(
    name="English",
    words={
        "item": EMPTY | _words("item items catalogue listed details makes own words description says"),
        "taste": EMPTY | _words("history you your choose chose choice choices so far among"),
        "review": EMPTY | _words("review reviews item says there reader readers written what another one"),
    },
    opens={
        **{"under": "category", "tagged": "tags"},
        **dict.fromkeys(_LEAN, "leanings"),
        **dict.fromkeys(_LATELY, "lately"),
    },
    joints=_words("and or plus also more both"),
    letters=r"\w+(?:['’\-]\w+)*",
    edge=(r"(?<![\w'’-])", r"(?![\w'’-])"),
    mark='"{}"',
    listed=(", ", " and "),
    shortest=12,
    chosen=("nobody has chosen it yet", "one person chose it", "{n} people chose it"),
    place=("number {rank} of {n} chosen items", "one of the most chosen of all"),
    begun=("nothing chosen yet", "your history has begun"),
    detail=("{name} {value}", "{name} from {value} to {most}"),
    reviews=("{n} reviews", "{stars} of {most} stars on average", "{share} of them with {usual} of {most} stars"),
    one=("one of them", "one with {stars} of {most} stars"),
    says=("{one} says {quote}", "{quote} says {one}", "{one}: {quote}"),
)
_OF_ALL = "的 是 有 和 与 还 也 又 这 这件 它 它的 在 里 中 从 以及 包括 例如 比如 如"
CHINESE = Language(
    name="Chinese",
    words={
        "item": _words(f"{_OF_ALL} 这是 目录 商品 带有 之下 详情 具体 另外 介绍 介绍中说 据"),
        "taste": _words(f"{_OF_ALL} 您 您的 选过 选择 选了 记录 看 来自 到目前为止 至今 其中 了"),
        "review": _words(f"{_OF_ALL} 商品 评价 评价中 另一条 写道 读者 关于 说 收到 共"),
    },
    opens={
        **dict.fromkeys(("归在", "属于", "类别是"), "category"),
        **dict.fromkeys(("偏爱", "偏向", "喜好是", "比别人更常选", "比别人更多的是"), "leanings"),
        **dict.fromkeys(("最近更多是", "最近更常选", "近来更多是", "近来更常选"), "lately"),
    },
    joints=_words("和 与 还有 以及"),
    letters=r"[^\W\u4e00-\u9fff]+|[\u4e00-\u9fff]",
    edge=("", ""),
    mark="“{}”",
    listed=("、", "和"),
    shortest=6,
    chosen=("还没有人选过", "有一个人选过", "有 {n} 个人选过"),
    place=("在选过的 {n} 件商品中排第 {rank}", "选的人最多的之一"),
    begun=("还没有选过任何商品", "您的选择记录已经开始"),
    detail=("{name}{value}", "{name}从{value}到{most}"),
    reviews=("{n} 条评价", "平均 {stars} 星（满分 {most} 星）", "其中 {share} 条给了 {usual} 星"),
    one=("一条评价", "一条 {stars} 星评价"),
    says=("{one}说{quote}", "{quote}是{one}所说", "{one}：{quote}"),
)
LANGUAGES: Mapping[str, Language] = {"en": ENGLISH, "zh": CHINESE}
