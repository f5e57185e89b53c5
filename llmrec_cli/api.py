"""The Python API: open a work directory, run stages, ask for lists and similar items, use its models by ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli import pipeline
from llmrec_cli.commands import answers, item_answers
from llmrec_cli.commands.show import Display
from llmrec_cli.core import config as settings_files
from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import REGISTRY, Table
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import SettingsError, did_you_mean
from llmrec_cli.core.lineage import verified_inputs
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.readonly import read_only
from llmrec_cli.core.stage import Context, state
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.lists.maker import Maker, maker_of
from llmrec_cli.privacy.held import as_written
from llmrec_cli.ranking.rankers import scores_of
from llmrec_cli.ranking.retrieval import best_items
from llmrec_cli.report import views
from llmrec_cli.stages.recommend import STAGE

LIST = [USER, "rank", ITEM, "title", "score", "strategy", "reason", "evidence"]
SCORED = [USER, "rank", ITEM, "score"]
RELATED = ["rank", ITEM, "title", "score", "kind", "people", "reason"]
AUDIENCE = ["rank", USER, "score", "strategy", "reason", "evidence"]


def open(
    work: str | Path = "work",
    config: str | Path | None = None,
    *,
    settings: dict[str, Any] | None = None,
    device: str = "auto",
    threads: int = 0,
    max_memory: str = "4GB",
    quiet: bool = True,
) -> Work:
    """Open a work directory, which need not exist yet.

    `config` is the settings file (without it `llmrec.toml` of this folder, if there is one); `settings` are laid over
    it by dotted key, such as `{"seed": 7, "recommend.k": 20}`. The rest are the options of the command line of the
    same names. Raises SettingsError, a LlmrecError, where the file or a section cannot be meant.
    """
    loaded = settings_files.load(Path(config) if config else None, options=settings)
    context = Context(
        seed=loaded.seed,
        base=loaded.base,
        progress=PlainProgress(quiet=quiet),
        device=device,
        threads=threads,
        max_memory=settings_files.parse_bytes(max_memory),
        named=loaded.classes(),
    )
    return Work(WorkDir(work), loaded, context)


@dataclass(frozen=True)
class Work:
    """An open work directory. Only `run` changes it; every method raises LlmrecError for what a user can fix."""

    workdir: WorkDir
    settings: Settings
    context: Context

    def run(self, *stages: str, force: bool = False) -> pd.DataFrame:
        """Run these stages, or all, in order; what is up to date is skipped unless `force`.

        One row a stage: stage, ran, why, seconds, lines (what it reports). UpstreamError where an earlier stage is
        missing, LockedError where another run holds the work directory.
        """
        unknown = [name for name in stages if name not in pipeline.STAGES]
        if unknown:
            raise SettingsError(f"there is no stage {unknown[0]!r}", fix=did_you_mean(unknown[0], pipeline.STAGES))
        names = [name for name in pipeline.STAGES if name in stages or not stages]
        outcomes = pipeline.walk(self.workdir, self.settings, self.context, names, force=force)
        rows = [(each.stage, each.ran, each.why, each.cost.seconds, each.report.lines) for each in outcomes]
        return pd.DataFrame(rows, columns=["stage", "ran", "why", "seconds", "lines"])

    def recommend(
        self,
        user: str | Sequence[str] = (),
        k: int | None = None,
        without: Sequence[str] = (),
        ask: str | None = None,
        *,
        history: tuple[Sequence[str], Mapping[str, Any]] | None = None,
        steer: Mapping[str, Sequence[str]] | None = None,
        **settings: Any,
    ) -> pd.DataFrame:
        """The lists of one or several users, best first, as `llmrec recommend --user` answers; nothing is written.

        `settings` are others of the section recommend, such as `diversity=0.5` or `exclude="sold_out.csv"` (a path from
        the folder of the settings). Columns: user_id, rank, item_id,
        title, score, strategy, reason, evidence (a list of what speaks for the row). A user who is not known gets what
        is popular. `without` are items of one user: the list is made as if they had not been chosen. `ask` says
        in words what the list should fit, such as "something for the garden". `history` is of somebody who is in no
        log: items, oldest first, and attributes, as in `(["85123A"], {"region": "France"})`. `steer` is as
        `{"more": ["garden"], "never": ["glass"]}`. UpstreamError where something that lists are made of is missing or
        stale.
        """
        given = {**settings, **({} if k is None else {"k": k})}
        asked = self._overridden(**given)
        guest = history and (list(history[0]), [f"{name}={value}" for name, value in history[1].items()])
        question: dict[str, Any] = {"without": without, "wish": ask, "guest": guest, "steer": steer}
        answer = answers.ask(self.workdir, asked, self.context, self._users(user), **question)
        shown = answers.display(self.workdir, answer)
        rows = [{USER: each.data[USER], **row} for each in shown for row in each.data["items"]]
        return pd.DataFrame(rows, columns=LIST)

    def to_item(self, item: str, k: int | None = None, **settings: Any) -> pd.DataFrame:
        """What goes with an item, best first, as `llmrec recommend --to-item` answers; nothing is written.

        Columns: rank, item_id, title, score, kind ("bought after", "bought with", "similar"), people (who did so, null
        for "similar"), reason. DataError with near ids or titles for an item that is not known.
        """
        shown = self._about_item(item_answers.to_item, item, k, settings)
        return pd.DataFrame(shown.data["items"], columns=RELATED).astype({"people": "Int64"})

    def to_users(self, item: str, k: int | None = None, **settings: Any) -> pd.DataFrame:
        """The users for whom an item is best, as `llmrec recommend --to-users` answers; nothing is written.

        Columns: rank, user_id, score, strategy, reason, evidence. DataError as of `to_item`, and where no user may have
        the item.
        """
        shown = self._about_item(item_answers.to_users, item, k, settings)
        return pd.DataFrame(shown.data["users"], columns=AUDIENCE)

    def similar(self, item: str, k: int = 10) -> pd.DataFrame:
        """The k items that the sequence model sees nearest: item_id, title, similarity (cosine), nearest first.

        DataError with near ids for an item that is not known.
        """
        return pd.DataFrame(views.similar(self.workdir, item, k), columns=[ITEM, "title", "similarity"])

    def user(self, user: str) -> dict[str, Any]:
        """Profile, newest choices and list of a user, as `llmrec show user --json` prints; DataError if not known."""
        return views.user(self.workdir, self._users(user)[0])

    def item(self, item: str) -> dict[str, Any]:
        """What is known of an item, as `llmrec show item --json` prints; DataError for one that is not known."""
        return views.item(self.workdir, item)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """An artifact such as "clean/items" (docs/artifacts.md), after a check that it is what its stage wrote."""
        known = {each.path.removesuffix(".parquet"): each for each in REGISTRY if isinstance(each, Table)}
        if name not in known:
            raise SettingsError(f"there is no table {name!r}", fix=did_you_mean(name, known))
        verified_inputs(self.workdir, [known[name]])
        return self.workdir.read(known[name], columns).to_pandas()

    def retriever(self, name: str) -> LoadedRetriever:
        """A fitted candidate source by its name, such as "itemknn"; SettingsError for one that was not fitted."""
        maker = self._maker()
        if name not in maker.retrievers:
            near = did_you_mean(name, maker.retrievers)
            raise SettingsError(f"no retriever {name!r} was fitted here", where=str(self.workdir.path), fix=near)
        return LoadedRetriever(self, maker, name)

    def ranker(self) -> LoadedRanker:
        """The ranker that `train-ranker` kept, with the retrievers that bring its candidates."""
        return LoadedRanker(self, self._maker())

    def _about_item(
        self, ask: Callable[..., Display], item: str, k: int | None, settings: Mapping[str, Any]
    ) -> Display:
        given = {**settings, **({} if k is None else {"k": k})}
        return ask(self.workdir, self._overridden(**given), self.context, item)

    def _overridden(self, **options: Any) -> Settings:
        return self.settings.overridden({f"recommend.{key}": value for key, value in options.items()}, "the call")

    def _users(self, user: str | Sequence[str]) -> list[str]:
        """Ids as they stand in the work directory, each once."""
        given = [user] if isinstance(user, str) else list(user)
        return as_written(self.workdir, self.settings, list(dict.fromkeys(given)))

    def _maker(self) -> Maker:
        config = pipeline.check(self.settings, ["recommend"])["recommend"]
        state(STAGE, self.workdir, config, self.context)
        with read_only(self.workdir, own_scratch=False) as reader:
            return maker_of(reader, config, self.context)


@dataclass(frozen=True)
class _Loaded:
    """A model of a work directory, asked by ids."""

    work: Work
    maker: Maker

    def _rows(self, users: str | Sequence[str]) -> tuple[list[str], Ints]:
        """Ids and (users,) their row numbers; DataError with near ids for one that is not known."""
        ids, known = self.work._users(users), self.maker.user_ids
        rows = pc.fill_null(pc.index_in(pa.array(ids, type=pa.string()), value_set=known), -1).to_numpy()
        if (rows < 0).any():
            raise views.unknown("user", ids[int(rows.argmin())], pa.chunked_array([known]))
        return ids, rows


@dataclass(frozen=True)
class LoadedRetriever(_Loaded):
    """A fitted candidate source."""

    name: str

    def top(self, users: str | Sequence[str], k: int = 10, *, exclude_seen: bool = True) -> pd.DataFrame:
        """The k best items of the whole catalogue for each user: user_id, rank, item_id, score; best first.

        `exclude_seen` leaves out what the user has chosen before. DataError for a user who is not known.
        """
        ids, rows = self._rows(users)
        items, chosen = self.maker.catalogue.item_ids, self.maker.histories.select(rows)
        source, ties = self.maker.retrievers[self.name], tie_order(items)
        codes, scores = best_items(source, chosen, k, ties=ties, exclude_seen=exclude_seen)
        at, ranks = np.nonzero(codes >= 0)
        columns = (np.array(ids)[at], ranks + 1, np.array(items)[codes[at, ranks]], scores[at, ranks])
        return pd.DataFrame(dict(zip(SCORED, columns, strict=True)))


@dataclass(frozen=True)
class LoadedRanker(_Loaded):
    """The ranker that was best on validation."""

    def candidates(self, users: str | Sequence[str]) -> pd.DataFrame:
        """Every candidate of each user, best first: user_id, rank, item_id, score, then a column for each feature.

        Candidates are what the retrievers bring under the settings of the section recommend. Only the order of scores
        within a user means something. DataError for a user who is not known.
        """
        ids, rows = self._rows(users)
        found = self.maker.candidates(self.maker.histories.select(rows))
        scores = scores_of(self.maker.ranker, found)
        ranks = found.ranks(scores) + 1
        order = np.lexsort((ranks, found.users))
        columns = (np.array(ids)[found.users], ranks, np.array(self.maker.catalogue.item_ids)[found.items], scores)
        named = dict(zip(SCORED, columns, strict=True)) | dict(zip(found.names, found.features.T, strict=True))
        return pd.DataFrame(named).iloc[order].reset_index(drop=True)

    def top(self, users: str | Sequence[str], k: int = 10) -> pd.DataFrame:
        """The k best candidates of each user: user_id, rank, item_id, score; best first, before the rules of lists."""
        found = self.candidates(users)
        return found.loc[found["rank"] <= k, SCORED].reset_index(drop=True)
