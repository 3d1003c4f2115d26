//! Tool calls: the right functions with the right arguments, and none where none is needed.

use super::json::{agreement, check_size, parse};
use super::{Verdict, mark};
use crate::Answer;
use crate::normalize::Normalize;
use serde::Deserialize;
use serde_json::{Value, json};

/// The kind's metrics: all calls right, the functions right, fields of names and arguments that agree.
pub const METRICS: [&str; 3] = ["calls", "names", "fields"];

/// The right calls, in any order.
#[derive(Debug)]
pub struct Gold {
    /// A list of `{"name": ..., "arguments": {...}}`.
    expected: Value,
    names: Vec<String>,
    normalize: Normalize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedCall {
    name: String,
    #[serde(default)]
    arguments: serde_json::Map<String, Value>,
}

impl Gold {
    /// From a case's `expected`: a list of `{"name": ..., "arguments": {...}}`, empty where nothing is to be called. `known`
    /// are the functions that the case offers.
    pub fn new(expected: Value, known: &[&str], normalize: Normalize) -> Result<Gold, String> {
        check_size(&expected)?;
        let calls: Vec<ExpectedCall> = serde_json::from_value(expected).map_err(|error| {
            format!("`expected` must be a list of {{\"name\": ..., \"arguments\": {{...}}}}: {error}")
        })?;
        if let Some(call) = calls.iter().find(|call| !known.contains(&call.name.as_str())) {
            return Err(format!("`expected` calls `{}`, which is not one of the case's `tools`", call.name));
        }
        let names = sorted(calls.iter().map(|call| call.name.clone()));
        let expected = calls.into_iter().map(|call| document(&call.name, call.arguments.into())).collect();
        Ok(Gold { expected, names, normalize })
    }

    /// Compares the calls.
    pub fn score(&self, answer: &Answer) -> Verdict {
        let mut broken = None;
        let mut arguments = |text: &str| match text.trim() {
            "" => json!({}),
            text => parse(text).unwrap_or_else(|why| {
                broken.get_or_insert(why);
                // agrees with no object
                Value::Null
            }),
        };
        let found: Value =
            answer.calls.iter().map(|call| document(&call.name, arguments(&call.arguments))).collect();
        let agreement = agreement(&self.expected, &found, self.normalize);
        let names = sorted(answer.calls.iter().map(|call| call.name.clone()));
        let whole = agreement.is_whole();
        let why = (!whole).then(|| match broken {
            Some(why) => why,
            None if names != self.names => {
                format!("it calls [{}], not [{}]", names.join(", "), self.names.join(", "))
            }
            None => "arguments differ".to_owned(),
        });
        Verdict::new(METRICS, [mark(whole), mark(names == self.names), agreement.f1()], why)
    }
}

fn document(name: &str, arguments: Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Call;

    const KNOWN: [&str; 2] = ["f", "g"];

    fn answer(calls: &[(&str, &str)]) -> Answer {
        let call = |(name, arguments): &(&str, &str)| Call {
            name: (*name).to_owned(),
            arguments: (*arguments).to_owned(),
        };
        Answer { calls: calls.iter().map(call).collect(), ..Answer::default() }
    }

    #[test]
    fn names_and_arguments_must_be_right_and_nothing_more() {
        let two =
            json!([{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {"b": ["x", "y"]}}]);
        for (expected, calls, right) in [
            (json!([]), &[][..], [1.0, 1.0, 1.0]),
            (json!([]), &[("f", "{}")], [0.0, 0.0, 0.0]),
            (json!([{"name": "f"}]), &[("f", "{}")], [1.0, 1.0, 1.0]),
            (json!([{"name": "f"}]), &[("f", "")], [1.0, 1.0, 1.0]),
            (json!([{"name": "f"}]), &[], [0.0, 0.0, 0.0]),
            (json!([{"name": "f", "arguments": {"a": 1}}]), &[("f", "{\"a\": 1}")], [1.0, 1.0, 1.0]),
            // the name alone of two fields
            (json!([{"name": "f", "arguments": {"a": 1}}]), &[("f", "{\"a\": 2}")], [0.0, 1.0, 0.5]),
            (json!([{"name": "f", "arguments": {"a": 1}}]), &[("g", "{\"a\": 1}")], [0.0, 0.0, 0.5]),
            // twice the right call is one too many: 2·2/(2+4)
            (
                json!([{"name": "f", "arguments": {"a": 1}}]),
                &[("f", "{\"a\": 1}"), ("f", "{\"a\": 1}")],
                [0.0, 0.0, 2.0 / 3.0],
            ),
            (two.clone(), &[("g", "{\"b\": [\"y\", \"x\"]}"), ("f", "{\"a\": 1.0}")], [1.0, 1.0, 1.0]),
            (json!([{"name": "f", "arguments": {"a": 1}}]), &[("f", "{\"a\": 1")], [0.0, 1.0, 0.5]),
            (json!([{"name": "f", "arguments": {"a": 1}}]), &[("f", "[1]")], [0.0, 1.0, 0.5]),
        ] {
            let gold = Gold::new(expected.clone(), &KNOWN, Normalize::default()).unwrap();
            let verdict = gold.score(&answer(calls));
            let found: Vec<f64> = verdict.metrics.iter().map(|metric| metric.value).collect();
            assert_eq!(found, right, "{expected} {calls:?}");
            assert_eq!(verdict.why.is_none(), right[0] == 1.0, "{expected} {calls:?}");
        }
        let deep = format!("{{\"a\": {}", "[".repeat(1 << 20));
        let gold = Gold::new(json!([{"name": "f", "arguments": {"a": 1}}]), &KNOWN, Normalize::default());
        assert_eq!(gold.unwrap().score(&answer(&[("f", &deep)])).headline(), 0.0);
    }

    #[test]
    fn expected_calls_are_of_tools_that_are_offered() {
        for (expected, why) in [
            (json!([{"name": "h"}]), "`h`, which is not one of"),
            (json!([{"name": "f", "arguments": "{}"}]), "invalid type"),
            (json!([{"name": "f", "args": {}}]), "unknown field `args`"),
            (json!({"name": "f"}), "must be a list"),
        ] {
            let error = Gold::new(expected, &KNOWN, Normalize::default()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
