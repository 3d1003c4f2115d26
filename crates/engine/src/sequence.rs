//! A prompt with the answer that grows behind it.

use crate::adapters::{AdapterId, LoadedAdapter};
use crate::answer::Answer;
use crate::api::{Event, Origin, TokenLogprob};
use crate::prefix_cache::Chain;
use crate::speculation::Guesser;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::UnboundedSender;

/// One sequence of tokens and where it stands in the cache.
pub(crate) struct Sequence {
    /// Prompt and answer.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// Tokens whose keys and values are in the cache.
    pub computed: usize,
    /// The cache blocks it holds.
    pub blocks: Vec<u32>,
    /// How many of them others may find.
    pub chain: Chain,
    /// Who asks, and how urgently.
    pub origin: Origin,
    /// The adapter that its tokens go through.
    pub adapter: Option<LoadedAdapter>,
    /// Prompt tokens that were in the cache when it was admitted first.
    pub cached_tokens: Option<usize>,
    /// Tokens that may come after the certain ones, computed with them in this step.
    pub proposed: Vec<u32>,
    pub guesser: Guesser,
    /// Tokens whose keys and values are in the draft's cache, in the same blocks; at most `computed`, but while it guesses.
    pub draft_computed: usize,
    /// What it is for.
    pub work: Work,
    /// Whom it tells. The sequences of a request's answers share it.
    pub client: Arc<Client>,
}

/// Who asked for a sequence.
pub(crate) struct Client {
    events: UnboundedSender<Event>,
    /// Whether it was told of a failure: nothing may follow, from any answer.
    failed: AtomicBool,
}

impl Client {
    pub fn new(events: UnboundedSender<Event>) -> Arc<Client> {
        Arc::new(Client { events, failed: AtomicBool::new(false) })
    }
}

/// What a sequence is for.
pub(crate) enum Work {
    /// An answer.
    Generate(Box<Generation>),
    /// A vector of the last token.
    Embed,
    /// Logits of these tokens as the next one.
    Score(Vec<u32>),
}

/// A sequence's answer, and what its prompt still owes.
pub(crate) struct Generation {
    pub answer: Answer,
    /// Further answers to the same prompt: they begin when it is computed, on the same blocks.
    pub siblings: Vec<Answer>,
    /// Whether the client has heard of the prompt.
    pub prompt_reported: bool,
    /// Log-probabilities of the prompt's tokens, with how many alternatives.
    pub prompt_logprobs: Option<usize>,
    /// Those computed so far; the first token has none.
    pub prompt_tokens: Vec<Option<TokenLogprob>>,
}

impl Sequence {
    /// Where its chain of blocks begins.
    pub fn root(&self) -> Chain {
        Chain::new(self.origin.workspace, self.adapter_id())
    }

    /// Which adapter its tokens go through.
    pub fn adapter_id(&self) -> Option<AdapterId> {
        self.adapter.as_ref().map(LoadedAdapter::id)
    }

    /// Tokens that must be computed before the next one can be chosen.
    pub fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Tokens that it can take from the cache: not the last, since the next one is foretold by it, and none when the
    /// log-probabilities of its prompt are wanted.
    pub fn reusable(&self) -> &[u32] {
        let wanted =
            matches!(&self.work, Work::Generate(g) if !g.prompt_reported && g.prompt_logprobs.is_some());
        if wanted { &[] } else { &self.tokens[..self.tokens.len() - 1] }
    }

    /// Tokens that it will take at most.
    pub fn most_tokens(&self) -> usize {
        match &self.work {
            Work::Generate(g) => {
                self.prompt_len.saturating_add(g.answer.max_tokens().saturating_mul(self.width()))
            }
            Work::Embed | Work::Score(_) => self.prompt_len,
        }
    }

    /// Sequences that this one is or will become.
    pub fn width(&self) -> usize {
        match &self.work {
            Work::Generate(g) => 1 + g.siblings.len(),
            Work::Embed | Work::Score(_) => 1,
        }
    }

    /// Whether its request ends with it: no other answer of the same request is left.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.client) == 1
    }

    /// Whether this or another answer of its request has failed.
    pub fn has_failed(&self) -> bool {
        self.client.failed.load(Ordering::Relaxed)
    }

    /// Whether nobody listens any more, although nothing has failed.
    pub fn is_cancelled(&self) -> bool {
        self.client.events.is_closed() && !self.has_failed()
    }

    /// Tells the client, but nothing after a failure; one that has gone is found by [`Self::is_cancelled`].
    pub fn tell(&self, event: Event) {
        if self.has_failed() {
            return;
        }
        if matches!(event, Event::Failed(_)) {
            self.client.failed.store(true, Ordering::Relaxed);
        }
        let _ = self.client.events.send(event);
    }

    /// How many alternatives to compute for prompt tokens in this step, when they are asked for and not told yet.
    pub fn prompt_logprobs(&self) -> Option<usize> {
        match &self.work {
            Work::Generate(g) if !g.prompt_reported => g.prompt_logprobs,
            _ => None,
        }
    }
}
