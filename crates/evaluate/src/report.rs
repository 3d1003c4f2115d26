//! Results summed up: a row for each task, group and metric.

use crate::CaseResult;
use crate::statistics::{Interval, bootstrap, mcnemar, mean, score_interval};
use serde::Serialize;

/// The group that holds all cases.
pub const ALL: &str = "all";

/// How well a model does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The task.
    pub task: String,
    /// The group of cases, or [`ALL`].
    pub group: String,
    /// What is counted.
    pub metric: &'static str,
    /// Cases.
    pub n: usize,
    /// The mean over them.
    pub score: f64,
    /// Where it lies with 95% confidence.
    #[serde(flatten)]
    pub interval: Interval,
}

/// How much better one model does than another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The task.
    pub task: String,
    /// The group of cases, or [`ALL`].
    pub group: String,
    /// What is counted.
    pub metric: &'static str,
    /// Cases.
    pub n: usize,
    /// The mean of the first model.
    pub a: f64,
    /// The mean of the second.
    pub b: f64,
    /// The second's mean less the first's.
    pub difference: f64,
    /// Where the difference lies with 95% confidence.
    #[serde(flatten)]
    pub interval: Interval,
    /// Where each case is right or wrong: how likely such a difference is by chance, by McNemar's exact test.
    pub p: Option<f64>,
}

/// The rows of a task: all cases first, then each group if there are several.
pub fn rows(task: &str, results: &[CaseResult], seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (group, results) in groups(results.iter(), |result| &result.group) {
        for metric in metrics(results.iter().copied()) {
            let values: Vec<f64> = results.iter().filter_map(|result| value(result, metric)).collect();
            rows.push(Row {
                task: task.to_owned(),
                group: group.clone(),
                metric,
                n: values.len(),
                score: mean(&values),
                interval: score_interval(&values, seed),
            });
        }
    }
    rows
}

/// The rows of a comparison of two models' results on the same cases, in the same order.
pub fn comparisons(task: &str, a: &[CaseResult], b: &[CaseResult], seed: u64) -> Vec<Comparison> {
    let pairs = a.iter().zip(b).filter(|(a, b)| a.id == b.id);
    let mut rows = Vec::new();
    for (group, pairs) in groups(pairs, |(a, _)| &a.group) {
        for metric in metrics(pairs.iter().map(|(a, _)| *a)) {
            let pairs: Vec<(f64, f64)> =
                pairs.iter().filter_map(|(a, b)| Some((value(a, metric)?, value(b, metric)?))).collect();
            rows.push(comparison(task, &group, metric, &pairs, seed));
        }
    }
    rows
}

fn comparison(task: &str, group: &str, metric: &'static str, pairs: &[(f64, f64)], seed: u64) -> Comparison {
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| b - a).collect();
    let plain = a.iter().chain(&b).all(|value| *value == 0.0 || *value == 1.0);
    let only = |wanted: (f64, f64)| pairs.iter().filter(|pair| **pair == wanted).count();
    Comparison {
        task: task.to_owned(),
        group: group.to_owned(),
        metric,
        n: pairs.len(),
        a: mean(&a),
        b: mean(&b),
        difference: mean(&differences),
        interval: bootstrap(&differences, seed),
        p: plain.then(|| mcnemar(only((1.0, 0.0)), only((0.0, 1.0)))),
    }
}

/// All, and each group by its first case if there are several.
fn groups<T: Copy>(items: impl Iterator<Item = T>, group: impl Fn(&T) -> &String) -> Vec<(String, Vec<T>)> {
    let all: Vec<T> = items.collect();
    let mut groups: Vec<(String, Vec<T>)> = Vec::new();
    for item in &all {
        match groups.iter_mut().find(|(name, _)| name == group(item)) {
            Some((_, items)) => items.push(*item),
            None => groups.push((group(item).clone(), vec![*item])),
        }
    }
    if groups.len() < 2 {
        groups.clear();
    }
    [(ALL.to_owned(), all)].into_iter().chain(groups).collect()
}

/// The metrics that any of the results has, in the order in which they come up.
fn metrics<'a>(results: impl Iterator<Item = &'a CaseResult>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for metric in results.flat_map(|result| &result.verdict.metrics) {
        if !names.contains(&metric.name) {
            names.push(metric.name);
        }
    }
    names
}

fn value(result: &CaseResult, name: &str) -> Option<f64> {
    result.verdict.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{Metric, Verdict};

    fn results(values: &[(&str, f64, Option<f64>)]) -> Vec<CaseResult> {
        let result = |(index, (group, first, second)): (usize, &(&str, f64, Option<f64>))| {
            let first = Metric { name: "right", value: *first };
            let second = second.map(|value| Metric { name: "cites", value });
            CaseResult {
                id: index.to_string(),
                group: (*group).to_owned(),
                answer: None,
                log_likelihoods: None,
                too_long: false,
                verdict: Verdict { metrics: [first].into_iter().chain(second).collect(), why: None },
            }
        };
        values.iter().enumerate().map(result).collect()
    }

    #[test]
    fn rows_are_by_group_and_metric_over_the_cases_that_have_it() {
        let found =
            rows("t", &results(&[("zh", 1.0, None), ("en", 0.0, Some(1.0)), ("zh", 1.0, Some(0.0))]), 0);
        let short: Vec<(&str, &str, usize, f64)> =
            found.iter().map(|row| (row.group.as_str(), row.metric, row.n, row.score)).collect();
        assert_eq!(
            short,
            [
                ("all", "right", 3, 2.0 / 3.0),
                ("all", "cites", 2, 0.5),
                ("zh", "right", 2, 1.0),
                ("zh", "cites", 1, 0.0),
                ("en", "right", 1, 0.0),
                ("en", "cites", 1, 1.0),
            ]
        );
        let one = rows("t", &results(&[("zh", 1.0, None), ("zh", 0.0, None)]), 0);
        assert_eq!((one.len(), one[0].group.as_str()), (1, ALL));
    }

    #[test]
    fn a_comparison_is_of_the_same_cases() {
        let a = results(&[("", 0.0, Some(0.5)), ("", 0.0, Some(0.25)), ("", 1.0, None), ("", 1.0, None)]);
        let b = results(&[("", 1.0, Some(0.75)), ("", 1.0, Some(0.5)), ("", 1.0, None), ("", 1.0, None)]);
        let found = comparisons("t", &a, &b, 0);
        assert_eq!((found[0].n, found[0].a, found[0].b, found[0].difference), (4, 0.5, 1.0, 0.5));
        // two cases one way, none the other: 2 / 2^2
        assert_eq!(found[0].p, Some(0.5));
        // every case is better by as much, so that is sure
        assert_eq!((found[1].n, found[1].difference, found[1].p), (2, 0.25, None));
        assert_eq!((found[1].interval.low, found[1].interval.high), (0.25, 0.25));
    }
}
