"""Likelihoods of texts from a server that speaks OpenAI's protocol of completions with `echo` and `logprobs` (vLLM)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llmrec_cli.core.errors import SettingsError
from llmrec_cli.extras.chat_client import Answer, ChatClient, tokens_of, used_tokens
from llmrec_cli.ranking.candidate_config import LanguageScoreConfig

SECTION = "train-ranker.candidates.lm.openai"
PATH = "/completions"


class ServerScorer(ChatClient):
    """A `Scorer` whose model is behind a server; one request has all ends of a start."""

    def __init__(self, config: LanguageScoreConfig) -> None:
        """SettingsError for an address that is none."""
        super().__init__(config.openai, config.model, max_tokens=1, section=SECTION)
        self.identity, self.parallel = f"lm.score {self.url} {self.model}", config.openai.parallel

    def log_likelihoods(self, start: str, ends: Sequence[str]) -> list[float]:
        """The mean log-likelihood of the tokens of each of `ends` after `start`.

        SettingsError where the server gives no log-probabilities of a prompt; other faults as `ChatClient.ask`.
        """
        prompts = [start + end for end in ends]
        body = {"prompt": prompts, "max_tokens": self.max_tokens, "temperature": 0, "echo": True, "logprobs": 1}
        expected = tokens_of([{"content": prompt} for prompt in prompts])

        def read(content: Any) -> Answer:
            found = {int(choice.get("index", 0)): choice["logprobs"] for choice in content["choices"]}
            means = [_mean(found[n], len(start), len(prompt)) for n, prompt in enumerate(prompts)]
            if None in means:
                raise SettingsError(
                    "the server gives no log-probabilities of the words that it is sent",
                    where=f"{self.url}{PATH}, model {self.model!r}",
                    fix="it needs `echo` and `logprobs` of completions, as vLLM has them; or score with a local model",
                )
            return Answer(json.dumps(means), used_tokens(content) or expected)

        means: list[float] = json.loads(self.request(PATH, body, read, expected).text)
        return means


def _mean(logprobs: Any, start: int, stop: int) -> float | None:
    """Over the tokens that begin between two places of the prompt; None where there are none."""
    try:
        given = zip(logprobs["token_logprobs"], logprobs["text_offset"], strict=True)
        found = [float(value) for value, at in given if start <= at < stop]
    except (KeyError, TypeError, ValueError):
        return None
    return sum(found) / len(found) if found else None
