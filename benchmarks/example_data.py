"""Make the logs of `data/news`, `data/finance` and `data/social`: simulated with a seed, for none may be shipped.

    python -m benchmarks.example_data [FOLDER]     writes them below FOLDER, data/ of the repository without one

Nobody read, bought or followed anything here. Each log is drawn from a simple model of what its domain is known for, so
that the example can show how it is dealt with; it says nothing of how people are.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_cli.core.arrays import Floats, Ints

SEED = 42
START = datetime(2026, 9, 1)
DATA = Path(__file__).resolve().parents[1] / "data"

SECTIONS: dict[str, tuple[Sequence[str], Sequence[str], Sequence[str]]] = {
    "体育": (
        ("主队", "客队", "国家队", "青年队", "老将", "新教练"),
        ("备战", "赢得", "错过", "回顾", "展望"),
        ("足球联赛", "篮球总决赛", "网球公开赛", "马拉松", "游泳锦标赛", "乒乓球世界杯"),
    ),
    "财经": (
        ("央行", "银行", "投资者", "小企业", "出口商", "分析师"),
        ("讨论", "关注", "调整", "评估", "欢迎"),
        ("利率", "股票市场", "房地产价格", "外汇储备", "债券发行", "消费指数"),
    ),
    "科技": (
        ("研究团队", "工程师", "初创公司", "大学实验室", "手机厂商", "开发者"),
        ("发布", "测试", "改进", "展示", "开源"),
        ("人工智能模型", "电动汽车", "量子计算机", "折叠手机", "卫星网络", "机器人"),
    ),
    "文化": (
        ("导演", "作家", "博物馆", "乐团", "年轻画家", "剧院"),
        ("推出", "纪念", "筹备", "谈论", "重现"),
        ("纪录片", "长篇小说", "古代瓷器", "交响音乐会", "水墨画展", "京剧"),
    ),
    "健康": (
        ("医生", "营养师", "社区医院", "科学家", "护士", "跑步爱好者"),
        ("建议", "解释", "研究", "提醒", "推荐"),
        ("睡眠质量", "地中海饮食", "流感疫苗", "心脏健康", "办公室运动", "儿童视力"),
    ),
}
"""Section -> who, does, what: a title is one of each."""
READERS, DAYS, A_DAY, ACTIVE, FRESH = 300, 40, 8, 0.45, 0.8

CUSTOMERS, FUNDS, UNSUITABLE = 350, 140, 0.9
"""`UNSUITABLE`: by how much the logit of a fund falls for each class of risk above the customer's tolerance."""
CLASSES = ("Money market", "Bonds", "Mixed", "Shares", "Technology shares")
"""By rising risk, from 1."""
REGIONS, STYLES = (
    ("Europe", "World", "Asia", "North America"),
    ("Climate", "Dividend", "Index", "Small companies", "Income"),
)
HOUSES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir")

PEOPLE, CIRCLES, CLOSED = 320, 12, 0.75
"""`CLOSED`: how often one follows somebody whom those that one follows follow, rather than anybody of one's circles."""


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def moment(day: float) -> str:
    return (START + timedelta(days=float(day))).strftime("%Y-%m-%d %H:%M:%S")


def drawn(rng: np.random.Generator, logits: Floats, n: int) -> Ints:
    """At most n different places, each as likely as the softmax of its logit (Gumbel's top k)."""
    keys = logits + rng.gumbel(size=len(logits))
    best = np.argsort(-keys)[:n]
    return best[np.isfinite(keys[best])]


def news(folder: Path) -> None:
    """Readers come on some days and read what is fresh in the sections that they like; each day has new articles, and
    nobody has read those of the last day yet.
    """
    rng = np.random.default_rng([SEED, 1])
    names, articles = list(SECTIONS), []
    for day in range(DAYS + 1):
        for _ in range(A_DAY):
            section = int(rng.integers(len(names)))
            who, does, what = (part[rng.integers(len(part))] for part in SECTIONS[names[section]])
            articles.append((section, f"{who}{does}{what}", day + rng.random() / 4))
    sections, published = np.array([each[0] for each in articles]), np.array([each[2] for each in articles])
    liked = np.log(rng.dirichlet(np.full(len(names), 0.4), READERS) + 1e-3)
    quality, read, clicks = rng.normal(0, 0.7, len(articles)), [set[int]() for _ in range(READERS)], []
    for day in range(DAYS):
        for reader in np.flatnonzero(rng.random(READERS) < ACTIVE):
            now = day + 0.3 + 0.7 * rng.random()
            age = now - published
            logits = np.where((age > 0) & (age < 4), liked[reader][sections] + quality - age / FRESH, -np.inf)
            logits[list(read[reader])] = -np.inf
            for place, article in enumerate(drawn(rng, logits, 1 + int(rng.integers(3)))):
                read[reader].add(int(article))
                clicks.append((now + place / 500, f"R{reader:03d}", f"N{article:03d}"))
    write(folder / "clicks.csv", ("reader", "article", "time"), ([r, a, moment(t)] for t, r, a in sorted(clicks)))
    rows = ([f"N{n:03d}", title, names[section], moment(day)] for n, (section, title, day) in enumerate(articles))
    write(folder / "articles.csv", ("article", "title", "section", "published"), rows)


def finance(folder: Path) -> None:
    """Customers buy funds of styles and regions that they like, mostly no riskier than they want, sometimes so."""
    rng = np.random.default_rng([SEED, 2])
    risk, region = 1 + rng.integers(5, size=FUNDS), rng.integers(len(REGIONS), size=FUNDS)
    style, house = rng.integers(len(STYLES), size=FUNDS), rng.integers(len(HOUSES), size=FUNDS)
    fee = np.round(0.1 + 0.3 * risk + rng.random(FUNDS), 2)
    known = rng.normal(0, 0.8, FUNDS) + 0.5 * (house == 0)
    tolerance, age = 1 + rng.integers(5, size=CUSTOMERS), rng.integers(22, 80, CUSTOMERS)
    likes_style, likes_region = (
        np.log(rng.dirichlet(np.full(len(each), 0.5), CUSTOMERS) + 1e-2) for each in (STYLES, REGIONS)
    )
    orders = []
    for customer in range(CUSTOMERS):
        over = np.maximum(risk - tolerance[customer], 0)
        wish = likes_style[customer][style] + 0.6 * likes_region[customer][region]
        logits = wish + known - UNSUITABLE * over - 0.4 * np.maximum(tolerance[customer] - risk, 0)
        bought = drawn(rng, logits, 4 + int(rng.integers(10)))
        days = np.sort(rng.random(len(bought)) * 400)
        orders += [(day, f"C{customer:03d}", f"F{fund:03d}") for day, fund in zip(days, bought, strict=True)]
    write(folder / "orders.csv", ("customer", "fund", "time"), ([c, f, moment(day)] for day, c, f in sorted(orders)))
    funds = (
        [
            f"F{n:03d}",
            f"{HOUSES[house[n]]} {REGIONS[region[n]]} {STYLES[style[n]]} {CLASSES[risk[n] - 1]} {n}",
            CLASSES[risk[n] - 1],
            REGIONS[region[n]],
            risk[n],
            f"{fee[n]:.2f}",
            HOUSES[house[n]],
        ]
        for n in range(FUNDS)
    )
    write(folder / "funds.csv", ("fund", "name", "class", "region", "risk", "fee", "house"), funds)
    customers = ([f"C{n:03d}", age[n], tolerance[n]] for n in range(CUSTOMERS))
    write(folder / "customers.csv", ("customer", "age", "risk_tolerance"), customers)


def social(folder: Path) -> None:
    """People of two circles each follow those whom the people they follow do, or anybody of their circles."""
    rng = np.random.default_rng([SEED, 3])
    circles = np.array([rng.choice(CIRCLES, 2, replace=False) for _ in range(PEOPLE)])
    shared = (circles[:, None, :, None] == circles[None, :, None, :]).any(axis=(2, 3))
    drawing = np.exp(rng.normal(0, 0.8, PEOPLE))
    follows = np.zeros((PEOPLE, PEOPLE), dtype=bool)
    edges = []
    for step in range(PEOPLE * 18):
        one = int(rng.integers(PEOPLE))
        near = shared[one] * drawing
        if rng.random() < CLOSED and follows[one].any():
            near = near * follows[follows[one]].sum(axis=0)
        near = np.where(follows[one], 0, near)
        near[one] = 0
        if near.sum() > 0:
            other = int(rng.choice(PEOPLE, p=near / near.sum()))
            follows[one, other] = True
            edges.append((one, other, step / 60))
    write(
        folder / "follows.csv",
        ("who", "whom", "time"),
        ([f"@p{one:03d}", f"@p{other:03d}", moment(day)] for one, other, day in edges),
    )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    for make in (news, finance, social):
        make(folder / make.__name__)


if __name__ == "__main__":
    main()
