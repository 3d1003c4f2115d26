//! The YAML between `---` at the beginning of a model card.

use crate::limits::{MAX_FRONT_MATTER_DEPTH, MAX_FRONT_MATTER_NODES};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// The front matter of a card as JSON; `None` when there is none, when it is broken, or when it is larger or deeper than
/// the bounds. Aliases are refused: a few lines of them can stand for more than there is memory.
pub fn front_matter(card: &str) -> Option<Value> {
    let (yaml, _) = split(card)?;
    load(yaml)
}

/// The front matter and the rest of a card; `None` when it has no front matter.
pub fn split(card: &str) -> Option<(&str, &str)> {
    let card = card.strip_prefix('\u{feff}').unwrap_or(card);
    let start = card.strip_prefix("---\n").or_else(|| card.strip_prefix("---\r\n"))?;
    let mut at = 0;
    for line in start.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((&start[..at], &start[at + line.len()..]));
        }
        at += line.len();
    }
    None
}

/// A list or a mapping that isn't complete yet.
enum Open {
    List(Vec<Value>),
    Mapping { map: Map<String, Value>, key: Option<String> },
}

impl Open {
    /// Takes the next value. `None` when it would be a key and is no scalar.
    fn take(&mut self, value: Value) -> Option<()> {
        match self {
            Open::List(list) => list.push(value),
            Open::Mapping { map, key } => match key.take() {
                Some(key) => _ = map.insert(key, value),
                None => *key = Some(as_key(value)?),
            },
        }
        Some(())
    }

    fn close(self) -> Value {
        match self {
            Open::List(list) => Value::Array(list),
            Open::Mapping { map, .. } => Value::Object(map),
        }
    }
}

fn as_key(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn load(yaml: &str) -> Option<Value> {
    let mut open: Vec<Open> = Vec::new();
    for (nodes, event) in Parser::new_from_str(yaml).enumerate() {
        if nodes > MAX_FRONT_MATTER_NODES || open.len() > MAX_FRONT_MATTER_DEPTH {
            return None;
        }
        let value = match event.ok()?.0 {
            Event::Alias(_) => return None,
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping { map: Map::new(), key: None });
                continue;
            }
            Event::Scalar(text, ScalarStyle::Plain, _, None) => plain(&text),
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::SequenceEnd | Event::MappingEnd => open.pop()?.close(),
            Event::DocumentEnd | Event::StreamEnd => return Some(Value::Null),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => continue,
        };
        match open.last_mut() {
            Some(parent) => parent.take(value)?,
            None => return Some(value),
        }
    }
    None
}

/// What a scalar without quotes means in YAML 1.2's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    // `inf`, `nan` and the like are words here
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let number = text.parse::<f64>().ok().filter(|_| is_number).and_then(serde_json::Number::from_f64);
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_card_begins_with_its_facts() {
        let card = "---\nlicense: apache-2.0\nbase_model:\n- Qwen/Qwen3-0.6B\ntags: [lora, 'yes', 1.5, 7, ~]\n\
                    text: |\n  two\n  lines\nwen: {\"a\": true}\n2024: year\nversion: 1.2.3\nmerge: no\n---\n# Title\n---\n";
        assert_eq!(
            front_matter(card).unwrap(),
            json!({
                "license": "apache-2.0", "base_model": ["Qwen/Qwen3-0.6B"], "tags": ["lora", "yes", 1.5, 7, null],
                "text": "two\nlines\n", "wen": {"a": true}, "2024": "year", "version": "1.2.3", "merge": "no"
            })
        );
        assert_eq!(split(card).unwrap().1, "# Title\n---\n");
        assert_eq!(front_matter("---\r\nlicense: mit\r\n---\r\n").unwrap(), json!({"license": "mit"}));
        assert_eq!(front_matter("---\n---\n"), Some(Value::Null));
    }

    #[test]
    fn what_is_broken_or_a_bomb_says_nothing() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]";
        let deep = "[".repeat(10_000);
        let wide = format!("a: [{}]", "1,".repeat(200_000));
        for card in [
            String::new(),
            "# Title\n".to_owned(),
            "---\nlicense: mit\n".to_owned(),
            "---\na: [1\n---\n".to_owned(),
            "---\n? [a]\n: b\n---\n".to_owned(),
            format!("---\n{bomb}\n---\n"),
            format!("---\n{deep}\n---\n"),
            format!("---\n{wide}\n---\n"),
        ] {
            assert_eq!(front_matter(&card), None, "{}", &card[..card.len().min(60)]);
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(yaml in r"[a-c\[\]{}:,\- \n&*!|>'\x22#\\\PC]{0,60}") {
            let _ = front_matter(&format!("---\n{yaml}\n---\n"));
        }
    }
}
