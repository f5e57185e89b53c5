"""The check that a text says nothing beyond its facts: apart from quoted titles, quoted phrases of the facts and whole
statements with their figures there may only be words that claim nothing.

A closed vocabulary (`languages`), not an understanding of language: it holds lists and examples to what they are said
of ("under", "tagged", "lean towards", "lately more"), and what is said to be above the usual to its figures, but it
cannot tell whether true phrases are otherwise put together truly.
"""

from __future__ import annotations

import re
from collections import Counter

from llmrec_cli.writing.facts import Facts
from llmrec_cli.writing.languages import either

LONGEST = 1000  # characters
MOST_MENTIONS = 3  # of one fact
TELLING = ("quote", "fact")  # pieces that say something

_MARKUP = re.compile(r"<[a-z/!][^>]*>|https?:|www\.|```|\[/?\w+\]\(", re.IGNORECASE)


def fault(text: str, facts: Facts) -> str:
    """Why the text must not be shown, in a few words; "" where it passes."""
    malformed = _malformed(text, facts.wording.shortest)
    if malformed:
        return malformed
    pieces = _read(text, facts)
    quotable = {*facts.quotes, *facts.phrases}
    for piece, kind in pieces:
        if kind == "quote" and piece not in quotable:
            return f"quotes what is not in the facts: {piece[:40]}"
    known = facts.wording.words[facts.kind]
    foreign = [piece for piece, kind in pieces if kind == "word" and piece not in known]
    if foreign:
        return f"not in the facts: {', '.join(dict.fromkeys(foreign))[:60]}"
    untrue = [piece for piece, kind in pieces if kind == "quote" and piece in facts.untrue]
    if untrue:
        return f"more than the figures say: {untrue[0][:40]}"
    mentions = Counter(piece for piece, kind in pieces if kind in TELLING)
    if not mentions:
        return "says nothing of the facts"
    repeats = "repeats itself" if max(mentions.values()) > MOST_MENTIONS else ""
    return _misplaced(pieces, facts) or _empty_list(pieces, facts) or repeats


def facts_in(text: str, facts: Facts) -> tuple[str, ...]:
    """The quotations and statements of a text, in order."""
    return tuple(piece for piece, kind in _read(text, facts) if kind in TELLING)


def _malformed(text: str, shortest: int) -> str:
    if not shortest <= len(text) <= LONGEST:
        return "too short" if len(text) < shortest else "too long"
    if _MARKUP.search(text) or not text.isprintable():
        return "markup, a link or control characters"
    if text.count('"') % 2 or text.count("“") != text.count("”"):
        return "an unfinished quotation"
    return "" if text.endswith((".", '."', "。")) else "unfinished sentence"


def _read(text: str, facts: Facts) -> list[tuple[str, str]]:
    """The text in order: a "quote" or a whole "fact" as it is; in lower case what "opens" a list, or a "word"."""
    language = facts.wording
    before, after = language.edge
    opens = [phrase for phrase, name in language.opens.items() if name in facts.lists]
    whole = rf"(?P<fact>{either(facts.statements)})|(?P<opens>{either(opens)})"
    quote = r"[“\"](?P<quote>[^“”\"]*)[”\"]"
    found = re.finditer(
        rf"{before}(?:{whole}){after}|{quote}|(?P<word>{language.word(facts.kind)})", text, re.IGNORECASE
    )
    as_stated = {each.lower(): each for each in facts.statements}
    pieces = [(match[match.lastgroup], match.lastgroup) for match in found if match.lastgroup]
    return [
        (piece if kind == "quote" else as_stated[piece.lower()] if kind == "fact" else piece.lower(), kind)
        for piece, kind in pieces
    ]


def _misplaced(pieces: list[tuple[str, str]], facts: Facts) -> str:
    """What is said of the wrong thing: a tag after "listed under", an example of another interest; "" if nothing is."""
    opens = facts.wording.opens
    section, lead = "", ""  # the list that was opened last, and the phrase that opened it while it goes on
    for piece, kind in pieces:
        if kind == "opens":
            section, lead = opens[piece], piece
        elif kind == "fact" or (kind == "word" and piece not in facts.wording.joints):
            lead = ""
        elif kind == "quote" and lead and piece not in facts.lists[section]:
            return f"said of the wrong thing: {lead} {piece}"[:60]
        elif kind == "quote" and not lead and piece not in facts.examples_of.get(section, (piece,)):
            return f"an example of the wrong thing: {piece}"[:60]
    return ""


def _empty_list(pieces: list[tuple[str, str]], facts: Facts) -> str:
    """A list that is opened and has nothing in it, as in "is tagged and chosen"; "" where there is none."""
    language = facts.wording
    for place, (piece, kind) in enumerate(pieces):
        if kind == "opens":
            first = next((later for later, _ in pieces[place + 1 :] if later not in language.joints), "")
            if first not in facts.lists[language.opens[piece]]:
                return f"lists nothing: {piece}"
    return ""
