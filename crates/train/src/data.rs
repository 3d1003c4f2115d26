//! Datasets: files to examples, all of them checked before the first step.

mod chat;
mod order;
mod text;

pub use order::{Order, micro_batches};

use crate::limits::{MAX_EXAMPLES, MAX_FAULTS_IN_MESSAGE, MAX_LINE_BYTES};
use crate::objective::Example;
use models::Tokenizer;
use models::chat::ChatTemplate;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// What turns text into tokens.
pub struct Language<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Its chat template, which conversations need.
    pub template: Option<&'a ChatTemplate>,
    /// The token that ends a text, which plain texts get.
    pub end: Option<u32>,
    /// Longest example in tokens.
    pub max_tokens: usize,
}

/// Examples of some files.
#[derive(Debug, Default)]
pub struct Dataset {
    /// In the files' order.
    pub examples: Vec<Example>,
    /// Lines that were left out because they are longer than `max_tokens`.
    pub too_long: Vec<Place>,
    /// Lines that say what an earlier one says; they are learned all the same.
    pub duplicates: Vec<Place>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// What is wrong with a line, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Not JSON of the expected form.
    #[error("{0}; each line must be one JSON object: {{\"messages\": [...]}} or {{\"text\": \"...\"}}")]
    Json(String),
    /// Over the bound.
    #[error("the line is longer than {MAX_LINE_BYTES} bytes; cut the example into several")]
    TooLong,
    /// Bytes that are no text.
    #[error("the line is not UTF-8; convert the file, for example with iconv -t utf-8")]
    Utf8,
    /// A conversation that cannot be learned from.
    #[error("messages[{message}].{field}: {what}")]
    Message {
        /// Which message, from 0.
        message: usize,
        /// Its field.
        field: &'static str,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Nothing in it carries loss.
    #[error(
        "no message is the assistant's, so there is nothing to learn; add the answer, or remove the line"
    )]
    NothingToLearn,
    /// The model has no template.
    #[error("the model has no chat template, which conversations need; use lines of {{\"text\": \"...\"}}")]
    NoTemplate,
    /// The template refuses it.
    #[error("{0}")]
    Template(#[from] models::chat::TemplateError),
    /// The answer's tokens can't be told from the prompt's.
    #[error(
        "messages[{0}]: the chat template does not continue its prompt with this answer, token for token; remove white \
         space at the answer's beginning"
    )]
    NotContinued(usize),
    /// A text without text.
    #[error("the text is empty; remove the line")]
    Empty,
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
    #[error("{} is neither .jsonl nor .txt; rename or convert it", .0.display())]
    Kind(PathBuf),
    /// Lines that can't be learned from.
    #[error("{}", list(.first, *.count))]
    Faults {
        /// The first of them.
        first: Vec<(Place, LineFault)>,
        /// How many there are in all.
        count: usize,
    },
    /// More examples than the bound.
    #[error("there are more than {MAX_EXAMPLES} examples")]
    TooMany,
    /// Nothing at all.
    #[error("the datasets hold no example of at most {max_tokens} tokens ({too_long} are longer)")]
    Empty {
        /// The bound.
        max_tokens: usize,
        /// Examples over it.
        too_long: usize,
    },
}

fn list(first: &[(Place, LineFault)], count: usize) -> String {
    let mut text = format!("{count} line{} can't be learned from:", if count == 1 { "" } else { "s" });
    for (place, fault) in first {
        text.push_str(&format!("\n  {place}: {fault}"));
    }
    if count > first.len() {
        text.push_str(&format!("\n  and {} more", count - first.len()));
    }
    text
}

/// Reads datasets: `.jsonl` with conversations (`messages`, as OpenAI's fine-tuning files) or texts (`text`) line by line,
/// and `.txt`, whose whole content is one text.
///
/// # Errors
/// When a file can't be read, and with every line that can't be learned from.
pub fn load(paths: &[PathBuf], language: &Language<'_>) -> Result<Dataset, DataError> {
    let mut reader = Loader {
        language,
        dataset: Dataset::default(),
        seen: Default::default(),
        faults: Vec::new(),
        count: 0,
    };
    for path in paths {
        match path.extension().and_then(|e| e.to_str()) {
            Some("jsonl") => reader.json_lines(path)?,
            Some("txt") => reader.plain(path)?,
            _ => return Err(DataError::Kind(path.clone())),
        }
    }
    let Loader { dataset, faults, count, .. } = reader;
    if count > 0 {
        return Err(DataError::Faults { first: faults, count });
    }
    if dataset.examples.is_empty() {
        return Err(DataError::Empty { max_tokens: language.max_tokens, too_long: dataset.too_long.len() });
    }
    Ok(dataset)
}

struct Loader<'a> {
    language: &'a Language<'a>,
    dataset: Dataset,
    /// Hashes of the examples' tokens.
    seen: HashSet<[u8; 32]>,
    faults: Vec<(Place, LineFault)>,
    count: usize,
}

impl Loader<'_> {
    fn json_lines(&mut self, path: &Path) -> Result<(), DataError> {
        let failed = |source| DataError::File { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            let read =
                (&mut file).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes).map_err(failed)?;
            if read == 0 {
                break;
            }
            let place = Place { path: path.to_owned(), line };
            if read > MAX_LINE_BYTES {
                self.fault(place, LineFault::TooLong);
                // what follows on this line would be taken for lines
                break;
            }
            let Ok(text) = std::str::from_utf8(&bytes) else {
                self.fault(place, LineFault::Utf8);
                continue;
            };
            if text.trim().is_empty() {
                continue;
            }
            match line_examples(text, self.language) {
                Ok(examples) => self.add(place, examples)?,
                Err(fault) => self.fault(place, fault),
            }
        }
        Ok(())
    }

    fn plain(&mut self, path: &Path) -> Result<(), DataError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| DataError::File { path: path.to_owned(), source })?;
        let place = Place { path: path.to_owned(), line: 1 };
        match text::examples(&text, self.language) {
            Ok(examples) => self.add(place, examples),
            Err(fault) => {
                self.fault(place, fault);
                Ok(())
            }
        }
    }

    fn add(&mut self, place: Place, examples: Vec<Example>) -> Result<(), DataError> {
        for example in examples {
            if example.tokens().len() > self.language.max_tokens {
                self.dataset.too_long.push(place.clone());
                continue;
            }
            if !self.seen.insert(hash(example.tokens())) {
                self.dataset.duplicates.push(place.clone());
            }
            if self.dataset.examples.len() == MAX_EXAMPLES {
                return Err(DataError::TooMany);
            }
            self.dataset.examples.push(example);
        }
        Ok(())
    }

    fn fault(&mut self, place: Place, fault: LineFault) {
        if self.faults.len() < MAX_FAULTS_IN_MESSAGE {
            self.faults.push((place, fault));
        }
        self.count += 1;
    }
}

fn hash(tokens: &[u32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
    hash.finalize().into()
}

/// A line of either form.
#[derive(serde::Deserialize)]
struct Line {
    messages: Option<Vec<chat::Message>>,
    #[serde(default)]
    tools: Vec<serde_json::Value>,
    text: Option<String>,
}

fn line_examples(line: &str, language: &Language<'_>) -> Result<Vec<Example>, LineFault> {
    let line: Line = serde_json::from_str(line).map_err(|error| LineFault::Json(error.to_string()))?;
    match (line.messages, line.text) {
        (Some(messages), None) => chat::examples(messages, line.tools, language),
        (None, Some(text)) => text::examples(&text, language),
        (None, None) => Err(LineFault::Json("it has neither `messages` nor `text`".to_owned())),
        (Some(_), Some(_)) => Err(LineFault::Json("it has both `messages` and `text`".to_owned())),
    }
}
