from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from llmrec_cli import pipeline
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import SettingsError
from llmrec_cli.core.stage import Context
from llmrec_cli.ingest import engine_filter
from llmrec_cli.ingest.column_mapping import FileConfig, InteractionsConfig
from llmrec_cli.ingest.engine import Engine
from llmrec_cli.ingest.raw_log import ColumnMapping, RawLog
from tests.test_clean import REJECTS, column, run

LOG = 'user,item,quantity,"Customer ID","a""b",country,order,x\n'
ROWS = [
    ("u1", "i1", "1", "7", "p", "France", "a", "Abc"),
    ("u2", "i2", "-2", "", "q", "Spain", "b", "abd"),
    ("u3", "i3", "4", "9", "p", "Italy", "c", "xyz"),
]
secret: Any = pa.table({"x": ["a variable of the caller"]})

ATTACKS = """
1) ; COPY (SELECT 42 AS a) TO 'evil.out'; SELECT (1
true; COPY (SELECT 42 AS a) TO 'evil.out'
x IN (SELECT content FROM read_text('secret.txt'))
EXISTS (FROM read_csv('secret.txt'))
EXISTS (SELECT * FROM 'secret.txt')
EXISTS (FROM glob('/*'))
EXISTS (FROM read_blob('secret.txt'))
EXISTS (FROM read_parquet('secret.txt'))
EXISTS (FROM read_json('secret.txt'))
EXISTS (FROM secret)
(SELECT count(*) FROM secret) > 0
x = (SELECT x FROM secret)
x IN (FROM secret)
true; ATTACH 'evil.out' AS y; SELECT 1
true; EXPORT DATABASE 'evil.out'
true; SET memory_limit = '100GB'
true; SET enable_external_access = true
true; RESET lock_configuration
true; INSTALL httpfs
true; LOAD httpfs
true; PRAGMA database_list
true; CALL pragma_version()
true; CREATE MACRO f(a) AS a
true; CREATE TABLE evil AS SELECT 1
true; DROP TABLE rows
1=1 UNION SELECT 1
1=1) UNION SELECT (1
true GROUP BY 1
true ORDER BY (SELECT 1)
true LIMIT 1
true QUALIFY row_number() OVER () = 1
1) OR (1
(1
1)
true /*
true */ OR /* x
'a
"a
x > 0 -- ' ; COPY
getenv('HOME') IS NOT NULL
getvariable('secret') IS NOT NULL
current_setting('temp_directory') IS NOT NULL
current_user IS NOT NULL
current_date > '2020-01-01'
random() > 0.5
nextval('s') > 0
length(repeat('a', 1000000000000)) > 0
length(lpad('a', 2000000000, 'b')) > 0
length(replace(x, 'a', 'aaaaaaaaaaaaaaaaaaaaa')) > 0
length(format('{:1000000000}', 'a')) > 0
list_filter([1], lambda v: v > 0) IS NOT NULL
list_reduce(range(1000000000), lambda a, b: a + b) > 0
EXISTS (WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t)
(WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT 2 * n FROM t) SELECT max(n) FROM t) > 0
query('SELECT 1') IS NOT NULL
EXISTS (FROM query('COPY (SELECT 1) TO ''evil.out'''))
EXISTS (FROM query_table('secret'))
json_execute_serialized_sql('{}') IS NOT NULL
error('x') IS NULL
write_log('x') IS NULL
count(*) > 0
sum(quantity) OVER () > 0
COLUMNS(*) > 0
#1 > 0
$1 > 0
? > 0
rows.x = 'a'
main.rows.x = 'a'
rows IS NOT NULL
main.lower(x) = 'a'
x::nothing = 1
x::JSON IS NOT NULL
CAST(x AS VARCHAR[]) IS NOT NULL
[x] IS NOT NULL
{'a': x} IS NOT NULL
nobody > 0
"user; COPY" > 0
*
quantity > 0,
quantity >
""".strip().splitlines()

HONEST = {
    "quantity > 0": [1, 3],
    "Quantity > 0 -- no returns": [1, 3],
    '"Customer ID" IS NOT NULL AND quantity BETWEEN 1 AND 5': [1, 3],
    "country IN ('France', 'Spain')": [1, 2],
    "lower(x) LIKE 'a%'": [1, 2],
    '"a""b" = \'p\' AND "order" <> \'c\'': [1],
    "order_ IS NULL OR true": None,
    "TRY_CAST(quantity AS INTEGER) % 2 = 0": [2, 3],
    "CASE WHEN country = 'Italy' THEN false ELSE x <> '' END": [1, 2],
    "NOT (country = 'Spain')": [1, 3],
    "coalesce(\"Customer ID\", '0') > 0": [1, 3],
    "country /* where */ NOT IN ('Spain')": [1, 3],
    "regexp_matches(x, '^[Aa]b') AND length(x) = 3": [1, 2],
    "x ILIKE 'ab_' OR x SIMILAR TO 'x.*'": [1, 2, 3],
    "replace(country, 'Fr', '') = 'ance'": [1],
    "country > 'G' AND DATE '2020-01-01' + INTERVAL 1 DAY > '2019-01-01'": [2, 3],
    "country = ') ; DROP TABLE rows; --'": [],
    "quantity / 2 = 2.0": [3],
    " \n quantity > 0\n": [1, 3],
    "quantity IS DISTINCT FROM 4": [1, 2],
    "quantity > 0 -- ) AND false": [1, 3],
    "NOT " * 90 + "quantity > 0": [1, 3],
}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("content\nsecret\n")
    lines = [",".join(row) for row in ROWS]
    (tmp_path / "log.csv").write_text(LOG + "\n".join(lines) + "\n")
    return tmp_path


def passes(folder: Path, where: str) -> list[int]:
    with Engine(256 << 20, 1, folder) as engine:
        inputs = engine.open(FileConfig(path="log.csv"), folder)
        raw = engine.raw(inputs, inputs[0].dialect.columns)
        rows = engine.arrow(RawLog(engine, raw, ColumnMapping("user", "item"), where).frame()).to_pylist()
    return [row["source_row"] for row in rows if row["passes"]]


@pytest.mark.parametrize("where", ATTACKS)
def test_what_is_not_one_harmless_expression_is_refused(log: Path, where: str) -> None:
    before = sorted(p.name for p in log.iterdir())
    with pytest.raises(SettingsError, match="the row filter cannot be used") as reported:
        passes(log, where)
    assert reported.value.exit_code == 2 and reported.value.where.startswith("clean.interactions.where = ")
    assert sorted(p.name for p in log.iterdir()) == before


@pytest.mark.parametrize("where", HONEST)
def test_honest_filters_work(log: Path, where: str) -> None:
    if HONEST[where] is None:
        with pytest.raises(SettingsError, match="did you mean 'order'"):
            passes(log, where)
    else:
        assert passes(log, where) == HONEST[where]


def test_the_engine_of_the_filter_is_closed(log: Path) -> None:
    """Even a statement that came through would reach nothing."""
    with engine_filter._closed() as connection:
        for statement in (
            "COPY (SELECT 1) TO 'evil.out'",
            "ATTACH 'evil.out' AS y",
            "FROM read_text('secret.txt')",
            "FROM 'secret.txt'",
            "FROM secret",
            "SET enable_external_access = true",
            "SET memory_limit = '100GB'",
            "INSTALL httpfs",
            "LOAD httpfs",
        ):
            with pytest.raises(Exception, match=r"(?i)disabled|locked|does not exist|permission"):
                connection.execute(statement)
    assert not (log / "evil.out").exists()


def test_an_error_while_the_filter_runs_is_one_of_the_settings(log: Path) -> None:
    for where in ("x", "x::INTEGER > 0", "regexp_matches(x, '(')", "quantity AND strptime(x, '%')::TIME > '1'"):
        with pytest.raises(SettingsError, match="the row filter cannot be used"):
            passes(log, where)


def test_a_filter_has_a_time_limit(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (log / "log.csv").write_text("user,item,x\n" + "u,i,aaaaaaaa\n" * 200_000)
    monkeypatch.setattr(engine_filter, "TIME_LIMIT", 0.001)
    monkeypatch.setattr(engine_filter, "PER_ROW", 0.0)
    where = " AND ".join(f"NOT regexp_matches(lower(x), 'a*a*a*a*b{n}')" for n in range(30))
    with pytest.raises(SettingsError, match="it took more than"):
        passes(log, where)


def test_a_very_deep_or_long_filter_is_refused(log: Path) -> None:
    deep = "(" * 30_000 + "x" + ")" * 30_000
    for where in (deep, "NOT " * 9000 + "quantity > 0", "x = '" + "a" * 100_000 + "'"):
        with pytest.raises(SettingsError, match="the row filter cannot be used"):
            passes(log, where)


def test_the_filter_of_a_stage_writes_no_file(context: Context) -> None:
    """A header that closes the quotes runs nothing; the column can be named all the same."""
    evil = 'n"" IS NOT NULL); COPY (SELECT 42 AS a) TO \'evil.out\'; SELECT (""n'
    name = evil.replace('""', '"')
    body = "\n".join(f"u{n % 5},i{n % 7},{n % 3 - 1}" for n in range(60))
    settings = f"""
        [interactions]
        path = "log.csv"
        user = "user"
        item = "item"
        value = '''{name}'''
        where = '''"{evil}" > 0'''
        [items]
        attributes = ['''{name}''']
        [users]
        attributes = ['''{name}''']
        """
    work, _ = run(context, {"log.csv": f'user,item,"{evil}"\n{body}\n'}, settings)
    assert column(work, REJECTS, "reason").count("where") == 40
    assert not (context.base / "evil.out").exists() and not Path("evil.out").exists()


OF_THE_LOG = [
    "nobody > 0",
    '"user; COPY" > 0',
    "x > 0 -- ' ; COPY",
    "current_user IS NOT NULL",
    "current_date > '2020-01-01'",
    "rows IS NOT NULL",
]
"""Whether there is such a column only the log can say."""


@pytest.mark.parametrize("where", [each for each in ATTACKS if each not in OF_THE_LOG])
def test_a_filter_is_judged_when_settings_are_read(where: str) -> None:
    """Not when the log is: `status` and a dry run say it too."""
    with pytest.raises(SettingsError, match="the row filter cannot be used") as reported:
        InteractionsConfig(path="log.csv", user="user", item="item", where=where)
    assert reported.value.exit_code == 2 and reported.value.where.startswith("clean.interactions.where = ")


@pytest.mark.parametrize("where", ["", *OF_THE_LOG, *HONEST])
def test_a_filter_that_only_the_log_can_refuse_is_no_fault_of_the_settings(where: str) -> None:
    assert InteractionsConfig(path="log.csv", user="user", item="item", where=where).where == where


@pytest.mark.parametrize("names", [("clean",), ("pretrain",), ("pretrain", "profile"), pipeline.STAGES])
def test_every_stage_refuses_a_log_that_cannot_be_meant(names: tuple[str, ...], tmp_path: Path) -> None:
    log = {"path": "log.csv", "user": "user", "item": "item", "where": "quantity >"}
    settings = Settings({"clean": {"interactions": log}}, {}, tmp_path, "llmrec.toml")
    with pytest.raises(SettingsError, match="the row filter cannot be used"):
        pipeline.check(settings, names)


def test_settings_that_say_nothing_of_a_log_are_no_fault_of_a_later_stage(tmp_path: Path) -> None:
    checked = pipeline.check(Settings({"clean": {"min_user_events": 3}}, {}, tmp_path, "llmrec.toml"), ["profile"])
    assert list(checked) == ["profile"]
