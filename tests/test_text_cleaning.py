from __future__ import annotations

import pytest

from llmrec_cli.core.text_cleaning import comparable, one_line, plain, shortened


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ('The "best" <b>mug</b> &amp; jug', "The 'best' mug & jug"),
        ("see https://example.org/x?y now www.example.org", "see now"),
        ("two\nlines\u0000\u200b here", "two lines here"),
        ("[click](x) `code`", "(click)(x) 'code'"),
        (None, ""),
        ("<script>alert(1)</script>", "alert(1)"),
    ],
)
def test_plain_makes_text_harmless(text: str | None, made: str) -> None:
    assert plain(text) == made


def test_plain_cuts_at_a_word() -> None:
    cut = plain("word " * 100, 120)
    assert len(cut) <= 120 and cut.endswith("word…")


def test_a_line_is_cut_at_a_word() -> None:
    assert one_line(" two\n\t lines\u00a0here ") == "two lines here"
    assert shortened("a few words", 11) == "a few words" and shortened("a few, words", 10) == "a few…"
    assert shortened("vol. 2, part", 6) == "vol…" and shortened("vol. 2, part", 6, ",") == "vol.…"


def test_titles_are_compared_by_their_words() -> None:
    assert comparable("Blue_Mug, 0.3 L") == comparable("BLUE  mug 0 3 l") == "blue mug 0 3 l"
    assert comparable("Caf\u0065\u0301") == comparable("CAF\u00c9") != comparable("Cafe") and comparable("!?") == ""
