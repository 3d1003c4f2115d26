//! How evaluations are written.

use crate::output::{self, Table};
use anyhow::Context;
use evaluate::CaseResult;
use evaluate::report::{Comparison, Row};
use evaluate::statistics::Interval;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A line of the cases' file.
#[derive(Serialize)]
struct CaseLine<'a> {
    model: &'a str,
    task: &'a str,
    #[serde(flatten)]
    result: &'a CaseResult,
}

/// Where each case's answer and verdict go, if anywhere.
pub struct CasesFile(Option<(PathBuf, BufWriter<File>)>);

impl CasesFile {
    /// A new file at `path`.
    pub fn create(path: Option<&Path>) -> anyhow::Result<CasesFile> {
        let create = |path: &Path| -> anyhow::Result<_> {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Ok((path.to_owned(), BufWriter::new(file)))
        };
        Ok(CasesFile(path.map(create).transpose()?))
    }

    /// Adds the results of a task.
    pub fn add(&mut self, model: &str, task: &str, results: &[CaseResult]) -> anyhow::Result<()> {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        let mut write = || -> anyhow::Result<()> {
            for result in results {
                serde_json::to_writer(&mut *file, &CaseLine { model, task, result })?;
                file.write_all(b"\n")?;
            }
            Ok(file.flush()?)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Writes a report to the file that was asked for, if one was.
pub fn report_file(path: Option<&Path>, report: &impl Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints how well a model does.
pub fn rows(rows: &[Row]) -> anyhow::Result<()> {
    let mut table = Table::new(&["task", "group", "metric", "n", "score", "95% interval"]);
    for row in rows {
        table.row(vec![
            row.task.clone(),
            row.group.clone(),
            row.metric.to_owned(),
            output::thousands(row.n as u64),
            percent(row.score),
            interval(row.interval),
        ]);
    }
    Ok(table.print()?)
}

/// Prints how much better the second model does than the first.
pub fn comparisons(rows: &[Comparison]) -> anyhow::Result<()> {
    let head = ["task", "group", "metric", "n", "A", "B", "B - A", "95% interval", "p"];
    let mut table = Table::new(&head);
    for row in rows {
        table.row(vec![
            row.task.clone(),
            row.group.clone(),
            row.metric.to_owned(),
            output::thousands(row.n as u64),
            percent(row.a),
            percent(row.b),
            format!("{:+.1}", 100.0 * row.difference),
            format!("{:+.1} to {:+.1}", 100.0 * row.interval.low, 100.0 * row.interval.high),
            row.p.map_or_else(String::new, |p| format!("{p:.3}")),
        ]);
    }
    Ok(table.print()?)
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn interval(interval: Interval) -> String {
    format!("{:.1} to {:.1}%", 100.0 * interval.low, 100.0 * interval.high)
}
