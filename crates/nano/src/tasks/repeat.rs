//! Saying again what was said: trains the copying that all other tasks live on, over all characters and made-up words.

use super::Task;
use crate::example::{Example, Scoring};
use crate::grammar::{Language, Writer};
use crate::words;

/// The task.
pub const TASK: Task = Task { name: "repeat", scoring: Scoring::Exact, weight: 4, max_tokens: 128, write };

fn write(w: Writer) -> Example {
    let mut w = w;
    let text = w.entity(&mut |w| {
        let mut parts: Vec<String> = Vec::new();
        for _ in 0..w.number(2, 6) {
            parts.push(part(w));
        }
        parts.join(w.language().pick("，", " "))
    });
    let question = w.phrase(w.language().pick(ASK_ZH, ASK_EN), &[("text", &text)]);
    let expected = text.clone().into();
    Example::new(w, question, text, expected)
}

fn part(w: &mut Writer) -> String {
    match (w.below(6), w.language()) {
        (0, _) => words::quantity(w).to_string(),
        (1, _) => words::code(w),
        (2, Language::Zh) | (_, Language::En) if w.chance(50) => words::made_up(w),
        (_, Language::En) => words::made_up(w).to_lowercase(),
        (_, Language::Zh) => (0..w.number(2, 8)).map(|_| words::hanzi(w)).collect(),
    }
}

const ASK_EN: &[&str] = &[
    "<Repeat|Echo|Copy|Say|Write>: {text}",
    "<Repeat|Echo|Copy|Say|Write> <exactly this|this|the following><| text| line>: {text}",
    "<Repeat after me|Copy this line|Say the same>:\n{text}",
    "<Please |>repeat the <following |>text: {text}",
];
const ASK_ZH: &[&str] = &[
    "<重复|复述|抄写|再写一遍|跟我说>：{text}",
    "<请|><原样|照着|><说|写|重复|抄>一遍：{text}",
    "<抄写|重复|复述>下面这<行|句>。\n{text}",
    "请<重复|复述|抄写><以下|下面的>文字：{text}",
];
