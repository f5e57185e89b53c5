"""A Chinese log, made from the built-in sample: its titles translated word by word with the fixed list below.

    python tests/system/chinese_sample.py FOLDER

Nobody wrote these titles: words that the list lacks are left out, the order of words is that of the English titles, and
a title of which nothing is left keeps its code. Events, times and prices are those of the sample (CC BY 4.0, see
data/sample). Categories are the last noun of a title, tags its other words. FOLDER gets log.csv, items.csv and
chinese.toml.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "data/sample/online_retail_sample.csv"


def pairs(text: str) -> dict[str, str]:
    """English words and their Chinese ones, which stand behind a colon."""
    return dict(pair.split(":") for pair in text.split())


NOUNS = pairs("""
    BAG:包袋 BOX:盒子 BOXES:盒子 CAKE:蛋糕 SIGN:牌子 PAPER:纸品 HOLDER:支架 DOORMAT:门垫 TEA:茶具 CUTLERY:餐具
    BOTTLE:瓶子 LIGHT:灯具 LIGHTS:灯具 CASES:纸杯 DOOR:门饰 PARTY:派对 MAT:垫子 GLASS:玻璃杯 BUNTING:彩旗 CARD:卡片
    CARDS:卡片 TIN:铁罐 TINS:铁罐 WRAP:包装纸 TUBE:筒装 MUG:马克杯 PENCILS:铅笔 RIBBONS:丝带 RIBBON:丝带
    GARDEN:园艺 BOWL:碗 BOWLS:碗 STAND:架子 DOLL:娃娃 KIT:套装 REEL:线轴 CUP:杯子 CUPS:杯子 TISSUES:纸巾
    PLASTERS:创可贴 WARMER:保暖袋 DECORATION:装饰 GIFT:礼品 APRON:围裙 NAPKINS:餐巾 BLOCK:积木 BLOCKS:积木
    UMBRELLA:雨伞 CANDLES:蜡烛 CANDLE:蜡烛 JUG:水壶 SLATE:石板 DOILIES:花边纸 TRINKET:小饰物 STORAGE:收纳
    CHAIN:纸链 PICNIC:野餐 SHOPPER:购物袋 DOORSTOP:门挡 KEY:钥匙 SNACK:点心 LUNCHBOX:饭盒 JAR:罐子 POPCORN:爆米花
    CUSHION:靠垫 HOOK:挂钩 HANGER:衣架 LACE:蕾丝 CHOCOLATE:巧克力 PLATE:盘子 PLATES:盘子 MATCHES:火柴 FONT:字体
    MILK:牛奶 FOB:钥匙扣 LETTERS:字母 BANK:存钱罐 RECIPE:食谱 CABINET:柜子 JAM:果酱 FRAME:相框 PICTURE:画框
    TOWELS:毛巾 PARASOL:阳伞 PEG:挂钉 PEGS:夹子 SKITTLES:保龄球 SHED:棚屋 BASKET:篮子 GARLAND:花环 FLAG:旗子
    LANTERN:灯笼 CONTAINER:容器 TOY:玩具 TOYS:玩具 OVEN:烤箱 GLOVE:手套 GLOVES:手套 CHALKBOARD:黑板 BOARD:板子
    SCALES:秤 MONEY:钱币 PLAYHOUSE:玩具屋 GAME:游戏 DRAWER:抽屉 TEAPOT:茶壶 BALL:球 CHALK:粉笔 DOMINOES:多米诺
    COFFEE:咖啡 LID:盖子 COSY:保温套 STICKER:贴纸 CALENDAR:日历 COOKIE:曲奇 CUTTERS:模具 COAT:外套 BISCUIT:饼干
    SUGAR:糖 SPOONS:勺子 DISH:碟子 PLANT:植物 MEMO:便签 HARMONICA:口琴 TROWEL:铲子 PAINT:颜料 TEACUP:茶杯
    SAUCER:茶托 CLOCK:时钟 JEWELLERY:首饰 MIRROR:镜子 TILE:瓷砖 BALLOONS:气球 NOTEBOOKS:笔记本 JIGSAW:拼图
    CRAYONS:蜡笔 SCARF:围巾 ORNAMENT:摆件 RACK:搁架
    """)
OTHERS = pairs("""
    RED:红色 SET:套装 RETROSPOT:复古波点 HEART:爱心 HEARTS:爱心 SPOTTY:波点 PINK:粉色 WHITE:白色 DESIGN:设计
    METAL:金属 VINTAGE:古典 PACK:组合 CHRISTMAS:圣诞 SPOT:圆点 SPOTS:圆点 WOODEN:木制 WOOD:木头 RETRO:复古
    HOME:家居 JUMBO:特大 BLUE:蓝色 POLKADOT:圆点 FELTCRAFT:毛毡 HOT:热 WATER:水 LUNCH:午餐 HANGING:悬挂 SMALL:小号
    SPACEBOY:太空男孩 UNION:联合 MINI:迷你 FAIRY:仙女 LARGE:大号 BIRTHDAY:生日 JACK:杰克 CHARLOTTE:夏洛特
    CHILDS:儿童 CHILDRENS:儿童 TRADITIONAL:传统 STRAWBERRY:草莓 ROUND:圆形 PAISLEY:佩斯利 COLOUR:彩色 CERAMIC:陶瓷
    ROSE:玫瑰 ROSES:玫瑰 HAND:手工 SWEET:甜美 CREAM:奶油 DOTS:圆点 SILVER:银色 BLACK:黑色 ZINC:锌 GINGHAM:格纹
    WOODLAND:森林 SUKI:苏琪 BUTTERFLY:蝴蝶 ASSORTED:混装 SKULL:骷髅 SKULLS:骷髅 NATURAL:天然 FANCY:花式 STAR:星星
    MAGIC:魔法 KITCHEN:厨房 DOLLY:多莉 GIRL:女孩 WICKER:藤编 BABUSHKA:套娃 GREEN:绿色 FINISH:涂层 ANTIQUE:古董
    SWEETHEART:甜心 ENGLISH:英式 TIME:时光 SCANDINAVIAN:北欧 IVORY:象牙色 HAPPY:快乐 FLOWER:花朵 DOG:小狗 BIRD:小鸟
    DINOSAUR:恐龙 SEWING:缝纫 TALL:高 CAT:小猫 DOVE:鸽子 TOADSTOOL:蘑菇 MEASURING:量度 REGENCY:摄政 ENAMEL:搪瓷
    BREAKFAST:早餐 POPPY:罂粟 BAKING:烘焙 FELT:毛毡 GREY:灰色 VICTORIAN:维多利亚 LOVE:爱 WELCOME:欢迎 ADVENT:降临节
    TEATIME:下午茶 STRIPEY:条纹 ANIMALS:动物 FLORAL:花卉 RUSTIC:乡村 OWL:猫头鹰 CIRCUS:马戏团 PRINCESS:公主
    """)
SETTINGS = """seed = 42

[clean]
min_user_events = 2
repeats = "first"

[clean.interactions]
path = "log.csv"
user = "用户"
item = "商品"
time = "时间"
value = "数量"
where = '"数量" > 0'

[clean.items]
path = "items.csv"
item = "商品"
title = "名称"
category = "类别"
tags = "标签"
attributes = ["价格"]

[pretrain]
epochs = 3
"""


def make(folder: Path) -> Path:
    """Write the files; the settings of the log."""
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    titles, prices = defaultdict(Counter), defaultdict(Counter)
    for row in rows:
        titles[row["StockCode"]][row["Description"]] += 1
        prices[row["StockCode"]][row["Price"]] += 1
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["用户", "商品", "时间", "数量"])
        out.writerows([row["Customer ID"], row["StockCode"], row["InvoiceDate"], row["Quantity"]] for row in rows)
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["商品", "名称", "类别", "标签", "价格"])
        for code in sorted(titles):
            name, kind, tags = translated(titles[code].most_common(1)[0][0])
            out.writerow([code, name or code, kind, "|".join(tags), f"£{prices[code].most_common(1)[0][0]}"])
    settings = folder / "chinese.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    return settings


def translated(title: str) -> tuple[str, str, list[str]]:
    """The title, its last noun and its other words in Chinese."""
    words = re.findall(r"[A-Z]+", title.upper())
    found = [(NOUNS.get(word) or OTHERS.get(word), word in NOUNS) for word in words if word in NOUNS or word in OTHERS]
    nouns = [word for word, noun in found if noun]
    kind = nouns[-1] if nouns else ""
    return "".join(word for word, _ in found), kind, list(dict.fromkeys(word for word, _ in found if word != kind))


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
