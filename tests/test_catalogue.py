"""What is known of the items."""

from __future__ import annotations

from llmrec_cli.data.catalogue import names


def test_an_item_without_a_title_is_called_by_its_id() -> None:
    assert names(["a", "b", "c"], ["Lamp", "", None]) == ["Lamp", "b", "c"]
