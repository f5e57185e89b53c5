"""Write `docs/examples.md`: texts of the template writer drawn by a seed, with measures of all of them by machine.

    python -m benchmarks.examples SAMPLE CHINESE GIFT_CARDS

Each is a work directory after `recommend`: of the built-in sample, of the log that `tests/system/chinese_sample.py`
makes of it, and of Amazon's gift cards. Lists have all texts (`recommend.texts = ["why", "push", "digest", "news"]`),
the gift cards reviews (`generate.kinds`). What gift cards are called and what people wrote of them cannot be shipped:
these texts are measured, and shown with … in place of all that is quoted.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmrec_cli.core.artifacts import ITEM_TEXTS, ITEMS, LIST_TEXTS, REVIEW_SUMMARIES, TASTE_TEXTS
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.writing.text_checks import INTERNAL

OUT = Path(__file__).resolve().parents[1] / "docs" / "examples.md"
SEED, SHOWN, SHOWN_CHINESE = 7, 30, 10
QUOTATION = r"(?:“[^”]*”|\"[^\"]*\")"
KINDS = ("description", "taste", "review summary", "why", "push", "digest", "news")
HEAD = """# Examples of texts

Written by `python -m benchmarks.examples`; nothing is chosen or changed by hand. All are by the template writer, drawn
with seed {seed}, good and bad: `!` stands before a text that says nothing beyond a title and a count.
[truth.md](truth.md) says when which sentence may be said.

## Measures

Of all texts, not only of those below. *Internal*: texts with a word of the program's own, such as "tag", "score" or
"events", outside of quotations. *Skeleton*: the share of the commonest text when quotations and numbers are left out
(of digests and news: the opening line). *A fact*: the share of texts that quote more than the titles of their own items
(of descriptions: where the raw files have a category, attributes or a text for the item). *Distinct-2*: different pairs
of words (of characters in Chinese) among all pairs, without quotations and numbers.

| log | kind | texts | internal | skeleton | a fact | distinct-2 |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
"""


@dataclass(frozen=True)
class Written:
    """A text, how many titles of its own items it names, and whether the raw files say more of these."""

    text: str
    titles: int
    more: bool = True

    @property
    def weak(self) -> bool:
        """Whether nothing stands in quotation marks but these titles."""
        return len(re.findall(QUOTATION, self.text)) <= self.titles


def texts_of(work: WorkDir) -> dict[str, list[Written]]:
    """Kind -> its texts."""
    items = {row["item_id"]: row for row in work.read(ITEMS).to_pylist()}
    described = ("category", "attributes", "text")
    out: dict[str, list[Written]] = {kind: [] for kind in KINDS}
    for row in work.read(ITEM_TEXTS).to_pylist():
        item = items[row["item_id"]]
        more = any(item[name] for name in described)
        out["description"].append(Written(row["text"], bool(item["title"]), more))
    out["taste"] = [Written(row["text"], 0) for row in work.read(TASTE_TEXTS).to_pylist()]
    if work.has(REVIEW_SUMMARIES):
        out["review summary"] = [Written(row["text"], 1) for row in work.read(REVIEW_SUMMARIES).to_pylist()]
    for row in work.read(LIST_TEXTS).to_pylist():
        out[row["kind"]].append(Written(row["text"], 0 if row["kind"] == "why" else len(row["item_ids"])))
    return {kind: found for kind, found in out.items() if found}


def frame(text: str) -> str:
    """The text without quotations and numbers, several in a row as one."""
    bare = re.sub(rf"{QUOTATION}(?:(?:, | and | › |、|和|›){QUOTATION})*", "_", text)
    return re.sub(r"\d[\d.,]*", "0", bare)


def words(text: str) -> list[str]:
    bare = re.sub(r"[_0\s.,:;?!。，：；？、！›-]+", " ", frame(text))
    return [word for part in bare.split() for word in (part if re.search(r"[\u4e00-\u9fff]", part) else [part.lower()])]


def measures(kind: str, texts: Sequence[Written]) -> tuple[str, ...]:
    opening = [each.text.split("\n")[0] if kind in ("digest", "news") else each.text for each in texts]
    frames = Counter(map(frame, opening))
    pairs = [pair for each in texts for pair in zip(words(each.text), words(each.text)[1:], strict=False)]
    internal = sum(bool(INTERNAL.search(re.sub(QUOTATION, "", each.text))) for each in texts)
    asked = [each for each in texts if each.more]
    facts = sum(not each.weak for each in asked) / max(len(asked), 1)
    common = frames.most_common(1)[0][1] / len(texts)
    return f"{len(texts):,}", str(internal), f"{common:.3f}", f"{facts:.3f}", f"{len(set(pairs)) / len(pairs):.4f}"


def drawn(texts: Sequence[Written], n: int, *, forms: bool = False) -> list[str]:
    """Some of the texts, a line each; with `forms` without what is quoted."""
    some = random.Random(SEED).sample(list(texts), min(n, len(texts)))
    lines = ["! " * each.weak + " ⏎ ".join(filter(None, each.text.split("\n"))) for each in some]
    return [re.sub(r"\"[^\"]*\"", '"…"', re.sub("“[^”]*”", "“…”", line)) for line in lines] if forms else lines


def page(logs: dict[str, WorkDir]) -> str:
    found = {name: texts_of(work) for name, work in logs.items()}
    out = [HEAD.format(seed=SEED).rstrip()]
    for name, kinds in found.items():
        out += [f"| {name} | {kind} | {' | '.join(measures(kind, texts))} |" for kind, texts in kinds.items()]
    for name, n, forms in (
        ("sample", SHOWN, False),
        ("Chinese", SHOWN_CHINESE, False),
        ("gift cards", SHOWN, True),
    ):
        out += ["", f"## {name[0].upper()}{name[1:]}" + ": forms, with … for what is quoted" * forms]
        for kind, texts in found[name].items():
            if not forms or kind in ("description", "review summary"):
                out += ["", f"### {kind} ({name})", "", "```text", *drawn(texts, n, forms=forms), "```"]
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sample", "chinese", "gift_cards"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    logs = {"sample": options.sample, "Chinese": options.chinese, "gift cards": options.gift_cards}
    OUT.write_text(page({name: WorkDir(path) for name, path in logs.items()}), encoding="utf-8")
    print(f"seed {SEED}: {OUT}")


if __name__ == "__main__":
    main()
