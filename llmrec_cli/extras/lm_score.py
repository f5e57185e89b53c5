"""The feature `lm.score`: how likely a language model finds a candidate's title after the titles of the history.

A causal model of transformers, or a server with log-probabilities, scores the best candidates of some users; the mean
over the tokens of a title is standardised over the candidates of a user. What was scored is kept by the sha256 of the
model and the text, so that a run that was killed, or whose budget was spent, goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from llmrec_cli.content.cache import VectorCache, digest_array
from llmrec_cli.content.pretrained import Checkpoint
from llmrec_cli.core.arrays import Bools, Floats, Ints, within_groups
from llmrec_cli.core.artifacts import LANGUAGE_ADAPTER
from llmrec_cli.core.chat_server import ANSWERS
from llmrec_cli.core.disk import disk_errors
from llmrec_cli.core.errors import DataError, LlmrecError, SettingsError, UpstreamError
from llmrec_cli.core.progress import Progress
from llmrec_cli.core.readonly import ReadOnly
from llmrec_cli.core.stage import Context
from llmrec_cli.core.text_cleaning import one_line, shortened
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.extras.chat_client import tokens_of
from llmrec_cli.extras.likelihood_server import ServerScorer
from llmrec_cli.extras.lora_lm import OPENING, SEPARATOR, TITLES
from llmrec_cli.ranking import private_retrievers
from llmrec_cli.ranking.candidate_config import LanguageScoreConfig
from llmrec_cli.ranking.features import Pairs
from llmrec_cli.tensors import causal_lm, model_store
from llmrec_cli.tensors.runtime import choose_device, fast_dtype, set_threads

LONGEST = 120
"""Characters of a title that are read."""
PIECE = 16
"""Users whose scores are kept at a time: what a killed run may lose."""
TIMED = 3
"""Users that a cost is measured on."""
FARTHEST = 5.0
"""No retriever counts for more in the choice of candidates, in standard deviations."""


class Scorer(Protocol):
    """A language model that says how likely it finds texts."""

    identity: str
    """What its scores depend on besides the texts."""
    parallel: int

    def log_likelihoods(self, start: str, ends: Sequence[str]) -> list[float]:
        """The mean log-likelihood of the tokens of each of `ends` after `start`."""


class FolderScorer:
    """A causal model of transformers, with its LoRA adapter where one is given."""

    parallel = 1

    def __init__(self, model: str, base: Path, device: str, adapter: Path | None) -> None:
        """MissingExtraError or SettingsError without such a model, DataError where its files are damaged."""
        folder, where = model_store.locate(model, base), torch.device(choose_device(device))
        dtype = fast_dtype(where)
        try:
            self._network, self._tokenizer = causal_lm.load(model, where, dtype, base)
        except LlmrecError:
            raise
        except Exception as error:  # damaged files surface as nearly anything, from half a dozen libraries
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"the language model {model!r} cannot be read: {shortened(one_line(why), 200)}",
                where=str(folder),
                fix="check the folder, which needs a config.json and whole *.safetensors, or fetch the model again",
            ) from error
        if adapter is not None:
            self._network = causal_lm.with_saved_adapter(self._network, adapter, model)
        parts = [Checkpoint(each, model).identity(dtype) for each in (folder, adapter) if each is not None]
        self.identity = " ".join(["lm.score", *parts])

    @torch.inference_mode()
    def log_likelihoods(self, start: str, ends: Sequence[str]) -> list[float]:
        """See `Scorer`; the start is read once for all ends."""
        device = self._network.device
        opening = self._tokenizer(OPENING)["input_ids"]
        rest, *texts = self._tokenizer(
            [start.removeprefix(OPENING), *ends], add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        lengths = torch.tensor([len(text) for text in texts])
        tokens = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = torch.tensor(text)
        tokens = tokens.to(device)
        read = self._network(input_ids=torch.tensor([opening + rest], device=device), use_cache=True)
        read.past_key_values.batch_repeat_interleave(len(texts))
        # filled up on the right, where a causal model does not look from the left
        mask = torch.ones(len(texts), len(opening) + len(rest) + tokens.shape[1], dtype=torch.long, device=device)
        after = self._network(input_ids=tokens, past_key_values=read.past_key_values, attention_mask=mask).logits
        first = read.logits[:, -1:].expand(len(texts), -1, -1)
        logits = torch.cat([first, after[:, :-1]], dim=1).float()
        found = logits.log_softmax(-1).gather(-1, tokens[:, :, None])[:, :, 0].cpu()
        wanted = torch.arange(tokens.shape[1]) < lengths[:, None]
        means: list[float] = ((found * wanted).sum(1) / lengths).tolist()
        return means


@dataclass(frozen=True)
class Opinion:
    """What a language model says of candidates: the function that `Pairs.opinion` is."""

    scorer: Scorer
    titles: list[str]
    """(items,) on one line; "" for none."""
    candidates: int
    """Of a user at most."""
    share: float
    """Of the users whose candidates are scored, by a hash of their histories: the same ones whoever is asked with."""
    cache: VectorCache
    progress: Progress

    def __call__(self, pairs: Pairs) -> Floats:
        """(pairs,) the mean log-likelihood of the title, standardised over the user's; 0 for what was not scored."""
        out = np.zeros(len(pairs.rows), dtype=np.float32)
        chosen = self._chosen(pairs)
        means = self._means(pairs, chosen)
        chosen, means = chosen[np.isfinite(means)], means[np.isfinite(means)]
        rows, n = pairs.rows[chosen], len(pairs.users)
        counts = np.maximum(np.bincount(rows, minlength=n), 1)
        centred = means - (np.bincount(rows, means, n) / counts)[rows]
        deviation = np.sqrt(np.bincount(rows, centred**2, n) / counts)[rows]
        out[chosen] = np.where(deviation > 1e-6, centred / np.maximum(deviation, 1e-6), 0)
        return out

    def _chosen(self, pairs: Pairs) -> Ints:
        """The pairs that are scored, user by user: those that the retrievers like best together."""
        titled = np.array([bool(title) for title in self.titles], dtype=bool)
        known = np.bincount(pairs.sequences.users, titled[pairs.sequences.codes], len(pairs.users)) > 0
        able = np.flatnonzero((known & drawn(pairs.sequences, self.share))[pairs.rows] & titled[pairs.items])
        rows, items = pairs.rows[able], pairs.items[able]
        liked = np.zeros(len(able))
        for name, retriever in pairs.retrievers.items():
            of_user = pairs.statistics[name]
            z = (retriever.pairs(pairs.users, rows, items) - of_user.mean[rows]) / of_user.std[rows]
            liked += np.clip(z, -FARTHEST, FARTHEST)
        order = np.lexsort((items, -liked, rows))
        kept = within_groups(np.unique(rows[order], return_counts=True)[1]) < self.candidates
        return able[order[kept]]

    def _means(self, pairs: Pairs, chosen: Ints) -> Floats:
        """(chosen,) mean log-likelihoods, those that are kept or new ones; NaN or infinite where a model fails."""
        users, first = np.unique(pairs.rows[chosen], return_index=True)
        texts = [self._start(pairs.sequences, user) for user in users.tolist()]
        starts = np.repeat(np.arange(len(users)), np.diff([*first, len(chosen)]))
        ends = [f" {self.titles[item]}" for item in pairs.items[chosen].tolist()]
        digests = digest_array([_digest(texts[n], end) for n, end in zip(starts.tolist(), ends, strict=True)])
        places, found = self.cache.find(digests)
        out = np.full(len(chosen), np.nan)
        out[places] = found[:, 0]
        missing = np.setdiff1d(np.arange(len(chosen)), places)
        left = np.unique(starts[missing])
        with self.progress.task("lm.score", total=len(left), unit="users") as task:
            for piece in np.array_split(left, range(PIECE, len(left), PIECE)):
                groups = [missing[starts[missing] == user] for user in piece.tolist()]
                asked = [(texts[n], [ends[at] for at in group]) for n, group in zip(piece, groups, strict=True)]
                self._ask(asked, groups, out, digests)
                task.advance(len(piece))
        return out

    def _ask(self, asked: list[tuple[str, list[str]]], groups: list[Ints], out: Floats, digests: Any) -> None:
        """Score the ends of each start into `out`, several requests at a time; what was answered is kept, whatever
        fails after it.
        """
        done: list[Ints] = []
        pool = ThreadPoolExecutor(self.scorer.parallel)
        jobs = [pool.submit(self.scorer.log_likelihoods, start, ends) for start, ends in asked]
        try:
            for group, job in zip(groups, jobs, strict=True):
                out[group] = job.result()
                done.append(group)
        finally:
            pool.shutdown(cancel_futures=True)
            late = [(g, j) for g, j in zip(groups[len(done) :], jobs[len(done) :], strict=True) if _answered(j)]
            for group, job in late:
                out[group] = job.result()
            rows = np.concatenate([np.zeros(0, dtype=np.int64), *done, *(group for group, _ in late)])
            rows = rows[np.isfinite(out[rows])]
            if len(rows):
                with disk_errors(self.cache.folder):
                    self.cache.keep(digests.take(rows), out[rows, None].astype(np.float32))

    def _start(self, sequences: Sequences, user: int) -> str:
        """The text before a candidate: the newest titles of the history, oldest first. Nothing says who chose them."""
        codes = sequences.codes[sequences.offsets[user] : sequences.offsets[user + 1]]
        return text_before([self.titles[code] for code in codes.tolist()])


def opinion(
    work: WorkDir, stage: str, config: LanguageScoreConfig, titles: list[str], context: Context, *, n_users: int
) -> Opinion:
    """Open the model. What it says is kept in WORK/STAGE, unless the work directory is only read."""
    scorer, share = opened(work, config, context), config.users / max(n_users, 1)
    cache = VectorCache(work.path / stage / ANSWERS, scorer.identity, read_only=isinstance(work, ReadOnly))
    return Opinion(scorer, list(map(on_one_line, titles)), config.candidates, share, cache, context.progress)


def opened(work: WorkDir, config: LanguageScoreConfig, context: Context) -> Scorer:
    """The language model of the settings; UpstreamError without the adapter that is asked for, SettingsError where it
    may not be used.
    """
    if config.scorer == "openai":
        return ServerScorer(config)
    if config.adapter and private_retrievers.budget(work):
        raise SettingsError(
            "the language model's adapter has learnt from people without a privacy budget",
            where="train-ranker.candidates.lm.adapter",
            fix="set it to false, or leave out pretrain.dp_epsilon",
        )
    if config.adapter and not work.has(LANGUAGE_ADAPTER):
        raise UpstreamError(
            f"{LANGUAGE_ADAPTER.path} is missing: no language model was tuned here",
            where=str(work.path),
            fix=f"llmrec pretrain --lm {config.model}",
        )
    set_threads(context.threads)
    adapter = work.where(LANGUAGE_ADAPTER) if config.adapter else None
    return FolderScorer(config.model, context.base, context.device, adapter)


def ready(config: LanguageScoreConfig, context: Context) -> None:
    """Raises what is wrong with the model's folder, or with address, key or server."""
    if config.scorer == "openai":
        ServerScorer(config).check()
    else:
        model_store.locate(config.model, context.base)


def cost(work: WorkDir, config: LanguageScoreConfig, titles: list[str], log: Sequences, context: Context) -> str:
    """What scoring for the ranker's training would cost, in words; a local model is timed, a server is not asked."""
    lines = list(map(on_one_line, titles))
    some = [line for line in lines if line]
    able = np.flatnonzero(log.lengths >= 2)
    users = min(config.users, len(able))
    if not some or not users:
        return "nothing to score: it needs titles, and users with two events"
    sample = able[:: max(1, len(able) // 100)]
    starts = [text_before([lines[code] for code in log.codes[log.offsets[u] : log.offsets[u + 1] - 1]]) for u in sample]
    ends = [f" {title}" for title in some[: config.candidates]]
    each = f"{config.candidates} candidates each"
    what = f"lm.score asks {config.model} about {users:,} users, {each}, and again for lists if it is kept"
    if config.scorer == "openai":
        tokens = np.mean([tokens_of([{"content": start + end}]) for start in starts for end in ends])
        total = round(float(tokens) * users * config.candidates)
        price = total * config.openai.price_prompt / 1e6
        return f"{what}: {users:,} requests, about {total:,} tokens, {price:.2f} at the prices set"
    scorer = opened(work, config, context)
    times = []
    for start in starts[: TIMED + 1]:
        begun = time.monotonic()
        scorer.log_likelihoods(start, ends)
        times.append(time.monotonic() - begun)
    seconds = float(np.median(times[1:] or times))  # the first one warms up
    return f"{what}: {seconds:.2f} s a user, {seconds * users / 60:,.1f} minutes"


def drawn(sequences: Sequences, share: float) -> Bools:
    """(users,) about so large a share of the users, by a hash of the history: others in the block change nothing."""
    factor = np.uint64(0x9E3779B97F4A7C15)
    mixed = (sequences.codes.astype(np.uint64) + np.uint64(1)) * factor
    mixed = (mixed ^ (mixed >> np.uint64(29))) * (2 * sequences.ages.astype(np.uint64) + np.uint64(1))
    total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    hashed = (total[sequences.offsets[1:]] - total[sequences.offsets[:-1]]) * factor
    hashed = (hashed ^ (hashed >> np.uint64(32))) * factor
    found: Bools = (hashed >> np.uint64(11)) * 2.0**-53 < share
    return found


def text_before(titles: Sequence[str]) -> str:
    newest = [title for title in titles if title][-TITLES:]
    return OPENING + SEPARATOR.join(f" {title}" for title in newest) + SEPARATOR


def on_one_line(title: str) -> str:
    return shortened(one_line(title), LONGEST)


def _digest(start: str, end: str) -> bytes:
    return hashlib.sha256(f"{start}\0{end}".encode()).digest()


def _answered(job: Any) -> bool:
    return job.done() and not job.cancelled() and job.exception() is None
