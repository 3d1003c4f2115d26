//! Attributes of a product to sales copy: everything that was given, and nothing else.

use super::{Task, join_request};
use crate::example::{Example, Scoring};
use crate::grammar::{Language, Writer};
use crate::words;
use serde_json::json;

/// The task.
pub const TASK: Task =
    Task { name: "copywriting", scoring: Scoring::Text, weight: 5, max_tokens: 160, write };

/// An attribute: what lists call it, and how copy says it.
struct Attribute {
    zh: &'static str,
    en: &'static str,
    value: fn(&mut Writer) -> String,
    say_zh: &'static [&'static str],
    say_en: &'static [&'static str],
}

fn write(w: Writer) -> Example {
    let mut w = w;
    let language = w.language();
    let product = product(&mut w);
    let wanted = w.number(2, 4) as usize;
    let mut picked = w.sample(ATTRIBUTES.len(), wanted);
    picked.sort_unstable();
    let mut values = vec![product.clone()];
    let opening = w.one(language.pick(OPENINGS_ZH, OPENINGS_EN));
    let mut copy = vec![w.write(opening, &[("x", &product)])];
    let mut lines = vec![format!("{}{product}", language.pick("名称：", "Name: "))];
    for &at in &picked {
        let attribute = &ATTRIBUTES[at];
        let value = (attribute.value)(&mut w);
        let say = w.one(language.pick(attribute.say_zh, attribute.say_en));
        copy.push(w.write(say, &[("v", &value)]));
        lines.push(language.pick(format!("{}：{value}", attribute.zh), format!("{}: {value}", attribute.en)));
        values.push(value);
    }
    copy.push(w.one(language.pick(ENDINGS_ZH, ENDINGS_EN)).to_owned());
    if w.chance(40) {
        w.shuffle(&mut lines[1..]);
    }
    let list = lines.join(if w.chance(25) { language.pick("；", "; ") } else { "\n" });
    let ask = w.phrase(language.pick(ASK_ZH, ASK_EN), &[]);
    let question = join_request(&mut w, &ask, &list);
    let answer = copy.join(language.pick("", " "));
    Example::new(w, question, answer, json!({"contains": values}))
}

fn product(w: &mut Writer) -> String {
    let brand = words::brand(w);
    match w.language() {
        Language::Zh => format!("{brand}{}", w.write(PRODUCTS_ZH, &[])),
        Language::En => format!("{brand} {}", w.write(PRODUCTS_EN, &[])),
    }
}

/// Two words of praise or fact.
fn feature(w: &mut Writer) -> String {
    w.entity(&mut |w| match w.language() {
        Language::Zh => format!("{}{}", w.one(FEATURES_ZH.0), w.one(FEATURES_ZH.1)),
        Language::En => format!("{} {}", w.one(FEATURES_EN.0), w.one(FEATURES_EN.1)),
    })
}

fn material(w: &mut Writer) -> String {
    let list = w.language().pick(MATERIALS_ZH, MATERIALS_EN);
    w.write(list, &[])
}

fn colour(w: &mut Writer) -> String {
    let list = w.language().pick(COLOURS_ZH, COLOURS_EN);
    w.write(list, &[])
}

fn audience(w: &mut Writer) -> String {
    let list = w.language().pick(AUDIENCES_ZH, AUDIENCES_EN);
    w.write(list, &[])
}

fn price(w: &mut Writer) -> String {
    let n = words::quantity(w);
    w.language().pick(format!("{n}元"), format!("${n}"))
}

/// In the order in which copy speaks of them.
const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        zh: "卖点",
        en: "Feature",
        value: feature,
        say_zh: &["最大的亮点是{v}。", "{v}，用过就离不开。", "它{v}，天天都省心。"],
        say_en: &["Its best point: {v}.", "You will love it: {v}.", "Made to impress, with {v}."],
    },
    Attribute {
        zh: "材质",
        en: "Material",
        value: material,
        say_zh: &["选用{v}，摸得到的好品质。", "{v}材质，耐用又安心。", "采用{v}精心打造。"],
        say_en: &["It is made of {v} that lasts.", "Fine {v} makes it strong.", "Crafted from {v}."],
    },
    Attribute {
        zh: "颜色",
        en: "Color",
        value: colour,
        say_zh: &["{v}外观，一眼心动。", "经典{v}，怎么搭都好看。", "{v}款现已上市。"],
        say_en: &["In {v}, it fits everywhere.", "The {v} finish turns heads.", "Now available in {v}."],
    },
    Attribute {
        zh: "适合",
        en: "For",
        value: audience,
        say_zh: &["特别适合{v}。", "为{v}而设计。", "{v}的好选择。"],
        say_en: &["Perfect for {v}.", "Designed for {v}.", "A good choice for {v}."],
    },
    Attribute {
        zh: "产地",
        en: "Origin",
        value: words::city,
        say_zh: &["产自{v}，品质可靠。", "来自{v}的匠心。", "{v}制造，放心选购。"],
        say_en: &["Made in {v} with care.", "It comes straight from {v}.", "Built in {v}."],
    },
    Attribute {
        zh: "价格",
        en: "Price",
        value: price,
        say_zh: &["现在只要{v}！", "价格仅{v}。", "{v}就能带回家。"],
        say_en: &["Now only {v}!", "Yours for {v}.", "All this for just {v}."],
    },
];

const OPENINGS_EN: &[&str] =
    &["Meet the {x}!", "Say hello to the {x}.", "The {x} is here.", "Discover the {x}."];
const OPENINGS_ZH: &[&str] = &["认识一下{x}！", "{x}来了！", "好物推荐：{x}。", "遇见{x}，遇见好生活。"];
const ENDINGS_EN: &[&str] = &["Order today!", "Get yours now.", "Treat yourself.", "Don't miss it!"];
const ENDINGS_ZH: &[&str] = &["快来下单吧！", "喜欢就别错过。", "好好犒劳自己吧。", "今天就带走它！"];
const PRODUCTS_EN: &str = "<kettle|backpack|headset|lamp|speaker|watch|camera|fan|chair|desk|bottle|jacket|shoes|tea|coffee|soap|\
    blanket|umbrella|bike|tent|pan|knife|pillow|scarf|notebook|pen>";
const PRODUCTS_ZH: &str = "<水壶|背包|耳机|台灯|音箱|手表|相机|风扇|椅子|书桌|水杯|外套|跑鞋|绿茶|咖啡|香皂|毛毯|雨伞|自行车|帐篷|\
    炒锅|菜刀|枕头|围巾|笔记本|钢笔>";
const FEATURES_EN: (&[&str], &[&str]) = (
    &["very", "extra", "surprisingly", "wonderfully", "really", "uniquely", "super", "pleasantly"],
    &[
        "light weight",
        "long battery life",
        "quiet operation",
        "soft touch",
        "fast charging",
        "easy cleaning",
        "strong grip",
        "warm light",
        "clear sound",
        "large space",
        "smart control",
        "safe handles",
        "quick drying",
        "fresh scent",
    ],
);
const FEATURES_ZH: (&[&str], &[&str]) = (
    &["特别", "非常", "超级", "格外", "真正", "出奇", "十分", "相当"],
    &[
        "轻便",
        "续航久",
        "静音",
        "柔软",
        "充电快",
        "好清洗",
        "防滑",
        "保暖",
        "音质清晰",
        "容量大",
        "智能",
        "防水",
        "速干",
        "清香",
        "耐摔",
        "省电",
    ],
);
const MATERIALS_EN: &str = "<steel|bamboo|cotton|leather|glass|wool|oak|silk|aluminium|linen|copper|cork|ceramic|canvas|recycled plastic|\
    titanium>";
const MATERIALS_ZH: &str =
    "<不锈钢|竹子|纯棉|真皮|玻璃|羊毛|橡木|真丝|铝合金|亚麻|黄铜|软木|陶瓷|帆布|再生塑料|钛>";
const COLOURS_EN: &str =
    "<red|navy blue|snow white|matte black|forest green|silver|orange|purple|sand|golden yellow|pink|grey>";
const COLOURS_ZH: &str = "<大红|海军蓝|雪白|哑光黑|森林绿|银色|橙色|紫色|沙色|金黄|粉色|灰色>";
const AUDIENCES_EN: &str = "<students|hikers|office workers|families|travellers|runners|children|grandparents|gamers|cooks|commuters|\
    campers|artists|beginners>";
const AUDIENCES_ZH: &str =
    "<学生|登山爱好者|上班族|一家人|旅行者|跑步的人|孩子|老人|游戏玩家|厨师|通勤的人|露营的人|画家|新手>";
const ASK_EN: &[&str] = &[
    "<Write|Make|Create> <a short |a |some ><sales text|ad|product description|sales copy> for this <product|article>.",
    "<Turn|Make> <these|the> <facts|attributes|data> into <an ad|a sales text|sales copy>.",
    "<Product description|Sales text|Ad|Copy><| for the shop| for our web shop><, please|>:",
    "<Please |>advertise this<| product>:",
    "<I need|We need|Give me> <an ad|a sales text|sales copy> for this <product|article>.",
];
const ASK_ZH: &[&str] = &[
    "<给|为>这个<商品|产品|东西>写<一段|个|一份><文案|广告|推广文字|介绍>。",
    "<把|将><这些|以下><信息|属性|资料>写成<广告|文案|推广文字>。",
    "<根据|按照><下面的|这些><信息|属性|资料>写<一段|个|><文案|广告|商品介绍>：",
    "<销售文案|商品文案|广告|推广文字><，用在网店|>：",
    "<请|帮我>为<它|这个产品|这个商品>做<宣传|推广>：",
    "我<需要|想要><这个产品|这个商品>的<广告|文案>。",
];
