"""What `init` proposes follows from what a log looks like, and what a run costs grows with it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_cli.commands import proposals
from llmrec_cli.commands.proposals import Shape
from llmrec_cli.commands.scaffold import init
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence import defaults
from llmrec_cli.sequence.encoder_config import EncoderConfig
from llmrec_cli.sequence.training_plan import training_config
from tests.conftest import SAMPLE

NEW = Shape(1000, 50, 200, 1000, 3, 20, 900, 0, 200)


def written(tmp_path: Path, rows: list[str], *given: str, items: int = 0) -> tuple[dict[str, Any], str]:
    """The settings that `init` writes for a log of user, item and day, and what it prints."""
    (tmp_path / "log.csv").write_text("\n".join(["user,product,day", *rows]) + "\n")
    files = [tmp_path / "log.csv"]
    if items:
        (tmp_path / "items.csv").write_text(
            "product,title\n" + "".join(f"p{n},Thing number {n}\n" for n in range(items))
        )
        files.append(tmp_path / "items.csv")
    made = init(files, tmp_path / "project", given)
    return tomllib.loads((tmp_path / "project" / "llmrec.toml").read_text("utf-8")), "\n".join(made.lines)


def weeks(same: int) -> list[str]:
    """40 users who come on four days: each time for `same` things that they always take, and for two others."""
    return [
        f"u{u},p{p},2024-01-0{day + 1}"
        for u in range(40)
        for day in range(4)
        for p in [*range(u % 10, u % 10 + same), 20 + (2 * day + u) % 30, 20 + (2 * day + u + 1) % 30]
    ]


def test_who_comes_back_for_the_same_things_is_recommended_them_again(tmp_path: Path) -> None:
    settings, printed = written(tmp_path, weeks(6))
    assert settings["clean"]["repeats"] == "keep"
    assert settings["train-ranker"]["candidates"] == {"repeat": True} and not settings["recommend"]["filter_seen"]
    assert "75% of 960 later events are of items that the user had before: people come back" in printed


def test_who_seldom_repeats_is_recommended_what_is_new(tmp_path: Path) -> None:
    settings, printed = written(tmp_path, weeks(1))
    assert settings["clean"]["repeats"] == "first" and "train-ranker" not in settings
    assert "33% of 360 later events" in printed


def test_what_never_repeats_needs_no_setting_and_what_is_given_counts(tmp_path: Path) -> None:
    settings, _ = written(tmp_path, weeks(0))
    assert "repeats" not in settings["clean"] and settings["clean"]["min_user_events"] == 2
    (tmp_path / "other").mkdir()
    settings, _ = written(tmp_path / "other", weeks(6), "clean.repeats=first", "clean.min_user_events=3")
    assert (settings["clean"]["repeats"], settings["clean"]["min_user_events"]) == ("first", 3)
    assert "train-ranker" not in settings and "recommend" not in settings


def test_a_catalogue_far_longer_than_the_log_is_left_out(tmp_path: Path) -> None:
    settings, printed = written(tmp_path, weeks(1), items=600)
    assert settings["clean"]["items"]["unseen"] == "drop" and "600 items in their file, 40 in the log" in printed


def test_rare_items_of_a_large_log_are_left_out() -> None:
    large = NEW._replace(items=200_000, lone_items=150_000, catalogue=200_000)
    assert proposals.proposed(large, ())["clean.min_item_events"][0] == 2
    assert "clean.min_item_events" not in proposals.proposed(NEW, ())


def test_the_shape_of_the_sample_and_of_a_log_longer_than_what_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_cli.ingest import survey
    from llmrec_cli.ingest.engine import Engine

    shapes = []
    for seen in (200_000, 500):
        monkeypatch.setattr(survey, "SAMPLE", seen)
        with Engine(1 << 28, 1, tmp_path) as engine:
            found = survey.assign(survey.read_tables(engine, SAMPLE, tmp_path / "new")[0], {})
            shapes.append(proposals.shape(engine, found, {}, tmp_path / "new"))
    assert shapes[0] == shapes[1] and shapes[0][:4] == (9716, 210, 450, 6350)


def test_a_log_beside_other_files_is_counted_whole_too(tmp_path: Path) -> None:
    """Of several files fewer rows of each are looked at; sizes and what is proposed go by all of them."""
    raw, rows = tmp_path / "raw", weeks(6)
    raw.mkdir()
    once = [f"v{n // 2},p{n % 50},2024-01-01" for n in range(2000)]  # nothing comes again in what is looked at
    (raw / "log.csv").write_text("\n".join(["user,product,day", *once, *rows]) + "\n")
    (raw / "items.csv").write_text("product,title\n" + "".join(f"p{n},Thing number {n}\n" for n in range(50)))
    for n in range(200):
        (raw / f"note{n}.csv").write_text("remark\nnone\n")
    made = init([raw], tmp_path / "project")
    printed = "\n".join(made.lines)
    assert "seen in its first 1,000 rows -> the log" in printed
    assert "75% of 960 later events" in printed and "0 of 1,040 users have one event" in printed


def test_defaults_go_by_size_and_leave_public_logs_as_they_were() -> None:
    """Events and items of MovieLens 1M and 100K, Amazon Beauty, Sports and Yelp; then larger ones."""
    for events, items in ((1_000_209, 3706), (100_000, 1682), (198_502, 12_101), (296_337, 18_357), (316_354, 20_033)):
        assert defaults.epochs("gpt", events) == 16 and defaults.epochs("bert", events) == 40
        assert defaults.loss(events, items, 16) == "softmax"
    assert defaults.epochs("gpt", 2_000_000) == 8 and defaults.epochs("gpt", 10**8) == 4
    assert defaults.loss(2_000_000, 200_000, 8) == "sampled"
    log = Sequences(np.zeros(2_100_000, dtype=np.int32), np.arange(0, 2_100_001, 10), 300_000)
    chosen = training_config(EncoderConfig(), log)
    assert (chosen.epochs, chosen.objective.loss) == (8, "sampled")
    typed = training_config(EncoderConfig(epochs=20, loss="softmax"), log)
    assert (typed.epochs, typed.objective.loss) == (20, "softmax")


def test_one_thread_takes_as_many_core_seconds_and_more_time() -> None:
    one, two, four = (proposals.part_of("pretrain", NEW, {}, threads).cost for threads in (1, 2, 4))
    assert one.core_seconds == two.core_seconds and one.seconds == 2 * two.seconds and four == two


def test_a_first_run_takes_less_than_an_hour_and_more_is_offered() -> None:
    large = Shape(2_000_000, 150_000, 100_000, 1_900_000, 0, 0, 1, 0, 100_000)
    cost, size, epochs, loss = proposals.cost(large, {})
    assert re.search(r"a full run takes about \d?\d:\d\d on", cost)  # minutes and seconds
    assert "epochs=16 may be better" in epochs and "loss=softmax may be better" in loss
    assert "GB of memory" in size and len(proposals.cost(NEW, {})) == 2
