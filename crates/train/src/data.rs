//! Datasets: files to items, all of them checked before the first step.

mod alpaca;
mod chat;
mod completion;
mod contrast;
mod fault;
mod files;
mod forms;
mod json_array;
mod loader;
mod order;
mod parquet;
mod preference;
mod prepare;
mod share_gpt;
mod text;

pub use contrast::ends_texts;
pub use fault::{DataError, LineFault, Place};
pub use forms::Form;
pub use order::{Order, Source, micro_batches};

use crate::objective::{Contrast, Example, Preference};
use crate::random::Random;
use crate::recipe::{self, ObjectiveKind};
use loader::Loader;
use models::Tokenizer;
use models::chat::ChatTemplate;
use std::path::PathBuf;

/// What turns text into tokens.
pub struct Language<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Its chat template, which conversations need.
    pub template: Option<&'a ChatTemplate>,
    /// The token that ends a text, which plain texts get.
    pub end: Option<u32>,
    /// Longest sequence in tokens.
    pub max_tokens: usize,
}

/// What is learned at once: a text, or texts that are compared.
pub trait Item: Sized + Send + 'static {
    /// The objective that learns it.
    const OBJECTIVE: ObjectiveKind;
    /// The forms that it comes in.
    const FORMS: &'static [Form<Self>];
    /// Its texts.
    fn sequences(&self) -> Vec<&Example>;
}

impl Item for Example {
    const OBJECTIVE: ObjectiveKind = ObjectiveKind::NextToken;
    const FORMS: &'static [Form<Example>] = forms::OF_EXAMPLES;
    fn sequences(&self) -> Vec<&Example> {
        vec![self]
    }
}

impl Item for Preference {
    const OBJECTIVE: ObjectiveKind = ObjectiveKind::Dpo;
    const FORMS: &'static [Form<Preference>] = forms::OF_PREFERENCES;
    fn sequences(&self) -> Vec<&Example> {
        vec![&self.chosen, &self.rejected]
    }
}

impl Item for Contrast {
    const OBJECTIVE: ObjectiveKind = ObjectiveKind::Embedding;
    const FORMS: &'static [Form<Contrast>] = forms::OF_CONTRASTS;
    fn sequences(&self) -> Vec<&Example> {
        self.texts().collect()
    }
}

/// The datasets of a run.
#[derive(Debug, Default)]
pub struct Datasets<T> {
    /// What is learned: the items of all sources, one source after another.
    pub train: Vec<T>,
    /// The sources.
    pub sources: Vec<Source>,
    /// What is evaluated.
    pub evaluation: Vec<T>,
    /// What else there is to say.
    pub findings: Findings,
}

/// What was found in datasets besides their items.
#[derive(Debug, Default)]
pub struct Findings {
    /// The files that were read, in their order.
    pub files: Vec<PathBuf>,
    /// Examples that were left out because they are longer than `max_tokens`.
    pub too_long: Vec<Place>,
    /// Examples that are there before, token for token; they are learned all the same.
    pub duplicates: Vec<Repeat>,
    /// Examples that are there before but for capitals, white space and punctuation; they are learned all the same.
    pub near_duplicates: Vec<Repeat>,
    /// Examples of the evaluation that are also learned, or there twice, so that their loss says little.
    pub evaluated_and_learned: Vec<Repeat>,
}

/// An example that was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Where it is.
    pub place: Place,
    /// Where it was.
    pub of: Place,
}

/// Reads the datasets of a recipe. What `eval_share` holds out follows from `seed`.
///
/// # Errors
/// When a file can't be read, and with every line that can't be learned from.
pub fn load<T: Item>(
    data: &recipe::Data,
    seed: u64,
    language: &Language<'_>,
) -> Result<Datasets<T>, DataError> {
    let mut loader = Loader::new(language);
    let mut read = Vec::new();
    for (files, weight) in data.sources() {
        read.push((loader.read::<T>(files)?, weight));
    }
    loader.evaluation();
    let mut evaluation = loader.read(&data.eval)?;
    let findings = loader.finish()?;
    let (mut train, mut sources) = (Vec::new(), Vec::new());
    for (number, (mut items, weight)) in read.into_iter().enumerate() {
        evaluation.extend(hold_out(&mut items, data.eval_share, seed, number)?);
        sources.push(Source { items: items.len(), weight });
        train.extend(items);
    }
    Ok(Datasets { train, sources, evaluation, findings })
}

/// Takes a share of the items of source `number` away, at least one, and in the order that they have.
fn hold_out<T>(items: &mut Vec<T>, share: f64, seed: u64, number: usize) -> Result<Vec<T>, DataError> {
    if share == 0.0 {
        return Ok(Vec::new());
    }
    let count = ((items.len() as f64 * share).round() as usize).max(1);
    if count >= items.len() {
        return Err(DataError::NothingLeft { share, examples: items.len() });
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    Random::new(seed, "evaluation", number as u64).shuffle(&mut order);
    let mut held = vec![false; items.len()];
    order[..count].iter().for_each(|&i| held[i] = true);
    let (mut kept, mut out) = (Vec::new(), Vec::new());
    for (item, held) in std::mem::take(items).into_iter().zip(held) {
        if held { out.push(item) } else { kept.push(item) }
    }
    *items = kept;
    Ok(out)
}
