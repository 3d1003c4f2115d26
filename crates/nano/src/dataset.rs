//! The files of training and evaluation.

use crate::example::Example;
use crate::grammar::{Forms, Language, Split, Writer};
use crate::tasks::{self, Task};
use crate::words::HANZI;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use train::random::Random;

/// Cases of each task and language.
pub const CASES: u64 = 200;
/// Training conversations at the beginning of which [`COPIES`] percent only repeat a text.
pub const COPYING_FIRST: u64 = 8_000;
const COPIES: usize = 75;
/// Of the others, those in Chinese, in percent: more characters to know, and fewer questions in each conversation.
const CHINESE: usize = 58;
/// One training conversation in this many goes on with a second example.
const CHAINED: usize = 12;
/// One in this many begins with a system message that says nothing.
const WITH_SYSTEM: usize = 10;
/// Examples that the tokenizer is trained on. More give the same tokens.
const TOKENIZER_EXAMPLES: u64 = 20_000;
/// Times that all of [`HANZI`] are shown to the tokenizer: enough that the first two bytes of every character become a token, and
/// not so often that rare characters become tokens as a whole.
const HANZI_TIMES: usize = 20;

const SYSTEM_EN: &[&str] = &[
    "You are a helpful assistant.",
    "You are wen-nano.",
    "Answer briefly.",
    "You are an assistant. Be polite and exact.",
];
const SYSTEM_ZH: &[&str] =
    &["你是一个有用的助手。", "你是 wen-nano。", "回答要简短。", "你是助手，请礼貌而准确。"];

/// All examples of a seed.
pub struct Dataset {
    seed: u64,
    forms: Forms,
}

impl Dataset {
    /// The examples of `seed`.
    pub fn new(seed: u64) -> Dataset {
        Dataset { seed, forms: Forms::default() }
    }

    fn example(&self, task: &Task, language: Language, split: Split, index: u64) -> Example {
        (task.write)(Writer::new(&self.forms, self.seed, task.name, language, split, index))
    }

    /// The task and language of training example `index`, and where its other choices come from.
    fn plan(&self, index: u64) -> (&'static Task, Language, Random) {
        let mut random = Random::new(self.seed, "mixture", index);
        if index < COPYING_FIRST && random.below(100) < COPIES {
            return (&tasks::REPEAT, Language::ALL[random.below(2)], random);
        }
        let total: usize = tasks::ALL.iter().map(|task| task.weight).sum();
        let mut at = random.below(total);
        let task = tasks::ALL.iter().find(|task| {
            let found = at < task.weight;
            at = at.saturating_sub(task.weight);
            found
        });
        let language = if random.below(100) < CHINESE { Language::Zh } else { Language::En };
        (task.unwrap_or(&tasks::ALL[0]), language, random)
    }

    /// Training conversation `index`.
    pub fn training(&self, index: u64) -> Example {
        let (task, language, mut random) = self.plan(index);
        let mut conversation = self.example(task, language, Split::Train, index);
        if conversation.tools.is_empty() && random.below(CHAINED) == 0 {
            // no other conversation has this one
            let index = index | 1 << 40;
            let (task, language, _) = self.plan(index);
            let next = self.example(task, language, Split::Train, index);
            if next.tools.is_empty() {
                conversation.messages.extend(next.messages);
                conversation.entities.extend(next.entities);
                conversation.phrasings.extend(next.phrasings);
            }
        }
        if random.below(WITH_SYSTEM) == 0 {
            let texts = language.pick(SYSTEM_ZH, SYSTEM_EN);
            let text = texts[random.below(texts.len())];
            conversation.messages.insert(0, json!({"role": "system", "content": text}));
        }
        conversation
    }

    /// Example `index` of a task as it is learned.
    pub fn of_task(&self, task: &Task, language: Language, index: u64) -> Example {
        self.example(task, language, Split::Train, index)
    }

    /// Held-out case `index` of a task.
    pub fn held_out(&self, task: &Task, language: Language, index: u64) -> Example {
        self.example(task, language, Split::HeldOut, index)
    }

    /// Writes `count` training conversations to `path`, one a line.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_training(&self, path: &Path, count: u64) -> io::Result<()> {
        let lines = (0..count).map(|index| self.training(index).training_line());
        write_lines(path, lines)
    }

    /// Writes what the tokenizer is trained on to `path`.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_tokenizer_text(&self, path: &Path) -> io::Result<()> {
        let examples = (COPYING_FIRST..COPYING_FIRST + TOKENIZER_EXAMPLES)
            .map(|index| self.training(index).training_line());
        let hanzi: Value = json!({"text": HANZI});
        write_lines(path, examples.chain(std::iter::repeat_n(hanzi, HANZI_TIMES)))
    }

    /// Writes the held-out cases and a file for each task into `dir`, for `wen eval run`.
    ///
    /// # Errors
    /// When the files can't be written.
    pub fn write_cases(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        for task in tasks::ALL {
            let cases = Language::ALL.into_iter().flat_map(|language| {
                (0..CASES).map(move |index| {
                    let id = format!("{}-{index}", language.code());
                    self.held_out(task, language, index).case_line(&id, language)
                })
            });
            write_lines(&dir.join(format!("{}.jsonl", task.name)), cases)?;
            std::fs::write(dir.join(format!("{}.toml", task.name)), task.file())?;
        }
        Ok(())
    }
}

fn write_lines(path: &Path, lines: impl Iterator<Item = Value>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_asks_with_words_that_it_does_not_teach() {
        let dataset = Dataset::new(1);
        for task in tasks::ALL {
            for language in Language::ALL {
                for index in 0..400 {
                    dataset.held_out(task, language, index);
                }
            }
        }
        assert_eq!(dataset.forms.with_unknown_words(), Vec::<std::rc::Rc<str>>::new());
    }
}
