//! The card of the model: what it is, what it does, how well, and what it can't.

use evaluate::report::Row;
use std::fmt::Write;

/// What the card states beside scores.
pub struct Facts {
    /// Of the packed file.
    pub bytes: u64,
    /// Conversations that it was trained on.
    pub examples: u64,
    /// Their tokens, about.
    pub tokens: u64,
    /// Of the build.
    pub seed: u64,
}

/// What each task is, and the share of right answers that it is made for, by the metric that counts.
const TASKS: &[(&str, &str, &str, f64)] = &[
    ("about", "small talk about itself", "pass", 0.0),
    ("todo", "meeting notes to to-dos: JSON that can be read", "valid", 0.99),
    ("todo", "meeting notes to to-dos: fields that are right", "fields", 0.90),
    ("triage", "department to visit, and red flags", "pass", 0.92),
    ("sql", "a question to SQL: the right rows", "rows", 0.85),
    ("tools", "the right tool with the right arguments", "calls", 0.90),
    ("tool-result", "an answer from a tool's result", "pass", 0.0),
    ("copywriting", "sales copy that states every attribute", "pass", 0.0),
    ("cited", "an answer from passages with the right citation", "pass", 0.85),
    ("absent", "saying that the passages don't hold the answer", "pass", 0.90),
    ("repeat", "repeating a text exactly", "exact", 0.0),
];

/// Scores as a Markdown table.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| task | Chinese | English | at least |\n|---|---|---|---|\n");
    for (task, what, metric, least) in TASKS {
        let score = |group: &str| {
            let of = |row: &&Row| row.task == *task && row.group == group && row.metric == *metric;
            rows.iter().find(of).map_or("-".to_owned(), |row| {
                format!(
                    "{:.1}% ({:.1} to {:.1})",
                    100.0 * row.score,
                    100.0 * row.interval.low,
                    100.0 * row.interval.high
                )
            })
        };
        let least = if *least > 0.0 { format!("{:.0}%", 100.0 * least) } else { String::new() };
        // writing to a text does not fail
        let _ = writeln!(text, "| {what} | {} | {} | {least} |", score("zh"), score("en"));
    }
    text
}

/// The card, in Markdown.
pub fn card(rows: &[Row], facts: &Facts) -> String {
    let Facts { bytes, examples, tokens, seed } = facts;
    let megabytes = *bytes as f64 / 1e6;
    let millions = *tokens as f64 / 1e6;
    format!(
        "---\nlicense: apache-2.0\nlanguage: [zh, en]\npipeline_tag: text-generation\n---\n\n# wen-nano\n\n\
         The small model that ships with Wen, so that everything can be tried without a network: a Qwen3 of 5.2 million \
         parameters with a vocabulary of 4,096 tokens, in 8 bits ({megabytes:.1} MB). `wen chat` and `wen serve` use it when no \
         model is named.\n\n\
         Wen trained it from random weights on about {millions:.1} million tokens, {examples} conversations that the program in \
         `crates/nano` wrote from lists and grammars of its own; there is no other text in it. The same is built again by \
         `cargo run --release -p nano -- build --tokens {tokens} --seed {seed}`.\n\n\
         ## What it does\n\n\
         On 200 held-out cases of each task and language, whose sentence forms and made-up names, schemas and things are \
         not in its training text (with 95% confidence). The last column is what it is made for; where a score is \
         below it, do not rely on the model.\n\n{}\n\
         ## What it can't\n\n\
         - It knows nothing about the world beyond these tasks, and can't reason, calculate, translate or write freely.\n\
         - It expects requests much like those in its training text: `cargo run -p nano -- samples` prints some. Far from them \
         it answers something wrong, and does not notice.\n\
         - Its context is 1,024 tokens, some 700 Chinese characters or 500 English words.\n\
         - SQL: one table, no joins, no subqueries. Tools: one call at a time.\n\
         - Its triage knows some 90 complaints in each language and 20 red flags. It is a demonstration and no medical advice.\n\
         - It is no measure of what Wen does with larger models.\n",
        table(rows)
    )
}
