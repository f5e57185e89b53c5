"""The sentences of explanations. Each has its condition in `claims` and its row in `docs/truth.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from llmrec_cli.core.arrays import Bools, Ints
from llmrec_cli.core.text_cleaning import one_line, shortened
from llmrec_cli.lists.evidence import (
    EVERYONE,
    FOLLOWED,
    INTEREST,
    SEGMENT,
    SIMILAR,
    TOGETHER,
    Evidence,
)

LONGEST_TITLE = 80


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """Every form that an explanation can have, in one language. What stands in {} comes quoted."""

    joint: str
    """Between two quotations."""
    about_events: Mapping[tuple[int, bool], str]
    """By the kind of the evidence, and whether the item was often chosen with that of the event."""
    new_like: str
    interested: str
    popular: str
    chosen: str
    chosen_once: str
    new: str
    in_order: str
    by_others: str
    by_content: str
    plain: str
    fits: str
    more: str
    less: str
    pinned: str
    explored: str
    bought_after: str
    bought_with: str
    alike: str
    near_text: str

    def forms(self) -> list[str]:
        """All of them, as `docs/truth.md` lists them."""
        others = (getattr(self, each.name) for each in fields(self)[2:])
        return [*dict.fromkeys(self.about_events.values()), *others]

    def by_model(self, kind: str, timed: bool) -> str:
        """What a model looks at that goes by this kind of evidence."""
        order = self.in_order if timed else self.plain
        return {"followed": order, "together": self.by_others, "similar": self.by_content}.get(kind, self.plain)


ENGLISH = Sentences(
    joint=" and ",
    about_events={
        (FOLLOWED, True): "Because you chose {title}: people who did often chose this later.",
        (FOLLOWED, False): "Because you chose {title}: others who did chose this later.",
        (TOGETHER, True): "People who chose {title}, as you did, often chose this too.",
        (TOGETHER, False): "Others who chose {title}, as you did, chose this too.",
        **dict.fromkeys([(SIMILAR, True), (SIMILAR, False)], "Like {title}, which you chose, it is tagged {tags}."),
    },
    new_like="New, like {title}, which you chose.",
    interested="Fits your interest in {tags}.",
    popular="One of the items that the most people chose.",
    chosen="Chosen by {n} people.",
    chosen_once="Chosen by one person.",
    new="Nobody has chosen it yet.",
    in_order="Picked by a model that reads your choices in order.",
    by_others="Picked by a model that compares your choices with those of others.",
    by_content="Picked by a model that compares what it is with what you chose.",
    plain="Picked by a model that reads what you chose.",
    fits="Fits {wish}.",
    more="More of {wish}, as you wish.",
    less="Less of {wish} is wished, and this is left.",
    pinned="Placed first by those who run this.",
    explored="New here, shown to find out who likes it.",
    bought_after="{n} of {all} people who chose {title} chose this later.",
    bought_with="{n} of {all} people who chose {title} chose this too.",
    alike="Like {title}, it is tagged {tags}.",
    near_text="Its text is near that of {title}.",
)
CHINESE = Sentences(
    joint="和",
    about_events={
        (FOLLOWED, True): "因为您选过{title}：选过它的人，后来常选这个。",
        (FOLLOWED, False): "因为您选过{title}：也有别人选过它，后来选了这个。",
        (TOGETHER, True): "和您一样选过{title}的人，也常选这个。",
        (TOGETHER, False): "有人和您一样选过{title}，也选了这个。",
        **dict.fromkeys([(SIMILAR, True), (SIMILAR, False)], "和您选过的{title}一样，带有标签{tags}。"),
    },
    new_like="还没有人选过，但与您选过的{title}相近。",
    interested="符合您对{tags}的兴趣。",
    popular="这是选的人最多的之一。",
    chosen="有 {n} 个人选过。",
    chosen_once="有一个人选过。",
    new="还没有人选过。",
    in_order="模型根据您选择的先后顺序选出。",
    by_others="模型比较您与其他人的选择后选出。",
    by_content="模型比较它与您选过的内容后选出。",
    plain="模型根据您的选择选出。",
    fits="符合{wish}。",
    more="如您所愿，更多{wish}。",
    less="您希望少一些{wish}，这是留下的。",
    pinned="由运营方置顶。",
    explored="新加入的，先展示出来，看看谁会喜欢。",
    bought_after="选过{title}的 {all} 人中，有 {n} 人后来选了这个。",
    bought_with="选过{title}的 {all} 人中，有 {n} 人也选了这个。",
    alike="和{title}一样，带有标签{tags}。",
    near_text="它的文字与{title}相近。",
)
SENTENCES = {"en": ENGLISH, "zh": CHINESE}


def sentences_in(language: str) -> Sentences:
    """Those of a language, by its code; English ones for one without a table."""
    return SENTENCES.get(language, ENGLISH)


def led(head: str, said: str) -> str:
    """A sentence with one before it; between those of Chinese there is no blank."""
    return f"{head} {said}" if head.endswith(".") else head + said


@dataclass(frozen=True)
class Wording:
    """Turns evidence that holds into sentences."""

    kinds: Mapping[str, str]
    """Retriever -> what its lists go by, a name of `KINDS` or ""."""
    titles: Sequence[str]
    """(items,) what to call an item."""
    tags: Sequence[str]
    """What the tag codes of the evidence mean."""
    people: Ints
    """(items,) who chose it."""
    foremost: Bools
    """(items,) whether it is among the items that most people choose."""
    timed: bool
    """Whether the log has times, so that a sentence may speak of an order."""
    say: Sentences = ENGLISH

    def sentences(self, evidence: Evidence, strategies: Sequence[str], items: Sequence[int]) -> list[str]:
        """One for each row, whose item and strategy are given."""
        first = evidence.first(len(strategies)).tolist()
        second = np.append(evidence.rows[1:] == evidence.rows[:-1], False)
        return [
            self._of(evidence, piece, bool(second[piece]), item) if piece >= 0 else self._without(strategy, item)
            for piece, strategy, item in zip(first, strategies, items, strict=True)
        ]

    def _of(self, evidence: Evidence, piece: int, more: bool, item: int) -> str:
        kind = int(evidence.kinds[piece])
        if kind == INTEREST:
            tags = [self.tags[evidence.tags[piece]]]
            if more and evidence.kinds[piece + 1] == INTEREST:
                tags.append(self.tags[evidence.tags[piece + 1]])
            return self.say.interested.format(tags=self.say.joint.join(map(quoted, tags)))
        if kind in (SEGMENT, EVERYONE):
            return self._popular(item)
        title = quoted(self.titles[evidence.items[piece]])
        if kind == SIMILAR and not self.people[item]:
            return self.say.new_like.format(title=title)
        tag = quoted(self.tags[evidence.tags[piece]]) if kind == SIMILAR else ""
        return self.say.about_events[kind, bool(evidence.often[piece])].format(title=title, tags=tag)

    def _popular(self, item: int) -> str:
        """Of rows that popularity carries, a segment's too: what is held of a person stays out of the sentence."""
        if self.foremost[item]:
            return self.say.popular
        n = int(self.people[item])
        return self.say.chosen.format(n=f"{n:,}") if n > 1 else self.say.chosen_once if n else self.say.new

    def _without(self, strategy: str, item: int) -> str:
        """Nothing that can be counted speaks for the row: what the model that carries it looks at."""
        return self.say.by_model(self.kinds.get(strategy, ""), self.timed)


@lru_cache(1 << 16)
def quoted(title: str) -> str:
    """The title in quotation marks, cut at a word to `LONGEST_TITLE` characters."""
    line = one_line(title.replace("“", "'").replace("”", "'"))
    return f"“{shortened(line, LONGEST_TITLE, ' ,;:')}”"
