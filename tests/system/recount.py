"""Counts every sentence of a work directory again, from the raw log: `python recount.py --help`.

Independent of the program: it imports nothing of it, has the conditions of `docs/truth.md` written anew, and takes from
the work directory the sentences and, from `clean/rejects`, which rows of the log were left out. A sentence of a form
that it does not know is false.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.system.forms import (
    EITHER,
    HEADINGS,
    ITEM,
    NEWS,
    NEWS_HEADINGS,
    OPENINGS,
    PUSH,
    REASONS,
    REVIEW,
    TASTE,
    WHY,
    patterns,
)
from tests.system.rawlog import Facts, Source, key, lower_bound, read

Vector = np.ndarray[Any, Any]
Q = r"“([^”]*)”"
T = r'["“]([^"”]*)["”]'
OF_ORDER = {"sequence", "transitions", "content-transitions"}
OF_OTHERS = {"itemknn", "userknn", "bpr", "lda", "als", "ease"}
OF_CONTENT = {"content", "tfidf"}


class Recount:
    """Each method says of one kind of sentence whether it is true."""

    def __init__(self, facts: Facts, vectors: Mapping[str, Vector] | None = None) -> None:
        """`vectors` of the items' content, by item; without them no sentence that compares them is true."""
        self.facts, self.vectors = facts, vectors or {}
        self.counts: Counter[tuple[str, bool]] = Counter()
        self.false: list[str] = []

    def note(self, kind: str, true: bool, sentence: str) -> None:
        self.counts[kind, true] += 1
        if not true:
            self.false.append(f"{kind}: {sentence}")

    # --- what can be counted ---

    def both(self, user: str, title: str, item: str) -> Iterator[tuple[int, int, int]]:
        """(others who chose both, those of them strictly later, people who chose the first) for items of the title."""
        target = self.facts.first.get(item, {})
        for other in self.facts.titled(title) & set(self.facts.history.get(user, ())):
            chose = self.facts.first[other]
            shared = [each for each in chose if each in target and each != user]
            later = sum(chose[each] < target[each] for each in shared) if self.facts.timed else 0
            yield len(shared), later, len(chose)

    def share(self, user: str, tag: str) -> tuple[int, int, float]:
        """(the user's events with the tag, all of them, the share of all others' events)."""
        history = self.facts.history.get(user, [])
        n, everybody = sum(tag in self.facts.items[item].tags for item in history), len(self.facts.events)
        usual = (self.facts.tag_events.get(tag, 0) - n) / max(everybody - len(history), 1)
        return n, len(history), usual

    def leans(self, user: str, tag: str) -> bool:
        return any(above(*self.share(user, name)) for name in self.names(tag))

    def names(self, tag: str) -> list[str]:
        """Tags that a quotation of one may stand for."""
        return [name for name in self.facts.tag_events if key(name) == key(tag)]

    def has(self, item: str, tag: str) -> bool:
        return key(tag) in {key(each) for each in self.facts.items[item].tags}

    def chosen(self, user: str, title: str) -> set[str]:
        return self.facts.titled(title) & set(self.facts.history.get(user, ()))

    def late(self, user: str) -> tuple[list[str], list[str]]:
        """The newest events that are strictly later than all before, at most ten, and those before."""
        items, times = self.facts.history.get(user, []), self.facts.times.get(user, [])
        if not self.facts.timed or len(items) < 20:
            return [], items
        n = sum(time > times[-11] for time in times[-10:])
        return items[len(items) - n :], items[: len(items) - n]

    def nearest(self, user: str, title: str, item: str) -> bool:
        """Whether an item of the title is, of the user's newest 20 events, the one whose content is nearest."""
        events = {each for each in self.facts.history.get(user, [])[-20:] if each != item}
        cosines = {each: float(self.vectors[each] @ self.vectors[item]) for each in events if item in self.vectors}
        named = [cosines[each] for each in events & self.facts.titled(title) if each in cosines]
        return bool(named) and max(named) >= max(0.3, *cosines.values()) - 1e-3

    # --- reasons ---

    def reason(self, user: str, item: str, strategy: str, sentence: str) -> None:
        for claim, form in REASON:
            if match := form.fullmatch(sentence):
                self.note(
                    claim, self.because(claim, match.groupdict(), user, item, strategy), f"{user} {item} {sentence}"
                )
                return
        self.note("unknown reason", False, f"{user} {item} {sentence}")

    def because(self, claim: str, named: dict[str, str], user: str, item: str, strategy: str) -> bool:
        """Whether what a reason claims of the names in it is so."""
        title = named.get("event", "").strip("“”")
        tags = re.findall(Q, named.get("tags", ""))

        def people(least: int, of: int, share: float) -> bool:
            return any(pair[of] >= max(least, share * pair[2]) for pair in self.both(user, title, item))

        def alike(tag: str) -> bool:
            usual = any(self.facts.tag_events[name] <= 0.8 * len(self.facts.events) for name in self.names(tag))
            return usual and self.has(item, tag) and any(self.has(each, tag) for each in self.chosen(user, title))

        n, counts = self.facts.people.get(item, 0), self.facts.people.values()
        checks: dict[str, Callable[[], bool]] = {
            "later, often": lambda: people(5, 1, 0.1),
            "later": lambda: people(2, 1, 0),
            "both, often": lambda: people(5, 0, 0.1),
            "both": lambda: people(2, 0, 0),
            "alike": lambda: len(tags) == 1 and alike(tags[0]),
            "new": lambda: n == 0 and self.nearest(user, title, item),
            "interest": lambda: len(tags) < 3 and all(self.has(item, tag) and self.leans(user, tag) for tag in tags),
            "foremost": lambda: n > 0 and sum(each >= n for each in counts) <= max(0.1 * len(counts), 1),
            "people": lambda: int(named["n"].replace(",", "")) == n != 1,
            "one person": lambda: n == 1,
            "nobody": lambda: n == 0,
            "model of order": lambda: strategy in OF_ORDER and self.facts.timed,
            "model of others": lambda: strategy in OF_OTHERS,
            "model of content": lambda: strategy in OF_CONTENT,
            "model": lambda: strategy not in POPULAR,
        }
        return checks[claim]()

    # --- texts about lists ---

    def list_text(self, kind: str, user: str, item: str, strategy: str, text: str) -> None:
        """A reason or a push line as the reader gets it; a text that fits two forms may be true as either."""
        longest = {"why": 300, "push": 90}[kind]
        found = [(claim, m) for claim, form in FORMS[kind] if (m := form.fullmatch(text))]
        claims = [(claim, self.claimed(claim, m.groupdict(), user, item, strategy)) for claim, m in found]
        claim, true = max(claims, key=lambda each: each[1], default=("of an unknown form", False))
        self.note(f"{kind}: {claim}", true and len(text) <= longest, f"{user} {item} {text}")

    def claimed(self, claim: str, named: dict[str, str], user: str, item: str, strategy: str) -> bool:
        """Whether what a form claims of the names in it is so."""
        names = {name: re.findall(Q, text) for name, text in named.items()}
        if "title" in names and item not in self.facts.titled(names["title"][0]):
            return False
        chose = self.chosen(user, names["event"][0]) if "event" in names else set()
        if "event" in names and not chose:
            return False
        if claim in ("followed", "together"):
            of = 1 if claim == "followed" else 0
            return any(pair[of] >= 2 for pair in self.both(user, names["event"][0], item))
        tags = names.get("tags", [])
        if not all(self.has(item, tag) for tag in tags):
            return False
        n, counts = self.facts.people.get(item, 0), self.facts.people.values()
        return {
            "similar": any(self.has(other, tag) for other in chose for tag in tags),
            "interest": all(self.leans(user, tag) for tag in tags),
            "theme": any(self.leans(user, tag) or self.had(user, tag) for tag in tags),
            "favourite": n > 1 and sum(each >= n for each in counts) <= max(0.1 * len(counts), 1),
            "chosen": n > 1,
            "history": strategy not in POPULAR and bool(self.facts.history.get(user)),
            "nothing": True,
        }[claim]

    def digest(self, user: str, rows: list[tuple[str, str]], text: str, kind: str = "digest") -> None:
        """A newsletter: its number, each item of the list once with a true reason, each under a theme that it has.

        News open with the first item of the list that has a title.
        """
        opening, *lines = filter(None, text.split("\n"))
        openings, headings = (OPENING, HEADING) if kind == "digest" else (NEWS_OPENING, NEWS_HEADING)
        begun = [m.groupdict() for _, form in openings if (m := form.fullmatch(opening))]
        left, theme, item, strategy = dict(rows), "", "", ""
        titled = [each for each in left if self.facts.items[each].title]
        true = [each["n"] for each in begun] == [str(len(titled))]
        if kind == "news":
            item = titled[0]
            true = true and item in self.facts.titled(begun[0]["title"][1:-1])
            strategy = left.pop(item)
        self.note(f"{kind}: opening", true, f"{user} {opening}")
        for line in lines:
            if line.startswith("- "):
                item = next((i for i in left if i in self.facts.titled(line[3:-1]) and line == f"- “{line[3:-1]}”"), "")
                true = bool(item) and (
                    not theme or self.has(item, theme) or key(theme) in map(key, self.facts.items[item].levels)
                )
                self.note(f"{kind}: item", true, f"{user} {theme} {line}")
                strategy = left.pop(item, "")
            elif line.startswith("  "):
                self.list_text("why", user, item, strategy, line.strip()) if item else self.note(kind, False, line)
            else:
                found = [m.groupdict().get("tags") or "" for _, form in headings if (m := form.fullmatch(line))]
                self.note(f"{kind}: heading", len(found) == 1, f"{user} {line}")
                theme = "".join(found).strip("“”")
        self.note(f"{kind}: whole", not set(left) & set(titled), f"{user} leaves out {list(left)}")

    def had(self, user: str, tag: str) -> bool:
        """Whether the user chose an item with the tag."""
        return any(self.has(item, tag) for item in self.facts.history.get(user, ()))

    # --- texts ---

    def text(self, kind: str, text: str, check: Callable[[str, dict[str, str]], bool]) -> None:
        """Take one sentence after the other off the text; one that fits two forms may be true as either."""
        left = text.strip()
        while left:
            found = [(claim, m) for claim, form in TEXTS[kind] if (m := form.match(left)) and ends(left, m.end())]
            if not found:
                self.note(f"unknown {kind} sentence", False, left)
                return
            length = max(match.end() for _, match in found)
            claims = [(claim, check(claim, m.groupdict())) for claim, m in found if m.end() == length]
            claim, true = max(claims, key=lambda each: each[1])
            self.note(f"{kind}: {claim}", true, f"{left[:length]} (of {text})")
            left = left[length:].strip()

    def item_text(self, item_id: str, text: str) -> None:
        item, people = self.facts.items[item_id], self.facts.people
        n, chosen = people.get(item_id, 0), len(people)

        def all_in(words: str | None, known: list[str]) -> bool:
            quoted = [key(each) for each in re.findall(T, words or "")]
            return all(any(same(each, key(other)) for other in known) for each in quoted)

        def true(claim: str, named: dict[str, str]) -> bool:
            said = re.findall(T, named.get("title") or "")
            called = key(said[0]) == key(item.title) if said else not key(item.title)
            listed = all_in(named.get("under"), item.levels) and all_in(named.get("tags"), item.tags)
            number = named.get("n", "0").replace(",", "")
            return {
                "what it is": called and listed,
                "without a title": called and listed,
                "own words": key((re.findall(T, named.get("sentence") or "") or ["-"])[0]) in key(item.text),
                "details": self.details(item.values, named.get("details") or ""),
                "place": n > 0 and 1 + sum(each > n for each in people.values()) <= 0.1 * chosen,
                "people": int(number) == n > 1,
                "one person": n == 1,
                "nobody": n == 0,
            }[claim]

        self.text("item", text, true)

    def details(self, values: dict[str, set[str]], reported: str) -> bool:
        one_of = rf"(?:^|[,，] ?)([^\"“”]+?)(?: ?{T}|(?: from |从){T}(?: to |到){T})(?=[,，]|$)"
        for name, one, low, high in re.findall(one_of, reported):
            found = {value for known, of in values.items() if key(known) == key(name) for value in of if value}
            numbers = {amount(value): value for value in found if amount(value) is not None}
            if one:
                if len(numbers) > 1 or not any(same(key(one), key(value)) for value in found):
                    return False
            elif {amount(low), amount(high)} != {min(numbers, default=None), max(numbers, default=None)}:
                return False
        return True

    def taste(self, user: str, text: str) -> None:
        history = self.facts.history.get(user, [])
        late, before = self.late(user)

        def lately(tag: str) -> bool:
            shares = [
                [sum(name in self.facts.items[i].tags for i in part) for part in (late, before)]
                for name in self.names(tag)
            ]
            return any(above(new, len(late), old / max(len(before), 1)) for new, old in shares)

        def examples(titles: str | None, tags: list[str]) -> bool:
            return all(
                any(
                    not tags or any(self.has(item, tag) for tag in tags)
                    for item in self.facts.titled(title) & set(history)
                )
                for title in re.findall(T, titles or "")
            )

        def true(claim: str, named: dict[str, str]) -> bool:
            tags, titles = re.findall(T, named.get("tags") or ""), named.get("titles")
            return {
                "leans": all(self.leans(user, tag) for tag in tags) and examples(titles, tags),
                "lately": all(map(lately, tags)) and examples(named.get("event"), tags[:1]),
                "includes": examples(titles, []),
                "begun": bool(history),
                "empty": not history,
            }[claim]

        self.text("taste", text, true)

    def review(self, item_id: str, text: str, rows: list[int]) -> None:
        """How many people wrote of an item and their stars; `rows` of the log are where the quotations stand."""
        reviews = self.facts.reviews.get(item_id, [])
        stars = [each.stars for each in reviews]
        quoted: list[str] = []

        def named(given: dict[str, str], name: str) -> str | None:
            return next((v for k, v in given.items() if k.rstrip("23") == name and v), None)

        def true(claim: str, given: dict[str, str]) -> bool:
            if claim == "what one says":
                (sentence,), gives = re.findall(T, given["sentence"]), named(given, "gives")
                quoted.append(sentence)
                source = [each for each in reviews if each.row in rows and key(sentence) in key(each.text)]
                return any(gives is None or float(gives) == each.stars for each in source)
            mean, most, share = (named(given, name) for name in ("mean", "most", "share"))
            usual = float(named(given, "usual") or 0)
            highest = max(each.stars for some in self.facts.reviews.values() for each in some)
            return (
                item_id in self.facts.titled(re.findall(T, given["title"])[0])
                and int(given["n"].replace(",", "")) == len(reviews)
                and len({each.user for each in reviews}) >= 3
                and (mean is None or (abs(float(mean) - sum(stars) / len(stars)) < 0.0051 and float(most) == highest))
                and (share is None or int(share.replace(",", "")) == stars.count(usual) == max(map(stars.count, stars)))
            )

        self.text("review", text, true)
        if len(rows) != len(quoted) or len({each.user for each in reviews if each.row in rows}) != len(rows):
            self.note("review: rows", False, f"{item_id} {rows} {text}")

    # --- what `show` prints ---

    def shown(self, kind: str, who: str, printed: str) -> None:
        """The lines of `llmrec show user` or `show item` that count something."""
        lines = re.sub(r"\n {13}", " ", printed)
        if kind == "user":
            history = self.facts.history.get(who, [])
            if match := re.search(r"^user .*?: ([\d,]+) events", lines):
                self.note("show: events", int(match[1].replace(",", "")) == len(history), match[0])
            for row in re.findall(r"^  interests  (.*)$", lines, re.MULTILINE):
                for tag, n in re.findall(r"(?:^|, )([^,]+?) \d+% \((\d+)\)", row):
                    true = any(self.share(who, name)[0] == int(n) for name in self.names(tag))
                    self.note("show: interests", true, f"{who} {tag} {n}")
            if not self.facts.timed:
                self.note("show: order", not re.search(r"^  (lately|rising|falling) ", lines, re.MULTILINE), who)
        elif match := re.search(r"^  chosen +by ([\d,]+) (?:people|person)$", lines, re.MULTILINE):
            self.note("show: people", int(match[1].replace(",", "")) == self.facts.people.get(who, 0), match[0])
        else:
            self.note("show: people", False, printed[:200])


POPULAR = {"popularity", "segment-popularity"}
REASON = patterns(REASONS)
FORMS = {"why": patterns(WHY), "push": patterns(PUSH)}
OPENING, HEADING = patterns(OPENINGS), patterns(HEADINGS)
NEWS_OPENING, NEWS_HEADING = patterns(NEWS), patterns(NEWS_HEADINGS)
TEXTS = {
    "item": patterns(ITEM, EITHER),
    "taste": patterns(TASTE, EITHER),
    "review": patterns(REVIEW, EITHER),
}


def ends(text: str, place: int) -> bool:
    """Whether a sentence ends there: a blank comes, nothing, or a full stop of Chinese was the last."""
    return text[place : place + 1] in ("", " ") or text[place - 1] == "。"


def above(n: int, of: int, usual: float) -> bool:
    return n >= 3 and usual <= 0.8 and lower_bound(n, of) > usual


def same(quoted: str, known: str) -> bool:
    """Whether a quotation is of this text; long ones are cut."""
    return quoted == known or (len(quoted) > 20 and known.startswith(quoted))


def amount(text: str) -> float | None:
    """The number of a text such as "$1,299.00" or "12,50"; None where there is no plain one."""
    match = re.fullmatch(r"\D{0,4}(\d[\d.,]*)\D{0,4}", text)
    if not match:
        return None
    number = match[1].rstrip(".")
    number = number.replace(".", "").replace(",", ".") if re.search(r",\d{1,2}$", number) else number.replace(",", "")
    return float(number) if re.fullmatch(r"\d+(\.\d+)?", number) else None


def recount(facts: Facts, work: Path, n_shown: int = 0) -> Recount:
    content = pd.read_parquet(work / "pretrain/item_text_vectors.parquet")
    out = Recount(facts, dict(zip(content["item_id"], content["vector"], strict=True)))
    lists = pd.read_parquet(work / "recommend/recommendations.parquet")
    for row in lists[["user_id", "item_id", "strategy", "reason"]].itertuples(index=False):
        out.reason(*row)
    every = pd.read_parquet(work / "recommend/list_texts.parquet")
    texts = every.merge(lists, on=["user_id", "rank"])
    assert len(texts) > len(lists), "every row has a text and every list one more"
    for row in texts[["kind", "user_id", "item_id", "strategy", "text"]].itertuples(index=False):
        out.list_text(*row)
    strategies = {
        user: list(zip(rows["item_id"], rows["strategy"], strict=True)) for user, rows in lists.groupby("user_id")
    }
    whole = every[every["kind"].isin(["digest", "news"])]
    for user, text, kind in whole[["user_id", "text", "kind"]].itertuples(index=False):
        out.digest(user, strategies[user], text, kind)
    summaries = work / "generate/review_summaries.parquet"
    if summaries.exists():
        for row in pd.read_parquet(summaries)[["item_id", "text", "source_rows"]].itertuples(index=False):
            out.review(row[0], row[1], list(row[2]))
    for name, check in (("item", out.item_text), ("taste", out.taste)):
        texts = pd.read_parquet(work / f"generate/{name}_texts.parquet")
        for who, text in zip(texts.iloc[:, 0], texts["text"], strict=True):
            check(who, text)
    for kind, ids in (("user", lists["user_id"].unique()), ("item", lists["item_id"].unique())):
        for who in ids[:: max(1, len(ids) // max(n_shown, 1))][:n_shown]:
            command = [sys.executable, "-m", "llmrec_cli", "show", kind, who, "--work", str(work)]
            out.shown(kind, who, subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return out


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--show", type=int, default=0, help="users and items that `llmrec show` is asked about")
    for each in fields(Source):
        many = each.name in ("columns", "item_columns", "attributes", "text")
        kind = Path if each.name in ("log", "items") else str
        needed = each.name in ("log", "user", "item")
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=kind, nargs="*" if many else None, required=needed)
    given = vars(parser.parse_args(arguments))
    work, n_shown = given.pop("work"), given.pop("show")
    options = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None}
    out = recount(read(Source(**options), work / "clean/rejects.parquet"), work, n_shown)
    for kind in sorted({kind for kind, _ in out.counts}):
        print(f"{kind:<28} {out.counts[kind, True]:>8,} true {out.counts[kind, False]:>6,} false")
    total, false = sum(out.counts.values()), len(out.false)
    print(f"{'all':<28} {total - false:>8,} true {false:>6,} false  ({(total - false) / max(total, 1):.2%})")
    for each in out.false[:20]:
        print("FALSE", each)
    return 1 if false else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
