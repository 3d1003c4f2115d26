//! Exact match: the answer is one of the expected texts.

use super::{Verdict, mark, quoted};
use crate::Answer;
use crate::normalize::Normalize;
use regex::Regex;
use serde_json::Value;
use std::sync::Arc;

/// The kind's metrics.
pub const METRICS: [&str; 1] = ["exact"];

/// The right texts.
#[derive(Debug)]
pub struct Gold {
    accepted: Vec<String>,
    normalize: Normalize,
    /// Where in the answer the text is: its first group, or the whole match.
    pattern: Option<Arc<Regex>>,
}

impl Gold {
    /// From a case's `expected`: a text or a number, or a list of those of which one must be met.
    pub fn new(expected: &Value, normalize: Normalize, pattern: Option<Arc<Regex>>) -> Result<Gold, String> {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err("`expected` must be a text, a number, or a list of them".to_owned()),
        };
        let accepted = match expected {
            Value::Array(values) if values.is_empty() => return Err("`expected` is an empty list".to_owned()),
            Value::Array(values) => values.iter().map(text).collect::<Result<_, _>>()?,
            value => vec![text(value)?],
        };
        Ok(Gold { accepted, normalize, pattern })
    }

    /// 1 for the right text, else 0.
    pub fn score(&self, answer: &Answer) -> Verdict {
        let found = match &self.pattern {
            None => answer.text.as_str(),
            Some(pattern) => match pattern.captures(&answer.text) {
                Some(groups) => groups.get(1).or(groups.get(0)).map_or("", |group| group.as_str()),
                None => {
                    let why = format!("the pattern is not in the answer: {}", quoted(&answer.text));
                    return Verdict::new(METRICS, [0.0], Some(why));
                }
            },
        };
        let right = self.accepted.iter().any(|accepted| self.normalize.equal(accepted, found));
        let why =
            (!right).then(|| format!("{} is not {}", quoted(found), quoted(&self.accepted.join(" or "))));
        Verdict::new(METRICS, [mark(right)], why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_of_the_expected_texts_must_be_the_answer() {
        let relaxed = Normalize { ignore_case: true, ignore_punctuation: true };
        for (expected, normalize, pattern, answer, value) in [
            (json!("Paris"), Normalize::default(), None, " Paris\n", 1.0),
            (json!("Paris"), Normalize::default(), None, "paris.", 0.0),
            (json!("Paris"), relaxed, None, "paris.", 1.0),
            (json!(["巴黎", "Paris"]), relaxed, None, "巴黎！", 1.0),
            (json!("Paris"), relaxed, None, "It is Paris", 0.0),
            (json!(42), Normalize::default(), Some(r"####\s*(-?\d+)"), "6 times 7\n#### 42", 1.0),
            (json!(42), Normalize::default(), Some(r"####\s*(-?\d+)"), "42", 0.0),
            (json!("B"), Normalize::default(), Some("[A-D]"), "the B option", 1.0),
            (json!(""), Normalize::default(), None, "", 1.0),
        ] {
            let pattern = pattern.map(|text| Arc::new(Regex::new(text).unwrap()));
            let gold = Gold::new(&expected, normalize, pattern).unwrap();
            let verdict = gold.score(&Answer::text(answer));
            assert_eq!(verdict.headline(), value, "{expected} {answer}");
            assert_eq!(verdict.why.is_none(), value == 1.0, "{expected} {answer}");
        }
        let huge = Answer::text("x".repeat(1 << 20));
        let verdict = Gold::new(&json!("x"), relaxed, None).unwrap().score(&huge);
        assert!(verdict.headline() == 0.0 && verdict.why.unwrap().len() < 200);
        for wrong in [json!([]), json!({}), json!(null), json!(["a", []])] {
            assert!(Gold::new(&wrong, relaxed, None).is_err(), "{wrong}");
        }
    }
}
