"""Every sentence of finished work directories is counted again from the raw log, and planted false ones are found."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import llmrec_cli
from tests.system import chinese_sample
from tests.system.forms import ITEM, PUSH, REASONS, TASTE, WHY
from tests.system.item_recount import false_rows
from tests.system.rawlog import Facts, Item, Review, Source, read
from tests.system.recount import Recount, recount

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
SEED = 7
LISTS = 'recommend.texts=["why", "push", "digest", "news"]'
SAMPLE = Source(
    ROOT / "data/sample/online_retail_sample.csv",
    "Customer ID",
    "StockCode",
    "InvoiceDate",
    title="Description",
    attributes=("Price",),
)


def run(config: str, work: Path, *settings: str) -> None:
    command = [sys.executable, "-m", "llmrec_cli", "run", "-c", str(ROOT / "configs" / config), "-w", str(work)]
    options = [part for setting in settings for part in ("--set", setting)]
    subprocess.run([*command, *options], cwd=ROOT, check=True, capture_output=True)


def data(name: str) -> Path:
    folder = Path(os.environ.get("LLMREC_TEST_DATA", "nowhere")) / name
    if not folder.is_dir():
        pytest.skip(f"{name} cannot be shipped; LLMREC_TEST_DATA names the folder that has it")
    return folder


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, Path]:
    work = tmp_path_factory.mktemp("recount") / "work"
    run("retail.toml", work)
    return read(SAMPLE, work / "clean/rejects.parquet"), work


def test_what_goes_with_an_item_of_the_sample_is_counted_again(sample: tuple[Facts, Path]) -> None:
    facts, work = sample
    content = pd.read_parquet(work / "pretrain/item_text_vectors.parquet")
    vectors = dict(zip(content["item_id"], content["vector"], strict=True))
    opened = llmrec_cli.open(work, ROOT / "configs/retail.toml", threads=1)
    some = sorted(facts.people, key=lambda item: (-facts.people[item], item))[::25]
    kinds = Counter[str]()
    for item in some:
        rows = opened.to_item(item, k=50).replace({np.nan: None}).to_dict("records")
        rows = [{**row, "people": None if row["people"] is pd.NA else row["people"]} for row in rows]
        assert false_rows(facts, item, rows, vectors) == []
        kinds.update(row["kind"] for row in rows)
    print(dict(kinds))
    assert len(some) > 10 and min(kinds["bought after"], kinds["bought with"], kinds["similar"]) > 10


def test_the_recount_imports_nothing_of_the_program() -> None:
    for name in ("recount.py", "rawlog.py"):
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) llmrec_cli", text, re.MULTILINE)


def test_a_new_item_is_like_the_nearest_of_the_history_alone() -> None:
    events = pd.DataFrame({"user": ["u", "u", "v"], "item": ["cup", "rake", "pot"], "time": [0.0] * 3})
    titles = {"cup": "Red cup", "rake": "Steel rake", "pot": "Tea pot", "new": "Blue cup"}
    content = {"cup": [1, 0], "rake": [0, 1], "pot": [0.9, 0.44], "new": [0.95, 0.31]}
    out = Recount(
        Facts(events, {item: Item(title) for item, title in titles.items()}, timed=False),
        {item: np.array(vector) for item, vector in content.items()},
    )
    for item, title in (("new", "Red cup"), ("new", "Steel rake"), ("new", "Tea pot"), ("pot", "Red cup")):
        out.reason("u", item, "content", f"New, like “{title}”, which you chose.")
    assert out.counts == {("new", True): 1, ("new", False): 3}


def log_of(*histories: list[str], timed: bool = True) -> Facts:
    """The events of u0, u1, …, one a second; items by their titles, "ab" has the tags a and b."""
    rows = [(f"u{n}", item, float(at)) for n, items in enumerate(histories) for at, item in enumerate(items)]
    items = {item: Item(item, tags=list(item)) for items in histories for item in items} | {"new": Item("new")}
    return Facts(pd.DataFrame(rows, columns=["user", "item", "time"]), items, timed)


def reasons_of(claim: str, event: str = "", tag: str = "", n: int = 0) -> list[str]:
    """Every form of a claim, in both languages."""
    forms = filter(None, REASONS[claim].split("\n"))
    given = {"E": f"“{event}”", "G": f"“{tag}”", "N": f"{n:,}"}
    return [re.sub("«(.)»", lambda sign: given[sign[1]], form) for form in forms]


TOLD = log_of(*[["ab", "b"]] * 6, *[["b", "c"]] * 3, ["d"], ["cd"] * 4 + ["b"])
"""6 users choose ab, then b; 3 choose b, then c; u9 d; u10 leans to c and d."""
REASONS_OF = [
    ("later, often", "u0", "b", {"event": "ab"}, "u0", "b", {"event": "b"}),
    ("later", "u0", "b", {"event": "ab"}, "u6", "b", {"event": "c"}),
    ("both, often", "u0", "b", {"event": "ab"}, "u6", "c", {"event": "b"}),
    ("both", "u6", "c", {"event": "b"}, "u9", "c", {"event": "b"}),
    ("alike", "u10", "c", {"event": "cd", "tag": "c"}, "u10", "c", {"event": "cd", "tag": "d"}),
    ("new", "u0", "new", {"event": "ab"}, "u0", "c", {"event": "ab"}),
    ("interest", "u10", "c", {"tag": "c"}, "u6", "c", {"tag": "c"}),
    ("foremost", "u0", "b", {}, "u0", "c", {}),
    ("people", "u0", "c", {"n": 3}, "u0", "c", {"n": 4}),
    ("one person", "u0", "d", {}, "u0", "c", {}),
    ("nobody", "u0", "new", {}, "u0", "d", {}),
]
"""What a reason claims; a user, an item and the names of which it is true; and others of which it is not."""


@pytest.mark.parametrize("claim", REASONS)
def test_each_form_of_a_reason_is_counted_in_both_languages(claim: str) -> None:
    alike = {item: np.array([item != "b", item == "b"], dtype=float) for item in TOLD.items}
    rows = [(*each[1:4], "ease", *each[4:], "ease") for each in REASONS_OF if each[0] == claim]
    models = {"model of order": "sequence", "model of others": "als", "model of content": "tfidf", "model": "mine"}
    rows += [("u0", "b", {}, models[claim], "u0", "b", {}, "popularity")] if claim in models else []
    (row,) = rows
    for (user, item, names, strategy), true in ((row[:4], True), (row[4:], False)):
        said = reasons_of(claim, **names)
        assert len(said) == 2
        for sentence in said:
            check = Recount(TOLD, alike)
            check.reason(user, item, strategy, sentence)
            assert check.counts == {(claim, true): 1}, sentence
    without = Recount(log_of(["ab", "b"], timed=False))
    for sentence in reasons_of("model of order"):
        without.reason("u0", "b", "sequence", sentence)
    assert len(without.false) == 2


def test_every_sentence_of_the_sample_is_true(sample: tuple[Facts, Path]) -> None:
    facts, work = sample
    out = recount(facts, work, n_shown=5)
    assert out.false == [] and sum(out.counts.values()) > 3000


def test_every_sentence_on_gift_cards_is_true(tmp_path: Path) -> None:
    folder = data("amazon-2018-gift-cards")
    log, items = folder / "Gift_Cards_5.json.gz", folder / "meta_Gift_Cards.json.gz"
    places = (f"clean.interactions.path={log}", f"clean.items.path={items}", "pretrain.epochs=3")
    kinds = 'generate.kinds=["description", "taste", "review_summary"]'
    run("amazon-reviews.toml", tmp_path / "work", *places, kinds, LISTS)
    source = Source(
        log,
        "reviewerID",
        "asin",
        "unixReviewTime",
        items=items,
        item_key="asin",
        seen_only="yes",
        title="title",
        category="category",
        attributes=("brand", "price"),
        text=("description", "feature"),
        review="reviewText",
        stars="overall",
    )
    out = recount(read(source, tmp_path / "work/clean/rejects.parquet"), tmp_path / "work")
    assert out.false == [] and sum(out.counts.values()) > 3000


def test_every_sentence_of_500_users_of_movielens_is_true(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    with zipfile.ZipFile(data("ml-1m") / "ml-1m.zip") as archive:
        for name in ("ratings.dat", "movies.dat", "users.dat"):
            (tmp_path / name).write_bytes(archive.read(f"ml-1m/{name}"))
    for name in ("users.dat", "ratings.dat"):
        lines = (tmp_path / name).read_text(encoding="latin-1").splitlines()
        if name == "users.dat":
            some = {line.split("::")[0] for line in random.Random(SEED).sample(lines, 500)}
        kept = [line for line in lines if line.split("::")[0] in some]
        (tmp_path / name).write_text("\n".join(kept) + "\n", encoding="latin-1")
    files = {"interactions": "ratings.dat", "items": "movies.dat", "users": "users.dat"}
    places = [f"clean.{part}.path={tmp_path / name}" for part, name in files.items()]
    run("movielens-1m.toml", tmp_path / "work", *places, "pretrain.epochs=3", LISTS)
    source = Source(
        tmp_path / "ratings.dat",
        "user",
        "movie",
        "time",
        ("user", "movie", "rating", "time"),
        items=tmp_path / "movies.dat",
        item_columns=("movie", "title", "genres"),
        item_key="movie",
        title="title",
        category="genres",
        category_separator="|",
        tags="genres",
        tags_separator="|",
    )
    out = recount(read(source, tmp_path / "work/clean/rejects.parquet"), tmp_path / "work")
    assert out.false == [] and sum(out.counts.values()) > 5000


def test_every_sentence_on_a_chinese_log_is_true(tmp_path: Path) -> None:
    settings = chinese_sample.make(tmp_path)
    run(str(settings), tmp_path / "work", LISTS)
    source = Source(
        tmp_path / "log.csv",
        "用户",
        "商品",
        "时间",
        items=tmp_path / "items.csv",
        item_key="商品",
        title="名称",
        category="类别",
        tags="标签",
        tags_separator="|",
        attributes=("价格",),
    )
    facts = read(source, tmp_path / "work/clean/rejects.parquet")
    out = recount(facts, tmp_path / "work")
    assert out.false == [] and sum(out.counts.values()) > 5000 and len(facts.events) >= 3000
    for table, column in (("generate/item_texts", "text"), ("recommend/recommendations", "reason")):
        assert pd.read_parquet(tmp_path / f"work/{table}.parquet")[column].str.endswith("。").all()


# --- planted false sentences ---

Plant = tuple[str, Callable[[Recount], None]]


def planted(facts: Facts, work: Path, seed: int) -> list[Plant]:
    """30 false sentences, five of each of six kinds, and how to have each of them recounted."""
    rng = random.Random(seed)
    users, items = sorted(facts.history), sorted(facts.people)
    texts = pd.read_parquet(work / "generate/item_texts.parquet").set_index("item_id")["text"]
    out: list[Plant] = []

    def reason(kind: str, user: str, item: str, sentence: str, strategy: str = "ease") -> None:
        out.append((kind, lambda check: check.reason(user, item, strategy, sentence)))

    def item_text(kind: str, item: str, text: str) -> None:
        out.append((kind, lambda check: check.item_text(item, text)))

    def taste(kind: str, user: str, text: str) -> None:
        out.append((kind, lambda check: check.taste(user, text)))

    for n in range(5):
        user, item = rng.choice(users), rng.choice(items)
        reason("count", user, item, f"Chosen by {facts.people[item] + n + 1} people.")
        before, after = next(backwards(facts, rng))
        owner = rng.choice(sorted(facts.first[before]))
        title = facts.items[before].title
        reason("order", owner, after, f"Because you chose “{title}”: others who did chose this later.")
        tag, less = next(below(facts, rng))
        taste("lift", less, f'You lean towards "{tag}".')
        stranger = next(u for u in rng.sample(users, len(users)) if item not in facts.history[u])
        false = [
            lambda u, i, t: reason("title or tag", u, i, f"Others who chose “{t}”, as you did, chose this too."),
            lambda u, i, t: item_text("title or tag", i, f'This is "{t}", with "no such tag".'),
        ][n % 2]
        false(stranger, item, facts.items[item].title)
        varied = next(i for i in rng.sample(items, len(items)) if " from " in texts[i])
        constant = re.sub(r'Price from "([^"]*)" to "[^"]*"', r'Price "\1"', texts[varied])
        raised = re.sub(r'to "([^"]*)"', r'to "9\1"', texts[varied])
        item_text("price", varied, constant if n % 2 else raised)
        rare = rng.choice([i for i in items if facts.people[i] < 5])
        if n % 2:
            reason("place", user, rare, "One of the items that the most people chose.")
        else:
            item_text("place", rare, "It is one of the most chosen of all.")
    return out


def backwards(facts: Facts, rng: random.Random):  # type: ignore[no-untyped-def]
    """Pairs of items that people chose both, fewer than two of them the second one later."""
    items = sorted(facts.first)
    while True:
        before, after = rng.sample(items, 2)
        one, other, alone = facts.first[before], facts.first[after], facts.titled(facts.items[before].title)
        shared = one.keys() & other.keys()
        if len(alone) == 1 and len(shared) >= 2 and sum(one[u] < other[u] for u in shared) < 2:
            yield before, after


def below(facts: Facts, rng: random.Random):  # type: ignore[no-untyped-def]
    """Tags and users who have some events of it, and no larger a share than everybody."""
    while True:
        user = rng.choice(sorted(facts.history))
        history = facts.history[user]
        tag = rng.choice([tag for item in history for tag in facts.items[item].tags] or [""])
        n = sum(tag in facts.items[item].tags for item in history)
        if tag and n / len(history) < 1.2 * facts.tag_events[tag] / len(facts.events):
            yield tag, user


def test_all_of_30_planted_false_sentences_of_6_kinds_are_found(sample: tuple[Facts, Path]) -> None:
    facts, work = sample
    print(f"seed {SEED}")
    plants = planted(facts, work, SEED)
    kinds = [kind for kind, _ in plants]
    assert len(plants) == 30 and {kinds.count(kind) for kind in kinds} == {5} and len(set(kinds)) == 6
    for kind, plant in plants:
        check = Recount(facts)
        plant(check)
        assert check.false, kind


def planted_texts(facts: Facts, rng: random.Random) -> list[tuple[str, str, str, str, str]]:
    """(kind, user, item, strategy, text) of false texts about lists: every form of every claim, in both languages."""
    users, items = sorted(facts.history), sorted(facts.people)
    out = []

    def plant(kind: str, claim: str, user: str, item: str, *, strategy: str = "ease", **named: str) -> None:
        for form in filter(None, {"why": WHY, "push": PUSH}[kind][claim].split("\n")):
            text = form.replace("«E»", f"“{named.get('event', '')}”").replace("«G»", f"“{named.get('tag', '')}”")
            text = text.replace("«T»", f"“{named.get('title', facts.items[item].title)}”")
            out.append((kind, user, item, strategy, text))

    before, after = next(backwards(facts, rng))
    plant("why", "followed", min(facts.first[before]), after, event=facts.items[before].title)
    item = rng.choice(items)
    stranger = next(u for u in users if not facts.titled(facts.items[item].title) & set(facts.history[u]))
    owned, own_tag = facts.history[stranger][0], facts.items[facts.history[stranger][0]].tags[0]
    for kind in ("why", "push"):
        plant(kind, "together", stranger, owned, event=facts.items[item].title)
    tag, less = next(below(facts, rng))
    plant("why", "similar", stranger, owned, event=facts.items[owned].title, tag="no such tag")
    plant("why", "interest", less, next(i for i in items if tag in facts.items[i].tags), tag=tag)
    plant("push", "theme", stranger, owned, tag="no such tag")
    plant("push", "theme", stranger, owned, tag=own_tag, title="no such title")
    rare = min(items, key=lambda i: facts.people[i])
    for kind in ("why", "push"):
        plant(kind, "favourite", stranger, rare)
    plant("push", "nothing", stranger, owned, title="no such title")
    plant("why", "history", stranger, owned, strategy="popularity")
    return out


def test_planted_false_texts_about_lists_are_found(sample: tuple[Facts, Path]) -> None:
    facts, _ = sample
    print(f"seed {SEED}")
    plants = planted_texts(facts, random.Random(SEED))
    assert len(plants) > 90
    for plant in plants:
        check = Recount(facts)
        kind, user, item, strategy, text = plant
        check.list_text(kind, user, item, strategy, text)
        assert check.false, plant


def planted_generated(facts: Facts, rng: random.Random) -> list[tuple[str, str, str]]:
    """(kind, id, text) of false descriptions and tastes: every form of every claim, in both languages."""
    chosen = max(facts.people, key=lambda each: facts.people[each])
    rare = min(facts.people, key=lambda each: facts.people[each])
    tag, less = next(below(facts, rng))
    stranger = next(
        i for i in facts.items if i not in facts.history[less] and len(facts.titled(facts.items[i].title)) == 1
    )
    title, nothing = facts.items[chosen].title, "no such thing"
    given = {
        "what it is": [(chosen, {"T": nothing}), (chosen, {"T": title})],
        "without a title": [(chosen, {})],
        "own words": [(chosen, {"S": nothing})],
        "details": [(chosen, {"D": 'Price "98765"'}), (chosen, {"D": 'Price from "1" to "98765"'})],
        "place": [(rare, {})],
        "people": [(chosen, {"N": str(facts.people[chosen] + 1)})],
        "one person": [(chosen, {})],
        "nobody": [(chosen, {})],
        "leans": [(less, {"G": tag, "X": facts.items[facts.history[less][0]].title})],
        "lately": [(less, {"G": nothing, "E": facts.items[facts.history[less][0]].title})],
        "includes": [(less, {"X": facts.items[stranger].title})],
        "begun": [("nobody", {})],
        "empty": [(less, {})],
    }
    out = []
    for kind, forms in (("item", ITEM), ("taste", TASTE)):
        for claim, lines in forms.items():
            for form in filter(None, lines.split("\n")):
                for who, named in given[claim][: 1 + ("«U»" in form or "«G»" in form)]:
                    text = form
                    for sign, value in {"U": nothing, "G": nothing, **named}.items():
                        mark = "{}" if sign in "DN" else "“{}”" if "。" in form else '"{}"'
                        text = text.replace(f"«{sign}»", mark.format(value))
                    out.append((kind, who, text))
    return out


def test_planted_false_descriptions_and_tastes_are_found(sample: tuple[Facts, Path]) -> None:
    facts, _ = sample
    print(f"seed {SEED}")
    plants = planted_generated(facts, random.Random(SEED))
    assert len(plants) > 180
    for kind, who, text in plants:
        check = Recount(facts)
        {"item": check.item_text, "taste": check.taste}[kind](who, text)
        assert check.false and "unknown" not in check.false[0], (kind, who, text)


NEWS = [
    ("Your briefing, 2 picks: first “Mug”\nIn focus: “tea”\n- “Jug”", ""),
    ("您的头条：“Mug”，共 2 条\n简讯\n- “Jug”", ""),
    ("Your briefing, 3 picks: first “Mug”\nIn brief\n- “Jug”", "news: opening"),
    ("Your briefing, 2 picks: first “Jug”\nIn brief\n- “Mug”", "news: opening"),
    ("您的头条：“Jug”，共 2 条\n简讯\n- “Mug”", "news: opening"),
    ("Your briefing, 2 picks: first “Mug”", "news: whole"),
    ("Your briefing, 2 picks: first “Mug”\nIn focus: “blue”\n- “Jug”", "news: item"),
    ("Your briefing, 2 picks: first “Mug”\n  It is a bargain.\nIn brief\n- “Jug”", "why"),
    ("Your briefing, 2 picks: first “Mug”\nBest of all\n- “Jug”", "news: heading"),
]


def test_planted_false_news_are_found() -> None:
    items = {"m": Item("Mug", tags=["tea", "blue"]), "j": Item("Jug", tags=["tea"])}
    facts = Facts(pd.DataFrame({"user": [], "item": [], "time": []}), items, False)
    for text, fault in NEWS:
        check = Recount(facts)
        check.digest("u", [("m", "ease"), ("j", "ease")], text, "news")
        assert check.false == [] if not fault else check.false[0].startswith(fault), text


SAID = [
    Review("a", 5, "It holds a lot of tea.", 1),
    Review("b", 5, "A fine blue mug for tea", 2),
    Review("c", 1, "It broke on the first day.", 3),
]
TRUE = [
    (
        '"Mug" has 3 reviews, with 3.67 of 5 stars on average; 2 of them with 5 of 5 stars. One with 1 of 5 stars says '
        '"It broke on the first day". "It holds a lot of tea" says one with 5 of 5 stars.',
        [3, 1],
    ),
    ("“Mug”共收到 3 条评价，平均 3.67 星（满分 5 星），其中 2 条给了 5 星。", []),
    ("“Mug”共收到 3 条评价。一条 1 星评价：“It broke on the first day”。", [3]),
]
PLANTED = [
    ('"Mug" has 4 reviews.', []),
    ("关于“Mug”有 4 条评价。", []),
    ('"Mug" has 3 reviews, with 4.5 of 5 stars on average.', []),
    ("“Mug”有 3 条评价，平均 4.5 星（满分 5 星）。", []),
    ('"Mug" has 3 reviews, with 3.67 of 10 stars on average.', []),
    ('"Mug" has 3 reviews, with 3.67 of 5 stars on average, 3 of them with 5 of 5 stars.', []),
    ('"Mug" has 3 reviews, with 3.67 of 5 stars on average, 1 of them with 1 of 5 stars.', []),
    ('3 reviews of "Jug".', []),
    ('"Jug" has 2 reviews.', []),
    ('"Mug": 3 reviews. One of them says "It holds no tea".', [1]),
    ('"Mug": 3 reviews. One with 5 of 5 stars says "It broke on the first day".', [3]),
    ('"Mug": 3 reviews. One with 1 of 5 stars says "It broke on the first day".', [1]),
    ('"Mug": 3 reviews. One of them says "It holds a lot of tea".', []),
    ('"Mug": 3 reviews. One of them says "It was returned".', [9]),
    ("“Mug”：3 条评价。一条 5 星评价说“It broke on the first day”。", [3]),
    ("“Mug”：3 条评价。“It holds no tea”是一条评价所说。", [1]),
]


def test_planted_false_review_summaries_are_found() -> None:
    items = {"m": Item("Mug"), "j": Item("Jug")}
    facts = Facts(pd.DataFrame({"user": [], "item": [], "time": []}), items, False, {"m": SAID, "j": SAID[:2]})
    for text, rows in TRUE:
        check = Recount(facts)
        check.review("m", text, rows)
        assert check.false == [], text
    for text, rows in PLANTED:
        check = Recount(facts)
        check.review("j" if text.startswith('"Jug"') else "m", text, rows)
        assert check.false and "unknown" not in check.false[0], text


def test_a_sentence_of_an_unknown_form_is_false(sample: tuple[Facts, Path]) -> None:
    facts, _ = sample
    check = Recount(facts)
    user, item = next(iter(facts.history)), next(iter(facts.people))
    check.reason(user, item, "ease", "You will love it.")
    check.item_text(item, "It is a bargain.")
    check.taste(user, "You lean. Based on 3 events.")
    check.list_text("why", user, item, "ease", "It is a bargain.")
    check.list_text("push", user, item, "ease", f"A pick for you: “{facts.items[item].title}”" + " " * 90)
    assert len(check.false) == 5
