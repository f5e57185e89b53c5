"""A generative retriever: a causal transformer spells the next item's semantic id, digit by digit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, Field, model_validator
from torch import nn
from transformers import DynamicCache, LlamaConfig, LlamaModel

from llmrec_cli.core.arrays import Floats, Ints, within_groups
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.extras import semantic_ids
from llmrec_cli.extras.semantic_ids import Ids, Trie
from llmrec_cli.ranking.retrievers import DenseRetriever, Histories
from llmrec_cli.tensors import checkpoints, runtime

BOS = 0
NO_DIGIT = -1
STEPS = 64
"""Steps of an epoch, where the data are small; large ones have steps of MOST_TOKENS."""
LEAST_TOKENS, MOST_TOKENS = 256, 4096
USERS = 64
"""Users whose beams are searched at a time."""


class GenerativeConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.generative]`."""

    levels: int = Field(3, ge=1, description="learned digits of a semantic id; one more tells equal ones apart")
    codes: int = Field(256, ge=1, description="values of a digit at most")
    dim: int = Field(128, ge=4, description="width of the transformer")
    layers: int = Field(2, ge=1, description="transformer blocks")
    heads: int = Field(4, ge=1, description="attention heads of a block")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of embeddings, attention and states dropped in training")
    history: int = Field(20, ge=1, description="newest events of a user that are looked at")
    epochs: int = Field(24, ge=1, description="passes over the events")
    learning_rate: float = Field(2e-3, gt=0, description="highest learning rate")
    beams: int = Field(50, ge=1, description="items that are spelled for each user; the others follow by popularity")

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> GenerativeConfig:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim = {self.dim} is no even multiple of heads = {self.heads}")
        return self


class Generative(DenseRetriever):
    """score = log-probability of the item's id after the history, for the best `beams` items.

    TIGER (Rajput et al. 2023), with a decoder alone in the place of its T5. Beams walk the trie of existing ids, so
    that no other id is ever spelled. What they do not reach stands below them in the order of popularity.
    """

    signed, label, evidence = True, "Model that spells item ids", "followed"
    config: GenerativeConfig
    ids: Ids
    """(items, levels + 1)"""
    counts: Ints
    """(items,) events of each item."""
    speller: Speller

    def __post_init__(self) -> None:
        self.speller.eval()
        self.trie = Trie(self.ids)
        place = np.argsort(np.argsort(-self.counts, kind="stable"), kind="stable")
        self.floor = (-1 - place / max(len(self.ids), 1)).astype(np.float32)

    @classmethod
    def fit(cls, config: GenerativeConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        ids = semantic_ids.learn(_content(catalogue), config.levels, config.codes, seed)
        machine = runtime.start("auto", torch.get_num_threads())
        runtime.seed_everything(seed, config.levels)
        speller = Speller(config, ids)
        recent = sequences.tail(config.history + 1)  # the longest history, and what came after it
        if len(recent.codes):
            batches = Batches(recent, ids, seed)
            job = runtime.Job(
                name="generative",
                seeds=(seed, config.levels),
                schedule=runtime.Schedule(config.epochs, batches.steps, config.learning_rate),
                batches=batches.epoch,
                targets=len(recent.codes),
            )
            runtime.train(speller, job, machine, PlainProgress(quiet=True))
        return cls(config, ids, sequences.counts(), speller.to("cpu"))

    def score(self, histories: Histories) -> Floats:
        recent = histories.sequences.tail(self.config.history)
        out = np.empty((len(recent), len(self.ids)), dtype=np.float32)
        for users in _same_length(recent.lengths):
            items, found = self.spell(recent.select(users))
            block = found.min(1, keepdims=True) + self.floor
            np.put_along_axis(block, items, found, axis=1)
            out[users] = block
        return out

    @torch.inference_mode()
    def spell(self, sequences: Sequences) -> tuple[Ints, Floats]:
        """(users, beams) items and log-probabilities of their ids, best first; all histories are of one length.

        All beams of a user are read as one row in which each sees the history and its own digits only (tree attention),
        so that the keys and values of the history are kept once. No beam is ever lost: as long as there are fewer
        nodes than beams all of them are followed, and each node leads to an item.
        """
        users = len(sequences)
        cache = DynamicCache(config=self.speller.network.config)
        states = self.speller.read(self.ids[sequences.codes].reshape(users, -1, self.ids.shape[1]), cache)[:, -1:]
        length = cache.get_seq_length()
        nodes = torch.zeros(users, 1, dtype=torch.int64)
        found = torch.zeros(users, 1)
        own = torch.zeros(users, 1, 0, dtype=torch.bool)
        for depth, digits in enumerate(self.trie.digits):
            children, exist = self.trie.children(depth, nodes)
            logits = self.speller.logits(states, depth).log_softmax(-1)
            spelled = found[..., None] + logits.gather(2, digits[children])
            spelled = spelled.masked_fill(~exist, -torch.inf).flatten(1)
            found, best = spelled.topk(min(self.config.beams, len(digits)))
            nodes = children.flatten(1).gather(1, best)
            if depth + 1 < len(self.trie.digits):
                beams, parents = best.shape[1], best // children.shape[2]
                own = own.gather(1, parents[..., None].expand(-1, -1, own.shape[2]))
                own = torch.cat([own, torch.eye(beams, dtype=torch.bool).expand(users, -1, -1)], 2)
                seen = nn.functional.pad(own, (length, 0), value=True)
                states = self.speller.advance(digits[nodes], depth, seen, length + depth, cache)
        return self.trie.items[nodes].numpy(), found.numpy()

    def tensors(self) -> checkpoints.Tensors:
        kept = {"ids": torch.from_numpy(self.ids), "counts": torch.from_numpy(self.counts)}
        return {**kept, **self.speller.state_dict(prefix="speller.")}

    @classmethod
    def restore(cls, config: GenerativeConfig, tensors: checkpoints.Tensors) -> Self:
        ids = tensors["ids"].numpy()
        speller = Speller(config, ids)
        speller.load_state_dict(checkpoints.under("speller.", tensors))
        return cls(config, ids, tensors["counts"].numpy(), speller)


class Speller(nn.Module):
    """Llama blocks over the digits of a history, after one token for its beginning; each digit has its own values."""

    def __init__(self, config: GenerativeConfig, ids: Ids) -> None:
        super().__init__()
        self.sizes = (ids.max(0, initial=0) + 1).tolist()
        self.offsets = torch.tensor([1, *self.sizes[:-1]]).cumsum(0)
        self.dropout = config.dropout
        shape = LlamaConfig(
            vocab_size=1 + sum(self.sizes),
            hidden_size=config.dim,
            intermediate_size=2 * config.dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            attention_dropout=config.dropout,
            # Written out: the fused attention of CPUs is slower backward
            attn_implementation="eager",  # type: ignore[call-arg]
        )
        self.network = LlamaModel(shape)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Mean negative log-likelihood of the items whose digits are `ids` (users, events, digits), NO_DIGIT after."""
        states = self._states(self._tokens(ids)[:, :-1])
        loss = states.new_zeros(())
        for depth, wanted in enumerate(ids.unbind(2)):
            logits = self.logits(states[:, depth :: ids.shape[2]], depth)
            loss = loss + nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=NO_DIGIT)
        return loss

    def logits(self, states: torch.Tensor, depth: int) -> torch.Tensor:
        """(..., values) of the digit at this depth, by the embeddings of its values."""
        start = int(self.offsets[depth])
        return states @ self.network.embed_tokens.weight[start : start + self.sizes[depth]].T

    def read(self, ids: Ids, cache: DynamicCache) -> torch.Tensor:
        """(users, tokens, d) states of whole histories (users, events, digits)."""
        return self._states(self._tokens(torch.from_numpy(ids.astype(np.int64))), past_key_values=cache)

    def advance(
        self, digits: torch.Tensor, depth: int, seen: torch.Tensor, position: int, cache: DynamicCache
    ) -> torch.Tensor:
        """(users, beams, d) states after one more digit of each beam, which sees what `seen` says of all tokens."""
        mask = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)[:, None]
        positions = torch.full((1, digits.shape[1]), position)
        return self._states(
            digits + self.offsets[depth], attention_mask=mask, position_ids=positions, past_key_values=cache
        )

    def _tokens(self, ids: torch.Tensor) -> torch.Tensor:
        tokens = torch.where(ids == NO_DIGIT, BOS, ids + self.offsets.to(ids.device)).flatten(1)
        return nn.functional.pad(tokens, (1, 0), value=BOS)

    def _states(self, tokens: torch.Tensor, **options: object) -> torch.Tensor:
        x = nn.functional.dropout(self.network.embed_tokens(tokens), self.dropout, self.training)
        states = self.network(inputs_embeds=x, use_cache=not self.training, **options).last_hidden_state
        return nn.functional.dropout(states, self.dropout, self.training)


class Batches:
    """Epochs of whole histories in blocks of like length, which need no mask: what is filled up stands at the end."""

    def __init__(self, sequences: Sequences, ids: Ids, seed: int) -> None:
        self.sequences, self.ids, self.seed = sequences, ids, seed
        self.users = np.flatnonzero(sequences.lengths)
        tokens = len(sequences.codes) * ids.shape[1]
        self.tokens_per_step = int(np.clip(tokens // STEPS, LEAST_TOKENS, MOST_TOKENS))
        self.steps = len(self._blocks(np.random.default_rng(seed)))

    def epoch(self, number: int) -> Iterator[runtime.Batch]:
        """(users, events, digits) of each step."""
        rng = np.random.default_rng([self.seed, number])
        blocks = self._blocks(rng)
        for step in rng.permutation(len(blocks)):
            yield (torch.from_numpy(self._digits(self.sequences.select(blocks[step]))),)

    def _blocks(self, rng: np.random.Generator) -> list[Ints]:
        """Users in order of length, else at random, cut where a step is full: at the same places in every epoch."""
        users = rng.permutation(self.users)
        users = users[np.argsort(self.sequences.lengths[users], kind="stable")]
        tokens = np.cumsum(self.sequences.lengths[users] * self.ids.shape[1])
        return np.split(users, np.flatnonzero(np.diff((tokens - 1) // self.tokens_per_step)) + 1)

    def _digits(self, sequences: Sequences) -> Ints:
        out = np.full((len(sequences), int(sequences.lengths.max()), self.ids.shape[1]), NO_DIGIT, dtype=np.int64)
        columns = within_groups(sequences.lengths)
        out[sequences.users, columns] = self.ids[sequences.codes]
        return out


def _content(catalogue: Catalogue) -> Floats:
    """What ids are learned from: the texts, or where there are none what the sequence model makes of the items."""
    return catalogue.text_vectors if catalogue.text_vectors.any() else catalogue.vectors


def _same_length(lengths: Ints) -> Iterator[Ints]:
    """Blocks of users whose histories are of one length."""
    for length in np.unique(lengths):
        users = np.flatnonzero(lengths == length)
        for start in range(0, len(users), USERS):
            yield users[start : start + USERS]
