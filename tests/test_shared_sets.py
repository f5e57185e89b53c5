"""`init` on public data sets as they lie in their folders: the expected columns, nothing else, no setting by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmrec_cli.commands.scaffold import init
from llmrec_cli.core.config import load

SEQUENCES = {"layout": "sequences"}
RATINGS = {"user": 0, "item": 1, "time": 3, "value": 2}
RETAIL = {
    "user": "Customer ID",
    "item": "StockCode",
    "time": "InvoiceDate",
    "value": "Quantity",
    "where": "Quantity > 0",
}
AMAZON = {"path": "items.tsv", "item": "item_id", "title": "title", "text": "gen_text", "category": "categories"}
USERS = {"path": "users.tsv", "user": "user_id"}
GIFT_CARDS = {
    "user": "reviewerID",
    "item": "asin",
    "time": "unixReviewTime",
    "value": "overall",
    "review": "reviewText",
}

EXPECTED: dict[str, dict[str, dict[str, Any]]] = {
    "amazon-2014-beauty-5core": {
        "interactions": {"path": "Beauty.txt", **SEQUENCES},
        "items": {**AMAZON, "tags": "attributes"},
        "users": USERS,
    },
    "amazon-2014-sports-5core": {
        "interactions": {"path": "Sports_and_Outdoors.txt", **SEQUENCES},
        "items": {"path": "items.tsv", "item": "item_id", "text": "gen_text", "tags": "attributes"},
        "users": USERS,
    },
    "amazon-2014-toys-5core": {
        "interactions": {"path": "Toys_and_Games.txt", **SEQUENCES},
        "items": AMAZON,
        "users": USERS,
    },
    "amazon-2018-gift-cards": {
        "interactions": {"path": "Gift_Cards_5.json.gz", **GIFT_CARDS},
        "items": {
            "path": "meta_Gift_Cards.json.gz",
            "item": "asin",
            "unseen": "drop",
            "title": "title",
            "text": ["description", "feature"],
            "category": "category",
            "attributes": ["brand", "price"],
        },
    },
    "lastfm-2k": {
        "interactions": {"path": "user_artists.dat", "user": "userID", "item": "artistID", "value": "weight"},
        "items": {"path": "artists.dat", "item": "id", "title": "name"},
    },
    "ml-100k": {
        "interactions": {"path": "u.data", **RATINGS},
        "items": {"path": "u.item", "item": 0, "title": 1, "tags": list(range(5, 24))},
        "users": {"path": "u.user", "user": 0, "age": 1, "gender": 2, "attributes": [3]},
    },
    "ml-1m": {
        "interactions": {"path": "ml-1m.zip#ml-1m/ratings.dat", **RATINGS},
        "items": {"path": "ml-1m.zip#ml-1m/movies.dat", "item": 0, "title": 1, "tags": 2},
        "users": {"path": "ml-1m.zip#ml-1m/users.dat", "user": 0, "gender": 1, "age": 2, "attributes": [3]},
    },
    "ml-latest-small": {
        "interactions": {
            "path": "ratings.csv",
            "user": "userId",
            "item": "movieId",
            "time": "timestamp",
            "value": "rating",
        },
        "items": {"path": "movies.csv", "item": "movieId", "title": "title", "tags": "genres"},
    },
    "online-retail-ii-2010": {
        "interactions": {"path": "online_retail.parquet", **RETAIL},
        "items": {"title": "Description"},
        "users": {"region": "Country"},
    },
    "sample-online-retail": {
        "interactions": {"path": "online_retail_sample.csv", **RETAIL},
        "items": {"title": "Description"},
        "users": {"region": "Country"},
    },
    "steam-200k": {
        "interactions": {"path": "game_play.dat", "user": "User_ID", "item": "Game_ID", "value": "Hours"},
        "items": {"path": "item_info.dat", "item": "Game_ID", "title": "Game Name"},
    },
    "tvrec-foursquare": {"interactions": {"path": "Foursquare.txt", **SEQUENCES}},
    "tvrec-lastfm": {"interactions": {"path": "LastFM.txt", **SEQUENCES}},
    "yelp-2019-5core": {
        "interactions": {"path": "Yelp.txt", **SEQUENCES},
        "items": {"path": "items.tsv", "item": "item_id", "title": "title", "tags": "categories"},
        "users": USERS,
    },
}


@pytest.mark.data
@pytest.mark.parametrize("name", EXPECTED)
def test_a_folder_as_it_lies(name: str, data: Path, tmp_path: Path) -> None:
    if not (data / name).is_dir():
        pytest.skip(f"{name} is not in LLMREC_TEST_DATA")
    init([data / name], tmp_path)
    clean = load(tmp_path / "llmrec.toml", environ={}).values["clean"]
    found = {section: dict(part) for section, part in clean.items() if isinstance(part, dict)}
    for part in found.values():
        if "path" in part:
            part["path"] = part["path"].partition(f"{name}/")[2]
    assert found == EXPECTED[name]
