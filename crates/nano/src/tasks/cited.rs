//! Answers from given passages with their number, `[n]`, or that the passages don't hold the answer.
//!
//! Hard cases on purpose: other passages state the same attribute of other things, and other attributes of the same thing; when
//! the answer is absent, everything but the one fact is there.

mod tables;

use super::Task;
use crate::example::{Example, Scoring};
use crate::grammar::{Language, Writer};
use crate::words;
use serde_json::json;
use tables::{FILLERS_EN, FILLERS_ZH, KINDS, PROMPTS_EN, PROMPTS_ZH};

/// The answer stands in a passage.
pub const FOUND: Task =
    Task { name: "cited", scoring: Scoring::Text, weight: 15, max_tokens: 64, write: found };
/// It does not.
pub const ABSENT: Task =
    Task { name: "absent", scoring: Scoring::Text, weight: 8, max_tokens: 64, write: absent };

/// A kind of thing.
struct Kind {
    zh: &'static [&'static str],
    en: &'static [&'static str],
    attributes: &'static [Attribute],
}

/// What is stated of it, and asked.
struct Attribute {
    zh: &'static str,
    en: &'static str,
    value: fn(&mut Writer) -> String,
    facts_zh: &'static [&'static str],
    facts_en: &'static [&'static str],
    ask_zh: &'static [&'static str],
    ask_en: &'static [&'static str],
}

/// A fact: of which thing, which attribute, and its value.
struct Fact {
    thing: usize,
    attribute: usize,
    value: String,
}

fn found(w: Writer) -> Example {
    example(w, true)
}

fn absent(w: Writer) -> Example {
    example(w, false)
}

fn example(w: Writer, present: bool) -> Example {
    let mut w = w;
    let language = w.language();
    let kind = &KINDS[w.below(KINDS.len())];
    let things = things(&mut w, kind);
    let attributes = w.sample(kind.attributes.len(), 3);
    let (thing, attribute) = (0, attributes[0]);
    // the others: the same attribute of another thing, another attribute of the same one, and anything
    let mut facts = vec![(1, attribute), (thing, attributes[1])];
    if present {
        facts.insert(0, (thing, attribute));
    } else {
        facts.push((1, attributes[2]));
    }
    if w.chance(60) {
        facts.push((2, attributes[w.below(2)]));
    }
    if w.chance(30) {
        // alone, or the thing in question is not spoken of at all
        facts.retain(|&(t, a)| if present { a == attribute } else { t != thing });
    }
    let mut facts: Vec<Fact> = facts
        .into_iter()
        .map(|(thing, attribute)| Fact {
            thing,
            attribute,
            value: (kind.attributes[attribute].value)(&mut w),
        })
        .collect();
    w.shuffle(&mut facts);
    let (passages, numbers) = passages(&mut w, kind, &things, &facts);
    let name = &things[thing];
    let asked = &kind.attributes[attribute];
    let question = w.phrase(language.pick(asked.ask_zh, asked.ask_en), &[("x", name)]);
    let prompt =
        w.phrase(language.pick(PROMPTS_ZH, PROMPTS_EN), &[("passages", &passages), ("question", &question)]);
    let at = facts.iter().position(|fact| fact.thing == thing && fact.attribute == attribute);
    match at {
        Some(at) => {
            let (value, n) = (&facts[at].value, numbers[at]);
            let answer = match language {
                Language::Zh => format!("{name}的{}是{value}。[{n}]", asked.zh),
                Language::En => format!("The {} of {name} is {value}. [{n}]", asked.en),
            };
            Example::new(w, prompt, answer, json!({"contains": [value], "cites": [n]}))
        }
        None => {
            let (answer, key) = match language {
                Language::Zh => (format!("资料中没有提到{name}的{}。", asked.zh), "没有提到"),
                Language::En => {
                    (format!("The passages do not mention the {} of {name}.", asked.en), "do not mention")
                }
            };
            Example::new(w, prompt, answer, json!({"contains": [key], "cites": []}))
        }
    }
}

/// Three things of the kind with different names.
fn things(w: &mut Writer, kind: &Kind) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    while names.len() < 3 {
        let name = match w.language() {
            Language::Zh if kind.zh.is_empty() => words::person(w),
            Language::En if kind.en.is_empty() => words::person(w),
            Language::Zh => format!("{}{}", words::brand(w), w.one(kind.zh)),
            Language::En => format!("{} {}", words::brand(w), w.one(kind.en)),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The passages with their numbers, and the number of each fact's.
fn passages(w: &mut Writer, kind: &Kind, things: &[String], facts: &[Fact]) -> (String, Vec<usize>) {
    let language = w.language();
    let mut texts: Vec<String> = Vec::new();
    let mut numbers = Vec::new();
    for fact in facts {
        let attribute = &kind.attributes[fact.attribute];
        let slots = [("x", things[fact.thing].as_str()), ("v", fact.value.as_str())];
        let text = w.phrase(language.pick(attribute.facts_zh, attribute.facts_en), &slots);
        match texts.last_mut() {
            Some(last) if w.chance(12) => last.push_str(&format!("{}{text}", language.pick("", " "))),
            _ => texts.push(text),
        }
        numbers.push(texts.len());
    }
    let filler = w.chance(30);
    if filler {
        texts.push(w.phrase(language.pick(FILLERS_ZH, FILLERS_EN), &[]));
    }
    let lines: Vec<String> =
        texts.iter().enumerate().map(|(i, text)| format!("[{}] {text}", i + 1)).collect();
    (lines.join("\n"), numbers)
}
