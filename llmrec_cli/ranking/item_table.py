"""Products of users' and items' vectors: the exact best of all items, without a row of all scores being kept.

Items come tile by tile. Of each tile only what may be among a user's best is looked at again in float32: where the
product, with a bound of its error in it, reaches the least of the best so far. So bfloat16 products give the lists of
float32. Items stand in the order of ties: what equals the last of a full list and comes later has no place in it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, offsets_of
from llmrec_cli.ranking.retrievers import Excluded
from llmrec_cli.ranking.topk import best_of, nth_bound
from llmrec_cli.tensors.runtime import choose_device, fast_dtype

USERS, FIRST, ITEMS = 256, 4096, 16384
"""Users and items of a tile, and items of the first one, which the first bounds come from."""
GROUP = 16
"""Items of the first tile of which the largest product alone counts for the first bound."""
CHUNK = 1024
"""Items whose exponentials are summed together; more leave the processor's cache."""
LEAST = 1e-37
"""In place of a bound of 0: what equals it comes later and has no place."""


class LogSums:
    """log of the sum of exp of each user's products, which are added tile by tile."""

    def __init__(self, users: int) -> None:
        self.largest, self.total = torch.full((users,), -torch.inf), torch.zeros(users)

    def add(self, users: slice, products: torch.Tensor) -> None:
        """`products` is (items, users)."""
        before, total = self.largest[users], self.total[users]
        now = torch.maximum(before, products.amax(dim=0).cpu())
        own, added = now.to(products.device), torch.zeros_like(now)
        for start in range(0, len(products), CHUNK):
            added += (products[start : start + CHUNK] - own).exp_().sum(dim=0).cpu()
        self.largest[users], self.total[users] = now, total * (before - now).exp() + added

    def of_users(self) -> Floats:
        return np.asarray((self.largest + self.total.log()).numpy(), dtype=np.float32)


class ItemTable:
    """The vectors of the items, (items, d) float32, laid out for the search.

    `ties` (items,) orders equal scores, `hidden` (items,) are not looked at; `exact` keeps the products themselves in
    float32, so that their sums can be had too.
    """

    def __init__(
        self, vectors: torch.Tensor, ties: Ints | None = None, hidden: Bools | None = None, *, exact: bool = False
    ) -> None:
        self.device = torch.device("cuda" if choose_device("auto").startswith("cuda") else "cpu")
        self.vectors, self.ties, self.hidden = vectors.to(self.device).contiguous(), ties, hidden
        order = np.arange(len(vectors)) if ties is None else np.argsort(ties)
        order = order if hidden is None else order[~hidden[order]]
        self.codes, self.place = order.astype(np.int32), np.full(len(vectors), -1)
        self.place[order] = np.arange(len(order))
        self.dtype = torch.float32 if exact else fast_dtype(self.device)
        self.error = 4 * (vectors.shape[1] + 4) * 2.0**-24
        """Of the sums of a product in float32, the tile's and the exact one, as a part of both lengths multiplied."""
        placed = self.vectors[torch.from_numpy(order).to(self.device)]
        lengths = placed.norm(dim=1)
        self.longest = float(lengths.max()) if len(lengths) else 0.0
        self.table = placed
        if self.dtype != torch.float32:
            low = placed.to(self.dtype)
            off = (placed - low.float()).norm(dim=1) + self.error * lengths
            self.table = torch.cat([low, _not_below(off, low.float().norm(dim=1))], dim=1)

    def asked(self, queries: torch.Tensor) -> torch.Tensor:
        """What the rows of the table are multiplied with: the product is never below that of the vectors."""
        if self.dtype == torch.float32:
            return queries
        low = queries.to(self.dtype)
        return torch.cat([low, _not_below(queries.norm(dim=1), (queries - low.float()).norm(dim=1))], dim=1)

    def slack(self, queries: torch.Tensor) -> Floats:
        """(users,) how far products in float32 may be off; in another format the table has it in it."""
        lengths = queries.norm(dim=1).cpu().numpy() * np.float32(self.dtype == torch.float32)
        return np.asarray(lengths * self.error * self.longest, dtype=np.float32)

    def top(
        self, queries: torch.Tensor, n: int, excluded: Excluded, sums: LogSums | None = None
    ) -> tuple[Codes, Floats]:
        """As `Retriever.top`, of (users, d) queries; `sums` are those of the items in an `exact` table."""
        users, codes = excluded.by_user
        out = np.full((len(queries), n), -1, dtype=np.int32), np.full((len(queries), n), -np.inf, dtype=np.float32)
        bounds = [0, *range(FIRST, len(self.codes), ITEMS), len(self.codes)]
        for start in range(0, len(queries), USERS):
            part = slice(start, min(start + USERS, len(queries)))
            first, last = np.searchsorted(users, (part.start, part.stop))
            hidden = users[first:last] - start, self.place[codes[first:last]]
            search = Search(self, queries[part].to(self.device), n, hidden)
            for low, high in pairwise(bounds):
                tile = self.table[low:high] @ search.asked.T
                if sums is not None:
                    sums.add(part, tile)
                search.look_at(tile, low)
            places, out[1][part] = search.best()
            out[0][part] = np.append(self.codes, -1)[places]  # place -1 is none, of an empty table too
        return out


class Search:
    """The best items of a tile of users, as far as the items have been looked at."""

    def __init__(self, table: ItemTable, queries: torch.Tensor, n: int, hidden: tuple[Ints, Ints]) -> None:
        """`hidden` are users (row numbers) with the places of items that they may not have."""
        self.table, self.queries, self.hidden = table, queries, hidden
        self.shape, self.asked, self.slack = (len(queries), n), table.asked(queries), table.slack(queries)
        self.found: list[tuple[Ints, Codes | Ints, Floats]] = []
        self.least: Floats | None = None

    def best(self) -> tuple[Codes, Floats]:
        """(users, n) places and scores, the best first; of what was found the rest is given up."""
        rows, places, scores = (np.concatenate(each) for each in zip(*self.found, strict=True))
        best = best_of(rows, places, scores, self.shape, None)
        rows, columns = np.nonzero(best[0] >= 0)
        self.found = [(rows, best[0][rows, columns], best[1][rows, columns])]
        return best

    def look_at(self, tile: torch.Tensor, first: int) -> None:
        """`tile` (items, users) has products that are not below the scores, of the items from this place on."""
        self._hide(tile, first)
        if self.least is None:
            self.found = [self._reaching(tile, self._first_bound(tile), first)]
            self.least = self.best()[1][:, -1] - self.slack
            self.found = [self._reaching(tile, self.least, first)]
        else:
            self.found.append(self._reaching(tile, np.where(self.least == 0, np.float32(LEAST), self.least), first))
        if sum(len(each[0]) for each in self.found[1:]) > self.shape[0] * self.shape[1] or not first:
            self.least = self.best()[1][:, -1] - self.slack

    def _hide(self, tile: torch.Tensor, first: int) -> None:
        users, places = self.hidden
        inside = (places >= first) & (places < first + len(tile))
        cells = (torch.from_numpy(each).to(tile.device) for each in (places[inside] - first, users[inside]))
        tile[tuple(cells)] = -torch.inf

    def _first_bound(self, tile: torch.Tensor) -> Floats:
        """(users,) what the n-th largest group of items reaches."""
        whole = len(tile) // GROUP * GROUP
        maxima = tile[:whole].view(whole // GROUP, GROUP, tile.shape[1]).amax(dim=1)
        return nth_bound(np.ascontiguousarray(maxima.float().cpu().numpy().T), self.shape[1])

    def _reaching(self, tile: torch.Tensor, least: Floats, first: int) -> tuple[Ints, Ints, Floats]:
        """Users, places and exact scores of what reaches `least` (users,) in a tile."""
        finite = torch.from_numpy(np.maximum(least, np.finfo(np.float32).min / 2)).to(tile.device).to(tile.dtype)
        if tile.device.type != "cpu":
            cells = torch.nonzero((tile >= finite).ravel())[:, 0].cpu().numpy()
        else:
            cells = np.flatnonzero(_ordered(tile, least) >= _ordered(finite, least))
        places, users = np.divmod(cells, tile.shape[1])
        order = np.argsort(users.astype(np.int16), kind="stable")
        users, places = users[order], places[order] + first
        return users, places, dots(self.queries, users, self.table.vectors, self.table.codes[places])


def _ordered(values: torch.Tensor, least: Floats) -> npt.NDArray[Any]:
    """The values as numbers that numpy compares: bfloat16 as integers in the same order, from `least` on."""
    if values.dtype != torch.bfloat16:
        return values.numpy()
    bits = values.view(torch.int16).numpy()
    return bits if (least >= 0).all() else bits ^ ((bits >> 15) & np.int16(0x7FFF))


def dots(left: torch.Tensor, rows: Ints, right: torch.Tensor, columns: Codes) -> Floats:
    """(n,) products of `left[rows[i]]` and `right[columns[i]]`; `rows` ascend. No vector is copied."""
    if not left.shape[1] or not len(rows):
        return np.zeros(len(rows), dtype=np.float32)
    offsets = offsets_of(np.bincount(rows, minlength=len(left))).astype(np.int32)
    first, second = (torch.from_numpy(each.astype(np.int32)).to(left.device) for each in (offsets, columns))
    nothing = torch.zeros(len(rows), device=left.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sparse tensors are called new
        cells = torch.sparse_csr_tensor(first, second, nothing, (len(left), len(right)), check_invariants=False)
        found = torch.sparse.sampled_addmm(cells, left, right.T, beta=0.0).values()
    return np.asarray(found.cpu().numpy(), dtype=np.float32)


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of the items' vectors: of each user's products with all items, without a product."""

    mean: torch.Tensor
    """(d,) float64"""
    covariance: torch.Tensor
    """(d, d) float64"""

    @classmethod
    def of(cls, vectors: torch.Tensor) -> Moments:
        count, width = vectors.shape
        mean = vectors.sum(dim=0, dtype=torch.float64) / max(count, 1)
        covariance = torch.zeros(width, width, dtype=torch.float64)
        middle = mean.float()
        for start in range(0, count, 1 << 12):  # few enough that the sums of a piece lose nothing in float32
            off = vectors[start : start + (1 << 12)] - middle
            covariance += off.T @ off
        return cls(mean, covariance / max(count, 1))

    def of_users(self, queries: torch.Tensor) -> tuple[Floats, Floats]:
        """(users,) mean and standard deviation of the products of (users, d) queries."""
        given = queries.double()
        variance = ((given @ self.covariance) * given).sum(dim=1).clamp_min(0)
        return (given @ self.mean).float().numpy(), (variance.sqrt() + 1e-9).float().numpy()


def _not_below(*lengths: torch.Tensor) -> torch.Tensor:
    """(n, columns) bfloat16 numbers that are not below the given ones."""
    return (torch.stack(lengths, dim=1) * 1.01).bfloat16()
