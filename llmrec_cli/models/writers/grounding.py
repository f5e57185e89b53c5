"""The check that a text says nothing beyond its facts: apart from quoted titles and phrases of the facts there may only
be words that claim nothing.

A closed vocabulary, not an understanding of language: it holds lists and examples to what they are said of ("under",
"tagged", "towards", "lately"), but it cannot tell whether true phrases are otherwise put together truly.
"""

from __future__ import annotations

import re
from collections import Counter

from llmrec_cli.models.writers.facts import Facts

SHORTEST, LONGEST = 15, 1000  # characters
MOST_MENTIONS = 3  # of one fact

# Words that join facts without adding one. No negation, no praise, no figure, no "you".
GLUE = frozenset(
    re.findall(
        r"\w+",
        """
    a an the this that these it its is are was were has have with and or as of in on to for from by which
    item items catalogue listed under tagged such like also both plus including includes details makes
    leans towards often mostly lately more choose chooses history users
    """,
    )
)
# Words that leave a list open: what follows belongs to the same list.
LISTING = frozenset(["and", "or", "plus", "also", "more", "both"])

_QUOTED = re.compile('[“"]([^“”"]*)[”"]')
_MARKUP = re.compile(r"<[a-z/!][^>]*>|https?:|www\.|```|\[/?\w+\]\(", re.IGNORECASE)
_WORD = r"\w+(?:['’\-]\w+)*"


def fault(text: str, facts: Facts) -> str:
    """Why the text must not be shown, in a few words; "" where it passes."""
    malformed = _malformed(text)
    if malformed:
        return malformed
    for quoted in _QUOTED.findall(text):
        if quoted not in facts.quotes:
            return f"quotes what is not in the facts: {quoted[:40]}"
    pieces = _read(text, facts)
    foreign = [piece for piece, kind in pieces if kind == "word" and piece not in GLUE]
    if foreign:
        return f"not in the facts: {', '.join(dict.fromkeys(foreign))[:60]}"
    said = Counter(piece for piece, kind in pieces if kind != "word")
    if not said:
        return "says nothing of the facts"
    repeats = "repeats itself" if max(said.values()) > MOST_MENTIONS else ""
    return _misplaced(pieces, facts) or _empty_list(pieces, facts) or repeats


def _malformed(text: str) -> str:
    if not SHORTEST <= len(text) <= LONGEST:
        return "too short" if len(text) < SHORTEST else "too long"
    if _MARKUP.search(text) or not text.isprintable():
        return "markup, a link or control characters"
    return "" if text.endswith((".", '."')) else "unfinished sentence"


def _read(text: str, facts: Facts) -> list[tuple[str, str]]:
    """The text in order as (lower-case piece, kind): a "quote", a "fact" phrase (the longest that fits) or a "word"."""
    phrases = sorted({*facts.phrases, *facts.statements}, key=lambda phrase: (-len(phrase), phrase))
    either = "|".join(re.escape(phrase) for phrase in phrases) or "(?!)"
    piece = rf'[“"](?P<quote>[^“”"]*)[”"]|(?P<fact>(?<![\w\'’-])(?:{either})(?![\w\'’-]))|(?P<word>{_WORD})'
    found = re.finditer(piece, text, re.IGNORECASE)
    return [(match[match.lastgroup].lower(), match.lastgroup) for match in found if match.lastgroup]


def _misplaced(pieces: list[tuple[str, str]], facts: Facts) -> str:
    """What is said of the wrong thing: a tag after "listed under", an example of another interest; "" if nothing is."""
    lists = {lead: {phrase.lower() for phrase in phrases} for lead, phrases in facts.lists.items()}
    examples = {lead: {title.lower() for title in titles} for lead, titles in facts.examples_of.items()}
    statements = {statement.lower() for statement in facts.statements}
    section, lead = "", ""  # the last word that opened a list, and the same while the list goes on
    for piece, kind in pieces:
        if kind == "word":
            section = piece if piece in lists else section
            lead = section if piece in lists or (lead and piece in LISTING) else ""
        elif piece in statements:
            lead = ""
        elif kind == "fact" and lead and piece not in lists[lead]:
            return f"said of the wrong thing: {lead} {piece}"[:60]
        elif kind == "quote" and section in examples and piece not in examples[section]:
            return f"an example of the wrong thing: {piece}"[:60]
    return ""


def _empty_list(pieces: list[tuple[str, str]], facts: Facts) -> str:
    """A list that is opened and has nothing in it, as in "is tagged and chosen"; "" where there is none."""
    for place, (piece, kind) in enumerate(pieces):
        if kind == "word" and piece in facts.lists:
            first = next((later for later, _ in pieces[place + 1 :] if later not in {*LISTING, "with", "the"}), "")
            if first not in {phrase.lower() for phrase in facts.lists[piece]}:
                return f"lists nothing: {piece}"
    return ""
