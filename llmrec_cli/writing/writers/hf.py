"""A local language model as a writer: it joins facts into sentences and can write nothing but facts and neutral words.

Each text starts with a forced opening; what follows is held to clauses that say every fact that the template would say.
The model chooses their order and how each begins. Every draft still has to pass `grounding`. Greedy: the same facts
give the same words.
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
from llmrec_cli.writing.constrained_decoding import Clause, ClauseConstraint, Tokens
from llmrec_cli.writing.facts import Facts, ItemFacts, TasteFacts
from llmrec_cli.writing.languages import ENGLISH
from llmrec_cli.writing.writers import Draft, WriterConfig
from llmrec_cli.writing.writers.template import TemplateWriter, load_prompt

JOINTS = (",", " and")
"""Between two elements of a list, and before the last one."""
Part = tuple[Sequence[str], Sequence[str], Sequence[Any]]
"""Openings, elements, and the parts that come right after: a clause before it is tokenised."""
ModelFacts = ItemFacts | TasteFacts
quoted = ENGLISH.quoted


class HfWriter:
    """Any causal model folder of transformers that has a chat template, with its LoRA adapter where one is given.

    It writes English of items and tastes; the template writes what is in other languages.
    """

    name = "hf"

    def __init__(self, config: WriterConfig, model: Any, tokenizer: Any) -> None:
        self.config, self._model, self._tokenizer = config, model, tokenizer
        self._prompts = {kind: load_prompt(f"{kind}_prompt")[0] for kind in ("item", "taste")}
        between, last, self._stop = self._tokens([*JOINTS, "."])
        self._joints = (between, last)
        self._template = TemplateWriter()

    @classmethod
    def open(cls, config: WriterConfig, device: str, threads: int) -> Self:
        set_threads(threads)
        where = torch.device(choose_device(device))
        model, tokenizer = causal_lm.load(config.model, where, fast_dtype(where), config.base)
        if config.adapter:
            model = causal_lm.with_saved_adapter(model, Path(config.adapter), config.model)
        return cls(config, model, tokenizer)

    @torch.inference_mode()
    def write(self, facts: Sequence[Facts]) -> list[Draft]:
        drafts = self._template.write(facts)
        own = [(n, f) for n, f in enumerate(facts) if isinstance(f, ModelFacts) and f.language == "en"]
        for start in range(0, len(own), self.config.batch_size):
            places, some = zip(*own[start : start + self.config.batch_size], strict=True)
            for place, draft in zip(places, self._batch(some), strict=True):
                drafts[place] = draft
        return drafts

    def _batch(self, facts: Sequence[ModelFacts]) -> list[Draft]:
        openings = [opening(each) for each in facts]
        prompts = [self._prompt(each, start) for each, start in zip(facts, openings, strict=True)]
        inputs = self._tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(self._model.device)
        rows = [self._clauses(clauses(each)) for each in facts]
        constraint = ClauseConstraint(rows, self._joints, self._stop, self._tokenizer.eos_token_id)
        tokens = self._model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=self.config.max_new_tokens,
            pad_token_id=self._tokenizer.pad_token_id,
            logits_processor=[constraint],
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

    def _clauses(self, parts: Sequence[Part]) -> list[Clause]:
        return [
            Clause(tuple(self._tokens(openings)), tuple(self._tokens([f" {e}" for e in elements])), following)
            for openings, elements, after in parts
            if elements
            for following in [next(iter(self._clauses(after)), None)]
        ]

    def _tokens(self, texts: Sequence[str]) -> list[Tokens]:
        found = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        return [tuple(tokens) for tokens in found]


def opening(facts: ModelFacts) -> str:
    """How a text begins, whatever the model would rather say; the first clause goes on with it."""
    if isinstance(facts, TasteFacts):
        (begun,) = facts.statements
        others = "Your history includes" if facts.examples else "Lately more" if facts.recent else begun.capitalize()
        return "You lean towards" if facts.interests else others
    subject, first = f'"{facts.title}"' if facts.title else "This item", item_clauses(facts)[:1]
    known = " is listed under" if facts.category else " is an item with" if facts.tags else ""
    return subject + (known or " is in the catalogue" + "".join(openings[0] for openings, _, _ in first))


def clauses(facts: ModelFacts) -> list[Part]:
    """What a text says: all that the template says."""
    return taste_clauses(facts) if isinstance(facts, TasteFacts) else item_clauses(facts)


def item_clauses(facts: ItemFacts) -> list[Part]:
    under, tags = quoted(facts.category), quoted(facts.tags)
    chosen, place = facts.statements[:1], facts.statements[2:3] if facts.rank else ()
    own: Part = ((". In its own words:", ". The description says:"), quoted(filter(None, [facts.sentence])), ())
    details: Part = ((". Details:", ". The details:"), facts.details, ())
    listed: Part = ((), under, ())
    tagged: Part = ((", with", ". This is an item with"), tags, ())
    found = [part for part in (listed, tagged, own, details, ((" and is", ". It is"), place, ())) if part[1]]
    return found if found or facts.title else [((" and",), chosen, ())]


def taste_clauses(facts: TasteFacts) -> list[Part]:
    examples: Part = ((", as with", ", such as", ", including"), quoted(facts.examples), ())
    latest: Part = ((", as in", ", such as"), quoted(filter(None, [facts.lately_example])), ())
    first = ((), quoted(facts.interests), [examples]) if facts.interests else ((), quoted(facts.examples), ())
    late: Part = ((". Lately more", ". These days more"), quoted(facts.recent), [latest])
    return [part for part in (first, late) if part[1]]
