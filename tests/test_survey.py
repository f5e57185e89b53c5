"""`init` on files that nobody wrote for it: nothing is taken for what it is not, and nothing is left out unsaid."""

from __future__ import annotations

import json
import random
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from llmrec_cli.commands.scaffold import init
from llmrec_cli.core.config import load
from llmrec_cli.core.errors import DataError, LlmrecError, SettingsError
from llmrec_cli.core.settings_draft import Draft, toml
from llmrec_cli.stages.clean import CleanConfig

DAYS = [f"2024-03-{day:02d}" for day in range(1, 29)]


def events(n: int = 120, start: int = 0) -> list[list[str]]:
    return [[f"u{i % 7}", f"p{i % 11}", DAYS[i % 28], f"{i / 4 + 1:.2f}"] for i in range(start, start + n)]


def csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    cells = [[json.dumps(c)[1:-1].join('""') if "," in c else c for c in row] for row in ([header, *rows])]
    path.write_text("".join(",".join(row) + "\n" for row in cells))
    return path


def written(files: Sequence[Path], folder: Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
    """The [clean] section and what was said."""
    lines = init(files, folder, overrides).lines
    return load(folder / "llmrec.toml", environ={}).values["clean"], "\n".join(lines)


HEADER = ("user_id", "item_id", "date", "price")


def test_two_logs_with_the_same_columns_are_one(tmp_path: Path) -> None:
    files = [csv(tmp_path / f"{n}.csv", HEADER, events(120, 120 * n)) for n in range(2)]
    clean, printed = written(files, tmp_path / "p")
    assert clean["interactions"]["path"] == ["../0.csv", "../1.csv"] and "items" not in clean
    assert "0.csv and 1 more with the same columns" in printed


def test_a_pattern_is_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "days").mkdir()
    for n in range(3):
        csv(tmp_path / "days" / f"{n}.csv", HEADER, events(50, 50 * n))
    clean, _ = written([Path("days/*.csv")], Path())
    assert clean["interactions"]["path"] == "days/*.csv"
    with pytest.raises(DataError, match="no file matches"):
        init([Path("days/*.txt")], tmp_path / "p")


def test_of_two_logs_with_different_columns_the_one_that_says_more_is_taken(tmp_path: Path) -> None:
    one = csv(tmp_path / "clicks.csv", ("user_id", "item_id", "page"), [[*row[:2], "x"] for row in events() * 3])
    two = csv(tmp_path / "buys.csv", HEADER, events())
    clean, printed = written([one, two], tmp_path / "p")
    assert clean["interactions"]["path"] == "../buys.csv"
    reason = "another log, of other columns (user_id, item_id, page); give it alone to use it"
    assert f"clicks.csv: not used: {reason}" in printed


def test_a_file_that_is_no_table_is_named_and_not_used(tmp_path: Path) -> None:
    log = csv(tmp_path / "log.csv", HEADER, events())
    (tmp_path / "README.md").write_text("# What this is\n\nSome words, and more of them.\n")
    (tmp_path / "occupations.txt").write_text("doctor\nlawyer\n")
    clean, printed = written([tmp_path / "README.md", log, tmp_path / "occupations.txt"], tmp_path / "p")
    assert clean["interactions"]["path"] == "../log.csv"
    assert (
        "occupations.txt: not used: it cannot be a log or describe one: occupations.txt has one column only" in printed
    )
    with pytest.raises(DataError, match="none of the files is a table with rows"):
        init([tmp_path / "occupations.txt", tmp_path / "occupations.txt"], tmp_path / "q")


LANGUAGES = {
    "de": ("KundenNr", "ArtikelNr", "Kaufdatum", "Menge", "Bezeichnung", "Kategorie", "Land"),
    "fr": ("client", "produit", "date_achat", "quantité", "libellé", "catégorie", "pays"),
    "es": ("usuario", "artículo", "fecha", "cantidad", "título", "categoría", "país"),
    "zh": ("用户ID", "商品ID", "购买时间", "数量", "标题", "类别", "国家"),
}


@pytest.mark.parametrize("names", LANGUAGES.values(), ids=LANGUAGES)
def test_headers_of_other_languages(names: tuple[str, ...], tmp_path: Path) -> None:
    words, country = ["rot", "Tasse", "Kanne", "grün", "Teller"], ["Italien", "Peru"]
    items = [(f"i{i}", f"{words[i % 5]} {words[i % 3]} {i}", f"Abteilung {i % 4}") for i in range(40)]
    rows = [
        [f"u{u}", item, f"2024-01-{1 + (u + i) % 28:02}", str(1 + (u * i) % 9), title, section, country[u % 2]]
        for u in range(30)
        for i, (item, title, section) in enumerate(items)
        if (u + i) % 3
    ]
    clean, _ = written([csv(tmp_path / "log.csv", names, rows)], tmp_path / "p")
    user, item, time, value, title, category, region = names
    assert {k: v for k, v in clean["interactions"].items() if k != "path"} == {
        "user": user,
        "item": item,
        "time": time,
        "value": value,
    }
    assert clean["items"] == {"title": title, "category": category} and clean["users"] == {"region": region}


def test_a_header_of_words_alone_is_seen_in_other_languages(tmp_path: Path) -> None:
    rows = [[f"k{u}", f"a{i}"] for u in range(9) for i in range(u % 3, 9)]
    clean, _ = written([csv(tmp_path / "log.csv", ("客户", "商品"), rows)], tmp_path / "p")
    assert (clean["interactions"]["user"], clean["interactions"]["item"]) == ("客户", "商品")


def test_a_file_that_has_no_id_of_the_log_is_not_used(tmp_path: Path) -> None:
    log = csv(tmp_path / "log.csv", HEADER, events())
    other = csv(tmp_path / "shops.csv", ("shop_id", "title"), [[f"s{n}", f"A shop called {n}"] for n in range(30)])
    clean, printed = written([log, other], tmp_path / "p")
    assert "items" not in clean and "users" not in clean
    assert "shops.csv: not used: none of its ids (shop_id) is an item or a user of the log" in printed


def test_of_two_items_files_the_other_is_named(tmp_path: Path) -> None:
    log = csv(tmp_path / "log.csv", HEADER, events())
    links = csv(tmp_path / "links.csv", ("item_id", "imdb"), [[f"p{n}", str(900 + n)] for n in range(11)])
    rows = [[str(70 + n), f"p{n}", f"A thing called {n}", f"Tea|Milk|{n % 3}"] for n in range(30)]
    items = csv(tmp_path / "items.csv", ("number", "code", "title", "tags"), rows)
    clean, printed = written([log, links, items], tmp_path / "p")
    assert clean["items"] == {"path": "../items.csv", "item": "code", "title": "title", "tags": "tags"}
    assert "links.csv: not used: items.csv describes the items in more columns, and one file is read" in printed
    assert "left out   number    neither its name nor its values show what it is for" in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item,timestamp\n", "has a header and no rows: user, item, timestamp"),
        ("user,item\nu1,a\nu2,a\nu3,a\nu1,a\n", "has only one item: item is 'a' in every row"),
        ("user,item\nu1,a\nu1,b\nu1,c\nu1,a\n", "has only one user: user is 'u1' in every row"),
        ("user,item\nu1,a\n", "none of the files is a log"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_with_a_log_is_said(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(DataError) as reported:
        init([tmp_path / "log.csv"], tmp_path / "p")
    assert message in str(reported.value)


def test_a_list_inside_of_an_object_is_to_be_taken_out(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text('{"data": [{"user": "u", "item": "i"}]}')
    with pytest.raises(DataError, match="one column only") as reported:
        init([tmp_path / "log.json"], tmp_path / "p")
    assert "jq -c '.data[]' log.json > log.jsonl" in reported.value.fix


def test_addresses_and_files_that_are_not_there_are_no_images(tmp_path: Path) -> None:
    log = csv(tmp_path / "log.csv", HEADER, events())
    rows = [[f"p{n}", f"A thing called {n}", f"https://x.org/{n}.jpg", f"pictures/{n}.jpg"] for n in range(11)]
    items = csv(tmp_path / "items.csv", ("item_id", "title", "image_url", "photo"), rows)
    clean, printed = written([log, items], tmp_path / "p")
    assert "image" not in clean["items"]
    assert "left out   image_url    web addresses: only files below" in printed
    assert "left out   photo    no such files in" in printed
    (tmp_path / "q" / "pictures").mkdir(parents=True)
    (tmp_path / "q" / "pictures" / "3.jpg").write_bytes(b"")
    assert written([log, items], tmp_path / "q")[0]["items"]["image"] == "photo"


def test_of_bands_the_lower_end_is_the_age(tmp_path: Path) -> None:
    log = csv(tmp_path / "log.csv", HEADER, events())
    users = [[f"u{n}", ("18-24", "25-34", "35+")[n % 3], str(20 + n)] for n in range(7)]
    bands = csv(tmp_path / "bands.csv", ("user_id", "age", "height"), users)
    clean, printed = written([log, bands], tmp_path / "p")
    assert clean["users"]["age"] == "age"
    assert "bands such as 18-24, 25-34, 35+, of which the lower end is read" in printed
    years = csv(tmp_path / "years.csv", ("user_id", "age"), [[row[0], row[2]] for row in users])
    assert written([log, years], tmp_path / "q")[0]["users"]["age"] == "age"


def test_a_price_that_varies_is_said_to_and_the_command_is_named(tmp_path: Path) -> None:
    rows = [[*row[:3], f"{1 + n % 7}.50"] for n, row in enumerate(events())]
    _, printed = written([csv(tmp_path / "log.csv", HEADER, rows)], tmp_path / "p")
    assert "left out   price    its values differ among the rows of an item" in printed
    assert "--set 'clean.items.attributes=[\"price\"]'" in printed


def test_a_price_is_not_said_to_vary_where_it_does_not_or_an_items_file_describes(tmp_path: Path) -> None:
    empty = [[*row[:3], "" if n % 11 > 3 else "9.50" if n % 11 else "8"] for n, row in enumerate(events())]
    _, printed = written([csv(tmp_path / "log.csv", HEADER, empty)], tmp_path / "p")
    assert "left out   price    neither its name" in printed  # most items have none
    items = csv(
        tmp_path / "items.csv", ("item_id", "title"), [[f"p{n}", f"Thing number {n} of all"] for n in range(11)]
    )
    log = csv(tmp_path / "paid.csv", HEADER, [[*row[:3], f"{1 + n % 7}.50"] for n, row in enumerate(events())])
    assert "differ among the rows" not in written([log, items], tmp_path / "q")[1]


def test_every_column_is_spoken_of(tmp_path: Path) -> None:
    header = (*HEADER, "empty", "constant", "session", "Price", "added_on", "ip")
    rows = [
        [*row, "", "x", f"s{n % 30}", "9", f"{DAYS[n % 20]} 10:00", f"10.0.{n}.1"] for n, row in enumerate(events())
    ]
    _, printed = written([csv(tmp_path / "log.csv", header, rows)], tmp_path / "p")
    for column in header:
        assert column in printed, column
    assert "left out   empty    empty" in printed and "left out   constant    the same value in every row" in printed
    assert "Price    another column has this name too" in printed and "added_on    another time" in printed


def test_members_of_a_zip_file_that_are_passed_over_are_named(tmp_path: Path) -> None:
    csv(tmp_path / "log.csv", HEADER, events())
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as zipped:
        zipped.write(tmp_path / "log.csv", "x/log.csv")
        zipped.writestr("x/README", "Words.\n")
    clean, printed = written([tmp_path / "all.zip"], tmp_path / "p")
    assert clean["interactions"]["path"] == "../all.zip#x/log.csv"
    assert "x/README: not used: README has one column only" in printed
    (tmp_path / "cut.zip").write_bytes((tmp_path / "all.zip").read_bytes()[200:])
    with pytest.raises(LlmrecError):
        init([tmp_path / "cut.zip"], tmp_path / "q")


def test_what_a_person_says_replaces_guesses(tmp_path: Path) -> None:
    log = csv(tmp_path / "log.csv", ("a", "b", "when", "n"), events())
    printed = ["clean.interactions.user=b", "clean.interactions.item=0", "clean.repeats=first", "recommend.k=5"]
    clean, lines = written([log], tmp_path / "p", printed)
    assert (clean["interactions"]["user"], clean["interactions"]["item"], clean["repeats"]) == ("b", 0, "first")
    assert load(tmp_path / "p" / "llmrec.toml", environ={}).values["recommend"] == {"k": 5}
    assert "given: clean.interactions.user = 'b'" in lines
    with pytest.raises(DataError, match="there is no column 'who'"):
        init([log], tmp_path / "q", ["clean.interactions.user=who", "clean.interactions.item=a"])
    for wrong in ("clean.nix=3", "nix.k=3", "recommend.k=many", "recommend"):
        with pytest.raises(SettingsError):
            init([log], tmp_path / "q", [*printed, wrong])
    assert not (tmp_path / "q").exists()


HOSTILE = [
    '"',
    "'",
    "#",
    "\n",
    "\\",
    "]",
    "[",
    "=",
    ".",
    "{",
    "\t",
    "é",
    "数",
    "\u202e",
    "\x1b[31m",
    "\x7f",
    " ",
    "-- ",
    ";",
    "%",
    "$",
    '"""',
]


@pytest.mark.parametrize("seed", range(25))
def test_hostile_names_of_columns_end_in_a_file_that_loads(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    names = [
        "".join([base, *rng.choices(HOSTILE, k=rng.randint(1, 4)), str(n)])
        for n, base in enumerate((*HEADER[:3], "quantity"))
    ]
    rows = [[u, i, d, str(float(p) - 5)] for u, i, d, p in events()]
    kinds = {"json": 0, "csv": 1}
    path = tmp_path / f"log.{list(kinds)[seed % 2]}"
    if seed % 2:
        header = ",".join('"' + name.replace('"', '""') + '"' for name in names)
        path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    else:
        path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows) + "\n")
    try:
        clean, printed = written([path], tmp_path)
    except DataError:
        return  # exit 3: told, and nothing written
    config = CleanConfig.model_validate(clean)
    assert clean["interactions"]["user"].strip() == names[0].strip()
    assert clean["interactions"]["item"].strip() == names[1].strip()
    assert config.interactions.where.endswith(" > 0")
    assert "\x1b" not in printed and "\x7f" not in printed


@pytest.mark.parametrize("seed", range(50))
def test_any_value_is_loadable_toml(seed: int) -> None:
    rng = random.Random(seed)

    def text() -> str:
        return "".join(rng.choice([chr(rng.randrange(0xD800)), rng.choice(HOSTILE)]) for _ in range(rng.randint(0, 12)))

    values = [text(), [text(), 3], {text(): True, "b": 0.5}, -7, False, [], {}]
    draft = Draft()
    for n, value in enumerate(values):
        draft.put(f"clean.interactions.x{n}", value, "a note")
        draft.put(f"{text().replace('.', '') or 'a'}.{n}", value)
    loaded = tomllib.loads(draft.text())
    assert [loaded["clean"]["interactions"][f"x{n}"] for n in range(len(values))] == values
    assert tomllib.loads(f"x = {toml(values)}")["x"] == values
