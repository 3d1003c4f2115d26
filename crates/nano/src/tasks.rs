//! What wen-nano learns: a file for each task.

mod about;
mod cited;
mod copywriting;
mod repeat;
mod sql;
mod todo;
mod tools;
mod triage;

use crate::example::{Example, Scoring};
use crate::grammar::{Language, Writer};

/// A task.
pub struct Task {
    /// As in file names.
    pub name: &'static str,
    /// How its cases are scored.
    pub scoring: Scoring,
    /// Its share of all examples, in percent.
    pub weight: usize,
    /// Tokens that an answer may take.
    pub max_tokens: usize,
    /// Writes an example.
    pub write: fn(Writer) -> Example,
}

impl Task {
    /// The file that `wen eval run` reads.
    pub fn file(&self) -> String {
        let Task { name, scoring, max_tokens, .. } = self;
        format!(
            "name = \"{name}\"\nkind = \"{}\"\ndata = \"{name}.jsonl\"\nmax_tokens = {max_tokens}\n",
            scoring.name()
        )
    }
}

/// All tasks.
pub const ALL: &[Task] = &[
    about::TASK,
    todo::TASK,
    triage::TASK,
    sql::TASK,
    tools::CHOOSE,
    tools::ANSWER,
    copywriting::TASK,
    cited::FOUND,
    cited::ABSENT,
    REPEAT,
];

pub use about::exchange;
pub use repeat::TASK as REPEAT;

/// A request with what it is about: in front, behind, on a line of its own or on the same.
fn join_request(w: &mut Writer, request: &str, material: &str) -> String {
    let space = w.language().pick("", " ");
    match w.below(10) {
        0 => format!("{material}\n\n{request}"),
        1 => format!("{material}\n{request}"),
        2 => format!("{request}{space}{material}"),
        3..=5 => format!("{request}\n\n{material}"),
        _ => format!("{request}\n{material}"),
    }
}

/// What is thought of words: whether each is asked for.
fn judge<'a>(language: Language, words: impl IntoIterator<Item = (&'a str, bool)>) -> String {
    let (comma, yes, no) = language.pick(("，", "是", "否"), (", ", " yes", " no"));
    let judged =
        words.into_iter().map(|(word, is_asked)| format!("{word}{}", if is_asked { yes } else { no }));
    judged.collect::<Vec<_>>().join(comma)
}

/// A question as people type it: sometimes polite, sometimes without its marks or capitals, or with marks of the other keyboard.
fn pad(w: &mut Writer, question: String) -> String {
    match w.below(9) {
        0 => question.trim_end_matches(['?', '.', '!', '？', '。', '！']).to_owned(),
        1 => question.to_lowercase(),
        2 => w.language().pick(format!("请问，{question}"), format!("One question: {question}")),
        3 => w.language().pick(format!("{question}谢谢"), format!("{question} Thanks.")),
        4 => question.replace('？', "?").replace('！', "!").replace('。', "."),
        _ => question,
    }
}
