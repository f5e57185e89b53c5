"""Words and phrases of titles that tell items apart: "hot water bottle", not "hot", "water" and "bottle"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Ints, within_groups
from llmrec_cli.data import words

WORDS_OF_ITEM = 5
# A word of more than a tenth of the titles is no use; one of fewer than two (of 1 in 500 titles) is no tag.
MOST_COMMON = 0.1
RAREST = 1 / 500
LONGEST = 3
"""Words of a phrase."""
TOGETHER, RAREST_PHRASE = 0.6, 3
"""Neighbours are a phrase from this normalised pointwise mutual information on (Bouma, 2009, "Normalized (pointwise)
mutual information in collocation extraction"), and in so many titles at least."""


@dataclass(frozen=True)
class Parts:
    """The words and phrases of titles in their order."""

    names: pa.Array
    """(names,) distinct."""
    lengths: Ints
    """(names,) how many words each has; more than a phrase may have for those that are in none."""
    codes: Ints
    """(parts,) the name of each."""
    titles: Ints
    """(parts,) the title of each, ascending."""

    def joined(self, n_titles: int) -> Parts:
        """The same with neighbours joined that are a phrase; of pairs that overlap, the one that is so most."""
        first, second = self.codes[:-1], self.codes[1:]
        near = np.flatnonzero(
            (self.titles[:-1] == self.titles[1:]) & (self.lengths[first] + self.lengths[second] <= LONGEST)
        )
        pairs, pair, n = np.unique(
            first[near] * len(self.names) + second[near], return_inverse=True, return_counts=True
        )
        one, other = np.divmod(pairs, max(1, len(self.names)))
        alone = np.bincount(self.codes, minlength=len(self.names)).astype(np.float64)
        npmi = np.log(n * n_titles / (alone[one] * alone[other])) / -np.log(np.minimum(n / n_titles, 1 - 1e-9))
        npmi[n < max(RAREST_PHRASE, RAREST * n_titles)] = -1
        scores = np.full(len(self.codes) + 1, -1.0)  # of each part with the one before it
        scores[near + 1] = npmi[pair]
        here = scores[1:-1]
        chosen = np.flatnonzero((here >= TOGETHER) & (here > scores[:-2]) & (here >= scores[2:]))
        used, new = np.unique(pair[np.searchsorted(near, chosen)], return_inverse=True)
        blank = pc.if_else(pc.match_substring_regex(self.names.take(pa.array(other[used])), words.HAN), "", " ")
        phrases = pc.binary_join_element_wise(
            self.names.take(pa.array(one[used])), self.names.take(pa.array(other[used])), blank
        )
        codes = self.codes.copy()
        codes[chosen] = len(self.names) + new
        left = np.delete(codes, chosen + 1)
        lengths = np.append(self.lengths, self.lengths[one[used]] + self.lengths[other[used]])
        # "a b" + "c" and "a" + "b c" are the same phrase
        names = pa.concat_arrays([self.names, phrases]).dictionary_encode()
        same = np.asarray(names.indices).astype(np.int64)
        first_of = np.unique(same, return_index=True)[1]
        return Parts(names.dictionary, lengths[first_of], same[left], np.delete(self.titles, chosen + 1))


def parts(titles: pa.Array) -> Parts:
    """The words of (n,) titles with phrases joined. Stop words and numbers are in no phrase."""
    found, of_title = words.of_texts(titles)
    values = found.dictionary_encode()
    stop = pc.is_in(values.dictionary, value_set=pa.array(sorted(words.stop_words(words.language(titles)))))
    sayable = np.asarray(pc.and_not(pc.match_substring_regex(values.dictionary, r"\p{L}"), stop))
    each = Parts(
        values.dictionary,
        np.where(sayable, 1, LONGEST + 1),
        np.asarray(values.indices).astype(np.int64),
        np.asarray(of_title).astype(np.int64),
    )
    for _ in range(LONGEST - 1):
        each = each.joined(len(titles))
    return each


def title_words(titles: pa.Array) -> pa.Array:
    """(n,) up to five words and phrases of each title, those of fewest titles first."""
    each = parts(titles)
    pair = np.unique(each.titles * max(1, len(each.names)) + each.codes)  # a title has a word once
    of_title, codes = np.divmod(pair, max(1, len(each.names)))
    titles_with = np.bincount(codes, minlength=len(each.names))
    # two letters of Chinese are a word
    shortest = pc.if_else(pc.match_substring_regex(each.names, words.HAN), 2, 3)
    allowed = np.asarray(pc.greater_equal(pc.utf8_length(each.names), shortest)) & (each.lengths <= LONGEST)
    allowed &= titles_with >= max(2, RAREST * len(titles))
    allowed &= titles_with <= max(2, MOST_COMMON * len(titles))
    alphabetical = np.argsort(np.asarray(pc.sort_indices(each.names)))
    kept = np.flatnonzero(allowed[codes])
    kept = kept[np.lexsort((alphabetical[codes[kept]], titles_with[codes[kept]], of_title[kept]))]
    n_of_title = np.bincount(of_title[kept], minlength=len(titles))
    kept = kept[within_groups(n_of_title) < WORDS_OF_ITEM]
    offsets = np.searchsorted(of_title[kept], np.arange(len(titles) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), each.names.take(pa.array(codes[kept])).cast(pa.string()))
