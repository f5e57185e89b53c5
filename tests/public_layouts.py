"""Small files in the layouts of public data sets of recommendation, and what `init` has to make of them.

All contents are invented; only the names of files and columns and the way of writing are those of the sets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2024, 3, 1, 8, 30, tzinfo=UTC)
WORDS = ("red", "cup", "blue", "lamp", "green", "plate", "small", "chair", "old", "book")


@dataclass(frozen=True)
class Event:
    """What happened: numbers from which each layout makes its own ids, times and values."""

    n: int
    user: int
    item: int
    time: datetime

    @property
    def seconds(self) -> int:
        return int(self.time.timestamp())

    @property
    def stars(self) -> int:
        return 1 + (self.user * 7 + self.item) % 5


@dataclass(frozen=True)
class Layout:
    """Files by name, in the order in which they are named, and the columns that `init` finds by section of [clean]."""

    files: dict[str, str | bytes]
    expected: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: str = ""
    """Where no log can be read from the files: a part of what is said."""
    fix: str = ""


def events(n: int = 240, users: int = 20, items: int = 30) -> list[Event]:
    """Events in order of time; users come back, and no user has an item in two consecutive events."""
    return [Event(i, i % users, (i * 7 + i // users) % items, START + timedelta(minutes=37 * i)) for i in range(n)]


def title(item: int) -> str:
    return f"{WORDS[item % 10]} {WORDS[(item * 3 + 1) % 10]} {item}".capitalize()


def lines(rows: list[list[Any]], separator: str = ",", newline: str = "\n") -> str:
    return "".join(separator.join(map(str, row)) + newline for row in rows)


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def retailrocket() -> Layout:
    kinds = ("view", "view", "addtocart", "transaction")
    log = [[e.seconds * 1000 + 7, 1000 + e.user, kinds[e.n % 4], 4000 + e.item, ""] for e in events()]
    properties = [[e.seconds * 1000, 4000 + e.item, "categoryid", 300 + e.item % 5] for e in events()]
    return Layout(
        {
            "category_tree.csv": lines([["categoryid", "parentid"], *([300 + n, 200 + n % 3] for n in range(9))]),
            "events.csv": lines([["timestamp", "visitorid", "event", "itemid", "transactionid"], *log]),
            "item_properties_part1.csv": lines([["timestamp", "itemid", "property", "value"], *properties]),
        },
        {"interactions": {"user": "visitorid", "item": "itemid", "time": "timestamp", "event": "event"}},
    )


def yoochoose_clicks() -> Layout:
    rows = [[1 + e.user, f"{e.time:%Y-%m-%dT%H:%M:%S.351Z}", 214536500 + e.item, e.item % 4] for e in events()]
    return Layout({"yoochoose-clicks.dat": lines(rows)}, {"interactions": {"user": 0, "item": 2, "time": 1}})


def yoochoose_buys() -> Layout:
    rows = [
        [420374 + e.user, f"{e.time:%Y-%m-%dT%H:%M:%S.351Z}", 214537850 + e.item, 12462 + e.item * 100, 1 + e.n % 3]
        for e in events()
    ]
    return Layout({"yoochoose-buys.dat": lines(rows)}, {"interactions": {"user": 0, "item": 2, "time": 1, "value": 4}})


def taobao() -> Layout:
    kinds = ("pv", "pv", "pv", "cart", "fav", "buy")
    rows = [[1 + e.user, 2268318 + e.item, 2520377 + e.item % 7, kinds[e.n % 6], e.seconds] for e in events()]
    return Layout({"UserBehavior.csv": lines(rows)}, {"interactions": {"user": 0, "item": 1, "time": 4, "event": 3}})


def mind() -> Layout:
    rows = [
        [
            e.n + 1,
            f"U{8000 + e.user}",
            e.time.strftime("%m/%d/%Y %I:%M:%S %p"),
            " ".join(f"N{55000 + (e.item + k) % 30}" for k in range(9)),
            " ".join(f"N{55000 + (e.item + k * 5) % 30}-{int(k == 2)}" for k in range(6)),
        ]
        for e in events()
    ]
    news = [
        [f"N{55000 + i}", ("lifestyle", "news")[i % 2], f"sub{i % 5}", title(i), f"An abstract of {title(i)} in words."]
        for i in range(30)
    ]
    return Layout(
        {"behaviors.tsv": lines(rows, "\t"), "news.tsv": lines(news, "\t")},
        error="several ids in a cell",
        fix="a row for each",
    )


def goodreads() -> Layout:
    rows = [
        {
            "user_id": f"{e.user:032x}",
            "book_id": str(24375664 + e.item),
            "review_id": f"{e.n:032x}",
            "is_read": True,
            "rating": e.stars,
            "review_text_incomplete": "",
            "date_added": e.time.strftime("%a %b %d %H:%M:%S -0800 %Y"),
            "date_updated": e.time.strftime("%a %b %d %H:%M:%S -0800 %Y"),
            "read_at": "",
            "started_at": "",
        }
        for e in events()
    ]
    books = [
        {
            "isbn": "",
            "popular_shelves": [{"count": "3", "name": "to-read"}],
            "average_rating": f"{3 + i / 30:.2f}",
            "description": f"A long description of the book {title(i)}.",
            "authors": [{"author_id": str(i % 9), "role": ""}],
            "image_url": f"https://images.example/{i}.jpg",
            "book_id": str(24375664 + i),
            "title": title(i),
            "num_pages": str(100 + i),
        }
        for i in range(30)
    ]
    return Layout(
        {"goodreads_interactions.json": jsonl(rows), "goodreads_books.json": jsonl(books)},
        {
            "interactions": {
                "user": "user_id",
                "item": "book_id",
                "time": "date_added",
                "value": "rating",
                "time_format": "%a %b %d %H:%M:%S %z %Y",
            },
            "items": {"item": "book_id", "title": "title", "text": "description", "attributes": ["authors"]},
        },
    )


def book_crossing() -> Layout:
    def quoted(rows: list[list[Any]]) -> bytes:
        return lines([[f'"{v}"' if v != "NULL" else v for v in row] for row in rows], ";", "\r\n").encode("cp1252")

    rows = [[276725 + e.user, f"03451{e.item:05}", e.stars * 2 - 2] for e in events()]
    books = [
        [
            *(f"03451{i:05}", f"{title(i)} – Amélie &amp; co", f"Author {i % 9}", 1970 + i % 30, f"Ballantine {i % 4}"),
            f"http://images.example/P/{i}.THUMBZZZ.jpg",
        ]
        for i in range(30)
    ]
    books[3][1] = 'Peterman \\"Rides\\" Again; once more'
    users = [[276725 + u, f"nyc{u % 3}, new york, usa", "NULL" if u % 2 else 20 + u] for u in range(20)]
    book_header = ["ISBN", "Book-Title", "Book-Author", "Year-Of-Publication", "Publisher", "Image-URL-S"]
    return Layout(
        {
            "BX-Book-Ratings.csv": quoted([["User-ID", "ISBN", "Book-Rating"], *rows]),
            "BX-Books.csv": quoted([book_header, *books]),
            "BX-Users.csv": quoted([["User-ID", "Location", "Age"], *users]),
        },
        {
            "interactions": {"user": "User-ID", "item": "ISBN", "value": "Book-Rating"},
            "items": {
                "item": "ISBN",
                "title": "Book-Title",
                "attributes": ["Book-Author", "Year-Of-Publication", "Publisher"],
            },
            "users": {"user": "User-ID", "age": "Age", "region": "Location"},
        },
    )


def anime() -> Layout:
    rows = [[1 + e.user, 20 + e.item, e.stars * 2 if e.n % 3 else -1] for e in events()]
    items = [
        [
            *(20 + i, f'"{title(i)}, the film"', '"Action, Drama, War"' if i % 2 else "Drama", ("TV", "Movie")[i % 2]),
            *(i % 24, f"{5 + i / 10:.2f}", 1000 * i),
        ]
        for i in range(30)
    ]
    return Layout(
        {
            "anime.csv": lines([["anime_id", "name", "genre", "type", "episodes", "rating", "members"], *items]),
            "rating.csv": lines([["user_id", "anime_id", "rating"], *rows]),
        },
        {
            "interactions": {"user": "user_id", "item": "anime_id", "value": "rating", "where": "rating > 0"},
            "items": {"item": "anime_id", "title": "name", "tags": "genre", "tags_separator": ","},
        },
    )


def lastfm_1k() -> Layout:
    rows = [
        [
            *(
                f"user_{e.user + 1:06}",
                f"{e.time:%Y-%m-%dT%H:%M:%SZ}",
                f"f1b1cf71-bd35-4e99-8624-24a6e15{e.item % 12:05}",
            ),
            f"The {title(e.item % 12)}",
            "" if e.item % 3 else f"a1b1cf71-bd35-4e99-8624-24a6e15{e.item:05}",
            title(e.item),
        ]
        for e in events()
    ]
    profiles = [
        [f"user_{u + 1:06}", "mf"[u % 2], "" if u % 3 else 20 + u, ("Japan", "Peru")[u % 2], "Aug 13, 2006"]
        for u in range(20)
    ]
    return Layout(
        {
            "userid-timestamp-artid-artname-traid-traname.tsv": lines(rows, "\t"),
            "userid-profile.tsv": lines([["#id", "gender", "age", "country", "registered"], *profiles], "\t"),
        },
        {
            "interactions": {"user": 0, "item": 2, "time": 1},
            "items": {"title": 3},
            "users": {"user": "#id", "age": "age", "gender": "gender", "region": "country"},
        },
    )


def instacart() -> Layout:
    orders = [[1000 + n, 1 + n % 20, "prior", 1 + n // 20, n % 7, n % 24, n % 30] for n in range(120)]
    products = [[1000 + n // 2, 33120 + (n * 7) % 30, 1 + n % 2, n % 2] for n in range(240)]
    items = [[33120 + i, title(i), i % 5, i % 3] for i in range(30)]
    order_header = ["order_id", "user_id", "eval_set", "order_number", "order_dow", "order_hour_of_day", "days_since"]
    return Layout(
        {
            "order_products__prior.csv": lines(
                [["order_id", "product_id", "add_to_cart_order", "reordered"], *products]
            ),
            "orders.csv": lines([order_header, *orders]),
            "products.csv": lines([["product_id", "product_name", "aisle_id", "department_id"], *items]),
        },
        error="order_products__prior.csv has items but no users; orders.csv has the users",
        fix="order_id",
    )


def h_and_m() -> Layout:
    rows = [
        [f"{e.time:%Y-%m-%d}", f"{e.user:064x}", f"0{663713000 + e.item}", f"0.0{50 + e.item}", 1 + e.n % 2]
        for e in events()
    ]
    articles = [
        [f"0{663713000 + i}", 663713, title(i), f"Type {i % 4}", f"A jersey top called {title(i)}."] for i in range(30)
    ]
    customers = [
        [f"{u:064x}", "1.0" if u % 2 else "", ("ACTIVE", "PRE-CREATE")[u % 2], 20 + u, f"{u % 7:08x}"]
        for u in range(20)
    ]
    return Layout(
        {
            "articles.csv": lines(
                [["article_id", "product_code", "prod_name", "product_type_name", "detail_desc"], *articles]
            ),
            "customers.csv": lines([["customer_id", "FN", "club_member_status", "age", "postal_code"], *customers]),
            "transactions_train.csv": lines(
                [["t_dat", "customer_id", "article_id", "price", "sales_channel_id"], *rows]
            ),
        },
        {
            "interactions": {"user": "customer_id", "item": "article_id", "time": "t_dat"},
            "items": {"item": "article_id", "title": "prod_name", "text": "detail_desc"},
            "users": {"user": "customer_id", "age": "age", "attributes": ["club_member_status", "postal_code"]},
        },
    )


def netflix() -> Layout:
    rows = [
        f"{item}:\n" + lines([[e.user + 6, e.stars, f"{e.time:%Y-%m-%d}"] for e in events(20)]) for item in range(1, 9)
    ]
    return Layout({"combined_data_1.txt": "".join(rows)}, error="the item stands on a line of its own", fix="awk")


def diginetica() -> Layout:
    rows = [
        [1 + e.user, "NA" if e.n % 4 else e.user % 5, 81766 + e.item, 526309 + e.n % 97, f"{e.time:%Y-%m-%d}"]
        for e in events()
    ]
    return Layout(
        {"train-item-views.csv": lines([["sessionId", "userId", "itemId", "timeframe", "eventdate"], *rows], ";")},
        {"interactions": {"user": "sessionId", "item": "itemId", "time": "eventdate"}},
    )


def criteo() -> Layout:
    rows = [
        [n % 2, *((n * k) % (3 + k) for k in range(13)), *(f"{(n * k) % (5 + 9 * k):08x}" for k in range(26))]
        for n in range(240)
    ]
    return Layout({"train.txt": lines(rows, "\t")}, error="40 columns without names")


def kuairec() -> Layout:
    header = ["user_id", "video_id", "play_duration", "video_duration", "time", "date", "timestamp", "watch_ratio"]
    rows = [
        [
            *(e.user, 3649 + e.item, 1000 + 37 * e.n, 10867 + e.item, f"{e.time:%Y-%m-%d %H:%M:%S.071}"),
            *(f"{e.time:%Y%m%d}", f"{e.seconds}.071", f"{(1000 + 37 * e.n) / (10867 + e.item):.6f}"),
        ]
        for e in events()
    ]
    feats = [[3649 + i, f'"[{i % 5}, {i % 2}]"' if i % 2 else f"[{i % 5}]"] for i in range(30)]
    return Layout(
        {
            "item_categories.csv": lines([["video_id", "feat"], *feats]),
            "small_matrix.csv": lines([header, *rows]),
        },
        {
            "interactions": {"user": "user_id", "item": "video_id", "time": "timestamp", "value": "play_duration"},
            "items": {"item": "video_id", "tags": "feat"},
        },
    )


def amazon_2023() -> Layout:
    rows = [[f"AGZ{e.user:010}", f"B07{e.item:07}", f"{e.stars}.0", e.seconds * 1000] for e in events()]
    meta = [
        {
            "main_category": "All Beauty",
            "title": title(i),
            "average_rating": 4.1 + i / 100,
            "rating_number": i + 1,
            "features": [f"Made of {WORDS[i % 10]} glass", "Easy to wash"],
            "description": [f"What {title(i)} is, in some words."],
            "price": 9.99 + i if i % 2 else None,
            "images": [{"thumb": f"https://m.example/{i}.jpg", "large": f"https://m.example/{i}L.jpg"}],
            "videos": [],
            "store": f"Shop {i % 4}",
            "categories": ["Beauty", f"Part {i % 4}"],
            "details": {f"Key {i}": "a", "Brand": f"Brand {i % 3}"},
            "parent_asin": f"B07{i:07}",
            "bought_together": None,
        }
        for i in range(30)
    ]
    return Layout(
        {
            "All_Beauty.csv": lines([["user_id", "parent_asin", "rating", "timestamp"], *rows]),
            "meta_All_Beauty.jsonl": jsonl(meta),
        },
        {
            "interactions": {"user": "user_id", "item": "parent_asin", "time": "timestamp", "value": "rating"},
            "items": {
                "item": "parent_asin",
                "title": "title",
                "text": ["description", "features"],
                "category": "categories",
                "attributes": ["price", "store"],
            },
        },
    )


def steam_reviews() -> Layout:
    rows = [
        {"username": f"Gamer {e.user}", "hours": 1.5 + e.n % 9, "product_id": f"{725280 + e.item}", "page": 1}
        | {"text": f"It’s a game, and I like it {e.n} times.", "early_access": False, "date": f"{e.time:%Y-%m-%d}"}
        for e in events()
    ]
    games = [
        {"id": f"{725280 + i}", "title": title(i), "genres": ["Action", f"Part {i % 4}"], "price": 4.99}
        for i in range(30)
    ]
    return Layout(
        {
            "steam_reviews.json": "".join(repr(row).replace("'username'", "u'username'") + "\n" for row in rows),
            "steam_games.json": "".join(f"{row!r}\n" for row in games),
        },
        {
            "interactions": {
                "user": "username",
                "item": "product_id",
                "time": "date",
                "value": "hours",
                "review": "text",
            },
            "items": {"item": "id", "title": "title", "tags": "genres"},
        },
    )


def tmall() -> Layout:
    """Chinese columns in GB18030, prices with the sign of the currency."""
    rows = [
        [f"会员{e.user}", f"商品{e.item}", f"{e.time:%Y/%m/%d %H:%M}", ("浏览", "收藏", "购买")[e.n % 3]]
        for e in events()
    ]
    items = [
        [f"商品{i}", f"红色的茶杯第{i}号", "家居/厨房" if i % 2 else "家居/花园", f"￥{i + 9}.90"] for i in range(30)
    ]
    return Layout(
        {
            "行为.csv": lines([["用户", "商品", "时间", "行为"], *rows]).encode("gb18030"),
            "商品.csv": lines([["商品编号", "标题", "类别", "价格"], *items]).encode("gb18030"),
        },
        {
            "interactions": {"user": "用户", "item": "商品", "time": "时间", "event": "行为"},
            "items": {
                **{"item": "商品编号", "title": "标题", "category": "类别", "category_separator": "/"},
                "attributes": ["价格"],
            },
        },
    )


def decimal_commas() -> Layout:
    rows = [
        [
            f"K{e.user}",
            f"A{e.item}",
            f"{e.time:%d.%m.%Y %H:%M}",
            f"1.{100 + e.n % 800},{e.n % 10}0" if e.n % 5 else "3,5",
        ]
        for e in events(400)
    ]
    return Layout(
        {"umsatz.csv": lines([["Kunde", "Artikel", "Datum", "Menge"], *rows], ";", "\r\n").encode("cp1252")},
        {
            "interactions": {
                "user": "Kunde",
                "item": "Artikel",
                "time": "Datum",
                "time_format": "%d.%m.%Y %H:%M",
                "value": "Menge",
                "decimal": ",",
            }
        },
    )


def nested_json() -> Layout:
    """One array of events as an application writes them."""
    rows = [
        {
            "id": f"e{e.n}",
            "user": {"id": f"u{e.user}", "country": ("FR", "DE", "IT")[e.user % 3]},
            "item": {"id": f"i{e.item}", "title": title(e.item), "price": {"amount": 9.5 + e.item, "currency": "EUR"}},
            "ts": f"{e.time:%Y-%m-%dT%H:%M:%SZ}",
            "type": ("view", "purchase")[e.n % 2],
        }
        for e in events()
    ]
    return Layout(
        {"events.json": json.dumps(rows, indent=1)},
        {
            "interactions": {"user": "user.id", "item": "item.id", "time": "ts", "event": "type"},
            "items": {"title": "item.title", "attributes": ["item.price.amount"]},
            "users": {"region": "user.country"},
        },
    )


def without_header() -> Layout:
    """Everything by content: age bands, sex, countries and states, prices, paths of categories."""
    log = [[f"c{e.user}", f"p{e.item}", e.seconds, ("view", "cart", "buy")[e.n % 3]] for e in events()]
    items = [[f"p{i}", title(i), f"Home > Part {i % 3}", f"${i + 4}.99"] for i in range(30)]
    bands, lands = ("18-24", "25-34", "35-44", "45+"), ("France", "Germany", "Italy")
    users = [[f"c{u}", bands[u % 4], ("Male", "Female")[u % 2], lands[u % 3]] for u in range(20)]
    return Layout(
        {"a.txt": lines(items, "|"), "b.txt": lines(log, "|"), "c.txt": lines(users, "|")},
        {
            "interactions": {"user": 0, "item": 1, "time": 2, "event": 3},
            "items": {"item": 0, "title": 1, "category": 2, "attributes": [3]},
            "users": {"user": 0, "age": 1, "gender": 2, "region": 3},
        },
    )


def gowalla() -> Layout:
    """Two numbers that tell of the place, not of the visit, and the place after them."""
    rows = [
        [e.user, f"{e.time:%Y-%m-%dT%H:%M:%SZ}", f"30.{e.item:06}", f"-97.{e.item:06}", 22000 + e.item]
        for e in events()
    ]
    return Layout({"checkins.txt": lines(rows, "\t")}, {"interactions": {"user": 0, "item": 4, "time": 1}})


def steam_hours() -> Layout:
    """Items that are known by their names alone, after a column of kinds of events would do as well."""
    rows = [
        [151603712 + e.user, f'"{title(e.item)}"', ("purchase", "play")[e.n // 20 % 2], f"{1 + e.n % 9}.{e.n % 10}", 0]
        for e in events()
    ]
    return Layout({"steam.csv": lines(rows)}, {"interactions": {"user": 0, "item": 1, "event": 2, "value": 3}})


def atomic_files() -> Layout:
    log = [[e.user, e.item, e.stars, e.seconds] for e in events()]
    items = [[i, title(i), 1990 + i % 9, ("Action Drama", "Comedy")[i % 2]] for i in range(30)]
    item_header = ["item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"]
    return Layout(
        {
            "x.inter": lines([["user_id:token", "item_id:token", "rating:float", "timestamp:float"], *log], "\t"),
            "x.item": lines([item_header, *items], "\t"),
        },
        {
            "interactions": {
                **{"user": "user_id:token", "item": "item_id:token"},
                **{"time": "timestamp:float", "value": "rating:float"},
            },
            "items": {
                **{"item": "item_id:token", "title": "movie_title:token_seq", "attributes": ["release_year:token"]},
                **{"tags": "class:token_seq", "tags_separator": " "},
            },
        },
    )


def douban() -> Layout:
    """Chinese dates, and reviews that have no blanks."""
    review = "这部电影我看了{}遍，非常喜欢它的音乐"
    rows = [[f"u{e.user}", f"m{e.item}", e.stars, f"{e.time:%Y年%m月%d日}", review.format(e.n)] for e in events()]
    header = ["用户ID", "电影ID", "评分", "评论时间", "评论"]
    expected = dict(zip(("user", "item", "value", "time", "review"), header, strict=True))
    return Layout(
        {"评论.csv": lines([header, *rows]).encode("gb18030")},
        {"interactions": {**expected, "time_format": "%Y年%m月%d日"}},
    )


LAYOUTS: tuple[Callable[[], Layout], ...] = (
    retailrocket,
    yoochoose_clicks,
    yoochoose_buys,
    taobao,
    mind,
    goodreads,
    book_crossing,
    anime,
    lastfm_1k,
    instacart,
    h_and_m,
    netflix,
    diginetica,
    criteo,
    kuairec,
    amazon_2023,
    steam_reviews,
    tmall,
    decimal_commas,
    nested_json,
    without_header,
    gowalla,
    steam_hours,
    atomic_files,
    douban,
)
