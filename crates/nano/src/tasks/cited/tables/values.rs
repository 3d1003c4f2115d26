//! What is told of things: values, and what two kinds have in common.

use crate::grammar::Writer;
use crate::tasks::cited::Attribute;
use crate::words;

pub(super) fn number_of(w: &mut Writer, zh: &str, en: &str) -> String {
    let n = words::quantity(w);
    w.language().pick(format!("{n}{zh}"), format!("{n} {en}"))
}

pub(super) fn money(w: &mut Writer) -> String {
    number_of(w, "元", "euros")
}

pub(super) fn year(w: &mut Writer) -> String {
    let n = w.number(1890, 2025);
    w.language().pick(format!("{n}年"), n.to_string())
}

fn phone(w: &mut Writer) -> String {
    format!("{}-{:04}", w.number(200, 999), w.number(0, 9999))
}

pub(super) fn address(w: &mut Writer) -> String {
    let street = words::brand(w);
    let n = w.number(1, 199);
    let lane = w.below(3);
    w.language().pick(
        format!("{street}{}{n}号", ["路", "街", "巷"][lane]),
        format!("{n} {street} {}", ["Street", "Road", "Lane"][lane]),
    )
}

pub(super) fn room(w: &mut Writer) -> String {
    let n = w.number(101, 989);
    w.language().pick(format!("{n}室"), format!("room {n}"))
}

pub(super) fn department(w: &mut Writer) -> String {
    const ZH: &[&str] =
        &["市场部", "财务部", "研发部", "人事部", "法务部", "采购部", "客服部", "销售部", "设计部", "生产部"];
    const EN: &[&str] = &[
        "marketing",
        "finance",
        "research",
        "sales",
        "legal",
        "purchasing",
        "support",
        "design",
        "logistics",
        "security",
    ];
    let list = w.language().pick(ZH, EN);
    w.one(list).to_owned()
}

pub(super) fn months(w: &mut Writer) -> String {
    let n = w.number(3, 60);
    w.language().pick(format!("{n}个月"), format!("{n} months"))
}

pub(super) fn colour(w: &mut Writer) -> String {
    const ZH: &[&str] = &["红色", "蓝色", "白色", "黑色", "绿色", "灰色", "银色", "橙色", "紫色", "黄色"];
    const EN: &[&str] =
        &["red", "blue", "white", "black", "green", "grey", "silver", "brown", "purple", "yellow"];
    let list = w.language().pick(ZH, EN);
    w.one(list).to_owned()
}

/// The same of places and of people.
pub(super) const PHONE: Attribute = Attribute {
    zh: "电话",
    en: "phone number",
    value: phone,
    facts_zh: &[
        "{x}的<电话|电话号码|号码|联系电话>是{v}。",
        "<联系|找|要联系|要找>{x}请<打|拨打|拨>{v}。",
        "{x}<联系|>电话：{v}。",
        "<打|拨打|拨>{v}<可以找到|就能找到|可以联系|就能联系>{x}。",
    ],
    facts_en: &[
        "The <phone|telephone> number of {x} is {v}.",
        "<Call|Ring|Phone> {x} <at|on> {v}.",
        "{x} can be <reached|called|reached by phone> <at|on> {v}.",
        "<Phone|Phone number|Telephone|Telephone number> of {x}: {v}.",
        "<Dial|Ring|Call|Phone> {v} to <reach|speak to> {x}.",
    ],
    ask_zh: &[
        "<|请问>{x}的<电话|号码|电话号码|联系电话><是多少|是什么|>？",
        "<怎么|如何><打电话给|用电话联系>{x}？",
        "<联系|找>{x}<打|拨>哪个<号码|电话>？",
        "<打|拨>哪个<号码|电话>能<联系|找>到{x}？",
    ],
    ask_en: &[
        "<What is the |><phone|telephone> number of {x}?",
        "<Tell me|Please tell me> the <phone|telephone> number of {x}.",
        "How <can|do> I <call|phone|ring> {x}?",
        "How <can|do> I reach {x} by <phone|telephone>?",
        "<Which|What> number <reaches|do I dial for|do I call for|do I ring for> {x}?",
        "<Which|What> number do I <dial|call|ring> to reach {x}?",
    ],
};
