"""The check that a text says nothing beyond its facts: apart from quoted titles, quoted phrases of the facts and whole
statements with their figures there may only be words that claim nothing.

A closed vocabulary, not an understanding of language: it holds lists and examples to what they are said of ("under",
"tagged", "towards", "lately"), and what is said to be above the usual to its figures, but it cannot tell whether true
phrases are otherwise put together truly.
"""

from __future__ import annotations

import re
from collections import Counter

from llmrec_cli.writing.facts import Facts

SHORTEST, LONGEST = 15, 1000  # characters
MOST_MENTIONS = 3  # of one fact

# Words that join facts without adding one. No negation, no praise, no figure, no "you".
GLUE = frozenset(
    re.findall(
        r"\w+",
        """
    a an the this that these it its is are was were has have with and or as of in on to for from by which
    item items catalogue listed under tagged such like also both plus including includes details makes
    leans towards lately more history
    """,
    )
)
# Words that leave a list open: what follows belongs to the same list.
LISTING = frozenset(["and", "or", "plus", "also", "more", "both"])
# Words that claim something, and the word that they cannot do without: after them, before them.
CLAIMS_OF_NEXT, CLAIMS_OF_LAST = {"leans": "towards"}, {"towards": "leans", "more": "lately"}

_MARKUP = re.compile(r"<[a-z/!][^>]*>|https?:|www\.|```|\[/?\w+\]\(", re.IGNORECASE)
_WORD = r"\w+(?:['’\-]\w+)*"


def fault(text: str, facts: Facts) -> str:
    """Why the text must not be shown, in a few words; "" where it passes."""
    malformed = _malformed(text)
    if malformed:
        return malformed
    pieces = _read(text, facts)
    quotable = {*facts.quotes, *facts.phrases}
    for piece, kind in pieces:
        if kind == "quote" and piece not in quotable:
            return f"quotes what is not in the facts: {piece[:40]}"
    foreign = [piece for piece, kind in pieces if kind == "word" and piece not in GLUE]
    if foreign:
        return f"not in the facts: {', '.join(dict.fromkeys(foreign))[:60]}"
    untrue = [piece for piece, kind in pieces if kind == "quote" and piece in facts.untrue]
    if untrue:
        return f"more than the figures say: {untrue[0][:40]}"
    mentions = Counter(piece for piece, kind in pieces if kind != "word")
    if not mentions:
        return "says nothing of the facts"
    repeats = "repeats itself" if max(mentions.values()) > MOST_MENTIONS else ""
    return _misplaced(pieces, facts) or _empty_list(pieces, facts) or _unfounded(pieces) or repeats


def facts_in(text: str, facts: Facts) -> tuple[str, ...]:
    """The quotations and statements of a text, in order."""
    return tuple(piece for piece, kind in _read(text, facts) if kind != "word")


def _malformed(text: str) -> str:
    if not SHORTEST <= len(text) <= LONGEST:
        return "too short" if len(text) < SHORTEST else "too long"
    if _MARKUP.search(text) or not text.isprintable():
        return "markup, a link or control characters"
    if text.count('"') % 2 or text.count("“") != text.count("”"):
        return "an unfinished quotation"
    return "" if text.endswith((".", '."')) else "unfinished sentence"


def _read(text: str, facts: Facts) -> list[tuple[str, str]]:
    """The text in order as (piece, kind): a "quote" as it is, a whole "fact" or a "word" in lower case."""
    statements = sorted(facts.statements, key=lambda statement: (-len(statement), statement))
    either = "|".join(re.escape(statement) for statement in statements)
    piece = rf'(?P<fact>(?<![\w\'’-])(?:{either})(?![\w\'’-]))|[“"](?P<quote>[^“”"]*)[”"]|(?P<word>{_WORD})'
    found = re.finditer(piece, text, re.IGNORECASE)
    return [
        (match["quote"] if match.lastgroup == "quote" else match[match.lastgroup].lower(), match.lastgroup)
        for match in found
        if match.lastgroup
    ]


def _misplaced(pieces: list[tuple[str, str]], facts: Facts) -> str:
    """What is said of the wrong thing: a tag after "listed under", an example of another interest; "" if nothing is."""
    section, lead = "", ""  # the last word that opened a list, and the same while the list goes on
    for piece, kind in pieces:
        if kind == "word":
            section = piece if piece in facts.lists else section
            lead = section if piece in facts.lists or (lead and piece in LISTING) else ""
        elif kind == "fact":
            lead = ""
        elif lead and piece not in facts.lists[lead]:
            return f"said of the wrong thing: {lead} {piece}"[:60]
        elif not lead and section in facts.examples_of and piece not in facts.examples_of[section]:
            return f"an example of the wrong thing: {piece}"[:60]
    return ""


def _unfounded(pieces: list[tuple[str, str]]) -> str:
    """A word that claims a lift and stands alone, as in "leans, as with"; "" where there is none."""
    words = [piece if kind == "word" else "" for piece, kind in pieces]
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if after != CLAIMS_OF_NEXT.get(word, after) or before != CLAIMS_OF_LAST.get(word, before):
            return f"claims without saying what: {word}"
    return ""


def _empty_list(pieces: list[tuple[str, str]], facts: Facts) -> str:
    """A list that is opened and has nothing in it, as in "is tagged and chosen"; "" where there is none."""
    for place, (piece, kind) in enumerate(pieces):
        if kind == "word" and piece in facts.lists:
            first = next((later for later, _ in pieces[place + 1 :] if later not in {*LISTING, "with", "the"}), "")
            if first not in facts.lists[piece]:
                return f"lists nothing: {piece}"
    return ""
