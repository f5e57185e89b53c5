"""Columns that are structures, and what the columns of tables mean where a name does not say it."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

ITEM: Final = "item_id"
USER: Final = "user_id"
"""The ids, in every table: the user's own strings."""

# Declared without a width: the width is a setting. On disk it is fixed_size_list<float32>[width].
VECTOR = pa.list_(pa.float32())
TAGS = pa.list_(pa.struct([("tag", pa.string()), ("weight", pa.float32())]))
EVIDENCE = pa.list_(
    pa.struct([("kind", pa.string()), (ITEM, pa.string()), ("tag", pa.string()), ("weight", pa.float32())])
)
ATTRIBUTES = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
INTERESTS = pa.list_(pa.struct([("tag", pa.string()), ("weight", pa.float32()), ("support", pa.int32())]))
CHANGES = pa.list_(pa.struct([("tag", pa.string()), ("before", pa.float32()), ("lately", pa.float32())]))
AFFINITIES = pa.list_(
    pa.struct([("tag", pa.string()), ("share", pa.float32()), ("lift", pa.float32()), ("support", pa.int32())])
)
PRICE = pa.struct([("typical", pa.float64()), ("level", pa.float32()), ("support", pa.int32())])

MEANINGS = {
    "profile/profiles.parquet": {
        USER: "as in clean/users, in its order",
        "vector": "the state of the encoder after the whole history, drawn towards the segment's mean where"
        " events are few; score of an item = vector · its row of pretrain/item_vectors",
        "interests": "tags of the user's items, the weightiest first: decayed events × lift over everyone, summing to"
        " 1; support is the user's own events that have the tag, 0 where the interests are the segment's",
        "recent_interests": "the same of the newest `recent_events` events",
        "changes": "tags that the newest events have more or less often than older ones would let expect; before and"
        " lately are shares of the older and of the newest events; rising ones first",
        "topics": "topics of profile/topics that the user holds most of, with their share",
        "brands": "brands that the user comes back to: share of the events, lift over everyone, and the events; null"
        " where items have no brand",
        "price": "typical is the median price of the chosen items; level tells from 0 (cheapest) to 1 (dearest) where"
        " they lie among like items; support is the priced events; null where there are none",
        "age_band": "from the age in clean/users; null where it is not known",
        "gender": "as given",
        "region": "as given",
        "segment": "the finest group by age band, gender, region or a further attribute with enough members; or"
        " everyone",
        "segment_weight": "how much the segment's own counts weigh against everyone's for users without events, 0 to 1",
        "n_events": "events in clean/sequences",
        "last_time": "time of the newest event; null where it is not known",
        "cold": "whether the user has no events; vectors, interests and topics are the segment's then",
    },
    "recommend/recommendations.parquet": {
        USER: "as in clean/users, in its order",
        "rank": "from 1",
        ITEM: "as in clean/items",
        "score": "the ranker's, or the share of people who chose the item in rows that a list was filled with",
        "strategy": "the source with the largest share of the row's score, beside a usual candidate of the user;"
        " popularity and segment-popularity for filled rows too",
        "reason": "a sentence whose condition was counted, see docs/truth.md",
        "evidence": "what speaks for the row, the leading piece first: followed (others chose the item later than this"
        " one), together (others chose both), similar (both have the tag), interest, segment, everyone",
    },
    "profile/topics.parquet": {
        "topic": "its label, made of its leading words; no two are equal",
        "words": "leading words, the most telling first",
        "weight": "mean share over the users that have tags; sums to 1",
        "coherence": "mean NPMI of the pairs of its words over the users' tags: 1 always together, 0 as by chance, -1"
        " never together; null for a topic of one word",
    },
}
"""Path of a table -> column -> what it means."""
