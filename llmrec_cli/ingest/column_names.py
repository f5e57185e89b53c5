"""What columns are called, in English, German, French, Spanish and Chinese: regular expressions over plain names."""

from __future__ import annotations

import re
import unicodedata

NAMES = {
    "user": r"user|customer|client|reviewer|member|visitor|shopper|buyer|subscriber|account|\buid\b"
    r"|kunde|nutzer|besucher|kaufer|utilisateur|acheteur|usuario|comprador|用户|客户|会员|买家|顾客",
    "item": r"item|product|movie|film|article|artist|song|track|book|game|stock|sku|asin|isbn|venue|news|video"
    r"|anime|business|restaurant|recipe|hotel|beer|\biid\b"
    r"|artikel|produkt|buch|spiel|produit|livre|articulo|pelicula|libro|juego|商品|产品|物品|电影|文章|歌曲|图书",
    "time": r"time|date|\bts\b|when|datum|zeit|fecha|\bepoch\b|\bheure|horodatage|\bhora\b|时间|日期|时刻",
    "value": r"rating|score|star|overall|quantity|qty|weight|count|hours|duration|dwell|play|amount|\bvalue\b|watch"
    r"|bewertung|menge|anzahl|dauer|\bnote\b|quantite|duree|cantidad|puntuacion|valoracion|duracion|评分|数量|次数|时长",
    "event": r"event|action|behaviou?r|\btype\b|ereignis|aktion|evenement|\baccion|evento|行为|事件|类型",
    "title": r"title|name|headline|description"
    r"|titel|bezeichnung|titre|\bnom\b|libelle|titulo|nombre|标题|名称|片名|品名",
    "category": r"categor|department|section|main_cat|kategorie|abteilung|rubrik|\brayon\b|类别|分类|品类|类目",
    "tags": r"tag|genre|keyword|attribute|topic|schlagwort|etiquette|etiqueta|标签|关键词",
    "text": r"description|\bdesc\b|summary|abstract|text|overview|feature|plot|synopsis"
    r"|beschreibung|\bresume\b|descripcion|描述|简介|内容|详情",
    "review": r"review|comment|opinion|feedback|kommentar|commentaire|\bavis\b|comentario|resena|评论|评价",
    "image": r"image|image|poster|cover|photo|thumbnail|\bbild|imagen|图片|封面",
    "audio": r"audio|preview|audio file",
    "age": r"\bage\b|\balter\b|\bedad\b|年龄",
    "gender": r"gender|\bsex\b|geschlecht|\bsexe\b|\bsexo\b|性别",
    "region": r"country|region|location|\bcity\b|\bstate\b|province|nation"
    r"|\bland\b|\bstadt\b|\bpays\b|\bville\b|\bpais\b|ciudad|国家|城市|地区|省份",
    "attribute": r"brand|price|year|author|director|label|occupation|publisher|\bzip|postal|postcode"
    r"|\bstore\b|seller|developer"
    r"|marke\b|preis|hersteller|autor|\bprix\b|marque|auteur|precio|\bmarca\b|价格|单价|品牌|作者|导演",
}
"""Field -> what its columns are called, of which the first to fit is taken."""


def plain(name: str) -> str:
    """The words of a name in small letters, without accents: "KäuferNr" is "kaufer nr"."""
    letters = unicodedata.normalize("NFKD", name)
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_\W]+", " ", bare).lower().strip()
