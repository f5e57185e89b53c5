"""A work directory small enough to know the answer: two rings of items that people walk around, and a few new items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from llmrec_cli.core import artifacts
from llmrec_cli.core.columns import AFFINITIES, ATTRIBUTES, CHANGES, INTERESTS, PRICE, TAGS
from llmrec_cli.core.workdir import WorkDir, to_numpy, vectors
from llmrec_cli.data import catalogue as catalogues
from llmrec_cli.data.interactions import from_table
from llmrec_cli.ingest.funnel import funnel
from llmrec_cli.ranking.candidate_config import CandidateConfig
from llmrec_cli.ranking.rankers import load_class as ranker_class
from llmrec_cli.ranking.rankers import save_ranker
from llmrec_cli.ranking.retrieval import Retrieval, save_config
from llmrec_cli.ranking.retrievers import Histories, Retriever, load_class, save_retrievers
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.model_config import ModelConfig
from llmrec_cli.sequence.network import Transformer
from llmrec_cli.tensors.checkpoints import bind
from tests.signing import vouch

RING = 8
N_ITEMS = 2 * RING
SOURCES = ("transitions", "itemknn", "content", "popularity")
WALKERS, COLD_ITEMS = 48, 3
PROFILE_OF_LOG = [["events of a day"] * 2 + ["log"], ["2024-01-01", "2024-01-03", "users"], [150.0, 50.0, 51.0]]
PROFILE_OF_LOG.append([144.0, None, 48.0])
STEPS = 3


def all_scores(retriever: Retriever, histories: Histories) -> np.ndarray:
    """(users, items) what a retriever says of every item: for a few users only."""
    shape = len(histories), histories.sequences.n_items
    users, items = np.indices(shape).reshape(2, -1)
    return retriever.pairs(histories, users, items.astype(np.int32)).reshape(shape)


def item_id(code: int) -> str:
    return f"i{code:02d}"


def walk(user: int, steps: int = STEPS) -> list[int]:
    """Items of a walker: even ones go around the first ring, odd ones around the second."""
    ring = (user % 2) * RING
    return [ring + (user // 2 + step) % RING for step in range(steps)]


def following(user: int) -> int:
    """The item that comes next on the ring."""
    return (user % 2) * RING + (user // 2 + STEPS) % RING


def make(
    folder: Path, titles: dict[int, str] | None = None, negative: dict[str, str] | None = None, *, fit: bool = True
) -> WorkDir:
    """Everything that `recommend` and `report` read; `negative` is the item that a user turned down last of all.

    `fit=False` leaves the models out.
    """
    work = WorkDir(folder)
    _clean(work, titles or {})
    gone = {"user_id": list(negative or {}), "item_id": list((negative or {}).values())}
    gone["position"] = [STEPS] * len(gone["user_id"])
    work.write(artifacts.NEGATIVE_FEEDBACK, pa.table(gone, schema=artifacts.NEGATIVE_FEEDBACK.schema))
    _vectors(work)
    _profiles(work)
    _encoders(work)
    _rest(work)
    if fit:
        _models(work)
    return vouch(work)


def _clean(work: WorkDir, titles: dict[int, str]) -> None:
    users = [f"u{user:02d}" for user in range(WALKERS)] + [f"z{n}" for n in range(COLD_ITEMS)]
    histories = [walk(user) for user in range(WALKERS)]
    counts = np.bincount(np.concatenate(histories), minlength=N_ITEMS)
    region = ["France" if user % 2 == 0 else "Spain" for user in range(WALKERS)] + ["France", "Spain", None]
    none, empty = pa.nulls(N_ITEMS, pa.string()), pa.array([[]] * N_ITEMS, type=ATTRIBUTES)
    work.write(
        artifacts.ITEMS,
        pa.table(
            {
                "item_id": [item_id(code) for code in range(N_ITEMS)],
                "title": [titles.get(code, f"Thing {code}") for code in range(N_ITEMS)],
                "text": none,
                "category": [f"Ring {code // RING} > Half {code % RING // 4}" for code in range(N_ITEMS)],
                "tags": [[f"ring {code // RING}"] for code in range(N_ITEMS)],
                "image": none,
                "audio": none,
                "attributes": empty,
                "n_events": counts,
            }
        ),
    )
    n_events = [STEPS] * WALKERS + [0] * COLD_ITEMS
    people = len(users)
    work.write(
        artifacts.USERS,
        pa.table(
            {
                "user_id": users,
                "age": pa.nulls(people, pa.float64()),
                "gender": pa.nulls(people, pa.string()),
                "region": region,
                "attributes": pa.array([[]] * people, type=ATTRIBUTES),
                "n_events": pa.array(n_events),
            }
        ),
    )
    columns = {
        "user_id": users[:WALKERS],
        "item_ids": [[item_id(code) for code in history] for history in histories],
        "item_codes": histories,
        "times": pa.array([[None] * STEPS] * WALKERS, type=pa.list_(artifacts.TIME)),
        "weights": [[1.0] * STEPS] * WALKERS,
    }
    work.write(artifacts.SEQUENCES, pa.table(columns, schema=artifacts.SEQUENCES.schema))
    work.write(artifacts.INTERACTIONS, artifacts.INTERACTIONS.schema.empty_table())
    work.write(artifacts.LOG_PROFILE, pa.table(PROFILE_OF_LOG, schema=artifacts.LOG_PROFILE.schema))
    work.write(
        artifacts.FUNNEL, funnel(200, {"duplicate": 6, "min_user_events": 50}, (), {"users": {"": 9}, "items": {"": 9}})
    )


def _vectors(work: WorkDir) -> None:
    ids = work.read(artifacts.ITEMS, ["item_id"]).column("item_id")
    angle = 2 * np.pi * np.arange(N_ITEMS) / RING
    ring = np.repeat(np.eye(2), RING, axis=0)
    text = np.concatenate([ring, 0.3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)], axis=1)
    rows = vectors(text / np.linalg.norm(text, axis=1, keepdims=True))
    for table in (artifacts.ITEM_VECTORS, artifacts.ITEM_TEXT_VECTORS):
        work.write(table, pa.table({"item_id": ids, "vector": rows}))


def _profiles(work: WorkDir) -> None:
    users = work.read(artifacts.USERS)
    people, region = users.num_rows, users.column("region").to_pylist()
    cold = [n == 0 for n in users.column("n_events").to_pylist()]
    tags = [[{"tag": f"ring {user % 2}", "weight": 1.0}] for user in range(people)]
    reported = [[{**tags[user][0], "support": 0 if cold[user] else STEPS}] for user in range(people)]
    columns = {
        "user_id": users.column("user_id"),
        "vector": vectors(np.zeros((people, 4))),
        "own_weight": np.array([0.0 if each else 1.0 for each in cold], dtype=np.float32),
        "interests": pa.array(reported, type=INTERESTS),
        "recent_interests": pa.array(reported, type=INTERESTS),
        "changes": pa.nulls(people, CHANGES),
        "topics": pa.array(tags, type=TAGS),
        "brands": pa.nulls(people, AFFINITIES),
        "price": pa.nulls(people, PRICE),
        "age_band": pa.nulls(people, pa.string()),
        "gender": pa.nulls(people, pa.string()),
        "region": users.column("region"),
        "segment": [each or "everyone" for each in region],
        "segment_weight": pa.array(np.array([float(each is not None) for each in region], dtype=np.float32)),
        "n_events": users.column("n_events"),
        "last_time": pa.nulls(people, artifacts.TIME),
        "cold": cold,
    }
    work.write(artifacts.PROFILES, pa.table(columns))


def _encoders(work: WorkDir) -> None:
    """Transformers that know nothing."""
    shape = ModelConfig(dim=4, layers=1, heads=1, max_length=8)
    for artifact in (artifacts.ENCODER, artifacts.ENCODER_VALIDATION):
        with torch.random.fork_rng(), work.writing(artifact) as path:
            torch.manual_seed(0)
            SequenceEncoder(shape, Transformer(shape), torch.randn(N_ITEMS + 1, 4)).save(path)
            bind(path, [item_id(code) for code in range(N_ITEMS)])


def _rest(work: WorkDir) -> None:
    rows = [
        {
            "kind": kind,
            "name": name,
            "metric": "ndcg@10",
            "value": value,
            "low": value - 0.02,
            "high": value + 0.02,
            "n_users": WALKERS,
            "chosen": name == "fusion",
        }
        for kind, name, value in (
            ("retriever", "transitions", 0.5),
            ("ranker", "fusion", 0.6),
            ("ranker", "popularity", 0.1),
        )
    ]
    work.write(artifacts.RANKER_REPORT, pa.Table.from_pylist(rows, schema=artifacts.RANKER_REPORT.schema))
    curve = {"phase": ["search"] * 3, "epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.5], "recall": [0.1, 0.2, 0.25]}
    curve["ndcg"] = [0.05, 0.1, 0.09]
    topic = {"topic": "rings", "words": ["ring 0", "ring 1"], "weight": 1.0, "coherence": None}
    work.write(artifacts.TOPICS, pa.Table.from_pylist([topic], schema=artifacts.TOPICS.schema))
    work.write(artifacts.PRETRAIN_CURVE, pa.table(curve, schema=artifacts.PRETRAIN_CURVE.schema))


def _models(work: WorkDir) -> None:
    items = work.read(artifacts.ITEMS)
    rows = to_numpy(work.read(artifacts.ITEM_VECTORS).column("vector"))
    catalogue = catalogues.from_tables(items, rows, rows)
    sequences = from_table(
        work.read(artifacts.SEQUENCES), items, negative_feedback=work.read(artifacts.NEGATIVE_FEEDBACK)
    )
    config = CandidateConfig(depth=N_ITEMS, depths={})
    past = sequences.without_last()

    given = {"transitions": {"tau": 10.0}}

    def fitted(log):  # type: ignore[no-untyped-def]
        kinds = {name: load_class(name) for name in SOURCES}
        return {name: kind.fit(kind.Config(**given.get(name, {})), log, catalogue, 1) for name, kind in kinds.items()}

    histories = Histories(past, np.zeros((len(past), 4), dtype=np.float32))
    candidates = Retrieval(fitted(past), catalogue, config).candidates(histories, sequences.last())
    ranker = ranker_class("fusion")
    with work.writing(artifacts.RANKER) as folder:
        save_ranker(folder, "fusion", ranker.fit(ranker.Config(), candidates, 1))
    with work.writing(artifacts.RETRIEVERS) as folder:
        save_retrievers(folder, fitted(sequences))
        save_config(folder, config)
        bind(folder, catalogue.item_ids)
