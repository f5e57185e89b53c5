"""The stage as a whole on two rings of items that users walk around: what comes next is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from llmrec_cli.core.artifacts import (
    ENCODER,
    RANKER,
    RANKER_FEATURES,
    RANKER_REPORT,
    RECOMMENDATIONS,
    RETRIEVERS,
    SEQUENCES,
)
from llmrec_cli.core.config import Settings
from llmrec_cli.core.disk import fingerprint
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.stage import Context, Outcome, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.rankers import load_ranker
from llmrec_cli.ranking.retrieval import Retrieval, load_config
from llmrec_cli.ranking.retrievers import Histories, load_retrievers
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.stages.recommend import STAGE as RECOMMEND
from llmrec_cli.stages.recommend import RecommendConfig
from llmrec_cli.stages.train_ranker import STAGE, TrainRankerConfig, build, read
from tests import tiny
from tests.signing import vouch
from tests.tiny import all_scores

SOURCES = ("sequence", "transitions", "itemknn", "als", "content", "popularity")
SMALL: dict[str, Any] = {
    "retrievers": SOURCES,
    "retriever": {"transitions": {"tau": 10.0}},
    "candidates": {"depth": tiny.N_ITEMS, "depths": {}},
}


def ready(folder: Path) -> WorkDir:
    """What the stage reads."""
    return tiny.make(folder, fit=False)


def run(work: WorkDir, context: Context, **settings: Any) -> Outcome:
    return execute(STAGE, vouch(work), TrainRankerConfig.model_validate({**SMALL, **settings}), context, force=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[WorkDir, Outcome]:
    from llmrec_cli.core.progress import PlainProgress

    folder = tmp_path_factory.mktemp("train-ranker")
    context = Context(seed=42, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    work = ready(folder)
    return work, run(work, context)


def test_every_source_and_ranker_is_reported_and_the_best_is_kept(done: tuple[WorkDir, Outcome]) -> None:
    work, outcome = done
    report = work.read(RANKER_REPORT).to_pylist()
    names = {(row["kind"], row["name"]) for row in report}
    assert names == {("retriever", n) for n in SOURCES} | {("ranker", n) for n in TrainRankerConfig().rankers}
    ndcg = [row for row in report if row["metric"] == "ndcg@10" and row["kind"] == "ranker"]
    chosen = [row for row in ndcg if row["chosen"]]
    assert len(chosen) == 1 and chosen[0]["value"] == max(row["value"] for row in ndcg)
    assert chosen[0]["value"] > 0.9
    assert any("beats popularity" in line for line in outcome.report.lines)
    features = work.read(RANKER_FEATURES).to_pydict()
    assert "transitions.z" in features["feature"] and np.isfinite(features["importance"]).all()
    assert sum(features["share"]) == pytest.approx(1)
    assert any(line.startswith(f"what {chosen[0]['name']} goes by: ") for line in outcome.report.lines)


def test_what_is_saved_ranks_the_next_item_first(done: tuple[WorkDir, Outcome]) -> None:
    work, _ = done
    catalogue, sequences = read(work)
    retrievers, ranker = load_retrievers(work.need(RETRIEVERS)), load_ranker(work.need(RANKER))
    vectors = SequenceEncoder.load(work.need(ENCODER)).encode(sequences)
    limits = load_config(work.need(RETRIEVERS))
    found = Retrieval(retrievers, catalogue, limits).candidates(Histories(sequences, vectors))
    assert found.names == tuple(work.read(RANKER_FEATURES).column("feature").to_pylist())
    first = found.items[found.ranks(ranker.score(found)) == 0]
    expected = [tiny.following(user) for user in range(tiny.WALKERS)]
    assert (first == expected).mean() > 0.9


def test_the_sources_are_refitted_on_every_event(done: tuple[WorkDir, Outcome]) -> None:
    work, _ = done
    popularity = load_retrievers(work.need(RETRIEVERS))["popularity"]
    _, sequences = read(work)
    scores = all_scores(popularity, Histories(sequences.select([0]), np.zeros((1, 4), dtype=np.float32)))
    np.testing.assert_allclose(scores[0], np.log1p(sequences.counts()), rtol=1e-6)


def test_what_follows_what_is_counted_once_for_both_sources_that_ask(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    real = Sequences.successors

    def spied(*given: Any) -> Any:
        counted.append(given)
        return real(*given)

    monkeypatch.setattr(Sequences, "successors", spied)
    work, both = ready(tmp_path), ("transitions", "content-transitions")
    run(work, context, retrievers=both, rankers=("fusion",), retriever={})
    assert len(counted) == 2  # once without the newest events, once with all
    shared = load_retrievers(work.need(RETRIEVERS))["content-transitions"].tensors()
    run(work, context, retrievers=both, rankers=("fusion",), retriever={"transitions": {"distances": 3}})
    assert len(counted) == 6  # other counts are not taken over
    alone = load_retrievers(work.need(RETRIEVERS))["content-transitions"].tensors()
    assert all(torch.equal(shared[name], alone[name]) for name in alone)


def test_the_same_seed_gives_the_same_models(done: tuple[WorkDir, Outcome], context: Context, tmp_path: Path) -> None:
    work, _ = done
    again = ready(tmp_path)
    run(again, context)
    for artifact in (RANKER, RETRIEVERS, RANKER_FEATURES):
        assert fingerprint(again.need(artifact)) == fingerprint(work.need(artifact))


def test_one_source_and_one_ranker_are_enough(context: Context, tmp_path: Path) -> None:
    outcome = run(ready(tmp_path), context, retrievers=("tfidf",), rankers=("lambdarank",))
    assert outcome.report.counts["users"] == tiny.WALKERS
    assert not any("popularity" in line for line in outcome.report.lines)


def test_a_source_too_large_for_the_catalogue_is_left_out_with_a_word(context: Context, tmp_path: Path) -> None:
    work = ready(tmp_path)
    sources = ("ease", "popularity")
    small = run(work, context, retrievers=sources, rankers=("fusion",), retriever={"ease": {"max_items": 5}})
    assert "ease is left out" in small.report.warnings[0]
    assert list(load_retrievers(work.need(RETRIEVERS))) == ["popularity"]
    run(work, context, retrievers=sources, rankers=("fusion",))
    assert list(load_retrievers(work.need(RETRIEVERS))) == ["ease", "popularity"]


def test_a_mistyped_name_or_setting_fails_with_a_hint(context: Context, tmp_path: Path) -> None:
    def hint(**settings: Any) -> str:
        with pytest.raises(SettingsError) as error:
            build(Settings({"train-ranker": settings}).section("train-ranker", TrainRankerConfig))
        return str(error.value)

    assert "'transitions'" in hint(retrievers=("transition",))
    assert "'lambdarank'" in hint(rankers=("lambda-rank",))
    typo = hint(retriever={"transitions": {"tua": 3}})
    assert "train-ranker.retriever.transitions.tua" in typo and "'tau'" in typo
    assert "train-ranker.retriever.ease.l2" in hint(retriever={"ease": {"l2": -1}})
    assert "'hidden'" in hint(ranker={"wide_deep": {"hiden": 3}})
    unused = {"retrievers": ("popularity",), "rankers": ("fusion",)}
    assert "'prior'" in hint(**unused, retriever={"segments": {"priors": 3}})  # of no use, but wrong
    assert "'itemknn'" in hint(retriever={"itemkn": {}})
    assert "did you mean 'retriever.als'?" in hint(als={"factors": 3})
    assert "did you mean 'retriever.popularity' or 'ranker.popularity'?" in hint(popularity={"window": 3})
    assert "needs the retriever 'als'" in hint(retrievers=("popularity",), rankers=("als-linear",))
    given = {"retriever": {"content-transitions": {"neighbours": 3}}, "ranker": {"wide-deep": {"hidden": 8}}}
    sources, orders = build(Settings({"train-ranker": given}).section("train-ranker", TrainRankerConfig))
    assert orders["wide-deep"].config.hidden == 8 and sources["content-transitions"].config.neighbours == 3


def test_a_ranker_of_your_own_is_taken_by_its_path(context: Context, tmp_path: Path) -> None:
    name = "llmrec_cli.ranking.rankers.conditional_logit:Fusion"
    work = ready(tmp_path)
    run(work, context, rankers=("popularity", name))
    assert type(load_ranker(work.need(RANKER), frozenset({name}))).__name__ == "Fusion"


def test_users_with_one_event_only_cannot_teach(context: Context, tmp_path: Path) -> None:
    work = ready(tmp_path)
    table = work.read(SEQUENCES)
    rows = [row | {"item_codes": row["item_codes"][:1]} for row in table.to_pylist()]
    work.write(SEQUENCES, pa.Table.from_pylist(rows, schema=SEQUENCES.schema))
    with pytest.raises(DataError, match="two events"):
        run(work, replace(context, seed=1))


def circling(work: WorkDir) -> None:
    """Everybody's last event is their first item again."""
    table = work.read(SEQUENCES)
    rows = table.to_pylist()
    for row in rows:
        row["item_ids"][-1], row["item_codes"][-1] = row["item_ids"][0], row["item_codes"][0]
    work.write(SEQUENCES, pa.Table.from_pylist(rows, schema=SEQUENCES.schema))


def test_repeats_are_answers_only_where_they_are_asked_for(context: Context, tmp_path: Path) -> None:
    work = ready(tmp_path)
    circling(work)
    none = run(work, context, rankers=("fusion",))
    assert none.report.metrics["ndcg@10"] == 0
    again = run(work, context, rankers=("fusion",), candidates={**SMALL["candidates"], "repeat": True})
    assert again.report.metrics["ndcg@10"] > 0.95
    features = work.read(RANKER_FEATURES).to_pydict()
    weights = dict(zip(features["feature"], features["importance"], strict=True))
    assert weights["repeat.count"] > 0 and weights["repeat.recency"] > 0
    assert load_config(work.need(RETRIEVERS)).repeat
    lists = execute(RECOMMEND, work, RecommendConfig(k=3, filter_seen=False), context)
    assert lists.report.lines[1].startswith("seen items not filtered")
    histories = {row["user_id"]: row["item_ids"] for row in work.read(SEQUENCES).to_pylist()}
    shown = work.read(RECOMMENDATIONS).to_pylist()
    assert all(
        row["item_id"] in histories[row["user_id"]] for row in shown if row["rank"] == 1 and row["user_id"] < "z"
    )
    with pytest.raises(SettingsError, match=r"recommend\.filter_seen"):
        execute(RECOMMEND, work, RecommendConfig(k=3), context)


def test_every_source_and_ranker_can_be_had_by_name(context: Context, tmp_path: Path) -> None:
    work = ready(tmp_path)
    more, settings = ("userknn", "bpr", "lda"), {"lda": {"topics": 2}, "bpr": {"factors": 4}}
    run(work, context, retrievers=(*SOURCES, *more), rankers=("popularity", "lda", "fusion"), retriever=settings)
    assert set(more) <= set(load_retrievers(work.need(RETRIEVERS)))
    report = work.read(RANKER_REPORT).to_pylist()
    ndcg = {(row["kind"], row["name"]): row["value"] for row in report if row["metric"] == "ndcg@10"}
    assert ndcg["ranker", "lda"] > 0
    with pytest.raises(SettingsError, match="time of every event"):
        run(work, context, retriever={"popularity": {"half_life": 30}})


def test_with_a_private_encoder_only_sources_that_add_noise_are_fitted() -> None:
    from llmrec_cli.core.errors import SettingsError
    from llmrec_cli.ranking import private_retrievers
    from llmrec_cli.stages.train_ranker import TrainRankerConfig, build

    sources, rankers = build(TrainRankerConfig())
    left, orders, lines = private_retrievers.only(sources, rankers, (), 3.0)
    assert set(left) == {"sequence", "content", "tfidf"} and "popularity" not in orders and "fusion" in orders
    assert "epsilon = 3" in lines[0] and "als" in lines[1] and lines[2].startswith("not private: the ranker's weights")
    assert all(line.startswith(private_retrievers.BEGIN) for line in lines)
    assert "rankers popularity" in lines[1] and lines[1].startswith(
        "left out, for they learn without noise: retrievers "
    )
    assert "topics, tags and texts, which count people" in lines[2]
    left, orders, lines = private_retrievers.only(sources, rankers, ("popularity",), 3.0)
    assert "popularity" in left and "popularity" in orders and lines[2].startswith("not private: popularity")
    with pytest.raises(SettingsError, match="nothing is left"):
        private_retrievers.only({"als": sources["als"]}, rankers, (), 3.0)
    assert private_retrievers.fitted(["als", "tfidf"], (), 0) == ["als", "tfidf"]
