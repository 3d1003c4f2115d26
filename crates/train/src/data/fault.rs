//! What can be wrong with datasets.

use crate::limits::{MAX_EXAMPLES, MAX_FILE_BYTES, MAX_FILES, MAX_LINE_BYTES};
use crate::recipe::ObjectiveKind;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A line of a file, or a row of a Parquet file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// Its line or row, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.path.extension().is_some_and(|e| e == "parquet") {
            true => write!(f, "{path}, row {}", self.line),
            false => write!(f, "{path}:{}", self.line),
        }
    }
}

/// What is wrong with a line, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Not JSON.
    #[error("it is not a JSON object ({0}); write one object a line, as Python's json.dumps does")]
    Json(String),
    /// Over the bound.
    #[error("it is longer than {MAX_LINE_BYTES} bytes; cut the example into several")]
    TooLong,
    /// Bytes that are no text.
    #[error("it is not UTF-8; convert the file, for example with iconv -t utf-8")]
    Utf8,
    /// Keys that say nothing.
    #[error("its keys are {keys}, which is no known form; known for {objective} are {known}")]
    Form {
        /// The keys that it has.
        keys: String,
        /// The objective of the run.
        objective: ObjectiveKind,
        /// The forms that the objective learns from.
        known: String,
    },
    /// A line that another objective learns from.
    #[error(
        "it is data for objective.kind = \"{theirs}\", but the recipe's is \"{ours}\"; change the recipe, or give it other files"
    )]
    OtherObjective {
        /// The objective of the run.
        ours: ObjectiveKind,
        /// The one that would learn it.
        theirs: ObjectiveKind,
    },
    /// A value of the wrong type, or one that is missing.
    #[error("{at}: {what}")]
    Value {
        /// Where in the line.
        at: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Nothing in it carries loss.
    #[error(
        "no message is the assistant's, so there is nothing to learn; add the answer, or remove the line"
    )]
    NothingToLearn,
    /// The model has no template.
    #[error(
        "the model has no chat template, which conversations need; give it a chat_template.jinja, or use lines of \
         {{\"text\": \"...\"}}"
    )]
    NoTemplate,
    /// The template refuses it.
    #[error("{0}")]
    Template(#[from] models::chat::TemplateError),
    /// The answer's tokens can't be told from the prompt's.
    #[error(
        "messages[{0}]: the chat template does not continue its prompt with this answer, token for token, so what to learn \
         can't be told; remove white space at the answer's beginning, or give the model a template that shows answers unchanged"
    )]
    NotContinued(usize),
    /// Answers that no one sequence holds.
    #[error(
        "{0}: the chat template shows its earlier answers differently once later ones follow, so they are no one sequence; keep \
         the last answer alone"
    )]
    SeveralAnswers(&'static str),
    /// A preference that is none.
    #[error("`chosen` and `rejected` are the same, so nothing is preferred; remove the line")]
    SameAnswers,
    /// A text without text.
    #[error("`{0}` is empty; fill it, or remove the line")]
    Empty(&'static str),
    /// A row that a Parquet file does not give.
    #[error(
        "it can't be read ({0}); write the file again, for example with pyarrow and compression=\"snappy\""
    )]
    Parquet(String),
}

impl LineFault {
    /// What is wrong with the value at `at`.
    pub(super) fn value(at: impl Into<String>, what: impl Into<String>) -> LineFault {
        LineFault::Value { at: at.into(), what: what.into() }
    }
}

/// Why datasets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file that cannot be read.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of another kind.
    #[error("{} is none of .jsonl, .json, .parquet and .txt; rename or convert it", .0.display())]
    Kind(PathBuf),
    /// A file that is read whole and is larger than that.
    #[error(
        "{} has {bytes} bytes, and files of its kind are read up to {MAX_FILE_BYTES}; cut it, or convert it to .jsonl or .parquet",
        .path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A pattern or a directory that stands for nothing.
    #[error("{} matches no .jsonl, .json, .parquet or .txt file", .0.display())]
    NoMatch(PathBuf),
    /// A pattern that is none.
    #[error("{} is no pattern: {reason}", .path.display())]
    Pattern {
        /// As written.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// More files than the bound.
    #[error("{} stands for more than {MAX_FILES} files; join them", .0.display())]
    TooManyFiles(PathBuf),
    /// Lines that can't be learned from.
    #[error("{}", list(.first, *.count))]
    Faults {
        /// The first of them.
        first: Vec<(Place, LineFault)>,
        /// How many there are in all.
        count: usize,
    },
    /// The system has no thread to read on.
    #[error("no thread to read data on: {0}")]
    Thread(std::io::Error),
    /// More examples than the bound.
    #[error("there are more than {MAX_EXAMPLES} examples")]
    TooMany,
    /// Nothing at all.
    #[error("{files} hold no example of at most {max_tokens} tokens ({too_long} are longer)")]
    Empty {
        /// The files.
        files: String,
        /// The bound.
        max_tokens: usize,
        /// Examples over it.
        too_long: usize,
    },
    /// Everything would be held out.
    #[error(
        "data.eval_share = {share} of {examples} examples leaves none to learn from; lower it, or add data"
    )]
    NothingLeft {
        /// The share.
        share: f64,
        /// Examples of a source.
        examples: usize,
    },
}

fn list(first: &[(Place, LineFault)], count: usize) -> String {
    let mut text = format!("{count} place{} can't be learned from:", if count == 1 { "" } else { "s" });
    for (place, fault) in first {
        text.push_str(&format!("\n  {place}: {fault}"));
    }
    if count > first.len() {
        text.push_str(&format!("\n  and {} more", count - first.len()));
    }
    text
}
