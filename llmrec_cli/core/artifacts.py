"""Every artifact of the work directory: stage, name, columns, key and one sentence: the vocabulary of the program."""

from __future__ import annotations

import pyarrow as pa

from llmrec_cli.core import columns as of
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.kinds import Artifact, File, Folder, Forgets, Table

ID, TEXT, NUMBER, INT, LONG, REAL = pa.string(), pa.string(), pa.float64(), pa.int32(), pa.int64(), pa.float32()
TIME = pa.timestamp("us", tz="UTC")

__all__ = ["Artifact", "File", "Folder", "Forgets", "Table"]  # the kinds, besides all that is defined here


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


INTERACTIONS = Table(
    "clean",
    "interactions",
    "One row for each kept event, by user and then in time order; position counts a user's events from 0.",
    (USER, "position"),
    _schema(
        **dict(user_id=ID, position=INT, item_id=ID, time=TIME, value=NUMBER, event=TEXT, weight=REAL, session=INT),
        source_row=LONG,
    ),
    forgets=Forgets.ROWS,
)
ITEMS = Table(
    "clean",
    "items",
    "The catalogue, sorted by item_id: every item with kept events or a row in the items file.",
    (ITEM,),
    _schema(
        item_id=ID,
        **dict.fromkeys(("title", "text", "category"), TEXT),
        tags=pa.list_(pa.string()),
        image=pa.string(),
        audio=pa.string(),
        attributes=of.ATTRIBUTES,
        n_events=pa.int64(),
    ),
    forgets=Forgets.LEARNT,
)
ITEM_RANGES = Table(
    "clean",
    "item_ranges",
    "Attributes of items that the log gives as several numbers: the lowest and the highest, as they stand there.",
    (ITEM, "name"),
    _schema(item_id=ID, name=pa.string(), low=pa.string(), high=pa.string()),
    optional=True,
    forgets=Forgets.LEARNT,
)
USERS = Table(
    "clean",
    "users",
    "Every user with kept events or a row in the users file, sorted by user_id, with demographics as given.",
    (USER,),
    _schema(user_id=ID, age=NUMBER, gender=TEXT, region=TEXT, attributes=of.ATTRIBUTES, n_events=pa.int64()),
    forgets=Forgets.ROWS,
)
SEQUENCES = Table(
    "clean",
    "sequences",
    "The events of each user with at least one, oldest first, sorted by user_id; codes are row numbers of clean/items.",
    (USER,),
    _schema(user_id=ID, item_ids=pa.list_(ID), item_codes=pa.list_(INT), times=pa.list_(TIME), weights=pa.list_(REAL)),
    forgets=Forgets.ROWS,
)
NEGATIVE_FEEDBACK = Table(
    "clean",
    "negative_feedback",
    "Items that users turned down: events of negative weight. position counts the kept events of the user before it.",
    (USER, ITEM),
    _schema(user_id=ID, item_id=ID, position=pa.int32()),
    forgets=Forgets.ROWS,
)
REVIEWS = Table(
    "clean",
    "reviews",
    "What users wrote of items beside kept events, with the value that they gave, as read.",
    (USER, "position"),
    _schema(user_id=ID, position=INT, item_id=ID, value=NUMBER, source_row=LONG, text=TEXT),
    optional=True,
    forgets=Forgets.ROWS,
)
REJECTS = Table(
    "clean",
    "rejects",
    "One row for each input row that was not kept, with the rule that took it out and the values as read.",
    ("source", "row"),
    _schema(source=TEXT, row=pa.int64(), reason=TEXT, user_id=ID, item_id=ID, time=TEXT, value=TEXT, raw=TEXT),
    forgets=Forgets.ROWS,
)
FUNNEL = Table(
    "clean",
    "funnel",
    "Rows read, rows taken out by each rule in order, and the rows, users and items with rows that are left after it.",
    ("step",),
    _schema(step=INT, rule=pa.string(), removed=LONG, left=LONG, users=LONG, items=LONG),
    forgets=Forgets.LEARNT,
)
LOG_PROFILE = Table(
    "clean",
    "log_profile",
    "What came in and what stayed: events a day, of users and of items, the long tail, repeats, empty cells.",
    ("part", "name"),
    _schema(part=pa.string(), name=pa.string(), came=NUMBER, stayed=NUMBER),
    forgets=Forgets.LEARNT,
)
HOLDOUT = Table(
    "clean",
    "holdout",
    "Events withheld from everything else by a backtest; only `evaluate` reads it.",
    (USER, "position"),
    _schema(user_id=ID, position=pa.int32(), item_id=ID, time=TIME),
    optional=True,
    forgets=Forgets.ROWS,
)


def _item_vectors(name: str, about: str, optional: bool = False, *, forgets: Forgets = Forgets.NOBODY) -> Table:
    schema = _schema(item_id=ID, vector=of.VECTOR)
    return Table("pretrain", name, about, (ITEM,), schema, optional, forgets=forgets)


ITEM_VECTORS = _item_vectors(
    "item_vectors",
    "Each item as the sequence model sees it (id embedding fused with content), in the order of items.",
    forgets=Forgets.LEARNT,
)
ITEM_TEXT_VECTORS = _item_vectors(
    "item_text_vectors",
    "Unit-length, centred embeddings of the items' texts, joined with images and audio where encoded.",
)
ENCODER = Folder("pretrain", "encoder", "The sequence transformer, trained on every event.", forgets=Forgets.LEARNT)
ENCODER_VALIDATION = Folder(
    "pretrain",
    "encoder_validation",
    "The same transformer trained without each user's last event; rankers learn on it.",
    forgets=Forgets.LEARNT,
)
WARM_START = Folder("pretrain", "warm_start", "The encoders of before.", optional=True, forgets=Forgets.LEARNT)
PRETRAIN_CURVE = Table(
    "pretrain",
    "pretrain_curve",
    "Loss and validation accuracy after each epoch; phase is search (last event withheld) or refit.",
    ("phase", "epoch"),
    _schema(phase=TEXT, epoch=pa.int32(), loss=NUMBER, recall=NUMBER, ndcg=NUMBER),
    forgets=Forgets.LEARNT,
)
TEXT_ENCODER = Folder("pretrain", "text_encoder", "Tuned on behaviour.", optional=True, forgets=Forgets.LEARNT)
LANGUAGE_ADAPTER = Folder("pretrain", "language_adapter", "LoRA weights.", optional=True, forgets=Forgets.LEARNT)
PROFILES = Table(
    "profile",
    "profiles",
    "One row for each user in the order of users: vectors, interests a person can read, topics and demographics.",
    (USER,),
    _schema(
        **dict(user_id=ID, vector=of.VECTOR, own_weight=REAL, interests=of.INTERESTS, recent_interests=of.INTERESTS),
        **dict(changes=of.CHANGES, topics=of.TAGS, brands=of.AFFINITIES, price=of.PRICE),
        **dict.fromkeys(("age_band", "gender", "region", "segment"), TEXT),
        **dict(segment_weight=REAL, n_events=LONG, last_time=TIME, cold=pa.bool_()),
    ),
    forgets=Forgets.ROWS,
)
TOPICS = Table(
    "profile",
    "topics",
    "The topics that the topic model found, each with a label and its leading words.",
    ("topic",),
    _schema(topic=pa.string(), words=pa.list_(pa.string()), weight=pa.float32(), coherence=pa.float32()),
    forgets=Forgets.LEARNT,
)

RETRIEVERS = Folder("train-ranker", "retrievers", "Each retriever, refitted on every event.", forgets=Forgets.MODELS)
RANKER = Folder("train-ranker", "ranker", "The best ranker on validation, with its name.", forgets=Forgets.MODELS)
RANKER_FEATURES = Table(
    "train-ranker",
    "ranker_features",
    "What each feature of a candidate says, and how much the chosen ranker goes by it; shares add up to 1.",
    ("feature",),
    _schema(feature=TEXT, family=TEXT, meaning=TEXT, mean=NUMBER, std=NUMBER, importance=NUMBER, share=NUMBER),
    forgets=Forgets.LEARNT,
)
_INTERVAL = dict(value=pa.float64(), low=pa.float64(), high=pa.float64(), n_users=pa.int64())
RANKER_REPORT = Table(
    "train-ranker",
    "ranker_report",
    "Validation accuracy of each retriever and ranker with a 95 % bootstrap interval; chosen marks the one kept.",
    ("kind", "name", "metric"),
    _schema(kind=TEXT, name=TEXT, metric=TEXT, **_INTERVAL, chosen=pa.bool_()),
    forgets=Forgets.LEARNT,
)

_DRAFT = dict(text=pa.string(), writer=pa.string(), model=pa.string(), prompt_sha256=pa.string(), tries=pa.int64())
_TEXT = dict(**_DRAFT, facts=pa.list_(pa.string()), check=pa.string(), source_rows=pa.list_(pa.int64()))


def _texts(name: str, key: str, about: str, forgets: Forgets) -> Table:
    return Table("generate", name, about, (key,), _schema(**{key: ID}, **_TEXT), optional=True, forgets=forgets)


ITEM_TEXTS = _texts(
    "item_texts", ITEM, "A grounded description of each item; check says why the template took over.", Forgets.LEARNT
)
TASTE_TEXTS = _texts(
    "taste_texts", USER, "A grounded summary of each user's taste, with the same provenance columns.", Forgets.ROWS
)
REVIEW_SUMMARIES = _texts(
    "review_summaries", ITEM, "How many reviews an item has, and sentences of them in quotation marks.", Forgets.REMOVED
)
ITEM_IMAGES = Table(
    "generate",
    "item_images",
    "Where the generated image of an item lies, what made it, and the item whose image is nearest to it.",
    (ITEM,),
    _schema(item_id=ID, path=TEXT, image_generator=TEXT, condition=TEXT, nearest_item=ID, distance=pa.float32()),
    optional=True,
    forgets=Forgets.NOBODY,
)
IMAGES = Folder("generate", "images", "Generated images, and a contact sheet.", optional=True, forgets=Forgets.NOBODY)

RECOMMENDATIONS = Table(
    "recommend",
    "recommendations",
    "k rows for each user: the item, why it is there, and the events that speak for it.",
    (USER, "rank"),
    _schema(user_id=ID, rank=INT, item_id=ID, score=REAL, strategy=TEXT, reason=TEXT, evidence=of.EVIDENCE),
    forgets=Forgets.ROWS,
)
LIST_TEXTS = Table(
    "recommend",
    "list_texts",
    "What a reader is sent about a list: why a row is there, a push line, a digest; with what each rests on.",
    (USER, "kind", "rank"),
    of.LIST_TEXT,
    optional=True,
    forgets=Forgets.ROWS,
)
EXCLUSIONS = Table(
    "recommend",
    "exclusions",
    "Candidates that a rule of recommend.constraints took out; a row for each rule that is broken.",
    (USER, ITEM, "rule"),
    _schema(user_id=ID, item_id=ID, rule=pa.string(), rank=INT, score=REAL),
    optional=True,
    forgets=Forgets.ROWS,
)
REPORT_PAGE = File(
    "report",
    "report.html",
    "The page to look at: lists with reasons, the funnel, the verdict.",
    optional=True,
    forgets=Forgets.REMOVED,
)

EVALUATION = Table(
    "evaluate",
    "evaluation",
    "How the lists of the pipeline and of the baselines do on the events withheld by a backtest, with 95 % intervals.",
    ("system", "metric"),
    _schema(system=pa.string(), metric=pa.string(), **_INTERVAL),
    forgets=Forgets.LEARNT,
)
SLICES = Table(
    "evaluate",
    "slices",
    "Accuracy by kind of user and of target; slice gap is the best slice less the worst of that kind.",
    ("kind", "slice", "system", "metric"),
    _schema(kind=pa.string(), slice=pa.string(), system=pa.string(), metric=pa.string(), **_INTERVAL),
    forgets=Forgets.LEARNT,
)
VERDICT = File("evaluate", "verdict.json", "Whether lists beat popularity, by how much.", forgets=Forgets.LEARNT)
ABLATION = Table(
    "evaluate",
    "ablation",
    "NDCG without one family of features or source, the ranker fitted anew, or without one rule of the lists.",
    ("kind", "name"),
    _schema(kind=pa.string(), name=pa.string(), metric=pa.string(), difference=pa.float64(), **_INTERVAL),
    optional=True,
    forgets=Forgets.LEARNT,
)
_OF_AN_EVENT = {"item": ID, "age": LONG, "score": NUMBER, "left": pa.bool_()}
_WITHOUT = {f"{what}_{event}": kind for event in ("named", "other") for what, kind in _OF_AN_EVENT.items()}
DELETIONS = Table(
    "evaluate",
    "deletions",
    "Rows of lists, and what they lose without the event that their reason names and without another as old.",
    (USER, "rank"),
    _schema(user_id=ID, rank=INT, item_id=ID, score=NUMBER, **_WITHOUT),
    optional=True,
    forgets=Forgets.ROWS,
)

REGISTRY: tuple[Artifact, ...] = tuple(each for each in globals().values() if isinstance(each, Artifact))
"""Every artifact that there is."""
