"""Damaged and stale artifacts: the next stage alone must not use them, and the next `run` must mend them."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llmrec_cli import pipeline
from tests.system import child, project
from tests.system.child import Finding, Outcome, Plant, Task
from tests.system.reference import AT_ONCE, THREADS, Reference

UPSTREAM = 4
LOOKS = (["status"], ["show", "user", "u01"], ["show", "item", "i03"], ["recommend", "--user", "u01"])
"""Commands that only look; the last is one of a stage, asked about one user."""


# --- kinds of damage -------------------------------------------------------------------------------------------------


def flip(path: Path, rng: random.Random) -> None:
    """One bit of a file is another; of a folder, one of one of its files."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    chosen = rng.choice(files)
    data = bytearray(chosen.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    chosen.write_bytes(data)


def cut(path: Path, rng: random.Random) -> None:
    data = path.read_bytes() if path.is_file() else None
    if data is None:
        shutil.rmtree(rng.choice([each for each in path.iterdir() if each.is_dir()] or [path]))
    else:
        path.write_bytes(data[: rng.randrange(len(data))])


def empty(path: Path, rng: random.Random) -> None:
    if path.is_dir():
        shutil.rmtree(path)
        path.mkdir()
    else:
        path.write_bytes(b"")


def delete(path: Path, rng: random.Random) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def folder(path: Path, rng: random.Random) -> None:
    """A folder in a file's place, a file in a folder's."""
    was_folder = path.is_dir()
    delete(path, rng)
    if was_folder:
        path.write_bytes(b"no folder")
    else:
        path.mkdir()


def pipe(path: Path, rng: random.Random) -> None:
    delete(path, rng)
    os.mkfifo(path)


def device(path: Path, rng: random.Random) -> None:
    delete(path, rng)
    path.symlink_to("/dev/zero")


def nothing(path: Path, rng: random.Random) -> None:
    path.write_text("null\n")


def other_schema(path: Path, rng: random.Random) -> None:
    path.write_text(json.dumps({"format": "llmrec.record/99", "stage": ["x"], "outputs": 3, "ticket": None}))


def deep(path: Path, rng: random.Random) -> None:
    path.write_text("[" * 100_000)


def wrong_keys(path: Path, rng: random.Random) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "evil": 1, "ranker": "no_such_module:X"}))


Kind = Callable[[Path, random.Random], None]
ANY: tuple[Kind, ...] = (flip, flip, cut, empty, delete, folder, pipe, device)
JSON: tuple[Kind, ...] = (nothing, other_schema, deep)


@dataclass(frozen=True)
class Damage:
    """One artifact spoilt in one way."""

    place: str
    artifact: str
    """The artifact that the place belongs to; of a record, its own path."""
    kind: str
    do: Callable[[Path], None]
    """Called with the work directory."""


def damages(reference: Reference, foreign: Reference, seed: int) -> list[Damage]:
    """Every place × every kind of damage."""
    work = reference.folder / "finished"
    found = []
    for place, artifact in project.files(work).items():
        is_model = place.endswith("config.json")
        kinds = ANY + ((*JSON, wrong_keys) if is_model else ())
        found += [_damage(place, artifact, kind, n, seed) for n, kind in enumerate(kinds)]
        if place == artifact:
            found.append(Damage(place, artifact, "foreign", _from(foreign, place)))
    for stage in pipeline.STAGES:
        place = f"{stage}/record.json"
        found += [_damage(place, place, kind, n, seed) for n, kind in enumerate(ANY + JSON)]
    return found


def _damage(place: str, artifact: str, kind: Kind, number: int, seed: int) -> Damage:
    def do(work: Path) -> None:
        kind(work / place, random.Random(f"{seed} {place} {number}"))

    return Damage(place, artifact, f"{kind.__name__} ({number})", do)


def _from(foreign: Reference, place: str) -> Callable[[Path], None]:
    """The same artifact of a project with another log."""

    def do(work: Path) -> None:
        source, target = foreign.folder / "finished" / place, work / place
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)

    return do


# --- what must come of it --------------------------------------------------------------------------------------------


def damage(reference: Reference, chosen: list[Damage], folder: Path, plant: Plant | None = None) -> Iterator[Finding]:
    """Each damage by itself: the stages that it concerns alone, what looks only, and the run that repairs."""
    looks = {" ".join(look): _look(reference, look, folder) for look in LOOKS}
    tasks = (_try(reference, each, folder / str(n), looks, plant) for n, each in enumerate(chosen))
    yield from child.together(tasks, AT_ONCE)


def _look(reference: Reference, look: list[str], folder: Path) -> str:
    """What a command tells of the undamaged work directory."""
    cwd = reference.copy(folder / "looked")
    outcome = child.run([*look, *THREADS], cwd, folder / "output")
    assert outcome.code == 0, outcome.err
    shutil.rmtree(cwd)
    return outcome.out


def _concerned(each: Damage) -> list[str]:
    """The stage that made it and those that read it; of a record, its stage and all after it."""
    maker = each.artifact.split("/")[0]
    if each.artifact.endswith("/record.json"):
        return list(pipeline.STAGES[pipeline.STAGES.index(maker) :])
    return [maker, *project.readers(each.artifact)]


def _try(reference: Reference, each: Damage, folder: Path, looks: dict[str, str], plant: Plant | None) -> Task:
    found = list[Finding]()
    how = f"{each.place} {each.kind}"
    for stage in _concerned(each):
        cwd = _spoilt(reference, each, folder / stage)
        outcome = yield child.start([stage, *THREADS], cwd, folder / "output", plant=plant)
        must_refuse = stage in project.readers(each.artifact)
        found += _of_stage(outcome, reference, cwd, stage, how, must_refuse=must_refuse)
    cwd = _spoilt(reference, each, folder / "whole")
    before = project.contents(cwd / "work")
    for look, right in looks.items():
        outcome = yield child.start([*look.split(), *THREADS], cwd, folder / "output", plant=plant)
        found += _of_look(outcome, right, how, says_state=look == "status")
        if outcome.code and project.differences(before, project.contents(cwd / "work")):
            found.append(Finding("looked and wrote", f"{how}: {outcome.command}", outcome.tail))
    outcome = yield child.start(["run", *THREADS], cwd, folder / "output", limit=4 * child.LIMIT, plant=plant)
    found += _of_run(outcome, reference, cwd, how)
    if not found:
        shutil.rmtree(folder)
    return found


def _spoilt(reference: Reference, each: Damage, folder: Path) -> Path:
    cwd = reference.copy(folder)
    each.do(cwd / "work")
    return cwd


def _of_stage(
    outcome: Outcome, reference: Reference, cwd: Path, stage: str, how: str, *, must_refuse: bool
) -> list[Finding]:
    """A stage that reads what is damaged refuses it; its own it may remake, to the same bytes."""
    how = f"{how}: {outcome.command}"
    if outcome.fault:
        return [Finding(outcome.fault, how, outcome.tail)]
    if outcome.code == 0:
        wrong = [name for name in reference.wrong(cwd / "work") if name.startswith(f"{stage}/")]
        if wrong:
            return [Finding("silent use", how, f"exit 0, other bytes: {', '.join(wrong[:4])}")]
        return [Finding("silent use", how, "exit 0, not refused")] if must_refuse else []
    if outcome.code != UPSTREAM or stage == pipeline.STAGES[0]:
        return [Finding("wrong exit", how, outcome.tail)]
    return [] if "llmrec" in outcome.err else [Finding("no command told", how, outcome.tail)]


def _of_look(outcome: Outcome, right: str, how: str, *, says_state: bool) -> list[Finding]:
    """What only looks tells what is true or that something is damaged."""
    how = f"{how}: {outcome.command}"
    if outcome.fault:
        return [Finding(outcome.fault, how, outcome.tail)]
    if outcome.code == 0 and not says_state and outcome.out != right:
        return [Finding("silent use", how, "exit 0, another answer")]
    if outcome.code == 0 and says_state and outcome.out == right:
        return [Finding("silent use", how, "status tells the same as before")]
    return [] if outcome.code in (0, UPSTREAM) else [Finding("wrong exit", how, outcome.tail)]


def _of_run(outcome: Outcome, reference: Reference, cwd: Path, how: str) -> list[Finding]:
    how = f"{how}: {outcome.command}"
    if outcome.code != 0:
        return [Finding(outcome.fault or "not mended", how, outcome.tail)]
    found = [Finding("leftover", how, name) for name in project.leftovers(cwd / "work")]
    wrong = reference.wrong(cwd / "work")
    return found + ([Finding("other bytes", how, ", ".join(wrong[:8]))] if wrong else [])


# --- stale, not damaged ----------------------------------------------------------------------------------------------


def stale(reference: Reference, foreign: Reference, folder: Path, plant: Plant | None = None) -> Iterator[Finding]:
    """Another log, another model: every later stage alone has inputs that do not belong together."""
    after = pipeline.STAGES.index("pretrain")
    tasks = [_stale(reference, foreign, stage, folder / f"log-{stage}", plant) for stage in pipeline.STAGES[after:]]
    tasks += [_retrained(reference, stage, folder / f"model-{stage}", plant) for stage in pipeline.STAGES[after + 1 :]]
    yield from child.together(tasks, AT_ONCE)


def _stale(reference: Reference, foreign: Reference, stage: str, folder: Path, plant: Plant | None) -> Task:
    """The log is another one and `clean` was run: only `pretrain` has what it needs."""
    cwd = reference.copy(folder)
    shutil.copy2(foreign.folder / "llmrec.toml", cwd)
    shutil.copytree(foreign.folder / "pictures", cwd / "pictures", dirs_exist_ok=True)
    cleaned = yield child.start(["clean", *THREADS], cwd, folder / "output", plant=plant)
    outcome = yield child.start([stage, *THREADS], cwd, folder / "output", plant=plant)
    how = f"another log; clean; {stage}"
    right = 0 if stage == "pretrain" else UPSTREAM
    found = [
        Finding(o.fault or "wrong exit", how, o.tail) for o, code in ((cleaned, 0), (outcome, right)) if o.code != code
    ]
    outcome = yield child.start(["run", *THREADS], cwd, folder / "output", limit=4 * child.LIMIT, plant=plant)
    return found + _of_run(outcome, foreign, cwd, how)


def _retrained(reference: Reference, stage: str, folder: Path, plant: Plant | None) -> Task:
    """The model is another one: only `profile` has what it needs."""
    cwd = reference.copy(folder)
    outcome = yield child.start(["pretrain", "--epochs", "1", *THREADS], cwd, folder / "output", plant=plant)
    found = [Finding("wrong exit", f"pretrain --epochs 1 before {stage}", outcome.tail)] if outcome.code else []
    outcome = yield child.start([stage, "--set", "pretrain.epochs=1", *THREADS], cwd, folder / "output", plant=plant)
    how, right = f"pretrain --epochs 1; {stage}", 0 if stage == "profile" else UPSTREAM
    if outcome.code != right:
        found.append(Finding(outcome.fault or "wrong exit", how, outcome.tail))
    outcome = yield child.start(["run", *THREADS], cwd, folder / "output", limit=4 * child.LIMIT, plant=plant)
    return found + _of_run(outcome, reference, cwd, how)
