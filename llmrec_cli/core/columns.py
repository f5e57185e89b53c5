"""Names of the ids and types of structured columns; docs/columns.toml says what columns mean."""

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
LIST_TEXT = pa.schema(
    [
        (USER, pa.string()),
        ("kind", pa.string()),
        ("rank", pa.int32()),
        ("text", pa.string()),
        ("item_ids", pa.list_(pa.string())),
        ("facts", ATTRIBUTES),
        ("language", pa.string()),
        ("template_sha256", pa.string()),
    ]
)
