//! Free text: what must be in the answer, what must not, and which sources it cites.

use super::{Metric, Verdict, mark, quoted};
use crate::Answer;
use crate::limits::MAX_PATTERN_BYTES;
use crate::normalize::Normalize;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// What a right answer holds; every part is optional, and one has to be there.
#[derive(Debug)]
pub struct Gold {
    expected: Expected,
    matches: Option<Regex>,
    normalize: Normalize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// All of these.
    contains: Option<Vec<String>>,
    /// At least one of these.
    any: Option<Vec<String>>,
    /// None of these.
    not: Option<Vec<String>>,
    /// Exactly these numbers as `[n]`, in any order.
    cites: Option<BTreeSet<u32>>,
    /// A pattern, somewhere.
    matches: Option<String>,
}

/// A part of the expectation, and whether it is met.
struct Check {
    name: &'static str,
    fault: Option<String>,
}

impl Gold {
    /// From a case's `expected`.
    pub fn new(expected: Value, normalize: Normalize) -> Result<Gold, String> {
        let expected: Expected = serde_json::from_value(expected).map_err(|error| {
            format!("`expected` must be an object of contains, any, not, cites and matches: {error}")
        })?;
        let lists = [("contains", &expected.contains), ("any", &expected.any), ("not", &expected.not)];
        for (name, list) in &lists {
            if list.as_ref().is_some_and(|texts| texts.is_empty() || texts.iter().any(String::is_empty)) {
                return Err(format!("`expected.{name}` is empty or has an empty text; leave it out"));
            }
        }
        let lists = lists.iter().any(|(_, list)| list.is_some());
        if !lists && expected.cites.is_none() && expected.matches.is_none() {
            return Err("`expected` says nothing; give contains, any, not, cites or matches".to_owned());
        }
        let matches = expected.matches.as_deref().map(|text| pattern(text, normalize.ignore_case));
        let matches = matches.transpose().map_err(|error| format!("`expected.matches`: {error}"))?;
        Ok(Gold { expected, matches, normalize })
    }

    /// Whether everything is met, and each part of it.
    pub fn score(&self, answer: &Answer) -> Verdict {
        self.verdict(self.checks(&answer.text))
    }

    /// Nothing is met.
    pub fn failed(&self, why: String) -> Verdict {
        let unmet = |check: Check| Check { fault: Some(why.clone()), ..check };
        let verdict = self.verdict(self.checks("").into_iter().map(unmet).collect());
        Verdict { why: Some(why), ..verdict }
    }

    fn verdict(&self, checks: Vec<Check>) -> Verdict {
        let faults: Vec<&str> = checks.iter().filter_map(|check| check.fault.as_deref()).collect();
        let headline = Metric { name: "pass", value: mark(faults.is_empty()) };
        let parts =
            checks.iter().map(|check| Metric { name: check.name, value: mark(check.fault.is_none()) });
        let why = (!faults.is_empty()).then(|| faults.join("; "));
        Verdict { metrics: [headline].into_iter().chain(parts).collect(), why }
    }

    fn checks(&self, text: &str) -> Vec<Check> {
        let Expected { contains, any, not, cites, .. } = &self.expected;
        let found = self.normalize.apply(text);
        let has = |part: &&String| found.contains(&self.normalize.apply(part));
        let list = |parts: &[String]| quoted(&parts.join(", "));
        let contains = contains.as_ref().map(|parts| {
            let missing = parts.iter().find(|part| !has(part));
            ("contains", missing.map(|part| format!("{} is missing", quoted(part))))
        });
        let any = any.as_ref().map(|parts| {
            (
                "any",
                (!parts.iter().any(|part| has(&part))).then(|| format!("none of {} is there", list(parts))),
            )
        });
        let not = not.as_ref().map(|parts| {
            ("not", parts.iter().find(has).map(|part| format!("{} must not be there", quoted(part))))
        });
        let cites = cites.as_ref().map(|expected| {
            let found = citations(text);
            ("cites", (found != *expected).then(|| format!("it cites {found:?}, not {expected:?}")))
        });
        let matches = self.matches.as_ref().map(|pattern| {
            (
                "matches",
                (!pattern.is_match(text)).then(|| format!("{} does not match", quoted(pattern.as_str()))),
            )
        });
        let checks = [contains, any, not, cites, matches].into_iter().flatten();
        checks.map(|(name, fault)| Check { name, fault }).collect()
    }
}

/// A pattern within its bound on memory. It takes time in proportion to the text, whatever it is.
pub fn pattern(text: &str, ignore_case: bool) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(MAX_PATTERN_BYTES).case_insensitive(ignore_case);
    builder.build().map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())
}

/// The numbers that a text cites: `[1]`, `[2][3]`, `[2, 3]`.
fn citations(text: &str) -> BTreeSet<u32> {
    static CITATION: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[\s*(\d{1,6}(?:\s*[,，、]\s*\d{1,6})*)\s*\]").expect("a pattern"));
    let groups = CITATION.captures_iter(text).filter_map(|groups| groups.get(1));
    let numbers = groups.flat_map(|group| group.as_str().split([',', '，', '、']));
    numbers.filter_map(|number| number.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_part_of_the_expectation_must_be_met() {
        let plain = Normalize::default();
        let relaxed = Normalize { ignore_case: true, ignore_punctuation: false };
        for (expected, rules, answer, pass, failed) in [
            (json!({"contains": ["a", "b"]}), plain, "b and a", true, ""),
            (json!({"contains": ["a", "b"]}), plain, "a", false, "b is missing"),
            (json!({"contains": ["heart clinic"]}), relaxed, "The Heart\nClinic", true, ""),
            (json!({"any": ["内科", "外科"]}), plain, "请去外科。", true, ""),
            (json!({"any": ["内科", "外科"]}), plain, "不知道", false, "none of 内科, 外科"),
            (json!({"not": ["sorry"]}), plain, "Sorry", true, ""),
            (json!({"not": ["sorry"]}), relaxed, "Sorry", false, "sorry must not be there"),
            (json!({"cites": [1, 2]}), plain, "x [2]. y [1], z [2].", true, ""),
            (json!({"cites": [1, 2]}), plain, "x [1, 2]", true, ""),
            (json!({"cites": [1, 2]}), plain, "x [1、2]", true, ""),
            (json!({"cites": [1]}), plain, "x [1][3]", false, "{1, 3}, not {1}"),
            (json!({"cites": []}), plain, "nothing [a] [1.5] []", true, ""),
            (json!({"cites": []}), plain, "but [7]", false, "{7}"),
            (json!({"matches": "^\\d{3}$"}), plain, "123", true, ""),
            (json!({"matches": "^\\d{3}$"}), plain, "1234", false, "does not match"),
            (json!({"contains": ["a"], "not": ["b"], "cites": [1]}), plain, "a [1]", true, ""),
            (json!({"contains": ["a"], "not": ["b"], "cites": [1]}), plain, "a b", false, "b must not"),
        ] {
            let gold = Gold::new(expected.clone(), rules).unwrap();
            let verdict = gold.score(&Answer::text(answer));
            assert_eq!(verdict.headline(), mark(pass), "{expected} {answer}: {:?}", verdict.why);
            assert!(verdict.why.as_deref().unwrap_or_default().contains(failed), "{:?}", verdict.why);
            let parts = expected.as_object().unwrap().len();
            assert_eq!(verdict.metrics.len(), 1 + parts);
            let failed = gold.failed("too long".to_owned());
            assert!(
                failed.metrics.iter().all(|metric| metric.value == 0.0) && failed.metrics.len() == 1 + parts
            );
        }
    }

    #[test]
    fn hostile_answers_and_patterns_end() {
        let gold = Gold::new(json!({"matches": "(a+)+$", "cites": []}), Normalize::default()).unwrap();
        assert_eq!(gold.score(&Answer::text("a".repeat(1 << 16) + "b")).headline(), 0.0);
        let brackets = Answer::text("[1".repeat(1 << 16));
        assert_eq!(gold.score(&brackets).metrics[1].name, "cites");
        for (wrong, why) in [
            (json!({}), "says nothing"),
            (json!([]), "must be an object"),
            (json!({"contain": ["a"]}), "unknown field `contain`"),
            (json!({"contains": []}), "leave it out"),
            (json!({"not": [""]}), "leave it out"),
            (json!({"cites": [-1]}), "invalid value"),
            (json!({"matches": "("}), "expected.matches"),
            (json!({"matches": "((a{100}){100}){100}"}), "size limit"),
        ] {
            let error = Gold::new(wrong, Normalize::default()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
