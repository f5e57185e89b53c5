"""What the values of a column look like that is an age, a country, a kind of event, …: regular expressions of RE2."""

from __future__ import annotations

GENDERS = "(?i:m|f|d|w|male|female|man|woman|other|diverse|unknown|non-binary)"
LISTED = {"|": r"[^|]+(?:\|[^|]+)+", ",": r"[^,]{1,40}(?:,[^,]{1,40})+", "": r"\[.*\]"}
"""Several values in a cell by what separates them; a list of JSON needs no separator."""
LEVELS = {"": r"[^>]+(?: > [^>]+)+", "/": r"[^/]+(?:/[^/]+)+"}
WEB = r"""(?i:https?://\S+|[\[{]+\s*["'].*https?://.*)"""
MONEY = r"(?i:(?:[$€£¥￥]|us\$|usd|eur|gbp|cny)\s?\d[\d.,]*|\d[\d.,]*\s?(?:[$€£¥￥元]|usd|eur|gbp|cny))"
BAND = (
    r"(?i:\d{1,2}\s?[-–~至到]\s?\d{1,3}|\d{1,2}\s?\+|(?:under|over|<|>)\s?\d{1,2}"
    r"|\d{1,2} (?:and|or) (?:over|older|under|younger)|\d{1,2}岁?以[上下])岁?"
)
CHINESE = r"(?s).*\p{Han}.{8,}"
"""A sentence in Chinese, which has no blanks."""
IMAGE_SUFFIXES = r"(?i:[^\s\[].*\.(?:jpe?g|png|webp|gif))"
AUDIO_SUFFIXES = r"(?i:[^\s\[].*\.(?:wav|flac|ogg|mp3))"
EVENTS = (
    "view|click|cart|add to ?cart|remove from ?cart|buy|purchase|transaction|order|like|dislike|fav|favou?rite|pv|play"
    "|skip|share|impression|save|bookmark|follow|rate|listen|watch|checkout|wishlist|collect|comment|return"
    "|浏览|点击|收藏|加购|购买|分享"
)
"""Kinds of events, in small letters without signs."""
COUNTRIES = (
    "argentina|australia|austria|belgium|brazil|canada|chile|china|colombia|denmark|egypt|finland|france|germany|greece"
    "|hungary|india|indonesia|ireland|israel|italy|japan|malaysia|mexico|netherlands|new zealand|nigeria|norway"
    "|pakistan|peru|philippines|poland|portugal|romania|russia|saudi arabia|singapore|south africa|south korea|spain"
    "|sweden|switzerland|taiwan|thailand|turkey|ukraine|united kingdom|united states|usa|uk|vietnam|deutschland"
    "|österreich|schweiz|frankreich|italien|spanien|中国|日本|美国|北京|上海|广东"
)
