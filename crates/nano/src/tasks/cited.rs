//! Answers from given passages with their number, `[n]`, or that the passages don't hold the answer.
//!
//! Hard cases on purpose: other passages state the same attribute of other things, and other attributes of the same thing; when
//! the answer is absent, everything but the one fact is there.
//!
//! The passage is found in writing. Before it answers, the model writes down what is asked, and of each passage in turn of what
//! it tells, with a `yes` or a `no` behind the thing and behind the attribute: `[2] Kugorun Hotel yes, ticket price no`. The
//! number follows where both are asked, `[2] Kugorun Hotel yes, ticket price yes [2]`, and is what the answer copies. So each
//! step looks for one thing, and most of what is learned is a yes or no. A model this small does not find a line by two things at
//! once: with lines without verdicts, of which it had to find the one that began like its answer, it named any passage.

mod tables;

use super::{Task, judge};
use crate::example::{Example, Scoring};
use crate::grammar::{Language, Writer};
use crate::words;
use serde_json::{Value, json};
use tables::{FILLERS_EN, FILLERS_ZH, KINDS, PROMPTS_EN, PROMPTS_ZH};

/// The answer stands in a passage.
pub const FOUND: Task =
    Task { name: "cited", scoring: Scoring::Text, weight: 18, max_tokens: 224, write: found };
/// It does not.
pub const ABSENT: Task =
    Task { name: "absent", scoring: Scoring::Text, weight: 9, max_tokens: 224, write: absent };

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
    w.shuffle(&mut facts);
    let passages = Passages::new(&mut w, kind, &things, &facts);
    let (question, answer, expected) = passages.ask(&mut w, thing, attribute);
    let prompt = w.phrase(
        w.language().pick(PROMPTS_ZH, PROMPTS_EN),
        &[("passages", &passages.numbered()), ("question", &question)],
    );
    let mut thoughts = vec![passages.thoughts(w.language(), thing, attribute)];
    let mut further = Vec::new();
    for _ in 0..w.further_thoughtful_turns() {
        let (thing, attribute) = (w.below(3), attributes[w.below(3)]);
        let (question, answer, _) = passages.ask(&mut w, thing, attribute);
        further.push((question, answer));
        thoughts.push(passages.thoughts(w.language(), thing, attribute));
    }
    Example::new(w, prompt, answer, expected).with_turns(further).with_thoughts(thoughts)
}

/// A passage, and what it tells: nothing, perhaps.
struct Passage {
    text: String,
    fact: Option<Fact>,
}

/// Passages about things of one kind.
struct Passages<'a> {
    kind: &'static Kind,
    things: &'a [String],
    passages: Vec<Passage>,
}

impl<'a> Passages<'a> {
    /// A passage for each of `facts`, a thing and an attribute, in their order; perhaps with some between that tell nothing.
    fn new(
        w: &mut Writer,
        kind: &'static Kind,
        things: &'a [String],
        facts: &[(usize, usize)],
    ) -> Passages<'a> {
        let language = w.language();
        let mut passages = Vec::new();
        for &(thing, attribute) in facts {
            let stands = &kind.attributes[attribute];
            let value = (stands.value)(w);
            let slots = [("x", things[thing].as_str()), ("v", value.as_str())];
            let text = w.phrase(language.pick(stands.facts_zh, stands.facts_en), &slots);
            passages.push(Passage { text, fact: Some(Fact { thing, attribute, value }) });
        }
        for _ in 0..[0, 0, 0, 1, 1, 2][w.below(6)] {
            let (person, number) = (words::person(w), words::quantity(w).to_string());
            let slots = [("p", person.as_str()), ("n", number.as_str())];
            let text = w.phrase(language.pick(FILLERS_ZH, FILLERS_EN), &slots);
            let at = w.below(passages.len() + 1);
            passages.insert(at, Passage { text, fact: None });
        }
        Passages { kind, things, passages }
    }

    /// All of them with their numbers.
    fn numbered(&self) -> String {
        let lines =
            self.passages.iter().enumerate().map(|(i, passage)| format!("[{}] {}", i + 1, passage.text));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What is asked, and of each passage whether it tells of that.
    fn thoughts(&self, language: Language, thing: usize, attribute: usize) -> String {
        let (of, mark, space) = language.pick(("的", "？", ""), (", ", "?", " "));
        let called = |attribute: usize| {
            let attribute = &self.kind.attributes[attribute];
            language.pick(attribute.zh, attribute.en)
        };
        let mut lines = vec![format!("{}{of}{}{mark}", self.things[thing], called(attribute))];
        for (at, passage) in self.passages.iter().enumerate() {
            let n = at + 1;
            let Some(fact) = &passage.fact else {
                lines.push(format!("[{n}] -"));
                continue;
            };
            let (name, called) = (&self.things[fact.thing], called(fact.attribute));
            let (this, that) = (fact.thing == thing, fact.attribute == attribute);
            let found = if this && that { format!("{space}[{n}]") } else { String::new() };
            let judged = judge(language, [(name.as_str(), this), (called, that)]);
            lines.push(format!("[{n}] {judged}{found}"));
        }
        lines.join("\n")
    }

    /// A question for an attribute of a thing, its answer, and what the answer is scored by.
    fn ask(&self, w: &mut Writer, thing: usize, attribute: usize) -> (String, String, Value) {
        let (language, name) = (w.language(), &self.things[thing]);
        let asked = &self.kind.attributes[attribute];
        let question = w.phrase(language.pick(asked.ask_zh, asked.ask_en), &[("x", name)]);
        let is_asked = |fact: &&Fact| fact.thing == thing && fact.attribute == attribute;
        let stated = self.passages.iter().enumerate().find_map(|(at, passage)| {
            passage.fact.as_ref().filter(is_asked).map(|fact| (at + 1, &passage.text, &fact.value))
        });
        let (said, expected) = match stated {
            Some((n, text, value)) => (format!("[{n}] {text}"), json!({"contains": [value], "cites": [n]})),
            None => {
                let said = language.pick("资料中没有提到。", "The passages do not mention it.");
                let key = language.pick("没有提到", "do not mention");
                (said.to_owned(), json!({"contains": [key], "cites": []}))
            }
        };
        (question, said, expected)
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
