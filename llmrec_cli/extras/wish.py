"""A wish in words: which items fit it, and how it is mixed with what the ranker says of a user's candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.content import encoding
from llmrec_cli.content.encoder_files import chosen
from llmrec_cli.content.preprocessing import joined
from llmrec_cli.content.text import item_texts
from llmrec_cli.core.arrays import Bools, Codes, Doubles, Floats, Ints
from llmrec_cli.core.artifacts import ITEMS, TEXT_ENCODER
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists.build import Lists
from llmrec_cli.lists.maker import Maker
from llmrec_cli.lists.wording import led, quoted
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.retrieval import Retrieval

STRATEGY = "ask"
MOST, LEAST = 100, 0.25
"""At most so many items fit a wish, and only with such a cosine: words without sense reach .24 on the sample."""


@dataclass(frozen=True)
class Wish:
    """What lists should fit. Its text is only embedded and quoted."""

    text: str
    cosines: Floats
    """(items,) of the item's text with the wish, centred together; 0 for an item without text."""
    weight: float
    """Of the wish against the ranker's score."""

    @cached_property
    def nearest(self) -> Codes:
        """The items that fit: those whose texts are nearest."""
        best = np.argsort(-self.cosines, kind="stable")[:MOST]
        return np.sort(best[self.cosines[best] >= LEAST]).astype(np.int32)

    def mixed(
        self, candidates: Candidates, scores: Floats, known: Bools, shares_of: Callable[[Ints], Floats]
    ) -> tuple[Floats, Callable[[Ints], Floats]]:
        """(rows,) the weighted mean of both, each standardised over the user's candidates; and the shares of it.

        Of the ranker only the order counts, by the logarithm of the rank: its scores may lie in bands. For users
        without events (`known` (users,) is False) the wish alone counts, and for nobody where nothing fits. `shares_of`
        gives the retrievers' shares; behind them stands that of the wish, the largest where it lifts an item that fits
        more than the ranker does.
        """
        users, n = candidates.users, candidates.n_users
        weights = np.where(known, self.weight, 1.0)[users] * bool(len(self.nearest))
        own = (1 - weights) * standardised(-np.log1p(candidates.ranks(scores)), users, n)
        wish = weights * standardised(self.cosines[candidates.items], users, n)
        leads = (wish > own) & np.isin(candidates.items, self.nearest)

        def shares(rows: Ints) -> Floats:
            retrievers = shares_of(rows)
            asked = np.where(leads[rows], np.maximum(retrievers.max(axis=1, initial=0), 0) + 1, -np.inf)
            return np.concatenate([retrievers, asked[:, None]], axis=1).astype(np.float32)

        return (own + wish).astype(np.float32), shares


@dataclass(frozen=True, kw_only=True)
class WishMaker(Maker):
    """A maker of lists that should fit a wish."""

    wish: Wish

    @classmethod
    def of(cls, maker: Maker, wish: Wish) -> WishMaker:
        """The wish stands in place of what a file says of more and less; what is never wanted stays a rule."""
        given = {each.name: getattr(maker, each.name) for each in fields(Maker)}
        return cls(**given | {"strategies": [*maker.retrievers, STRATEGY, *maker.strategies[-2:]]}, wish=wish)

    @cached_property
    def retrieval(self) -> Retrieval:
        made, nearest = super().retrieval, self.wish.nearest
        return replace(made, added=nearest if made.added is None else np.union1d(made.added, nearest))

    def eligible(self, candidates: Candidates, known: Bools, rows: Ints) -> Candidates:
        """Also, for users without events, what fits."""
        fits = np.isin(candidates.items, self.wish.nearest)
        return candidates.keep(candidates.rows(known) | fits | (self.constraints.lifted(candidates.items) > 0))

    def scored(self, candidates: Candidates, known: Bools, rows: Ints) -> tuple[Floats, Callable[[Ints], Floats]]:
        """See `Wish.mixed`."""
        scores, shares_of = super().scored(candidates, known, rows)
        return self.wish.mixed(candidates, scores, known, shares_of)

    def table(self, start: int, lists: Lists) -> pa.Table:
        """The rows of a block, with what fits before each reason; it stands alone where there is no evidence."""
        assert lists.shares is not None
        rows = super().table(start, replace(lists, shares=lists.shares[:, :, :-1]))
        fits = np.isin(lists.items[lists.there], self.wish.nearest)
        evidence = pc.list_value_length(rows.column("evidence")).to_pylist()
        said = self.explainer.wording.say.fits.format(wish=quoted(self.wish.text))
        given = zip(rows.column("reason").to_pylist(), fits.tolist(), evidence, strict=True)
        reasons = [(led(said, reason) if n else said) if fit else reason for reason, fit, n in given]
        return rows.set_column(rows.column_names.index("reason"), "reason", pa.array(reasons, pa.string()))


def asked(maker: Maker, work: WorkDir, text: str) -> WishMaker:
    """The same maker with a wish beside what users chose, embedded by the text encoders of the work directory.

    SettingsError where these cannot be had, DataError where they can make nothing of the wish or of the items.
    """
    vectors = embedded(work, [text], maker.context)
    if not vectors[:-1].any() or not vectors[-1].any():
        what = "the wish" if vectors[:-1].any() else "the items' texts: there are none"
        raise DataError(f"the text encoder makes nothing of {what}", fix="pretrain.text_encoder is what reads texts")
    return WishMaker.of(maker, Wish(text, vectors[:-1] @ vectors[-1], maker.config.ask_weight))


def embedded(work: WorkDir, wishes: Sequence[str], context: Context) -> Floats:
    """(items + wishes, d) unit-length rows of the items' texts and of the wishes, by the work directory's encoders.

    Vectors of items are kept in the cache of vectors, those of wishes nowhere.
    """
    name = (work.record("pretrain") or {"parts": {"settings": {}}})["parts"]["settings"].get("text_encoder", "")
    if not name or (":" in name and name not in context.named):
        raise SettingsError(
            f"a wish cannot be read: the text encoder of this work directory, {name!r}, is not set here",
            where=str(work.path),
            fix=f"set pretrain.text_encoder = {name or 'auto'!r}",
        )
    items, found = work.read(ITEMS), []
    texts, named = item_texts(items), chosen({"text": name}, items)["text"]
    for encoder in [named, *([str(work.where(TEXT_ENCODER).resolve())] if work.has(TEXT_ENCODER) else [])]:
        for more, keep in (([], True), (wishes, False)):
            vectors = encoding.encode(
                "text",
                [*texts, *more],
                encoder,
                base=context.base,
                cache=encoding.cache_folder(),
                device=context.device,
                progress=context.progress,
                keep=keep,
            ).vectors
        found.append(vectors)
    return found[0] if len(found) == 1 else joined(*found)


def standardised(values: Floats, users: Ints, n: int) -> Doubles:
    """(rows,) values less the mean of their user, over the standard deviation."""
    counts = np.maximum(np.bincount(users, minlength=n), 1)
    centred = values - (np.bincount(users, values, n) / counts)[users]
    deviation = np.sqrt(np.bincount(users, centred**2, n) / counts)[users]
    found: Doubles = centred / np.maximum(deviation, 1e-9)
    return found
