"""`lm.score`: a language model's opinion of candidates, within its budget, kept between runs, off unless it helps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_cli.content.cache import VectorCache
from llmrec_cli.core.artifacts import PROFILES, RANKER_FEATURES, RECOMMENDATIONS, RETRIEVERS
from llmrec_cli.core.chat_server import ANSWERS, KEY, ChatServerConfig
from llmrec_cli.core.errors import DataError, LlmrecError, MissingExtraError, SettingsError, UpstreamError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context, estimate, execute
from llmrec_cli.core.workdir import WorkDir, vectors
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.extras import lm_score
from llmrec_cli.extras.likelihood_server import ServerScorer
from llmrec_cli.extras.lm_choice import helps
from llmrec_cli.extras.lm_score import FolderScorer, Opinion, drawn
from llmrec_cli.extras.lora_lm import OPENING, SEPARATOR
from llmrec_cli.ranking.candidate_config import LANGUAGE_MODEL, NO_PART, LanguageScoreConfig
from llmrec_cli.ranking.features import LM_SCORE, Groups, Pairs
from llmrec_cli.ranking.leaderboard import Score
from llmrec_cli.ranking.retrieval import load_config
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.stages import recommend, train_ranker
from tests import tiny, tiny_language
from tests.signing import rewrite, vouch
from tests.stub_server import Stub, chat, completions, failure, serve

TITLES = ["red mug", "blue bowl", "green lamp", "oak chair", "tin box", "silk fan", "", "glass jar"]
START = f"{OPENING} red mug{SEPARATOR} blue bowl{SEPARATOR}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.make(tmp_path_factory.mktemp("model"), [OPENING, *TITLES], spread=0.3)


@dataclass
class Counting:
    """Says that a title is the likelier the longer it is; breaks down after so many users."""

    identity: str = "counting"
    parallel: int = 1
    breaks_after: int = 10**6
    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    def log_likelihoods(self, start: str, ends: Sequence[str]) -> list[float]:
        if len(self.asked) >= self.breaks_after:
            raise SettingsError("the budget is spent")
        self.asked.append((start, list(ends)))
        return [-1 / len(end) for end in ends]


def histories(users: int = 40) -> Sequences:
    rng = np.random.default_rng(0)
    return Sequences(rng.integers(0, len(TITLES), 3 * users).astype(np.int32), np.arange(users + 1) * 3, len(TITLES))


def pairs(log: Sequences) -> Pairs:
    """Every item for every user, without a retriever's opinion."""
    n, none = len(log), np.zeros(len(TITLES), dtype=np.int64)
    rows, items = np.repeat(np.arange(n), len(TITLES)), np.tile(np.arange(len(TITLES), dtype=np.int32), n)
    return Pairs(Histories(log, np.zeros((n, 1), np.float32)), rows, items, {}, {}, Groups(none, none), False)


def opinion(scorer: Any, folder: Path, candidates: int = 4, share: float = 1.0, *, read_only: bool = False) -> Opinion:
    cache = VectorCache(folder, scorer.identity, read_only=read_only)
    return Opinion(scorer, TITLES, candidates, share, cache, PlainProgress(quiet=True))


def test_scores_are_standardised_over_what_was_asked_and_0_elsewhere(tmp_path: Path) -> None:
    scorer, given = Counting(), pairs(histories())
    found = opinion(scorer, tmp_path)(given).reshape(40, -1)
    assert len(scorer.asked) == 40 and all(len(ends) == 4 for _, ends in scorer.asked)
    assert all(start.startswith(OPENING) and start.endswith(SEPARATOR) for start, _ in scorer.asked)
    assert np.allclose(found.sum(axis=1), 0, atol=1e-5) and np.allclose((found**2).sum(axis=1), 4, atol=1e-4)
    assert (found[:, 6] == 0).all()  # an item without a title


def test_the_users_are_a_share_and_the_same_ones_in_any_block(tmp_path: Path) -> None:
    log = histories(2000)
    chosen = drawn(log, 0.3)
    assert 0.25 < chosen.mean() < 0.35 and (drawn(log, 0.6) >= chosen).all()
    assert drawn(log, 1.0).all() and not drawn(log, 0.0).any()
    alone = [bool(drawn(log.select(np.array([user])), 0.3)[0]) for user in range(50)]
    assert alone == chosen[:50].tolist()
    scorer = Counting()
    opinion(scorer, tmp_path, share=0.3)(pairs(log))
    assert len(scorer.asked) <= chosen.sum()


def test_what_was_scored_is_not_asked_again_and_a_killed_run_goes_on(tmp_path: Path) -> None:
    given, whole = pairs(histories()), opinion(Counting(), tmp_path / "whole")(pairs(histories()))
    with pytest.raises(SettingsError):
        opinion(Counting(breaks_after=20), tmp_path)(given)
    again = Counting()
    assert np.array_equal(opinion(again, tmp_path)(given), whole)
    assert 0 < len(again.asked) <= 20  # some users may have the same history
    opinion(third := Counting(), tmp_path)(given)
    assert not third.asked
    opinion(other := Counting(identity="another model"), tmp_path)(given)
    assert len(other.asked) == 40


def test_a_work_directory_that_is_only_read_keeps_nothing(tmp_path: Path) -> None:
    opinion(Counting(), tmp_path / "none", read_only=True)(pairs(histories()))
    assert not (tmp_path / "none").exists()


def test_a_folder_gives_the_means_of_the_whole_texts(model: Path) -> None:
    """The start is read once for all ends; the same without that."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    scorer = FolderScorer(str(model), Path(), "cpu", None)
    dtype, scorer._network = scorer._network.dtype, scorer._network.float()
    ends = [" red mug", " oak chair", " a", " <end> is a word"]
    found = scorer.log_likelihoods(START, ends)
    network, tokenizer = (
        AutoModelForCausalLM.from_pretrained(model, dtype=dtype).float(),
        AutoTokenizer.from_pretrained(model),
    )
    for end, mean in zip(ends, found, strict=True):
        start, tokens = (
            tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] for text in (START, end)
        )
        assert 0 not in tokens  # the title cannot end the text
        with torch.no_grad():
            logits = network(torch.tensor([start + tokens])).logits[0].log_softmax(-1)
        wanted = [float(logits[len(start) - 1 + n, token]) for n, token in enumerate(tokens)]
        assert mean == pytest.approx(np.mean(wanted), abs=1e-4)


def test_an_adapter_changes_what_is_scored(model: Path, tmp_path: Path) -> None:
    from llmrec_cli.tensors import causal_lm

    network, _ = causal_lm.load(str(model), torch.device("cpu"), torch.float32)
    network = causal_lm.with_new_adapter(network, 4)
    torch.nn.init.normal_(next(p for name, p in network.named_parameters() if "lora_B" in name))
    causal_lm.save_adapter(network, tmp_path / "adapter", str(model))
    plain, tuned = (FolderScorer(str(model), Path(), "cpu", each) for each in (None, tmp_path / "adapter"))
    assert plain.identity != tuned.identity
    assert plain.log_likelihoods(START, [" oak chair"]) != tuned.log_likelihoods(START, [" oak chair"])
    with pytest.raises(UpstreamError, match="no language model was tuned here"):
        config = LanguageScoreConfig(model=str(model), adapter=True)
        lm_score.opened(WorkDir(tmp_path), config, Context(1, tmp_path, PlainProgress(quiet=True)))


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_folder_is_one_error(model: Path, tmp_path: Path, damage: str) -> None:
    folder = tiny_language.make(tmp_path / "model", ["red mug"])
    (folder / damage).write_bytes(b"{no")
    with pytest.raises(DataError) as caught:
        FolderScorer(str(folder), Path(), "cpu", None)
    assert "cannot be read" in caught.value.what and "\n" not in caught.value.what
    with pytest.raises(SettingsError, match="there is no model"):
        FolderScorer("nowhere", tmp_path, "cpu", None)


# --- a server ---------------------------------------------------------------------------------------------------------


def server(stub: Stub, **settings: Any) -> ServerScorer:
    given = ChatServerConfig(base_url=stub.url, retries=0, timeout=5, **settings)
    return ServerScorer(LanguageScoreConfig(model="toy", scorer="openai", openai=given))


def test_a_server_scores_the_words_of_the_title_alone() -> None:
    with serve() as stub:
        stub.reply = lambda n, asked: completions(asked, lambda before, word: -float(len(word.strip())))
        assert server(stub).log_likelihoods(START, [" oak chair", " tin"]) == [-4.0, -3.0]
        (request,) = stub.asked
    assert request["path"] == "/v1/completions" and request["echo"] and request["logprobs"] == 1
    assert request["prompt"] == [START + " oak chair", START + " tin"]


BARE = (200, {}, json.dumps({"choices": [{"index": 0, "text": "x", "logprobs": None}]}).encode())


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (BARE, SettingsError, "gives no log-probabilities"),
        (chat("Good day."), SettingsError, "not OpenAI's protocol"),
        (failure(404, "no such path"), SettingsError, "does not take the request"),
        (failure(401), MissingExtraError, "refuses the key"),
        (failure(503), MissingExtraError, "fails (HTTP 503)"),
    ],
)
def test_what_a_server_may_answer_instead(reply: Any, kind: type[LlmrecError], said: str) -> None:
    with serve() as stub:
        stub.reply = lambda n, asked: reply
        with pytest.raises(kind) as caught:
            server(stub).log_likelihoods(START, [" oak chair"])
    assert said in caught.value.what and caught.value.fix and "generate." not in str(caught.value)


def test_a_server_that_is_down_and_a_missing_key(monkeypatch: pytest.MonkeyPatch, context: Context) -> None:
    with serve() as stub:
        pass
    config = LanguageScoreConfig(model="toy", scorer="openai", openai=ChatServerConfig(base_url=stub.url))
    with pytest.raises(MissingExtraError, match="no chat server answers"):
        lm_score.ready(config, context)
    monkeypatch.delenv(KEY, raising=False)
    far = config.model_copy(update={"openai": ChatServerConfig(base_url="https://example.invalid/v1")})
    with pytest.raises(MissingExtraError, match="key of the chat server is missing"):
        lm_score.ready(far, context)


def test_a_budget_spent_in_the_middle_is_gone_on_with(tmp_path: Path) -> None:
    with serve() as stub:
        stub.reply = lambda n, asked: completions(asked, lambda before, word: -1.0 / len(word), tokens=1000)
        with pytest.raises(SettingsError) as caught:
            opinion(server(stub, token_budget=20_000, parallel=1), tmp_path)(pairs(histories()))
        assert "the budget of 20,000 tokens is spent" in caught.value.what
        assert caught.value.where == "train-ranker.candidates.lm.openai.token_budget"
        before = len(stub.asked)
        opinion(server(stub), tmp_path)(pairs(histories()))
        assert 10 < before < 30 and 38 <= len(stub.asked) <= 40  # two users have the same history


# --- the stages -------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"retrievers": ("sequence", "popularity"), "rankers": ("popularity", "fusion")}


class Knowing(Counting):
    """Knows what comes next on the rings."""

    def log_likelihoods(self, start: str, ends: Sequence[str]) -> list[float]:
        super().log_likelihoods(start, ends)
        last = int(start.removesuffix(SEPARATOR).rpartition(" ")[2])
        following = last // tiny.RING * tiny.RING + (last + 1) % tiny.RING
        return [0.0 if end == f" Thing {following}" else -5.0 for end in ends]


def trained(work: WorkDir, context: Context, scorer: Any, monkeypatch: pytest.MonkeyPatch, model: Path) -> list[str]:
    monkeypatch.setattr(lm_score, "opened", lambda *given: scorer)
    lm = {"model": str(model), "candidates": tiny.N_ITEMS}
    config = train_ranker.TrainRankerConfig.model_validate({**SMALL, "candidates": {"lm": lm}})
    return execute(train_ranker.STAGE, vouch(work), config, context, force=True).report.lines


def test_a_model_that_knows_is_kept_and_has_its_part_in_the_lists(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    work = tiny.make(tmp_path / "work", fit=False)
    profiles = work.read(PROFILES)  # of vectors that say something, so that there are candidates
    random = vectors(np.random.default_rng(0).normal(size=(len(profiles), 4)).astype(np.float32))
    rewrite(work, PROFILES, profiles.set_column(profiles.column_names.index("vector"), "vector", random))
    lines = trained(work, context, Knowing(), monkeypatch, model)
    (line,) = [line for line in lines if line.startswith(LANGUAGE_MODEL)]
    assert f"{model} has a part in the lists, lm.score: ndcg@10 +" in line
    assert LM_SCORE in work.read(RANKER_FEATURES).column("feature").to_pylist()
    assert load_config(work.need(RETRIEVERS)).lm.model == str(model)
    assert list((work.path / "train-ranker" / ANSWERS).rglob("*.safetensors"))
    execute(recommend.STAGE, vouch(work), recommend.RecommendConfig(k=3), context, force=True)
    first = {row["user_id"]: row["item_id"] for row in work.read(RECOMMENDATIONS).to_pylist() if row["rank"] == 1}
    right = [first[f"u{user:02d}"] == tiny.item_id(tiny.following(user)) for user in range(tiny.WALKERS)]
    assert np.mean(right) > 0.4  # as often as a candidate
    from llmrec_cli.commands.status import language_model

    assert language_model(work) == line


def test_a_model_that_knows_nothing_is_not_kept(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    work = tiny.make(tmp_path / "work", fit=False)
    lines = trained(work, context, Counting(), monkeypatch, model)
    (line,) = [line for line in lines if line.startswith(LANGUAGE_MODEL)]
    assert line.startswith(f"{NO_PART}; with {model}, ndcg@10 ")
    assert LM_SCORE not in work.read(RANKER_FEATURES).column("feature").to_pylist()
    assert not load_config(work.need(RETRIEVERS)).lm.model


def test_without_a_model_none_is_asked_and_that_is_said(tmp_path: Path, context: Context) -> None:
    work = tiny.make(tmp_path / "work", fit=False)
    config = train_ranker.TrainRankerConfig.model_validate(SMALL)
    report = execute(train_ranker.STAGE, vouch(work), config, context, force=True).report
    assert NO_PART in report.lines


def test_what_is_kept_is_what_helps_beyond_chance() -> None:
    plain, asked = Score("ranker", "x", np.full(40, 3), 0.0), np.arange(40) < 30
    better, worse = (replace(plain, ranks=np.full(40, rank)) for rank in (0, 5))
    assert helps(better, plain, asked, 1)[0]
    for same in (plain, worse):
        kept, figures = helps(same, plain, asked, 1)
        assert not kept and "for the 30 users" in figures
    assert not helps(better, plain, np.zeros(40, dtype=bool), 1)[0]


def test_a_dry_run_says_what_it_would_cost(tmp_path: Path, context: Context, model: Path) -> None:
    work = tiny.make(tmp_path / "work", fit=False)

    def lines(**lm: Any) -> str:
        config = train_ranker.TrainRankerConfig.model_validate({**SMALL, "candidates": {"lm": lm}})
        return "\n".join(estimate(train_ranker.STAGE, work, config, context).lines)

    assert "none scores candidates" in lines()
    assert "about 48 users, 20 candidates each" in lines(model=str(model)) and "s a user" in lines(model=str(model))
    asked = lines(model="toy", scorer="openai", users=10, openai={"price_prompt": 1000.0})
    assert "10 requests" in asked and "tokens" in asked and " 0.00 at the prices" not in asked
