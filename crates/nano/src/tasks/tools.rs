//! Choosing and filling one of the tools given, and putting its result into words.
//!
//! Tools are called differently from example to example, and half of them are put together from a verb and a noun, so that the
//! definitions in the prompt decide, and not what was learned by heart.
//!
//! Before a call, the model writes down what is asked in set words, verb and noun apart, and then what each tool does, with a
//! `yes` or a `no` behind each word: `cancel yes, order no`. The tool's name and what it takes follow where all is asked, as with
//! passages (`cited`): each step looks for one thing.

mod tables;

use super::{Task, exchange, judge};
use crate::example::{Example, Scoring, assistant, user};
use crate::grammar::{Language, Writer, json_line};
use crate::words;
use serde_json::{Map, Value, json};
use tables::{COMPOSED_ASK_EN, COMPOSED_ASK_ZH, FAMILIES, NOUNS, STATES_EN, STATES_ZH, VERBS};

/// The call.
pub const CHOOSE: Task =
    Task { name: "tools", scoring: Scoring::Tools, weight: 13, max_tokens: 256, write: choose };
/// The answer from its result.
pub const ANSWER: Task =
    Task { name: "tool-result", scoring: Scoring::Text, weight: 5, max_tokens: 64, write: answer };

/// What a parameter takes.
enum Values {
    /// Text that stands in the request.
    Text(fn(&mut Writer) -> String),
    /// A whole number that stands in the request.
    Integer(u32, u32),
    /// One of these; requests say them in Chinese as the second.
    Choice(&'static [(&'static str, &'static str)]),
}

struct Parameter {
    names: &'static [&'static str],
    values: Values,
    zh: &'static str,
    en: &'static str,
}

/// A field of a result, and what writes its value.
type Field = (&'static str, fn(&mut Writer) -> String);

/// Tools for one purpose. Requests and answers name the parameters' values `a`, `b` and `c`, the results' `r` and `s`.
struct Family {
    names: &'static [&'static str],
    zh: &'static [&'static str],
    en: &'static [&'static str],
    parameters: &'static [Parameter],
    ask_zh: &'static [&'static str],
    ask_en: &'static [&'static str],
    results: &'static [Field],
    answer_zh: &'static str,
    answer_en: &'static str,
}

/// A tool, a request for it, its call, its result and the answer.
struct Use {
    definition: Value,
    /// What it does, in set words: all at once, or verb and noun.
    does: Vec<String>,
    /// Its name with its parameters' names.
    signature: String,
    ask: String,
    name: String,
    arguments: Value,
    result: Value,
    answer: String,
    values: Vec<String>,
}

fn choose(w: Writer) -> Example {
    let mut w = w;
    let (offered, tools) = offer(&mut w);
    let right = &offered[0];
    if w.is_train() && w.chance(6) {
        let (ask, answer) = exchange(&mut w);
        let mut example = Example::new(w, ask, answer.to_owned(), json!([]));
        example.tools = tools;
        return example;
    }
    let language = w.language();
    let thoughts = |asked: &Use| thoughts(language, asked, &offered, &tools);
    let mut messages = vec![user(&right.ask), calling(right, Some(thoughts(right)))];
    let mut last = right;
    for _ in 0..w.further_thoughtful_turns() {
        // a request for each tool stands ready; one that was called is not asked for again
        let Some(next) = offered.get(messages.len() / 4 + 1) else { break };
        let answered = [returning(last), assistant(&last.answer)];
        messages.extend(answered.into_iter().chain([user(&next.ask), calling(next, Some(thoughts(next)))]));
        last = next;
    }
    let call = json!([{"name": right.name, "arguments": right.arguments}]);
    let mut example = Example::new(w, right.ask.clone(), String::new(), call);
    example.messages = messages;
    example.tools = tools;
    example
}

fn answer(w: Writer) -> Example {
    let mut w = w;
    let (offered, tools) = offer(&mut w);
    let right = &offered[0];
    let expected = json!({"contains": right.values});
    let mut example = Example::new(w, right.ask.clone(), String::new(), expected);
    example.messages =
        vec![user(&right.ask), calling(right, None), returning(right), assistant(&right.answer)];
    example.tools = tools;
    example
}

fn returning(from: &Use) -> Value {
    json!({"role": "tool", "content": json_line(&from.result)})
}

/// The call, learned with what is thought before it, or without that only something that was before.
fn calling(right: &Use, thoughts: Option<String>) -> Value {
    let function = json!({"name": right.name, "arguments": right.arguments});
    let mut message = json!({"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]});
    match thoughts {
        Some(thoughts) => message["reasoning_content"] = thoughts.into(),
        None => message["weight"] = 0.into(),
    }
    message
}

/// What is asked, and of each of `tools`, which are offered in this order, whether it does that.
fn thoughts(language: Language, asked: &Use, offered: &[Use], tools: &[Value]) -> String {
    let (comma, mark, colon) = language.pick(("，", "？", "："), (", ", "?", ": "));
    let mut lines = vec![format!("{}{mark}", asked.does.join(comma))];
    for tool in tools.iter().filter_map(|tool| offered.iter().find(|of| of.definition == *tool)) {
        let judged = judge(language, tool.does.iter().map(|word| (word.as_str(), asked.does.contains(word))));
        lines.push(match tool.does == asked.does {
            true => format!("{judged}{colon}{}", tool.signature),
            false => judged,
        });
    }
    lines.join("\n")
}

/// A tool's name with its parameters' names.
fn signature(name: &str, properties: &Map<String, Value>) -> String {
    let keys: Vec<&str> = properties.keys().map(String::as_str).collect();
    format!("{name}({})", keys.join(", "))
}

/// The tools that are offered, first the one that is asked for, and their definitions in an order of chance.
fn offer(w: &mut Writer) -> (Vec<Use>, Vec<Value>) {
    let count = w.number(1, 3) as usize;
    let composed = w.chance(50);
    let families = w.sample(FAMILIES.len(), count + 1);
    let (right, mut others) = if composed {
        let (noun, verb) = verb_and_noun(w);
        let another = w.below(NOUNS.len());
        let right = composed_use(w, noun, verb);
        // one that differs in the verb, one in the noun
        let other = (verb + 1 + w.below(VERBS.len() - 1)) % VERBS.len();
        (right, vec![composed_use(w, noun, other), composed_use(w, another, verb)])
    } else {
        (family_use(w, &FAMILIES[families[0]]), Vec::new())
    };
    for &family in &families[1..] {
        others.push(family_use(w, &FAMILIES[family]));
    }
    w.shuffle(&mut others);
    let mut offered = vec![right];
    for other in others {
        if offered.len() <= count && offered.iter().all(|tool| tool.name != other.name) {
            offered.push(other);
        }
    }
    let mut definitions: Vec<Value> = offered.iter().map(|tool| tool.definition.clone()).collect();
    w.shuffle(&mut definitions);
    (offered, definitions)
}

/// A value as arguments have it, and as requests say it.
fn value(w: &mut Writer, of: &Values) -> (Value, String) {
    match of {
        Values::Text(make) => {
            let text = make(w);
            (text.as_str().into(), text)
        }
        Values::Integer(low, high) => {
            let n = w.number(*low, *high);
            (n.into(), n.to_string())
        }
        Values::Choice(choices) => {
            let (en, zh) = choices[w.below(choices.len())];
            (en.into(), w.language().pick(zh, en).to_owned())
        }
    }
}

fn schema(of: &Values, about: Option<&str>) -> Value {
    let mut schema = match of {
        Values::Text(_) => json!({"type": "string"}),
        Values::Integer(..) => json!({"type": "integer"}),
        Values::Choice(choices) => {
            let all: Vec<&str> = choices.iter().map(|choice| choice.0).collect();
            json!({"type": "string", "enum": all})
        }
    };
    if let Some(about) = about {
        schema["description"] = about.into();
    }
    schema
}

fn definition(name: &str, about: &str, properties: Map<String, Value>) -> Value {
    let required: Vec<String> = properties.keys().cloned().collect();
    json!({"type": "function", "function": {
        "name": name,
        "description": about,
        "parameters": {"type": "object", "properties": properties, "required": required},
    }})
}

fn family_use(w: &mut Writer, family: &'static Family) -> Use {
    let language = w.language();
    let name = w.one(family.names).to_owned();
    let about = w.one(language.pick(family.zh, family.en));
    let described = w.chance(40);
    let (mut properties, mut arguments) = (Map::new(), Map::new());
    let mut said: Vec<String> = Vec::new();
    for parameter in family.parameters {
        let (value, spoken) = value(w, &parameter.values);
        let key = w.one(parameter.names).to_owned();
        let text = language.pick(parameter.zh, parameter.en);
        properties.insert(key.clone(), schema(&parameter.values, described.then_some(text)));
        arguments.insert(key, value);
        said.push(spoken);
    }
    let results: Vec<String> = family.results.iter().map(|(_, make)| make(w)).collect();
    let mut slots: Vec<(&str, &str)> =
        ["a", "b", "c"].into_iter().zip(said.iter().map(String::as_str)).collect();
    slots.extend(["r", "s"].into_iter().zip(results.iter().map(String::as_str)));
    let ask = w.phrase(language.pick(family.ask_zh, family.ask_en), &slots);
    let answer = w.write(language.pick(family.answer_zh, family.answer_en), &slots);
    let result: Map<String, Value> = family
        .results
        .iter()
        .zip(&results)
        .map(|((key, _), v)| ((*key).to_owned(), v.as_str().into()))
        .collect();
    Use {
        does: vec![language.pick(family.zh, family.en)[0].to_lowercase()],
        signature: signature(&name, &properties),
        definition: definition(&name, about, properties),
        ask,
        name,
        arguments: arguments.into(),
        result: result.into(),
        answer,
        values: results,
    }
}

/// A noun and a verb, which belong to the split together.
fn verb_and_noun(w: &mut Writer) -> (usize, usize) {
    let mut pair = (0, 0);
    w.entity(&mut |w| {
        pair = (w.below(NOUNS.len()), w.below(VERBS.len()));
        format!("{} {}", VERBS[pair.1].0, NOUNS[pair.0].0)
    });
    pair
}

fn composed_use(w: &mut Writer, noun: usize, verb: usize) -> Use {
    let language = w.language();
    let (noun, verb) = (&NOUNS[noun], &VERBS[verb]);
    let name = match w.below(3) {
        0 => format!("{}_{}", noun.0, verb.0),
        _ => format!("{}_{}", verb.0, noun.0),
    };
    let spoken = noun.0.replace('_', " ");
    let about = language.pick(format!("{}{}", verb.1, noun.1), format!("{} a {spoken}", capital(verb.0)));
    let key = match w.below(4) {
        0 => "id".to_owned(),
        1 => "code".to_owned(),
        2 => "number".to_owned(),
        _ => format!("{}_id", noun.0),
    };
    let code = words::code(w);
    let state = w.one(language.pick(STATES_ZH, STATES_EN));
    let mut properties = Map::new();
    let described = w.chance(30).then_some(language.pick("编号", "its number"));
    properties.insert(key.clone(), schema(&Values::Text(words::code), described));
    let (verb, noun) = (language.pick(verb.1, verb.0), language.pick(noun.1, spoken.as_str()));
    let slots = [("verb", verb), ("noun", noun), ("code", code.as_str()), ("state", state)];
    let ask = w.phrase(language.pick(COMPOSED_ASK_ZH, COMPOSED_ASK_EN), &slots);
    let answer = w.write(language.pick("{noun}{code}：{state}。", "The {noun} {code}: {state}."), &slots);
    Use {
        does: vec![verb.to_owned(), noun.to_owned()],
        signature: signature(&name, &properties),
        definition: definition(&name, &about, properties),
        ask: capital(&ask),
        name,
        arguments: json!({key: code}),
        result: json!({"status": state}),
        answer,
        values: vec![code, state.to_owned()],
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
