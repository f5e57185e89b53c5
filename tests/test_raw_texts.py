"""The raw text of rejected rows: the very line, and none that tells of people what is to be hidden."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_cli.core.artifacts import REJECTS
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import raw_texts
from llmrec_cli.privacy import forget
from llmrec_cli.stages.clean import STAGE, CleanConfig

ROWS = {
    "a.csv": 'user,item,note\nu1,i1,x\nu1,i1,y\n,i2,z\nbad,1,2,3\nu1,i2,\nlone,i3,"q"\nu2,i1,\nu2,i2,\n',
    "b.csv": 'user,item,note\nu1,i1,"x\ny"\n\nu1,i1,"say ""hi"", you"\n,i2,"z\n\nq"\nu1,i2,\nu2,i1,x\nu2,i2,\n'
    "u3,x,y,q\n",
    "c.json": '{"user":"u1","item":"i1","x":{"y":1}}\n\n{"user":"u1","item":"i2"}\n{broken\n{"item":"i1"}\n'
    '{"user":"u2","item":"i1"}\n{"user":"u2","item":"i2"}\n',
    "d.json": '[{"user":"u1","item":"i1"},\n\n{"user":"u1","item":"i2"},{"item":"i1"},{"user":"u2","item":"i1"},'
    '{"user":"u2","item":"i2"}]',
    "e.txt": "user item\nu1 i1\nu1   i2\n\nu3\nu2 i1\nu2 i2\n",
}
EXPECTED = {
    "a.csv": [(2, "u1,i1,y"), (3, ",i2,z"), (4, "bad,1,2,3"), (6, 'lone,i3,"q"')],
    "b.csv": [(2, 'u1,i1,"say ""hi"", you"'), (3, ',i2,"z\nq"'), (7, "u3,x,y,q")],
    "c.json": [(3, "{broken"), (4, '{"item":"i1"}')],
    "d.json": [(3, '{"item":"i1"}')],
    "e.txt": [(3, "u3")],
    "f.parquet": [(2, '{"user":null,"item":{"id":"i1"},"n":3}')],
}


def rejects(context: Context, path: str | list[str], item: str = "item", **settings: object) -> list[tuple[int, str]]:
    for name, text in ROWS.items():
        (context.base / name).write_text(text)
    nested = [{"id": f"i{n % 2 + 1}"} for n in (0, 0, 0, 1, 1)]
    table = pa.table({"user": ["u1", None, "u2", "u1", "u2"], "item": nested, "n": [3] * 5})
    pq.write_table(table, context.base / "f.parquet")
    config = CleanConfig.model_validate({"interactions": {"path": path, "user": "user", "item": item}, **settings})
    work = WorkDir(context.base / "work")
    execute(STAGE, work, config, context)
    return [(row["row"], row["raw"]) for row in work.read(REJECTS).to_pylist()]


@pytest.mark.parametrize("name", EXPECTED)
def test_each_way_of_writing(name: str, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_texts, "PIECE", 2)  # texts come in pieces
    assert rejects(context, name, "item.id" if name == "f.parquet" else "item") == EXPECTED[name]


def test_several_files(context: Context) -> None:
    found = rejects(context, ["a.csv", "e.txt"])
    assert [raw for _, raw in found if raw in ("bad,1,2,3", "u3", ",i2,z")] == [",i2,z", "bad,1,2,3", "u3"]


def test_with_pseudonyms_no_raw_text_is_kept(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMREC_KEY", "a key of the test's own")
    found = rejects(context, "a.csv", pseudonymise=True)
    assert len(found) == 4 and {raw for _, raw in found} == {None}


def test_nothing_stays_of_somebody_who_was_forgotten(context: Context) -> None:
    """Nor of rows that could not be read: nobody knows whose they are."""
    rejects(context, "a.csv")
    work = WorkDir(context.base / "work")
    forget.forget(work, context.base, ["lone"])
    texts = work.read(REJECTS).column("raw").to_pylist()
    assert texts == ["u1,i1,y", ",i2,z", None]
    assert [raw for _, raw in rejects(context, "a.csv")] == ["u1,i1,y", ",i2,z", None, None]
    assert Path(work.path / "clean" / "rejects.parquet").read_bytes().find(b"lone") < 0
