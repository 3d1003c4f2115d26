//! JSON: whether the answer is a document, and how many of its fields are right.
//!
//! A field is a value that holds no others, at its path. Lists have no order: their items are paired with the expected ones,
//! those that agree most first. The score is F1: twice the fields that agree, over the expected and the found ones, so that
//! what is missing and what is made up both count.

use super::{Verdict, fenced, mark, quoted};
use crate::Answer;
use crate::limits::{MAX_ANSWER_VALUES, MAX_EXPECTED_VALUES};
use crate::normalize::Normalize;
use serde_json::Value;

/// The kind's metrics: fields that agree, documents that agree in all, answers that are JSON.
pub const METRICS: [&str; 3] = ["fields", "exact", "valid"];

/// The right document.
#[derive(Debug)]
pub struct Gold {
    expected: Value,
    normalize: Normalize,
    /// Whether the document may stand in a code fence, with text around it.
    fenced: bool,
}

/// How far two documents agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    /// Fields that both have.
    pub matched: usize,
    /// Fields of the expected one.
    pub expected: usize,
    /// Fields of the found one.
    pub found: usize,
}

impl Agreement {
    pub fn f1(self) -> f64 {
        2.0 * self.matched as f64 / (self.expected + self.found) as f64
    }

    pub fn is_whole(self) -> bool {
        self.matched == self.expected && self.matched == self.found
    }
}

impl Gold {
    /// From a case's `expected`: an object or a list.
    pub fn new(expected: Value, normalize: Normalize, fenced: bool) -> Result<Gold, String> {
        if !expected.is_object() && !expected.is_array() {
            return Err("`expected` must be an object or a list".to_owned());
        }
        check_size(&expected)?;
        Ok(Gold { expected, normalize, fenced })
    }

    /// Fields, all of them, and validity.
    pub fn score(&self, answer: &Answer) -> Verdict {
        let block = if self.fenced { fenced(&answer.text) } else { None };
        let found = match parse(block.unwrap_or(&answer.text)) {
            Ok(found) => found,
            Err(why) => return Verdict::new(METRICS, [0.0; 3], Some(why)),
        };
        let agreement = agreement(&self.expected, &found, self.normalize);
        let whole = agreement.is_whole();
        let Agreement { matched, expected, found } = agreement;
        let why = (!whole)
            .then(|| format!("{matched} fields are right; {expected} were expected and {found} are there"));
        Verdict::new(METRICS, [agreement.f1(), mark(whole), 1.0], why)
    }
}

/// Refuses an expected document over the bound.
pub(super) fn check_size(expected: &Value) -> Result<(), String> {
    match values(expected) {
        found if found > MAX_EXPECTED_VALUES => {
            Err(format!("`expected` has {found} values; at most {MAX_EXPECTED_VALUES} are compared"))
        }
        _ => Ok(()),
    }
}

/// The document that `text` is, nothing around it. The parser itself bounds the depth.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text.trim())
        .map_err(|error| format!("the answer is not JSON ({error}): {}", quoted(text)))?;
    match values(&value) {
        found if found > MAX_ANSWER_VALUES => {
            Err(format!("the answer's JSON has {found} values; at most {MAX_ANSWER_VALUES} are compared"))
        }
        _ => Ok(value),
    }
}

/// Compares two documents field by field.
pub(super) fn agreement(expected: &Value, found: &Value, normalize: Normalize) -> Agreement {
    Agreement {
        matched: matched(expected, found, normalize),
        expected: fields(expected),
        found: fields(found),
    }
}

/// Values, those that hold others included.
fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(fields) => fields.values().map(values).sum(),
        _ => 0,
    }
}

/// Values that hold no others; an empty list or object is one.
fn fields(value: &Value) -> usize {
    let inner: usize = match value {
        Value::Array(items) => items.iter().map(fields).sum(),
        Value::Object(entries) => entries.values().map(fields).sum(),
        _ => 0,
    };
    inner.max(1)
}

fn matched(expected: &Value, found: &Value, normalize: Normalize) -> usize {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) if a.is_empty() && b.is_empty() => 1,
        (Value::Array(a), Value::Array(b)) if a.is_empty() && b.is_empty() => 1,
        (Value::Object(a), Value::Object(b)) => {
            a.iter().filter_map(|(key, a)| Some(matched(a, b.get(key)?, normalize))).sum()
        }
        (Value::Array(a), Value::Array(b)) => paired(a, b, normalize),
        (Value::String(a), Value::String(b)) => usize::from(normalize.equal(a, b)),
        // 1 and 1.0 are the same number
        (Value::Number(a), Value::Number(b)) => usize::from(a == b || a.as_f64() == b.as_f64()),
        (a, b) => usize::from(a == b),
    }
}

/// Fields that agree when the items of two lists are paired, those that agree most first; earlier ones where several agree as
/// much.
fn paired(expected: &[Value], found: &[Value], normalize: Normalize) -> usize {
    let mut pairs = Vec::new();
    for (i, a) in expected.iter().enumerate() {
        for (j, b) in found.iter().enumerate() {
            match matched(a, b, normalize) {
                0 => {}
                matched => pairs.push((matched, i, j)),
            }
        }
    }
    pairs.sort_by_key(|&(matched, i, j)| (std::cmp::Reverse(matched), i, j));
    let (mut taken_expected, mut taken_found) = (vec![false; expected.len()], vec![false; found.len()]);
    let mut sum = 0;
    for (matched, i, j) in pairs {
        if !taken_expected[i] && !taken_found[j] {
            (taken_expected[i], taken_found[j]) = (true, true);
            sum += matched;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn score(expected: &Value, answer: &str, fenced: bool) -> [f64; 3] {
        let gold = Gold::new(expected.clone(), Normalize::default(), fenced).unwrap();
        let verdict = gold.score(&Answer::text(answer));
        assert_eq!(verdict.why.is_none(), verdict.metrics[1].value == 1.0, "{verdict:?}");
        std::array::from_fn(|i| verdict.metrics[i].value)
    }

    #[test]
    fn fields_are_counted_by_path_and_items_paired_best_first() {
        let todo = json!([{"task": "a", "owner": "Li"}, {"task": "b", "owner": null}]);
        for (expected, answer, fenced, right) in [
            (json!({"a": 1}), r#"{"a": 1}"#, false, [1.0, 1.0, 1.0]),
            (json!({"a": 1}), r#" {"a": 1.0} "#, false, [1.0, 1.0, 1.0]),
            (json!({"a": 1}), r#"{"a": "1"}"#, false, [0.0, 0.0, 1.0]),
            (json!({"a": "x  y"}), r#"{"a": " x y"}"#, false, [1.0, 1.0, 1.0]),
            // one of two expected fields, nothing else: 2·1/(2+1)
            (json!({"a": 1, "b": 2}), r#"{"a": 1}"#, false, [2.0 / 3.0, 0.0, 1.0]),
            // made up: 2·1/(1+2)
            (json!({"a": 1}), r#"{"a": 1, "b": 2}"#, false, [2.0 / 3.0, 0.0, 1.0]),
            (json!({"a": {"b": [1, 2]}}), r#"{"a": {"b": [2, 1]}}"#, false, [1.0, 1.0, 1.0]),
            (
                todo.clone(),
                r#"[{"task":"b","owner":null},{"task":"a","owner":"Li"}]"#,
                false,
                [1.0, 1.0, 1.0],
            ),
            // the second item agrees in one of two fields: 2·3/(4+4)
            (
                todo.clone(),
                r#"[{"task":"b","owner":"Wu"},{"task":"a","owner":"Li"}]"#,
                false,
                [0.75, 0.0, 1.0],
            ),
            // an item missing: 2·2/(4+2)
            (todo.clone(), r#"[{"task":"a","owner":"Li"}]"#, false, [2.0 / 3.0, 0.0, 1.0]),
            // an item twice is made up once: 2·4/(4+6)
            (
                todo.clone(),
                r#"[{"task":"a","owner":"Li"},{"task":"a","owner":"Li"},{"task":"b","owner":null}]"#,
                false,
                [0.8, 0.0, 1.0],
            ),
            // each agrees with both in part; the best pairs come first
            (
                json!([{"a": 1, "b": 2}, {"a": 1, "b": 3}]),
                r#"[{"a":1,"b":3},{"a":1,"b":2}]"#,
                false,
                [1.0, 1.0, 1.0],
            ),
            (json!([]), "[]", false, [1.0, 1.0, 1.0]),
            (json!([]), "[1]", false, [0.0, 0.0, 1.0]),
            (json!([1]), "{}", false, [0.0, 0.0, 1.0]),
            (json!({"a": 1}), "```json\n{\"a\": 1}\n```", true, [1.0, 1.0, 1.0]),
            (json!({"a": 1}), "```json\n{\"a\": 1}\n```", false, [0.0, 0.0, 0.0]),
            (json!({"a": 1}), r#"{"a": 1} and more"#, true, [0.0, 0.0, 0.0]),
            (json!({"a": 1}), "", false, [0.0, 0.0, 0.0]),
            (json!({"a": 1}), r#"{"a": 1"#, false, [0.0, 0.0, 0.0]),
            (json!({"a": 1}), "{\"a\": NaN}", false, [0.0, 0.0, 0.0]),
        ] {
            assert_eq!(score(&expected, answer, fenced), right, "{expected} {answer}");
        }
    }

    #[test]
    fn hostile_documents_cost_little() {
        let expected = json!(vec![json!({"a": [1, 2, 3]}); 100]);
        for answer in [
            "[".repeat(1 << 20),
            format!("{}1{}", "[".repeat(127), "]".repeat(127)),
            format!("{}1{}", "{\"a\":".repeat(1 << 18), "}".repeat(1 << 18)),
            format!("[{}1]", "1,".repeat(1 << 20)),
            format!("[{}{{}}]", "{\"a\":[1,2,3]},".repeat(1900)),
            "\"".to_owned() + &"\\u0000".repeat(1 << 16),
        ] {
            assert!(score(&expected, &answer, false)[1] == 0.0);
        }
        for wrong in [json!("text"), json!(1), json!(vec![1; MAX_EXPECTED_VALUES])] {
            assert!(Gold::new(wrong, Normalize::default(), false).is_err());
        }
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3i64).prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_document_agrees_with_itself_and_never_more_than_whole(a in document(), b in document()) {
            let rules = Normalize::default();
            prop_assert!(agreement(&a, &a, rules).is_whole());
            let other = agreement(&a, &b, rules);
            prop_assert!(other.matched <= other.expected.min(other.found), "{:?}", other);
        }
    }
}
