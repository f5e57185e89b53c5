"""Small trees of LightGBM, evaluated for many rows at once: scores, and what each feature adds to them.

A row's answers at all nodes of a tree are the bits of one number. Trees have few nodes, so that few numbers occur, and
what a tree says is worked out once for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from llmrec_cli.core.arrays import Doubles, Floats, Ints
from llmrec_cli.core.errors import MissingExtraError

MOST_NODES = 16
"""A tree with more of them has too many numbers."""
ROWS = 1 << 15
"""Rows whose columns are looked at together; more leave the processor's cache."""
AT, WEIGHT = (each / 2 for each in np.polynomial.legendre.leggauss(MOST_NODES // 2))
AT = AT + 0.5
Answers = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Leaf:
    value: float
    care: Answers
    """(features on the way,) the nodes that ask about the feature, as bits."""
    want: Answers
    """(features on the way,) the answers of these that lead here."""
    features: Ints
    worth: Doubles
    """(2**n, n) what each of the n features adds, by which of them (bits) have the answers that lead here."""


@dataclass(frozen=True)
class Tree:
    """Node 0 is the root; children below 0 are leaves, ~number."""

    features: Ints
    thresholds: Floats
    """What is above goes right."""
    children: Ints
    """(nodes, 2) left and right."""
    counts: Doubles
    """(nodes,) rows that came by in training."""
    leaf_values: Doubles
    leaf_counts: Doubles

    @classmethod
    def parse(cls, text: str) -> Self:
        """One tree in the form of LightGBM's models."""
        lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        fields = ("split_feature", "threshold", "left_child", "right_child", "internal_count")
        found = {name: np.array(lines.get(name, "").split(), dtype=np.float64) for name in fields}
        thresholds = found["threshold"].astype(np.float32)
        below = np.nextafter(thresholds, np.float32(-np.inf))
        children = np.stack([found["left_child"], found["right_child"]], axis=1).astype(np.int64)
        return cls(
            found["split_feature"].astype(np.int64),
            np.where(thresholds > found["threshold"], below, thresholds),
            children,
            found["internal_count"],
            np.array(lines["leaf_value"].split(), dtype=np.float64),
            np.array(lines.get("leaf_count", "1").split(), dtype=np.float64),
        )

    def answers(self, columns: Floats) -> Answers:
        """(rows,) by (features, rows) values: bit i is set where node i sends the row to the right."""
        halves = np.zeros((2, columns.shape[1]), dtype=np.uint8)
        for node, (feature, threshold) in enumerate(zip(self.features, self.thresholds, strict=True)):
            # numpy multiplies small numbers fifteen times as fast as it shifts them
            halves[node // 8] |= (columns[feature] > threshold).view(np.uint8) * np.uint8(1 << node % 8)
        return halves[0] | halves[1] * np.uint16(1 << 8)

    @cached_property
    def ways(self) -> list[list[tuple[int, int]]]:
        """For each leaf the nodes on the way to it, with the side that is taken."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.leaf_values]
        todo: list[tuple[int, list[tuple[int, int]]]] = [(0, [])] if len(self.features) else []
        while todo:
            node, way = todo.pop()
            for side, child in enumerate(self.children[node].tolist()):
                if child < 0:
                    found[~child] = [*way, (node, side)]
                else:
                    todo.append((child, [*way, (node, side)]))
        return found

    @cached_property
    def values(self) -> Doubles:
        """(2**nodes,) what the tree says, by the answers."""
        out = np.zeros((2,) * len(self.features))
        for value, way in zip(self.leaf_values, self.ways, strict=True):
            sides = dict(way)
            # the last node's answer is the highest bit, so it is the first axis
            out[tuple(sides.get(node, slice(None)) for node in reversed(range(len(self.features))))] = value
        return out.ravel()

    @cached_property
    def leaves(self) -> list[Leaf]:
        return [self._leaf(number, way) for number, way in enumerate(self.ways) if way]

    def _leaf(self, number: int, way: list[tuple[int, int]]) -> Leaf:
        features = sorted({int(self.features[node]) for node, _ in way})
        care, want = np.zeros((2, len(features)), dtype=np.uint16)
        share = np.ones(len(features))
        after = [*(self.counts[node] for node, _ in way[1:]), self.leaf_counts[number]]
        for (node, side), rows in zip(way, after, strict=True):
            at = features.index(int(self.features[node]))
            care[at] |= np.uint16(1 << node)
            want[at] |= np.uint16(side << node)
            share[at] *= rows / self.counts[node]
        value = float(self.leaf_values[number])
        return Leaf(value, care, want, np.array(features, dtype=np.int64), value * worths(share))

    def parts(self, answers: Answers) -> tuple[Ints, Doubles]:
        """The features that the tree asks about, and (rows, these) what each adds by its TreeSHAP value."""
        known = np.zeros(1 << len(self.features), dtype=bool)
        known[answers] = True
        distinct = np.flatnonzero(known).astype(np.uint16)
        used, place = np.unique(self.features, return_inverse=True)
        column = dict(zip(self.features.tolist(), place.tolist(), strict=True))
        out = np.zeros((len(distinct), len(used)))
        for leaf in self.leaves:
            reached = np.zeros(len(distinct), dtype=np.int64)
            for bit, (care, want) in enumerate(zip(leaf.care, leaf.want, strict=True)):
                reached |= ((distinct & care) == want).astype(np.int64) << bit
            out[:, [column[feature] for feature in leaf.features.tolist()]] += leaf.worth[reached]
        return used, out[(np.cumsum(known) - 1)[answers]]


def worths(share: Doubles) -> Doubles:
    """(2**n, n) SHAP values of n features for a leaf of value 1, by which of them (bits) are as the leaf wants.

    `share` (n,) are the parts of the rows that go the leaf's way where a feature is not known. The sum over all subsets
    of the others is the integral over t of the product of share (1 - t) + [as wanted] t, which the quadrature gives
    exactly (Lundberg et al. 2020 in another form).
    """
    n = len(share)
    wanted = (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(np.float64)
    factors = share[:, None] * (1 - AT) + wanted[:, :, None] * AT
    others = factors.prod(axis=1, keepdims=True) / factors
    return np.asarray((wanted - share) * (others @ WEIGHT))


@dataclass(frozen=True)
class Trees:
    """A model of LightGBM: the sum of its trees."""

    text: str

    @cached_property
    def trees(self) -> list[Tree]:
        return [Tree.parse(part) for part in self.text.split("\nTree=")[1:]]

    @cached_property
    def booster(self) -> Any | None:
        """LightGBM itself, for trees of more nodes than are looked at here."""
        large = any(len(tree.features) > MOST_NODES for tree in self.trees)
        return lightgbm().Booster(model_str=self.text) if large else None

    def predict(self, rows: Floats) -> Doubles:
        """(n,) by (n, features)."""
        if self.booster is not None:
            return np.asarray(self.booster.predict(rows))
        out = np.zeros(len(rows))
        for start in range(0, len(rows), ROWS):
            columns = np.ascontiguousarray(rows[start : start + ROWS].T)
            for tree in self.trees:
                out[start : start + ROWS] += tree.values.take(tree.answers(columns))
        return out

    def parts(self, rows: Floats) -> Doubles:
        """(n, features) what each feature adds to the sum, compared with what is not known: TreeSHAP values."""
        if self.booster is not None:
            return np.asarray(self.booster.predict(rows, pred_contrib=True))[:, :-1]
        columns = np.ascontiguousarray(rows.T)
        out = np.zeros(columns.shape)
        for tree in self.trees:
            used, added = tree.parts(tree.answers(columns))
            for feature, part in zip(used.tolist(), added.T, strict=True):
                out[feature] += part
        return out.T


def lightgbm() -> Any:
    try:
        import lightgbm as found
    except OSError as error:  # the wheel leaves libgomp to the system
        raise MissingExtraError(
            f"lightgbm cannot be loaded: {error}",
            fix="apt-get install libgomp1, or leave lambdarank out of train-ranker.rankers",
        ) from error
    return found
