from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.core import artifacts, disk
from llmrec_cli.core.disk import DISK_ERRORS, disk_errors, fingerprint, full_disk
from llmrec_cli.core.errors import DataError, LockedError, UpstreamError
from llmrec_cli.core.workdir import WorkDir, to_numpy, vectors
from tests.signing import vouch

VECTOR_TABLE = artifacts.ITEM_VECTORS


def vector_table(ids: list[str], rows: np.ndarray) -> pa.Table:
    return pa.table({"item_id": ids, "vector": vectors(rows)})


def test_a_table_comes_back_as_written(tmp_path: Path) -> None:
    work, rows = WorkDir(tmp_path), np.arange(6, dtype=np.float32).reshape(3, 2)
    work.write(VECTOR_TABLE, vector_table(["007", "NA", "None"], rows))
    back = work.read(VECTOR_TABLE)
    assert back.column("item_id").to_pylist() == ["007", "NA", "None"]
    assert np.array_equal(to_numpy(back.column("vector")), rows)


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    prints = set()
    for name in ("a", "b"):
        work = WorkDir(tmp_path / name)
        work.write(VECTOR_TABLE, vector_table(["x"], np.ones((1, 2))))
        prints.add(work.fingerprint(VECTOR_TABLE))
    assert len(prints) == 1


def test_a_key_that_occurs_twice_is_refused_and_the_old_table_stays(tmp_path: Path) -> None:
    work = WorkDir(tmp_path)
    work.write(VECTOR_TABLE, vector_table(["x"], np.ones((1, 2))))
    before = work.fingerprint(VECTOR_TABLE)
    with pytest.raises(ValueError, match="occurs twice"):
        work.write(VECTOR_TABLE, vector_table(["x", "x"], np.ones((2, 2))))
    assert work.fingerprint(VECTOR_TABLE) == before
    assert [p.name for p in (tmp_path / "pretrain").iterdir()] == ["item_vectors.parquet"]


def test_a_wrong_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="columns differ"):
        WorkDir(tmp_path).write(VECTOR_TABLE, pa.table({"item_id": ["x"]}))


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    work = WorkDir(tmp_path)
    with pytest.raises(KeyboardInterrupt), work.writer(VECTOR_TABLE) as append:
        append(vector_table(["x"], np.ones((1, 2))))
        raise KeyboardInterrupt
    assert not work.has(VECTOR_TABLE)
    assert list((tmp_path / "pretrain").iterdir()) == []


def test_a_table_written_in_pieces_is_whole(tmp_path: Path) -> None:
    work = WorkDir(tmp_path)
    with work.writer(VECTOR_TABLE) as append:
        append(vector_table(["a"], np.ones((1, 2))))
        append(vector_table(["b"], np.zeros((1, 2))))
    assert work.read(VECTOR_TABLE).num_rows == 2
    assert sum(batch.num_rows for batch in work.batches(VECTOR_TABLE)) == 2


def test_missing_and_damaged_tables_name_the_command(tmp_path: Path) -> None:
    work = WorkDir(tmp_path)
    with pytest.raises(UpstreamError) as missing:
        work.read(artifacts.ITEMS)
    assert "llmrec clean" in str(missing.value)
    path = work.where(artifacts.ITEMS)
    path.parent.mkdir()
    path.write_bytes(b"no parquet")
    with pytest.raises(UpstreamError) as damaged:
        work.read(artifacts.ITEMS)
    assert "damaged" in str(damaged.value) and "--force" in str(damaged.value)


@pytest.mark.parametrize("content", [b"", b"no parquet"])
def test_a_damaged_table_is_reported_where_it_is_read_in_pieces(content: bytes, tmp_path: Path) -> None:
    work = WorkDir(tmp_path)
    path = work.where(artifacts.TASTE_TEXTS)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UpstreamError, match=r"taste_texts\.parquet is damaged"):
        list(work.batches(artifacts.TASTE_TEXTS))


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    work = WorkDir(tmp_path)
    for name in ("old", "new"):
        with work.writing(artifacts.ENCODER) as folder:
            (folder / name).write_text(name)
    assert [p.name for p in work.need(artifacts.ENCODER).iterdir()] == ["new"]


def test_the_fingerprint_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = fingerprint(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = fingerprint(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, renamed, fingerprint(tmp_path)}) == 3


def test_a_record_with_a_wrong_signature_counts_as_none(tmp_path: Path) -> None:
    work = WorkDir(tmp_path)
    work.write(artifacts.ITEMS, artifacts.ITEMS.schema.empty_table())
    vouch(work)
    assert work.record("clean") and not work.record_problem("clean")
    path = tmp_path / "clean" / "record.json"
    path.write_text(path.read_text().replace('"by hand"', '"by foot"'))
    assert work.record("clean") is None and work.record_problem("clean") == "its record was changed"


def _hold(path: Path, ready: object, done: object) -> None:
    with WorkDir(path).lock():
        ready.set()  # type: ignore[attr-defined]
        done.wait(20)  # type: ignore[attr-defined]


def test_a_second_process_is_reported_who_holds_the_lock(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    holder = spawn.Process(target=_hold, args=(tmp_path, ready, done))
    holder.start()
    try:
        assert ready.wait(20)
        with pytest.raises(LockedError) as locked, WorkDir(tmp_path).lock():
            pass
        assert f"process {holder.pid}" in str(locked.value)
    finally:
        done.set()
        holder.join(20)
    with WorkDir(tmp_path).lock():
        assert (tmp_path / ".lock-holder").exists()


def test_scratch_of_another_ticket_is_cleared(tmp_path: Path) -> None:
    work = WorkDir(tmp_path)
    (work.scratch("pretrain", "a" * 64) / "epoch").write_text("1")
    assert (work.scratch("pretrain", "a" * 64) / "epoch").exists()
    assert list(work.scratch("pretrain", "b" * 64).iterdir()) == []
    assert [p.name for p in (tmp_path / "pretrain" / ".scratch").iterdir()] == ["b" * 16]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EFBIG])
def test_disk_errors_become_one_clear_line(code: int, tmp_path: Path) -> None:
    with pytest.raises(DataError) as reported, disk_errors(tmp_path):
        raise OSError(code, os.strerror(code))
    assert str(tmp_path) in str(reported.value) and "fix:" in str(reported.value)


@pytest.mark.parametrize("code", sorted(DISK_ERRORS))
def test_the_fix_of_a_disk_error_names_the_option_of_its_place(code: int, tmp_path: Path) -> None:
    fixes = []
    for elsewhere in ((), ("a writable place with --output",)):
        with pytest.raises(DataError) as reported, disk_errors(tmp_path, *elsewhere):
            raise OSError(code, os.strerror(code))
        fixes.append(reported.value.fix)
    assert "{" not in "".join(fixes) and "--work" not in fixes[1]
    if code not in (errno.ENOSPC, errno.EDQUOT):
        assert "--work" in fixes[0] and "--output" in fixes[1]


def test_a_file_in_place_of_the_work_directory_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "work"
    path.write_text("")
    with pytest.raises(DataError, match="a file stands where a folder is needed"), WorkDir(path).lock():
        pass


def test_a_full_disk_is_recognised_in_the_errors_of_libraries(tmp_path: Path) -> None:
    reported = full_disk(RuntimeError("I/O error: No space left on device (os error 28)"), tmp_path)
    assert reported is not None and reported.exit_code == 3 and "the disk is full" in str(reported)
    assert full_disk(RuntimeError("something else"), tmp_path) is None


def test_what_killed_processes_left_is_swept_in_backtests_too_and_nothing_else(tmp_path: Path) -> None:
    left = [
        "clean/.tmp-9-items.parquet",
        "evaluate/last/profile/.tmp-77-profiles.parquet",
        "evaluate/last/clean/.tmp-9-x/part",
    ]
    kept = ["clean/items.parquet", "clean/.tmp-mine", "evaluate/last/clean/tmp-9-x", "clean/.scratch/log.csv"]
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    disk.remove_leftovers(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert not [*tmp_path.rglob(".tmp-[0-9]*")]
