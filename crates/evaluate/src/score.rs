//! What a right answer is, and how right one is: a file for each kind of task.

pub mod choice;
pub mod exact;
pub mod json;
pub mod judge;
pub mod sql;
pub mod text;
pub mod tools;

use crate::Answer;
use serde::Serialize;

/// What a right answer to a case is.
#[derive(Debug)]
pub enum Gold {
    /// One of these texts.
    Exact(exact::Gold),
    /// A JSON document.
    Json(json::Gold),
    /// One of some choices, by their likelihoods.
    Choice(choice::Gold),
    /// Calls of functions.
    Tools(tools::Gold),
    /// A query that gives the right rows.
    Sql(sql::Gold),
    /// A text with the right things in it.
    Text(text::Gold),
    /// An answer that a judge prefers.
    Judge(judge::Gold),
}

/// How right an answer is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// The headline first.
    pub metrics: Vec<Metric>,
    /// What is wrong with it, for whoever looks into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One way to count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metric {
    /// Its name, the same in all cases of a kind.
    pub name: &'static str,
    /// From 0 to 1, more being better.
    pub value: f64,
}

impl Gold {
    /// How right `answer` is. `None` where the text alone does not say it: of choices, and of what a judge decides.
    pub fn score(&self, answer: &Answer) -> Option<Verdict> {
        match self {
            Gold::Exact(gold) => Some(gold.score(answer)),
            Gold::Json(gold) => Some(gold.score(answer)),
            Gold::Tools(gold) => Some(gold.score(answer)),
            Gold::Sql(gold) => Some(gold.score(answer)),
            Gold::Text(gold) => Some(gold.score(answer)),
            Gold::Choice(_) | Gold::Judge(_) => None,
        }
    }

    /// What a case is worth that the model could not be asked.
    pub fn failed(&self, why: String) -> Verdict {
        let names: &[&'static str] = match self {
            Gold::Exact(_) => &exact::METRICS,
            Gold::Json(_) => &json::METRICS,
            Gold::Choice(_) => &choice::METRICS,
            Gold::Tools(_) => &tools::METRICS,
            Gold::Sql(_) => &sql::METRICS,
            Gold::Text(gold) => return gold.failed(why),
            Gold::Judge(_) => &[],
        };
        let metrics = names.iter().map(|name| Metric { name, value: 0.0 }).collect();
        Verdict { metrics, why: Some(why) }
    }
}

impl Verdict {
    /// Metrics by name, and what is wrong.
    pub(crate) fn new<const N: usize>(
        names: [&'static str; N],
        values: [f64; N],
        why: Option<String>,
    ) -> Verdict {
        let metrics = names.into_iter().zip(values).map(|(name, value)| Metric { name, value }).collect();
        Verdict { metrics, why }
    }

    /// The headline.
    pub fn headline(&self) -> f64 {
        self.metrics.first().map_or(0.0, |metric| metric.value)
    }
}

/// 1 for what holds.
pub(crate) fn mark(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// The beginning of an answer's text, for messages.
pub(crate) fn quoted(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut short: String = text.trim().chars().take(MAX_CHARS).collect();
    if text.trim().chars().nth(MAX_CHARS).is_some() {
        short.push_str("...");
    }
    short
}

/// The content of the first code fence in `text`, if there is one: what stands between ```` ``` ```` with the rest of that
/// line, and the next ```` ``` ````.
pub(crate) fn fenced(text: &str) -> Option<&str> {
    const FENCE: &str = "```";
    let (_, after) = text.split_once(FENCE)?;
    let (language, body) = after.split_once('\n')?;
    // a fence that opens and closes in one line holds no block
    if language.contains(FENCE) {
        return None;
    }
    Some(body.split_once(FENCE).map_or(body, |(block, _)| block).trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Call;
    use crate::normalize::Normalize;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_fence_holds_what_stands_between_its_lines() {
        for (text, expected) in [
            ("```sql\nSELECT 1;\n```", Some("SELECT 1;")),
            ("Here:\n```\n{}\n```\nDone.\n```\nno\n```", Some("{}")),
            ("```json\n{\"a\": 1}", Some("{\"a\": 1}")),
            ("no fence", None),
            ("```x``` inline\nmore", None),
            ("```", None),
            ("", None),
        ] {
            assert_eq!(fenced(text), expected, "{text:?}");
        }
    }

    /// One of each kind that is scored by its text.
    fn golds() -> Vec<Gold> {
        let plain = Normalize::default();
        let (database, query) = ("CREATE TABLE a (x); INSERT INTO a VALUES (1)", "SELECT x FROM a");
        let cites = json!({"contains": ["1"], "cites": [1], "matches": "1$"});
        vec![
            Gold::Exact(exact::Gold::new(&json!("1"), plain, None).unwrap()),
            Gold::Json(json::Gold::new(json!([1]), plain, true).unwrap()),
            Gold::Tools(tools::Gold::new(json!([{"name": "f"}]), &["f"], plain).unwrap()),
            Gold::Sql(sql::Gold::new(database.to_owned(), query).unwrap()),
            Gold::Text(text::Gold::new(cites, plain).unwrap()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_answer_has_a_verdict_in_range(text in r"(\PC|\[1\]|```|\n|SELECT |\(|'|\{|\}){0,24}") {
            let call = Call { name: "f".to_owned(), arguments: text.clone() };
            let answer = Answer { text, calls: vec![call], ..Answer::default() };
            for gold in golds() {
                let verdict = gold.score(&answer).unwrap();
                let names = |verdict: &Verdict| verdict.metrics.iter().map(|m| m.name).collect::<Vec<_>>();
                prop_assert!(verdict.metrics.iter().all(|metric| (0.0..=1.0).contains(&metric.value)));
                prop_assert_eq!(verdict.why.is_none(), verdict.headline() == 1.0);
                prop_assert_eq!(names(&verdict), names(&gold.failed("too long".to_owned())));
            }
        }
    }
}
