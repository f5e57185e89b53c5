"""The measuring of the benchmarks: what they print must mean what it says."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import cold, examples, harness, pipeline, places, ranking, readme, reasons, speed
from benchmarks.data_sets import DATA_SETS, DataSet
from llmrec_cli.core.artifacts import ITEM_TEXT_VECTORS, ITEMS, SEQUENCES
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.lists.maker import maker_of
from llmrec_cli.lists.recommend_config import RecommendConfig
from tests import tiny


def histories(*users: list[int], n_items: int) -> Sequences:
    codes = np.array([item for user in users for item in user], dtype=np.int32)
    return Sequences(codes, np.cumsum([0, *map(len, users)]), n_items)


def test_seen_items_are_left_out_of_the_filtered_ranking_only() -> None:
    scores = np.array([[5.0, 4.0, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
    asked = histories([0], [0, 3], n_items=4)
    ranks = ranking.target_ranks(lambda start, stop: scores[start:stop], asked, np.array([2, 0]), np.arange(4))
    assert ranks["unfiltered"].tolist() == [2, 3]
    assert ranks["filtered"].tolist() == [1, 2]  # a target that was seen is ranked all the same


def test_a_target_that_is_not_in_the_catalogue_is_a_miss() -> None:
    scores, nobody = np.ones((1, 3)), histories([], n_items=3)
    ranks = ranking.target_ranks(lambda start, stop: scores, nobody, np.array([-1]), np.arange(3))
    assert all(ranking.metrics(each)["recall@10"].tolist() == [0.0] for each in ranks.values())
    items = pa.table({"item_id": ["a", "b"]})
    assert harness.codes(pa.chunked_array([["b", "new"]]), items).tolist() == [1, -1]
    past = pa.table({"user_id": ["u", "v"], "item_ids": [["new", "a", "b"], ["new"]]})
    assert harness.known(past, items).column("item_ids").to_pylist() == [["a", "b"], []]


def test_equal_scores_are_ordered_by_the_hash_of_the_id_and_not_by_the_row() -> None:
    ids = [str(i) for i in range(50)]
    ties = tie_order(ids)
    assert sorted(ties) == list(range(50)) and ties.tolist() != list(range(50))
    flat, targets = np.zeros((50, 50)), np.arange(50)
    alone = histories(*([] for _ in ids), n_items=50)
    ranks = ranking.target_ranks(lambda start, stop: flat[start:stop], alone, targets, ties)
    assert ranks["filtered"].tolist() == ties.tolist()
    again = tie_order(ids[::-1])
    assert again[::-1].tolist() == ties.tolist()  # a matter of the id alone


def test_a_score_that_is_no_number_is_not_ranked() -> None:
    with pytest.raises(ValueError, match="finite"):
        ranking.target_ranks(
            lambda start, stop: np.full((1, 3), np.nan), histories([0], n_items=3), np.array([1]), np.arange(3)
        )


def test_ranking_by_chance_is_what_counting_gives() -> None:
    ranks = np.arange(40)  # each place once
    found, expected = ranking.means(ranking.metrics(ranks)), ranking.at_random(np.array([40]))
    assert found == pytest.approx(expected)


def test_items_that_lose_their_events_are_a_share_and_depend_on_the_seed_alone() -> None:
    ids = [f"i{i}" for i in range(200)]
    chosen = cold.choose(ids, 0.1, 1)
    assert len(set(chosen)) == 20 and chosen == cold.choose(ids, 0.1, 1) != cold.choose(ids, 0.1, 2)


def test_peers_read_the_same_targets(tmp_path: Path) -> None:
    speed.write_sequences(histories([3, 1], [2], [], [0, 0, 4], n_items=5), tmp_path / "log")
    assert (tmp_path / "log").read_text() == "3 1\n0 0 4\n"


def test_seeds_of_different_days_make_one_row_and_those_of_other_settings_do_not(tmp_path: Path) -> None:
    def measured(seed: int, like: str, ours: list[int]) -> None:
        ranks = {"filtered": {"pipeline": np.array(ours), "popularity": np.array([0, 2_000_000_000, 300])}}
        places.keep(tmp_path, "rings, strict", {"seed": seed, "like": like}, ranks)

    measured(2, "now", [0, 0, 10])
    measured(1, "now", [0, 9, 10])
    measured(3, "before", [0, 0, 0])
    seeds = places.kept(tmp_path, "rings, strict", "now")
    row = pipeline.over(seeds)
    assert [seed["seed"] for seed in row["seeds"]] == [1, 2]
    of = {name: values["recall@10"][0] for name, values in row["systems"]["filtered"].items()}
    assert of == pytest.approx({"pipeline": 2 / 3, "popularity": 1 / 3})
    first = 1 / np.log2(11) + 1  # the tenth place and the first
    assert row["systems"]["filtered"]["pipeline"]["ndcg@10"][0] == pytest.approx((first + 2) / 6)
    assert row["gain"]["popularity"][0] == pytest.approx((first + 2) / 6 - 1 / 3)
    assert places.kept(tmp_path, "rings", "now") == []


def test_every_data_set_has_its_settings() -> None:
    for data in DATA_SETS.values():
        assert data.settings.is_file() and "clean.interactions.path" in data.paths


def test_the_tables_of_the_pages_are_those_of_the_results() -> None:
    for path, written in ((readme.README, readme.filled), (readme.FRONT, readme.summarised)):
        page = path.read_text(encoding="utf-8")
        assert written(page) == page, "run `python -m benchmarks.readme`"


class Rings(DataSet):
    """Users who walk around a ring of items, with a settings file of its own."""

    WALKERS, STEPS, RING = 60, 6, 20

    def __init__(self, folder: Path) -> None:
        super().__init__("rings", "Rings", self.WALKERS, self.RING, self.WALKERS * self.STEPS)
        object.__setattr__(self, "folder", folder)

    def walk(self, user: int) -> list[str]:
        return [f"i{(3 * user + step) % self.RING:02d}" for step in range(self.STEPS)]

    @property
    def settings(self) -> Path:
        return Path(self.folder / "rings.toml")  # type: ignore[attr-defined]

    def write(self) -> None:
        walks = (" ".join([f"u{user:02d}", *self.walk(user)]) for user in range(self.WALKERS))
        (self.settings.parent / "log.txt").write_text("\n".join(walks) + "\n")
        titles = (f"i{item:02d}\tthing {item} of the ring" for item in range(self.RING))
        (self.settings.parent / "items.tsv").write_text("\n".join(["id\ttitle", *titles]) + "\n")
        self.settings.write_text(
            'clean.interactions = { path = "../../data/log.txt", layout = "sequences" }\n'
            'clean.items = { path = "../../data/items.tsv", item = "id", title = "title" }\n'
            'clean.holdout = "last"\n'
            "pretrain = { epochs = 1, dim = 16, heads = 2 }\n"
            "[train-ranker]\n"
            'retrievers = ["sequence", "transitions", "tfidf", "popularity"]\n'
            'rankers = ["popularity", "fusion", "logistic"]\n'
        )


@pytest.mark.system
def test_strict_trains_without_two_events_and_keeps_what_is_best_for_the_first_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without words, so that it is seen too that nothing reads them then."""
    monkeypatch.setenv("LLMREC_TEST_DATA", str(tmp_path))
    data = Rings(tmp_path)
    data.write()
    given = harness.Options(
        data=[data.name],
        seeds=[1],
        variant=[],
        settings=[],
        threads=1,
        force=False,
        work=tmp_path / "work",
        results=tmp_path,
        own=argparse.Namespace(wordless=True),
    )
    found = pipeline.measure(data, "strict", given)
    named = found["protocol"]
    assert named == "strict, without words"
    work = WorkDir(tmp_path / "work" / "rings" / named / "seed-1")
    assert work.read(SEQUENCES).column("item_ids").to_pylist() == [data.walk(user)[:-2] for user in range(data.users)]
    reported = dict(re.findall(r"last event but one: ([\w-]+) ([\d.]+)", capsys.readouterr().err))
    assert set(reported) == {"popularity", "fusion", "logistic"}
    assert reported[found["seeds"][0]["ranker"]] == max(reported.values())
    assert found["systems"]["filtered"]["pipeline"]["recall@10"][0] > 0.9  # the next step of a ring is easy to tell
    assert work.read(ITEMS).column("title").null_count == data.items
    vectors = work.read(ITEM_TEXT_VECTORS).column("vector").combine_chunks().flatten()
    assert np.count_nonzero(vectors) == 0


def test_reasons_drawn_at_random_name_events_of_the_user_where_the_list_names_one(
    tmp_path: Path, context: Context
) -> None:
    work = tiny.make(tmp_path / "work")
    maker = maker_of(work, RecommendConfig(k=3), context)
    lists = maker.table(0, next(lists for _, lists in maker.blocks([(0, tiny.WALKERS)])))
    found = reasons.at_random(lists, maker, 1)
    assert found.drop_columns(["evidence"]).equals(lists.drop_columns(["evidence"]))
    named = 0
    for row, was in zip(found.to_pylist(), lists.column("evidence").to_pylist(), strict=True):
        events = [piece["item_id"] for piece in row["evidence"]]
        assert bool(events) == any(piece["item_id"] for piece in was)
        assert set(events) <= {tiny.item_id(code) for code in tiny.walk(int(row["user_id"][1:]))}
        named += len(events)
    assert named > 100 and found.equals(reasons.at_random(lists, maker, 1))


def test_texts_are_measured_without_what_they_quote() -> None:
    texts = [
        examples.Written('"Mug" is an item with "blue" and "red". Details: price "3".', 1),
        examples.Written('"Jug" is an item with "tea". Details: price "4".', 1),
        examples.Written("这是“Jar”。", 1),
        examples.Written('This is "Cup". It has 12 events.', 1, more=False),
    ]
    assert [each.weak for each in texts] == [False, False, True, True]
    assert examples.measures("description", texts)[:4] == ("4", "1", "0.500", "0.667")
    forms = examples.drawn(texts, 4, forms=True)
    assert sorted(forms)[0] == '! This is "…". It has 12 events.' and "Mug" not in "".join(forms)
