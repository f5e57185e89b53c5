"""Profile every user: a vector, interests a person can read, topics and demographics; the cold ones by their segment.

Reads: clean/users, clean/sequences, clean/items, pretrain/encoder, pretrain/encoder_validation.
Writes: profile/profiles, profile/topics.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from llmrec_cli.core import min_support
from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.core.artifacts import ENCODER, ENCODER_VALIDATION, ITEMS, PROFILES, SEQUENCES, TOPICS, USERS
from llmrec_cli.core.columns import AFFINITIES, ITEM, PRICE, USER
from llmrec_cli.core.registry import load_variant
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.workdir import WorkDir, vectors

if TYPE_CHECKING:
    from llmrec_cli.data.interactions import Sequences
    from llmrec_cli.data.segments import Segments
    from llmrec_cli.profiles.interests import Tagged
    from llmrec_cli.profiles.segment_smoothing import Leaning
    from llmrec_cli.profiles.shrinkage import Shrinkage
    from llmrec_cli.profiles.topics import Topics
    from llmrec_cli.profiles.topics.coherence import Chosen

Texts = npt.NDArray[np.object_]


class ProfileConfig(BaseModel, frozen=True, extra="forbid"):
    full_weight_events: int = Field(
        0, ge=0, description="with fewer events the vector leans on the segment's mean; 0 chooses on validation"
    )
    min_segment_users: int = Field(20, ge=1, description="users with events that a demographic segment needs at least")
    recent_events: int = Field(5, ge=1, description="newest events that recent interests come from")
    half_life: float = Field(50.0, gt=0, description="events after which an event counts half in the interests")
    n_interests: int = Field(10, ge=1, description="interests kept of each user")
    topic_model: str = Field("nmf", description="topic model: nmf, lda, or module:Class")
    price: str = Field("", description="attribute of the items that is their price; empty finds it by its name")
    brand: str = Field("", description="attribute of the items that is their brand; empty finds it by its name")
    n_topics: int = Field(0, ge=0, description="how many topics; 0 takes as many as cohere best")


def run(work: WorkDir, config: ProfileConfig, context: Context) -> Report:
    from llmrec_cli.data.interactions import from_table
    from llmrec_cli.data.ranks import tie_order
    from llmrec_cli.data.segments import own_weight, shrink
    from llmrec_cli.profiles import user_topics
    from llmrec_cli.profiles.interests import tagged
    from llmrec_cli.profiles.topics.coherence import coherent
    from llmrec_cli.sequence.encoder import SequenceEncoder
    from llmrec_cli.tensors.checkpoints import fits
    from llmrec_cli.tensors.runtime import set_threads

    topic_model = _topic_model(config)
    set_threads(context.threads)
    users, items = work.read(USERS), work.read(ITEMS)
    table = work.read(SEQUENCES, [USER, "item_codes", "times", "weights"])
    encoder = SequenceEncoder.load(fits(work.need(ENCODER), items.column(ITEM).to_pylist()), context.device)
    histories = from_table(table, items, users.column(USER))
    least = min_support.least_people(work)
    tags = tagged(items.column("tags").to_pylist())
    tags = tags.keep(tags.common(histories.matrix(), least))

    attributes, ties = attributes_of(users, least), tie_order(items.column(ITEM).to_pylist())
    leaning, found = segmented(attributes, histories, ties, config.min_segment_users, context.seed, least=least)
    bought, affinity_lines = affinities_of(replace(histories, weights=None), items, config)
    shrinkage = _shrinkage(work, config, context, histories, found)
    context.progress.log(f"profile: encoding {len(histories):,} histories")
    choose = partial(coherent, topic_model, config.n_topics, seed=context.seed)
    chosen = user_topics.find(choose, histories, tags, items.column("title"), least)
    profiles = {
        USER: users.column(USER),
        "vector": vectors(shrink(encoded(encoder, histories), histories.lengths, found, shrinkage.full_weight)),
        "own_weight": own_weight(histories.lengths, shrinkage.full_weight),
        **readable(histories, tags, chosen.topics, found, config),
        **bought,
        **known(users, attributes, histories.lengths, table),
        "segment": pa.array(found.names).take(found.of_user),
        "segment_weight": pa.array(leaning.weights(found)[found.of_user]),
    }
    work.write(PROFILES, pa.table(profiles))
    work.write(TOPICS, _topics_table(chosen))
    made = report(histories, chosen, found, least)
    made.warnings += [] if tags.names else ["items have no tags: there are no interests and no topics"]
    made.metrics["full_weight_events"] = float(shrinkage.full_weight)
    made.lines += [leaning.line(), *([] if config.full_weight_events else [shrinkage.line()]), *affinity_lines]
    return made


def _topic_model(config: ProfileConfig) -> Any:
    """The class of the topic model."""
    from llmrec_cli.profiles.topics import TOPIC_MODELS, TopicModel

    return load_variant("topic model", TOPIC_MODELS, config.topic_model, TopicModel)


def attributes_of(users: pa.Table, least: int) -> dict[str, Texts]:
    """Name -> (users,) values that tell users apart, None where it is unknown or of fewer than `least` users."""
    from llmrec_cli.data.attributes import by_name
    from llmrec_cli.data.segments import age_bands

    def texts(column: Any) -> Texts:
        return np.array(column.to_pylist(), dtype=object)

    columns = {"age": age_bands(users.column("age").to_numpy())}
    columns |= {name: texts(users.column(name)) for name in ("gender", "region")}
    columns |= {name: texts(values) for name, values in by_name(users.column("attributes")).items()}
    return {name: min_support.hide_rare(values, least) for name, values in columns.items()}


def segmented(
    columns: dict[str, Texts], histories: Sequences, ties: Ints, smallest: int, seed: int, *, least: int = 0
) -> tuple[Leaning, Segments]:
    """Everybody's segment by the attributes that are best for users without events, all where none is."""
    from llmrec_cli.data.segments import segments
    from llmrec_cli.profiles.segment_smoothing import choose

    def found(kept: tuple[str, ...], rows: Any) -> Segments:
        of = {
            name: values[rows] if name in kept else np.full(len(values[rows]), None) for name, values in columns.items()
        }
        return segments(of, histories.lengths[rows] > 0, max(smallest, least), least=least)

    names = tuple(name for name, values in columns.items() if any(value is not None for value in values))
    leaning = choose(names, histories, found, ties, seed)
    return leaning, found(leaning.attributes or names, slice(None))


def _shrinkage(
    work: WorkDir, config: ProfileConfig, context: Context, histories: Sequences, found: Segments
) -> Shrinkage:
    """The set number of events for full weight, or the one that is best on validation."""
    from llmrec_cli.data.ranks import tie_order
    from llmrec_cli.profiles.shrinkage import Shrinkage, choose
    from llmrec_cli.sequence.encoder import SequenceEncoder
    from llmrec_cli.tensors.checkpoints import fits

    if config.full_weight_events:
        return Shrinkage(config.full_weight_events, {}, 0)
    context.progress.log("profile: choosing how far users with few events lean on their segment")
    item_ids = work.read(ITEMS, [ITEM]).column(ITEM).to_pylist()
    unseen = SequenceEncoder.load(fits(work.need(ENCODER_VALIDATION), item_ids), context.device)
    return choose(unseen, histories, found, tie_order(item_ids), context.seed)


def encoded(encoder: Any, histories: Sequences) -> Floats:
    """(users, d) states after the newest event; zero rows for users without events."""
    some = histories.lengths > 0
    states = np.asarray(encoder.encode(histories.select(some)), dtype=np.float32)
    rows = np.zeros((len(histories), states.shape[1]), dtype=np.float32)
    rows[some] = states
    return rows


def readable(
    histories: Sequences, tags: Tagged, topics: Topics, found: Segments, config: ProfileConfig
) -> dict[str, pa.Array[Any]]:
    """Columns interests, recent_interests, changes and topics; users without events have those of their segment."""
    import scipy.sparse as sp

    from llmrec_cli.data.segments import in_place_of_cold
    from llmrec_cli.profiles import user_topics
    from llmrec_cli.profiles.interests import (
        Window,
        changes,
        interests,
        leading,
        normalised,
        population_shares,
    )

    shares = population_shares(histories.counts(), tags)
    weighed = np.bincount(histories.codes, histories.weights, histories.n_items)
    expected = population_shares(weighed, tags)
    decayed = histories.matrix(decay=0.5 ** (1 / config.half_life))
    weights = normalised(interests(decayed, tags, expected))
    recent = normalised(interests(histories.tail(config.recent_events).matrix(), tags, expected))
    events = replace(histories, weights=None)  # support is a number of events, whatever they weigh
    before = Window.of(events.without_last(config.recent_events).matrix(), tags)
    lately = Window.of(events.tail(config.recent_events).matrix(), tags)
    warm = in_place_of_cold(weights, histories, found)
    recent_or_warm = in_place_of_cold(recent, histories, found, weights)
    of_users = in_place_of_cold(sp.csr_matrix(topics.of_users), histories, found)
    return {
        "interests": leading(warm, tags.names, config.n_interests, events=before.counts + lately.counts),
        "recent_interests": leading(recent_or_warm, tags.names, config.n_interests, events=lately.counts),
        "changes": changes(before, lately, shares, tags.names),
        "topics": user_topics.of_users(of_users, topics.labels),
    }


def affinities_of(
    histories: Sequences, items: pa.Table, config: ProfileConfig
) -> tuple[dict[str, pa.Array[Any]], list[str]]:
    """Columns brands and price, null where the items have no such attribute, and a line that names what they have."""
    from llmrec_cli.data.attributes import amounts, by_name
    from llmrec_cli.profiles.affinities import BRANDS, PRICES, attribute, brands, prices

    columns = by_name(items.column("attributes"))
    brand = attribute(columns, config.brand, BRANDS, "profile.brand")
    price = attribute(columns, config.price, PRICES, "profile.price")
    found = {"brands": pa.nulls(len(histories), AFFINITIES), "price": pa.nulls(len(histories), PRICE)}
    if brand:
        found["brands"] = brands(histories, columns[brand])
    if price:
        found["price"] = prices(histories, amounts(columns[price]), items.column("category").combine_chunks())
    named = [f"{name} from the attribute {of!r}" for name, of in (("prices", price), ("brands", brand)) if of]
    return found, [f"affinities: {', '.join(named)}"] if named else []


def known(users: pa.Table, attributes: dict[str, Texts], lengths: Ints, sequences: pa.Table) -> dict[str, Any]:
    """Columns of profiles that take no model: who the user is, and how much is known of the behaviour."""
    return {
        "age_band": pa.array(attributes["age"], type=pa.string()),
        "gender": pa.array(attributes["gender"], type=pa.string()),
        "region": pa.array(attributes["region"], type=pa.string()),
        "n_events": pa.array(lengths),
        "last_time": last_times(sequences, users.column(USER)),
        "cold": pa.array(lengths == 0),
    }


def last_times(sequences: pa.Table, user_ids: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    """(users,) time of the newest event; null where there is none or it is not known."""
    times = sequences.column("times").combine_chunks()
    ends = pc.subtract(pc.cumulative_sum(pc.list_value_length(times).cast(pa.int64())), 1)
    newest = pc.list_flatten(times).take(ends)
    return newest.take(pc.index_in(user_ids, value_set=sequences.column(USER).combine_chunks()))


def _topics_table(chosen: Chosen) -> pa.Table:
    found, coherence = chosen.topics, pa.array(chosen.coherence, pa.float32())
    return pa.table([found.labels, found.words, pa.array(found.shares), coherence], schema=TOPICS.schema)


def report(histories: Sequences, chosen: Chosen, found: Segments, least: int) -> Report:
    """What a person should know: how many are cold, what the topics are, which segments are large."""
    topics, coherence = chosen.topics, chosen.coherence
    n_users, cold = len(histories), int((histories.lengths == 0).sum())
    lines = [f"{n_users:,} users profiled, {cold:,} of them without events (profiled by their segment)"]
    for topic in np.argsort(-topics.shares, kind="stable"):
        words = ", ".join(topics.words[topic])
        lines.append(f"topic {topics.shares[topic]:4.0%}  {words}  (NPMI {coherence[topic]:+.2f})")
    lines.append(chosen.line)
    metrics = {"coherence": float(coherence.mean())} if len(coherence) else {}
    sizes = found.sizes()
    large = min_support.enough(sizes, least) & (sizes > 0)
    largest = [f"{found.names[s]} ({sizes[s]:,})" for s in np.argsort(-sizes, kind="stable")[:5] if large[s]]
    lines.append(f"{np.count_nonzero(sizes):,} segments, the largest: {'; '.join(largest)}")
    return Report({"users": n_users, "cold": cold, "topics": len(topics.labels)}, metrics, lines)


STAGE = Stage(
    "profile",
    ProfileConfig,
    reads=(USERS, SEQUENCES, ITEMS, ENCODER, ENCODER_VALIDATION),
    writes=(PROFILES, TOPICS),
    run=run,
    facts=min_support.ticket_part,
    ready=lambda config, context: _topic_model(config),
    revision=12,
)
