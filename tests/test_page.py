from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.core.artifacts import (
    FUNNEL,
    ITEM_IMAGES,
    PRETRAIN_CURVE,
    RANKER_REPORT,
    REVIEW_SUMMARIES,
    SLICES,
    TOPICS,
    VERDICT,
)
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.report import figures, page, page_data
from llmrec_cli.stages.recommend import STAGE, RecommendConfig
from tests import tiny

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"&' <!-- \u2028"


class Reader(HTMLParser):
    """Elements, their attributes, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and data.strip():
            self.scripts.append(data)

    def first(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    from llmrec_cli.core.progress import PlainProgress

    folder = tmp_path_factory.mktemp("page")
    made = tiny.make(folder / "work", {0: HOSTILE, 9: HOSTILE + " again"})
    context = Context(seed=1, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    execute(STAGE, made, RecommendConfig(k=3), context)
    return made


def test_hostile_titles_stay_text(work: WorkDir) -> None:
    html = page.render(work, 40)
    reader = read(html)
    assert [script.get("type") for script in reader.first("script")] == ["application/json", None]
    assert reader.first("img") == []
    assert "alert(1)</script>" not in html and "<!--" not in html
    data = json.loads(reader.scripts[0])
    assert HOSTILE in {item["title"] for item in data["items"]}


def test_the_page_loads_nothing_and_runs_only_its_own_script(work: WorkDir) -> None:
    html = page.render(work, 40)
    reader = read(html)
    policy = next(m["content"] for m in reader.first("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy and "default-src 'none'" in policy and "unsafe" not in policy
    script = base64.b64encode(hashlib.sha256(reader.scripts[1].encode()).digest()).decode()
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert f"script-src 'sha256-{script}'" in policy
    assert style and base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode() in policy
    for _, attributes in reader.tags:
        assert not {"src", "style", "srcset"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.]+\.\w", html)
    assert "innerHTML" not in html


def test_the_page_holds_lists_with_reasons_and_history(work: WorkDir) -> None:
    data = json.loads(read(page.render(work, 40)).scripts[0])
    assert len(data["users"]) == 40
    titles = [item["title"] for item in data["items"]]
    user = next(user for user in data["users"] if user["id"] == "u02")
    assert [titles[place] for place in user["history"]] == ["Thing 3", "Thing 2", "Thing 1"]
    assert titles[user["list"][0]["item"]] == "Thing 4"
    assert user["list"][0]["strength"] == 1 and user["list"][-1]["strength"] == 0
    assert any(user["cold"] for user in data["users"])
    assert 0 <= data["first"] < 40


def test_the_page_has_what_reviews_say_of_an_item(work: WorkDir) -> None:
    row = dict.fromkeys(REVIEW_SUMMARIES.schema.names) | {"item_id": "i04", "text": HOSTILE}
    work.write(REVIEW_SUMMARIES, pa.Table.from_pylist([row], schema=REVIEW_SUMMARIES.schema))
    reader = read(page.render(work, 40))
    work.remove(REVIEW_SUMMARIES)
    said = {item["id"]: item["reviews"] for item in json.loads(reader.scripts[0])["items"]}
    assert said["i04"] == HOSTILE and said["i05"] == "" and not reader.first("img")


def test_head_figures_and_both_verdicts(work: WorkDir) -> None:
    nested = WorkDir(work.path / "evaluate" / "last")
    figure = {"value": 0.2, "low": 0.1, "high": 0.3}
    verdict: dict[str, Any] = {
        "metric": "ndcg@10",
        "pipeline": figure,
        "beats_popularity": True,
        "versus": [{"baseline": "popularity", "value": {"value": 0.05, "low": 0.04, "high": 0.06}, "times": 4.0}],
        "words": ["Beats popularity by a mile"],
        "warnings": [],
        "protocol": "protocol: leave-one-out",
    }
    with nested.writing(VERDICT) as path:
        path.write_text(json.dumps(verdict))
    reported = [
        ("pipeline", "1-4", "ndcg@10", 0.25),
        ("pipeline", HOSTILE, "ndcg@10", 0.5),
        ("popularity", HOSTILE, "ndcg@10", 0.125),
        ("pipeline", "1-4", "recall@10", 0.9),
        ("pipeline", "gap", "ndcg@10", 0.25),
    ]
    rows = [
        {"kind": "group", "slice": name, "system": system, "metric": metric, "value": value}
        | {"low": value - 0.125, "high": value + 0.125, "n_users": 12}
        for system, name, metric, value in reported
    ]
    nested.write(SLICES, pa.Table.from_pylist(rows, schema=SLICES.schema))
    (kind,) = figures.slices(nested, "ndcg@10")
    assert [(row["at"], row["to"], row["other"]) for row in kind["rows"]] == [(40, 60, None), (80, 100, 20)]
    assert kind["gap"]["value"] == 0.25
    html = page.render(work, 40)
    assert "<b>4.0×</b> popularity" in html and "Beats popularity by a mile" in html
    assert "What 51 people may want next" in html
    assert "<b>6.0×</b> popularity" in html  # validation: 0.6 against 0.1
    assert "by group" in html and "0.2500, 95 % 0.1250 to 0.3750, 12 users" in html and "<script>alert" not in html
    nested.remove(SLICES)
    assert "by group" not in page.render(work, 40)
    nested.remove(VERDICT)
    assert "by a mile" not in page.render(work, 40)


def test_a_verdict_that_is_none_is_said_plainly(work: WorkDir) -> None:
    rows = work.read(RANKER_REPORT).to_pylist()
    for row in rows:
        row |= {"low": 0.0, "high": 1.0}
    boards = figures.leaderboard(pa.Table.from_pylist(rows, schema=RANKER_REPORT.schema), {})
    found = figures.validation(boards)
    assert found is not None and not found["beats"]


def test_users_on_the_page_are_spread_over_their_activity() -> None:
    rows = page_data.shown(np.array([5, 0, 9, 1, 7]), 3)
    assert rows.tolist() == [0, 1, 2]  # 0 events, 5 and 9
    assert page_data.shown(np.zeros(2, dtype=np.int64), 10).tolist() == [0, 1]


def test_generated_images_do_not_leave_the_work_directory(work: WorkDir, tmp_path: Path) -> None:
    (work.path / "generate" / "images").mkdir(parents=True)
    (work.path / "generate" / "images" / "a.png").write_bytes(b"picture")
    outside = work.path.parent / "secret.png"
    outside.write_bytes(b"secret")
    paths = ["generate/images/a.png", "../secret.png", str(outside)]
    rows = [{"item_id": tiny.item_id(n), "path": path, "image_generator": "vae"} for n, path in enumerate(paths)]
    work.write(ITEM_IMAGES, pa.Table.from_pylist(rows, schema=ITEM_IMAGES.schema))
    found = page_data._images(work, [tiny.item_id(n) for n in range(3)])
    address = "data:image/png;base64," + base64.b64encode(b"picture").decode()
    assert found == {"i00": {"image": address, "image_by": "vae"}}
    work.remove(ITEM_IMAGES)


def test_geometry_of_the_figures(work: WorkDir) -> None:
    steps = figures.funnel(work.read(FUNNEL))
    assert steps[0]["kept_width"] + steps[0]["removed_width"] == 100
    assert all(0 <= step["kept_width"] + step["removed_width"] <= 100 for step in steps)
    found = figures.curve(work.read(PRETRAIN_CURVE))
    assert found is not None and found["best"]["epoch"] == 2 and found["best"]["y"] == 0
    assert found["accuracy"] == "0.00,100.00 50.00,0.00 100.00,20.00"
    pieces = figures.strategies(pa.chunked_array([["als", "als", "mine", "words"]]), {"als": "Like-minded people"})
    assert [piece["key"] for piece in pieces] == ["als", "mine", "words"]
    assert [piece["start"] for piece in pieces] == [0, 50, 75] and [piece["name"] for piece in pieces[:2]] == [
        "Like-minded people",
        "mine",
    ]


def test_a_page_of_few_users_and_without_what_there_is_nothing_to_say_of(work: WorkDir) -> None:
    for table in (FUNNEL, RANKER_REPORT, PRETRAIN_CURVE, TOPICS):
        work.write(table, table.schema.empty_table())
    html = page.render(work, 5)
    assert len(json.loads(read(html).scripts[0])["users"]) == 5
    assert "Who did how well" not in html and "From the raw log" not in html
