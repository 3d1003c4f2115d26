//! A small model that guesses what a large one will say.
//!
//! Speculative decoding (Leviathan et al., arXiv:2211.17192) with one change: what is guessed is always the draft's most
//! likely token, and the answer samples from the large model alone, so it has the tokens that it would have without.
//!
//! The draft has a cache of its own with as many blocks as the model's, and a sequence uses the same blocks of both.
//! So whatever is done with blocks, it holds for both: they are shared, found again and given back together.

use crate::api::StartError;
use crate::block_pool::BLOCK_TOKENS;
use crate::sampler::argmax;
use crate::scheduler::Planned;
use crate::sequence::Sequence;
use kernels::Pool;
use models::{Model, ModelKind, Tokenizer};
use nn::{Batch, Context, KvCache, KvCacheShape, Tensor};
use std::io;
use std::sync::Arc;

/// The draft model and what it computes with.
pub(crate) struct Draft {
    model: Arc<Model>,
    cx: Context,
    cache: KvCache,
    /// Tokens below this are known to both models. Beyond are only rows that fill their tables up.
    vocab: usize,
}

impl Draft {
    /// A draft for `target` with a cache of `shape`.
    ///
    /// # Errors
    /// When there is no memory for the cache.
    pub fn new(model: Arc<Model>, pool: Arc<Pool>, shape: KvCacheShape, target: &Model) -> io::Result<Draft> {
        let vocab = model.lm.config().vocab_size.min(target.lm.config().vocab_size);
        Ok(Draft { cache: KvCache::new(shape)?, cx: Context::new(pool), model, vocab })
    }

    /// Tokens of a sequence that it can compute.
    pub fn context(&self) -> usize {
        self.model.lm.config().context_length
    }

    /// Copies a block for a sequence that continues on a shared one.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        self.cache.copy_block(from, to);
    }

    /// Computes the tokens of the sequences in `drafts`, and puts as many guesses as are planned there behind them. The
    /// other sequences of `plan` may wait until they are a block behind: together their tokens cost little more than one
    /// alone. Only those that are about to fork may not, since nothing is written to shared blocks.
    pub fn keep_up(&mut self, plan: &[Planned], drafts: &[Planned], running: &mut [Sequence]) {
        let mut batch = Batch::default();
        let mut guessing: Vec<Planned> = Vec::new();
        let mut rows = Vec::new();
        for p in plan {
            let s = &mut running[p.index];
            let guesses = drafts.iter().find(|d| d.index == p.index);
            let upto = (s.computed + p.len).min(self.context());
            let behind = upto - s.draft_computed;
            if behind == 0 || behind < BLOCK_TOKENS && guesses.is_none() && s.width() == 1 {
                continue;
            }
            self.push(&mut batch, s, &s.tokens[s.draft_computed..upto]);
            s.draft_computed = upto;
            if let Some(guesses) = guesses {
                guessing.push(*guesses);
                rows.push(batch.rows() - 1);
            }
        }
        if batch.rows() == 0 {
            return;
        }
        let hidden = self.model.lm.forward_rows(&self.cx, &batch, &rows, &mut self.cache);
        if !guessing.is_empty() {
            self.guess(hidden, guessing, running);
        }
    }

    /// Guesses for all sequences of `guessing`, a token each at a time. `hidden` has a row for each; there is one at
    /// least.
    fn guess(&mut self, mut hidden: Tensor, mut guessing: Vec<Planned>, running: &mut [Sequence]) {
        loop {
            let logits = self.model.lm.logits(&self.cx, &hidden);
            let mut rows = logits.values().chunks_exact(logits.cols());
            let mut batch = Batch::default();
            guessing.retain(|g| {
                let s = &mut running[g.index];
                let guess = rows.next().and_then(|row| argmax(&row[..self.vocab]));
                s.proposed.extend(guess);
                let Some(guess) = guess.filter(|_| s.proposed.len() < g.len) else { return false };
                self.push(&mut batch, s, &[guess]);
                s.draft_computed += 1;
                true
            });
            if guessing.is_empty() {
                return;
            }
            hidden = self.model.lm.forward(&self.cx, &batch, &mut self.cache);
        }
    }

    /// Adds `tokens` to `batch`, the next ones of `s` for the draft.
    fn push(&self, batch: &mut Batch, s: &Sequence, tokens: &[u32]) {
        // an id that only the model has a row for stands for nothing, whatever the draft takes it for
        let last = self.model.lm.config().vocab_size as u32 - 1;
        let tokens: Vec<u32> = tokens.iter().map(|&token| token.min(last)).collect();
        batch.push(&tokens, s.draft_computed, s.blocks.clone());
    }
}

/// Checks that `draft` can guess for `model`.
pub(crate) fn check(draft: &Model, model: &Model) -> Result<(), StartError> {
    if draft.kind != ModelKind::Generate {
        return Err(StartError::DraftKind(draft.kind));
    }
    let ids = 0..draft.tokenizer.len().max(model.tokenizer.len()) as u32;
    match ids.into_iter().find(|&id| differs(&draft.tokenizer, &model.tokenizer, id)) {
        Some(id) => Err(StartError::DraftVocabulary {
            id,
            draft: described(&draft.tokenizer, id),
            model: described(&model.tokenizer, id),
        }),
        None => Ok(()),
    }
}

/// Whether a token stands for different things. One may lack an added token: the models of a family differ in these, and
/// a draft that never guesses them guesses well all the same.
fn differs(a: &Tokenizer, b: &Tokenizer, id: u32) -> bool {
    match (a.token_bytes(id), b.token_bytes(id)) {
        (Some(a), Some(b)) => a != b,
        (Some(_), None) => !a.is_added(id),
        (None, Some(_)) => !b.is_added(id),
        (None, None) => false,
    }
}

fn described(tokenizer: &Tokenizer, id: u32) -> String {
    match tokenizer.token_bytes(id) {
        Some(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        None => "nothing".into(),
    }
}
