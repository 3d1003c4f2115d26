//! Tasks: a TOML file that says what is asked for, and files of cases.

mod case;

pub use case::{Case, Fault, Place, Question};

use crate::limits::{MAX_CASES, MAX_FAULTS_IN_MESSAGE, MAX_LINE_BYTES, MAX_TASK_BYTES};
use crate::normalize::Normalize;
use crate::score::text::pattern;
use case::Line;
use models::lines::Lines;
use regex::Regex;
use serde::Deserialize;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A task, read and checked in full.
#[derive(Debug)]
pub struct Task {
    /// What reports call it.
    pub name: String,
    /// How its answers are scored.
    pub kind: Kind,
    /// Longest answer in tokens.
    pub max_tokens: usize,
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Whether the model thinks first; `None` is as its template has it.
    pub thinking: Option<bool>,
    /// The cases, in the files' order.
    pub cases: Vec<Case>,
}

/// How answers are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The answer is a given text.
    Exact,
    /// The answer is a JSON document.
    Json,
    /// The likeliest of some choices.
    Choice,
    /// The answer calls functions.
    Tools,
    /// The answer is a query.
    Sql,
    /// The answer holds some texts and not others.
    Text,
    /// A judge says whether the answer is the better one.
    Judge,
}

/// A task's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskFile {
    name: String,
    kind: Kind,
    data: Data,
    /// For readers.
    #[serde(rename = "description")]
    _description: Option<String>,
    system: Option<String>,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    thinking: Option<bool>,
    ignore_case: Option<bool>,
    ignore_punctuation: Option<bool>,
    pattern: Option<String>,
    fenced: Option<bool>,
    delimiter: Option<String>,
    criteria: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Data {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

/// What the kind's scorer is told.
pub(crate) struct Settings {
    pub kind: Kind,
    pub system: Option<String>,
    pub normalize: Normalize,
    pub pattern: Option<Arc<Regex>>,
    pub fenced: bool,
    pub delimiter: String,
    pub criteria: Option<String>,
}

/// Why a task cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A file that cannot be read.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A task file that says something wrong.
    #[error("{}: {what}", .path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Cases that can't be asked or scored.
    #[error("{}", list(.first, *.count))]
    Faults {
        /// The first of them.
        first: Vec<(Place, Fault)>,
        /// How many there are in all.
        count: usize,
    },
}

fn list(first: &[(Place, Fault)], count: usize) -> String {
    let mut text = format!("{count} case{} can't be evaluated:", if count == 1 { "" } else { "s" });
    for (place, fault) in first {
        text.push_str(&format!("\n  {place}: {fault}"));
    }
    if count > first.len() {
        text.push_str(&format!("\n  and {} more", count - first.len()));
    }
    text
}

impl Kind {
    /// Whether the kind's scorer reads a setting that not all of them do.
    fn reads(self, setting: &str) -> bool {
        match setting {
            "ignore_case" => matches!(self, Kind::Exact | Kind::Json | Kind::Tools | Kind::Text),
            "ignore_punctuation" => matches!(self, Kind::Exact | Kind::Json | Kind::Tools | Kind::Text),
            "pattern" => self == Kind::Exact,
            "fenced" => self == Kind::Json,
            "delimiter" => self == Kind::Choice,
            "criteria" => self == Kind::Judge,
            // log-likelihoods need no answer
            "max_tokens" | "temperature" => self != Kind::Choice,
            _ => true,
        }
    }
}

impl Task {
    /// Reads a task's file and its cases, at most `limit` of each group. All of them are checked.
    ///
    /// # Errors
    /// When a file can't be read, a setting can't be, or with every case that can't be asked or scored.
    pub fn load(path: &Path, limit: Option<usize>) -> Result<Task, TaskError> {
        let wrong = |what: String| TaskError::Settings { path: path.to_owned(), what };
        let file = TaskFile::read(path)?;
        file.check().map_err(wrong)?;
        let settings = file.settings().map_err(wrong)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let data = match file.data {
            Data::One(path) => vec![path],
            Data::Several(paths) => paths,
        };
        let mut reader = Reader {
            settings: &settings,
            cases: Vec::new(),
            ids: HashSet::new(),
            faults: Vec::new(),
            count: 0,
        };
        for path in data {
            reader.read(&base.join(path))?;
        }
        let Reader { mut cases, faults, count, .. } = reader;
        if count > 0 {
            return Err(TaskError::Faults { first: faults, count });
        }
        if cases.is_empty() {
            return Err(wrong("its `data` holds no case".to_owned()));
        }
        if let Some(limit) = limit {
            keep_first_of_each_group(&mut cases, limit);
        }
        Ok(Task {
            name: file.name,
            kind: file.kind,
            max_tokens: file.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
            temperature: file.temperature.unwrap_or(0.0),
            thinking: file.thinking,
            cases,
        })
    }
}

/// Longest answer where a task does not say.
const DEFAULT_MAX_TOKENS: usize = 512;

fn keep_first_of_each_group(cases: &mut Vec<Case>, limit: usize) {
    let mut counts = std::collections::HashMap::<String, usize>::new();
    cases.retain(|case| {
        let count = counts.entry(case.group.clone()).or_default();
        *count += 1;
        *count <= limit
    });
}

impl TaskFile {
    fn read(path: &Path) -> Result<TaskFile, TaskError> {
        let failed = |source| TaskError::File { path: path.to_owned(), source };
        let wrong = |what: String| TaskError::Settings { path: path.to_owned(), what };
        let mut text = String::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_TASK_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_TASK_BYTES {
            return Err(wrong(format!(
                "a task file has at most {MAX_TASK_BYTES} bytes; cases belong into `data`"
            )));
        }
        toml::from_str(&text).map_err(|error| wrong(error.to_string()))
    }

    /// Refuses what cannot be, or would have no effect.
    fn check(&self) -> Result<(), String> {
        if self.name.trim().is_empty() {
            return Err("`name` is empty".to_owned());
        }
        if matches!(&self.data, Data::Several(paths) if paths.is_empty()) {
            return Err("`data` names no file of cases".to_owned());
        }
        if self.max_tokens == Some(0) {
            return Err("`max_tokens` is 0; an answer has at least 1".to_owned());
        }
        if self.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            return Err("`temperature` must be from 0 to 2".to_owned());
        }
        let given = [
            ("ignore_case", self.ignore_case.is_some()),
            ("ignore_punctuation", self.ignore_punctuation.is_some()),
            ("pattern", self.pattern.is_some()),
            ("fenced", self.fenced.is_some()),
            ("delimiter", self.delimiter.is_some()),
            ("criteria", self.criteria.is_some()),
            ("max_tokens", self.max_tokens.is_some()),
            ("temperature", self.temperature.is_some()),
        ];
        match given.into_iter().find(|(setting, given)| *given && !self.kind.reads(setting)) {
            Some((setting, _)) => {
                let kind = format!("{:?}", self.kind).to_lowercase();
                Err(format!("`{setting}` has no effect on tasks of the kind \"{kind}\"; remove it"))
            }
            None => Ok(()),
        }
    }

    fn settings(&self) -> Result<Settings, String> {
        let ignore_case = self.ignore_case.unwrap_or(false);
        let compiled = self.pattern.as_deref().map(|text| pattern(text, ignore_case)).transpose();
        Ok(Settings {
            kind: self.kind,
            system: self.system.clone(),
            normalize: Normalize {
                ignore_case,
                ignore_punctuation: self.ignore_punctuation.unwrap_or(false),
            },
            pattern: compiled.map_err(|error| format!("`pattern`: {error}"))?.map(Arc::new),
            fenced: self.fenced.unwrap_or(false),
            // the harness's
            delimiter: self.delimiter.clone().unwrap_or_else(|| " ".to_owned()),
            criteria: self.criteria.clone(),
        })
    }
}

struct Reader<'a> {
    settings: &'a Settings,
    cases: Vec<Case>,
    ids: HashSet<String>,
    faults: Vec<(Place, Fault)>,
    count: usize,
}

impl Reader<'_> {
    fn read(&mut self, path: &Path) -> Result<(), TaskError> {
        let failed = |source| TaskError::File { path: path.to_owned(), source };
        let mut lines = Lines::open(path, MAX_LINE_BYTES).map_err(failed)?;
        while let Some(line) = lines.next_line().map_err(failed)? {
            let place = Place { path: path.to_owned(), line: line.number };
            let Some(bytes) = line.bytes else {
                self.fault(place, Fault::TooLong);
                continue;
            };
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if let Err(fault) = self.add(bytes) {
                self.fault(place, fault);
            }
        }
        Ok(())
    }

    fn add(&mut self, line: &[u8]) -> Result<(), Fault> {
        let case = Line::parse(line)?.case(self.settings)?;
        if self.cases.len() == MAX_CASES {
            return Err(Fault::TooMany);
        }
        // results are paired by it
        if !self.ids.insert(case.id.clone()) {
            return Err(Fault::Duplicate(case.id));
        }
        self.cases.push(case);
        Ok(())
    }

    fn fault(&mut self, place: Place, fault: Fault) {
        if self.faults.len() < MAX_FAULTS_IN_MESSAGE {
            self.faults.push((place, fault));
        }
        self.count += 1;
    }
}
