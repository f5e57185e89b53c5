"""A project so small that the whole pipeline takes seconds: a seeded log, settings, and what a run leaves behind."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from llmrec_cli import pipeline
from llmrec_cli.core.artifacts import Artifact, Folder

USERS, ITEMS, EVENTS = 36, 24, (4, 8)
SETTINGS = """\
seed = 7
[clean]
min_user_events = 2
event_weights = { refused = -1 }
[clean.interactions]
path = "{folder}/log.csv"
user = "user"
item = "item"
time = "time"
event = "event"
[clean.items]
path = "{folder}/items.csv"
item = "item"
title = "title"
category = "category"
tags = "tags"
image = "image"
attributes = ["price"]
[clean.users]
region = "country"
[pretrain]
epochs = 4
dim = 16
text_encoder = "hashed"
text_dim = 8
[profile]
min_segment_users = 5
n_topics = 3
[train-ranker]
rankers = ["popularity", "logistic", "fusion", "lambdarank"]
[generate]
image_size = 16
image = { vae = { steps = 5 } }
max_images = 4
[recommend]
k = 5
[evaluate]
ks = [5]
bootstrap = 100
"""
# Written by the clock, so never the same twice: what a run cost is reported in its record.
TIMED = frozenset({"record.json"})
# What outlives no run: the rest of a killed one must be gone when the next has ended.
LEFTOVERS = (".tmp-*", ".lock-holder", ".scratch")


def log(seed: int, first: int = 0) -> str:
    """The text of a log: people walk around two rings of items, with a strayed step here and there.

    Items are numbered from `first`: another one makes a log where some are gone and as many are new.
    """
    rng, lines = random.Random(seed), ["user,item,time,event,country"]
    for user in range(USERS):
        half, start, country = ITEMS // 2, rng.randrange(ITEMS), ("France", "Spain", "Peru")[user % 3]
        for step in range(rng.randint(*EVENTS)):
            item = rng.randrange(ITEMS) if rng.random() < 0.2 else (start + step) % half + user % 2 * half
            time = f"2024-0{1 + step // 3}-{10 + 3 * (step % 3)} {user % 24:02d}:00:00"
            lines.append(
                f"u{user:02d},i{first + item:02d},{time},{'refused' if rng.random() < 0.05 else 'buy'},{country}"
            )
    return "\n".join(lines) + "\n"


def catalogue(first: int = 0) -> str:
    """The text of an item file; every item has an image."""
    lines = ["item,title,category,tags,price,image"]
    for item in range(first, first + ITEMS):
        title, category = f"Thing {item} of colour {item % 5}", f"Ring {(item - first) * 2 // ITEMS}"
        lines.append(f"i{item:02d},{title},{category},c{item % 5}|p{item % 3},{1 + item % 7}.5,pictures/{item}.png")
    return "\n".join(lines) + "\n"


def make(folder: Path, seed: int = 1, first: int = 0) -> Path:
    """A project folder with a log, an item file with images, and settings."""
    from PIL import Image

    (folder / "pictures").mkdir(parents=True)
    for item in range(first, first + ITEMS):
        Image.new("RGB", (16, 16), (item * 9 % 256, 200, 40)).save(folder / "pictures" / f"{item}.png")
    (folder / "log.csv").write_text(log(seed, first), encoding="utf-8")
    (folder / "items.csv").write_text(catalogue(first), encoding="utf-8")
    # by absolute paths: copies of the project go on with the same raw files, and are as fresh as it is
    settings = SETTINGS.replace("{folder}", str(folder.absolute()))
    (folder / "llmrec.toml").write_text(settings, encoding="utf-8")
    return folder


def contents(work: Path) -> dict[str, str]:
    """sha256 of every file of a work directory but those that tell the time; a folder or a pipe is reported as such."""
    found = {}
    for path in sorted(work.rglob("*")):
        name = path.relative_to(work).as_posix()
        if path.name in TIMED or path.is_dir() or any(part.startswith(".") for part in Path(name).parts):
            continue
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    return found


def leftovers(work: Path) -> list[str]:
    """What a run should have cleared away by its end; an empty folder says nothing of anybody."""
    found = (path for pattern in LEFTOVERS for path in work.rglob(pattern))
    return sorted(
        str(path.relative_to(work))
        for path in found
        if path.is_file() or any(each.is_file() for each in path.rglob("*"))
    )


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The files that are new, gone or of another content."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def artifacts(work: Path) -> dict[str, Artifact]:
    """Every artifact of the main row that is there, by its path."""
    every = (artifact for name in pipeline.STAGES for artifact in pipeline.load(name).writes)
    return {artifact.path: artifact for artifact in every if (work / artifact.path).exists()}


def files(work: Path) -> dict[str, str]:
    """Every place of an artifact that can be damaged, and the artifact's path: its file, or folder and files in it."""
    places = {}
    for path, artifact in artifacts(work).items():
        places[path] = path
        if isinstance(artifact, Folder):
            inner = (each for each in sorted((work / path).rglob("*")) if each.is_file())
            places |= {each.relative_to(work).as_posix(): path for each in inner}
    return places


def readers(path: str) -> list[str]:
    """The stages of the main row that read an artifact; of a record, those that read what its stage wrote."""
    stage, _, name = path.partition("/")
    return [
        reader
        for reader in pipeline.STAGES
        if any(a.path == path or (name == "record.json" and a.stage == stage) for a in pipeline.load(reader).reads)
    ]
