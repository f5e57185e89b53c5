"""A local language model as a writer: it joins facts into sentences and can write nothing but facts and neutral words.

Each text starts with a forced opening; what follows is held to whole phrases of the facts and words that claim nothing
by a prefix tree of tokens. Every draft still has to pass `grounding`. Greedy: the same facts give the same words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch

from llmrec_cli.core.text_cleaning import one_line
from llmrec_cli.tensors import causal_lm
from llmrec_cli.tensors.runtime import choose_device, fast_dtype, set_threads
from llmrec_cli.writing.constrained_decoding import PhraseConstraint
from llmrec_cli.writing.facts import Facts, TasteFacts, listing, quoted
from llmrec_cli.writing.writers import Draft, WriterConfig
from llmrec_cli.writing.writers.template import load_prompt

# What a model may put between facts: few words of grounding.GLUE, since with more of them it rambles.
JOINTS = (" and", " also", " as", " with", " is", " was", " including", ",", ".")


class HfWriter:
    """Any causal model folder of transformers that has a chat template, with its LoRA adapter where one is given."""

    name = "hf"

    def __init__(self, config: WriterConfig, model: Any, tokenizer: Any) -> None:
        self.config, self._model, self._tokenizer = config, model, tokenizer
        self._prompts = {kind: load_prompt(kind)[0] for kind in ("item", "taste")}
        self._joints = [tuple(tokens) for tokens in self._tokenised(JOINTS)]

    @classmethod
    def open(cls, config: WriterConfig, device: str, threads: int) -> Self:
        set_threads(threads)
        where = torch.device(choose_device(device))
        model, tokenizer = causal_lm.load(config.model, where, fast_dtype(where))
        if config.adapter:
            model = causal_lm.with_saved_adapter(model, Path(config.adapter), config.model)
        return cls(config, model, tokenizer)

    @torch.inference_mode()
    def write(self, facts: Sequence[Facts]) -> list[Draft]:
        drafts: list[Draft] = []
        for start in range(0, len(facts), self.config.batch_size):
            drafts += self._batch(facts[start : start + self.config.batch_size])
        return drafts

    def _batch(self, facts: Sequence[Facts]) -> list[Draft]:
        facts = [each.lasting() if isinstance(each, TasteFacts) else each for each in facts]
        openings = [opening(each) for each in facts]
        prompts = [self._prompt(each, start) for each, start in zip(facts, openings, strict=True)]
        inputs = self._tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(self._model.device)
        phrases = [self._phrases(each, start) for each, start in zip(facts, openings, strict=True)]
        phrasebook = PhraseConstraint(phrases, self._joints, self._joints[-1][0], self._tokenizer.eos_token_id)
        tokens = self._model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=self.config.max_new_tokens,
            pad_token_id=self._tokenizer.pad_token_id,
            logits_processor=[phrasebook],
        )
        told = self._tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [
            Draft(
                one_line(start + rest),
                self.name,
                self.config.model + " + adapter" * bool(self.config.adapter),
                hashlib.sha256(prompt.encode()).hexdigest(),
            )
            for start, rest, prompt in zip(openings, told, prompts, strict=True)
        ]

    def _prompt(self, facts: Facts, start: str) -> str:
        message = [{"role": "user", "content": self._prompts[facts.kind].render(f=facts).strip()}]
        chat: str = self._tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        return chat + start

    def _phrases(self, facts: Facts, start: str) -> list[tuple[int, ...]]:
        """The facts that a text may still tell after its opening, as tokens."""
        said = [*quoted(facts.phrases), *facts.statements, *quoted(t for t in facts.quotes if t not in start)]
        return [tuple(tokens) for tokens in self._tokenised([f" {each}" for each in dict.fromkeys(said)])]

    def _tokenised(self, texts: Sequence[str]) -> list[list[int]]:
        tokens: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return tokens


def opening(facts: Facts) -> str:
    """How a text begins, whatever the model would rather say."""
    if isinstance(facts, TasteFacts):
        return f"Leans towards {listing(quoted(facts.interests))}" if facts.interests else "The history includes"
    subject = f'"{facts.title}"' if facts.title else "This item"
    return (
        f"{subject} is listed under" if facts.category else f"{subject} is tagged" if facts.tags else f"{subject} was"
    )
