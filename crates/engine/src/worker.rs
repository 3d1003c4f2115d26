//! The thread that owns model, cache and sequences, and runs them step by step.

use crate::adapters::LoadedAdapter;
use crate::api::{Event, Speculation};
use crate::block_pool::BLOCK_TOKENS;
use crate::draft::Draft;
use crate::engine::Shared;
use crate::limits::LOGIT_ROWS;
use crate::sampler::logprob;
use crate::scheduler::{Planned, Scheduler};
use crate::sequence::{Generation, Sequence, Work};
use crate::speculation::Guesser;
use kernels::Pool;
use models::Model;
use models::causal_lm::AdaptedRows;
use nn::{Batch, Context, KvCache, Tensor, ops};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// The engine's thread.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    model: Arc<Model>,
    cx: Context,
    cache: KvCache,
    draft: Option<Draft>,
    scheduler: Scheduler,
    pace: Pace,
}

/// How long steps take.
#[derive(Default)]
struct Pace {
    /// Of a token in steps with many; 0 until there was one.
    seconds_per_token: f64,
}

impl Pace {
    /// Share of the newest measurement in the average.
    const NEWEST: f64 = 0.2;

    /// Prompt tokens that a step may take beside answers.
    fn prompt_tokens(&self) -> usize {
        if self.seconds_per_token == 0.0 {
            return FIRST_PROMPT_TOKENS;
        }
        ((STEP_SECONDS / self.seconds_per_token) as usize).max(MIN_PROMPT_TOKENS)
    }

    fn note(&mut self, tokens: usize, seconds: f64) {
        if tokens < MIN_PROMPT_TOKENS {
            return;
        }
        let found = seconds / tokens as f64;
        self.seconds_per_token = match self.seconds_per_token {
            0.0 => found,
            old => old + Self::NEWEST * (found - old),
        };
    }
}

/// What a step with both answers and prompts is to take, so that answers come evenly.
const STEP_SECONDS: f64 = 0.15;
/// Prompt tokens beside answers while nothing was measured, and at least.
const FIRST_PROMPT_TOKENS: usize = 64;
const MIN_PROMPT_TOKENS: usize = 16;

/// Whether a sequence goes on after a step.
#[derive(PartialEq, Eq)]
enum Next {
    GoesOn,
    Ended,
}

/// What a row of hidden states, or its logits, are for.
#[derive(Clone, Copy)]
enum Purpose {
    /// The log-probability of the prompt token that follows, with this many alternatives.
    PromptToken(usize),
    /// The embedding of the sequence.
    Embedding,
    /// The next token, or the scores asked for.
    Last,
    /// The token after so many proposed ones; of use only when the answer has taken all of them.
    AfterProposed(usize),
}

impl Worker {
    /// # Errors
    /// When there is no memory for the cache.
    pub fn new(shared: Arc<Shared>, pool: Arc<Pool>) -> io::Result<Worker> {
        let options = &shared.options;
        let blocks = options.cache_tokens / BLOCK_TOKENS;
        let model = Arc::clone(&shared.model);
        let shape = model.lm.kv_cache_shape(options.cache_dtype, BLOCK_TOKENS, blocks);
        let draft = match &options.speculation {
            Speculation::Draft(draft) => {
                let shape = draft.lm.kv_cache_shape(options.cache_dtype, BLOCK_TOKENS, blocks);
                Some(Draft::new(Arc::clone(draft), Arc::clone(&pool), shape, &model)?)
            }
            Speculation::Off | Speculation::Lookup => None,
        };
        let draft_context = draft.as_ref().map_or(0, Draft::context);
        let scheduler = Scheduler::new(blocks, options.step_tokens, options.max_sequences, draft_context);
        let cache = KvCache::new(shape)?;
        Ok(Worker { cx: Context::new(pool), cache, draft, scheduler, pace: Pace::default(), model, shared })
    }

    /// Steps until the engine is closed; sleeps while there is nothing to do.
    pub fn run(mut self) {
        loop {
            if self.scheduler.is_idle() {
                self.shared.wait_for_work();
            }
            let plan = {
                let mut inbox = self.shared.inbox();
                if inbox.closed {
                    break;
                }
                let before = inbox.waiting.len();
                inbox.waiting.retain(|s| !s.is_cancelled());
                let gone = before - inbox.waiting.len();
                let mut stats = self.shared.stats();
                stats.cancelled_requests += gone as u64;
                stats.finished_requests += gone as u64;
                for s in self.scheduler.take_abandoned() {
                    stats.cancelled_requests += u64::from(s.is_last() && s.is_cancelled());
                    stats.finished_requests += u64::from(s.is_last());
                }
                drop(stats);
                self.scheduler.plan(&mut inbox.waiting, self.pace.prompt_tokens())
            };
            if !plan.is_empty() {
                let started = Instant::now();
                self.guarded_step(&plan);
                self.note_pace(&plan, started.elapsed().as_secs_f64());
            }
            self.report();
        }
        let shared = Arc::clone(&self.shared);
        let waiting = shared.inbox().waiting.drain(..).collect::<Vec<_>>();
        self.fail_running("the engine was stopped");
        waiting.iter().for_each(|s| s.tell(Event::Failed("the engine was stopped".into())));
    }

    fn note_pace(&mut self, plan: &[Planned], seconds: f64) {
        let tokens: usize = plan.iter().map(|p| p.len).sum();
        self.pace.note(tokens, seconds);
        let mut stats = self.shared.stats();
        let found = tokens as f64 / seconds.max(1e-6);
        stats.tokens_per_second += Pace::NEWEST * (found - stats.tokens_per_second);
    }

    /// A step whose panic ends its requests and not the engine.
    fn guarded_step(&mut self, plan: &[Planned]) {
        let step = AssertUnwindSafe(|| {
            self.speculate(plan);
            self.step(plan);
        });
        if catch_unwind(step).is_err() {
            tracing::error!("a step panicked; its requests have failed, the engine goes on");
            self.fail_running("an internal error ended this request");
        }
    }

    fn fail_running(&mut self, why: &str) {
        let scheduler = &mut self.scheduler;
        for mut s in scheduler.running.drain(..).chain(scheduler.preempted.drain(..)) {
            scheduler.pool.release(&mut s.blocks);
            s.tell(Event::Failed(why.to_owned()));
            self.shared.stats().finished_requests += u64::from(s.is_last());
        }
    }

    fn report(&self) {
        let mut stats = self.shared.stats();
        let pool = &self.scheduler.pool;
        stats.waiting = self.scheduler.preempted.len();
        stats.running = self.scheduler.running.len();
        stats.blocks_used = pool.total() - pool.free();
        stats.preemptions = self.scheduler.preemptions;
        stats.cached_tokens = self.scheduler.cached_tokens;
        stats.proposed_tokens = self.scheduler.proposed_tokens;
        stats.accepted_tokens = self.scheduler.accepted_tokens;
    }

    /// Guesses what may follow the planned tokens.
    fn speculate(&mut self, plan: &[Planned]) {
        if matches!(self.shared.options.speculation, Speculation::Off) {
            return;
        }
        let drafts = self.scheduler.speculate(plan, self.shared.options.context_length);
        if let Some(draft) = &mut self.draft {
            draft.keep_up(plan, &drafts, &mut self.scheduler.running);
        }
        self.scheduler.note_proposed(plan);
    }

    /// Computes the planned tokens and does with the results what the sequences are for.
    fn step(&mut self, plan: &[Planned]) {
        let running = &self.scheduler.running;
        // rows of an adapter lie together, so that its matrices are read once
        let mut plan = plan.to_vec();
        plan.sort_by_key(|p| running[p.index].adapter_id());
        let plan = &plan[..];
        let mut batch = Batch::default();
        for p in plan {
            let s = &running[p.index];
            let tokens = [&s.tokens[s.computed..s.computed + p.len], &s.proposed].concat();
            batch.push(&tokens, s.computed, s.blocks.clone());
        }
        let (rows, uses) = used_rows(plan, running);
        let adapted = adapted_rows(plan, running);
        let hidden = self.model.lm.forward_adapted(&self.cx, &batch, &rows, &adapted, &mut self.cache);

        let mut prompt_tokens = 0;
        for p in plan {
            let s = &mut self.scheduler.running[p.index];
            let first = s.computed;
            s.computed += p.len;
            prompt_tokens += s.computed.min(s.prompt_len).saturating_sub(first);
        }
        {
            let mut stats = self.shared.stats();
            stats.steps += 1;
            stats.prompt_tokens += prompt_tokens as u64;
        }
        let mut ended = Vec::new();
        let mut of_logits = Vec::new();
        for (row, &(index, purpose)) in uses.iter().enumerate() {
            match purpose {
                Purpose::Embedding => {
                    self.scheduler.running[index].tell(Event::Embedding(normalised(hidden.row(row))));
                    ended.push(index);
                }
                _ => of_logits.push((index, row, purpose)),
            }
        }
        for rows in of_logits.chunks(LOGIT_ROWS) {
            self.use_logits(&hidden, rows, &mut ended);
        }
        for p in plan {
            self.scheduler.settle(p.index);
        }
        // from the back, so that indices stay right
        ended.sort_unstable();
        for index in ended.into_iter().rev() {
            let mut s = self.scheduler.running.remove(index);
            self.scheduler.pool.release(&mut s.blocks);
            self.shared.stats().finished_requests += u64::from(s.is_last());
        }
    }

    /// Logits of some rows, each put to its purpose. Sequences that are done are added to `ended`.
    fn use_logits(&mut self, hidden: &Tensor, rows: &[(usize, usize, Purpose)], ended: &mut Vec<usize>) {
        let wanted: Vec<usize> = rows.iter().map(|r| r.1).collect();
        let hidden = ops::select_rows(&self.cx, hidden, &wanted);
        let mut logits = self.model.lm.logits(&self.cx, &hidden);
        let vocab = logits.cols();
        for ((index, _, purpose), logits) in rows.iter().zip(logits.values_mut().chunks_exact_mut(vocab)) {
            let s = &mut self.scheduler.running[*index];
            match (purpose, &mut s.work) {
                (Purpose::PromptToken(top), Work::Generate(g)) => {
                    let token = s.tokens[g.prompt_tokens.len() + 1];
                    g.prompt_tokens.push(Some(logprob(logits, token, *top)));
                }
                (Purpose::Last, Work::Score(tokens)) => {
                    let scores = tokens.iter().map(|&t| logits[t as usize]).collect();
                    s.tell(Event::Scores(scores));
                    ended.push(*index);
                }
                (Purpose::Last, _) => {
                    if self.next_tokens(*index, logits) == Next::Ended {
                        ended.push(*index);
                    }
                }
                (Purpose::AfterProposed(i), _) => {
                    let taken = s.tokens.len() - s.computed == 1 && s.proposed.get(i - 1) == s.tokens.last();
                    if !taken || ended.contains(index) {
                        // nothing after this one is right either
                        s.proposed.truncate(i - 1);
                        continue;
                    }
                    s.computed += 1;
                    self.scheduler.accepted_tokens += 1;
                    if self.next_tokens(*index, logits) == Next::Ended {
                        ended.push(*index);
                    }
                }
                (Purpose::PromptToken(_) | Purpose::Embedding, _) => {}
            }
        }
    }

    /// Chooses the next token of `running[index]`; at the end of a prompt also the first ones of its siblings.
    fn next_tokens(&mut self, index: usize, logits: &mut [f32]) -> Next {
        let context = self.shared.options.context_length;
        let s = &mut self.scheduler.running[index];
        let siblings = match &mut s.work {
            Work::Generate(g) => std::mem::take(&mut g.siblings),
            Work::Embed | Work::Score(_) => return Next::Ended,
        };
        let workspace = s.origin.workspace;
        let draft_context = self.draft.as_ref().map_or(0, Draft::context);
        report_prompt(s);
        let mut forks = Vec::with_capacity(siblings.len());
        for answer in siblings {
            assert_eq!(s.draft_computed, s.computed.min(draft_context), "shared blocks are written in full");
            let generation = Generation {
                answer,
                siblings: Vec::new(),
                prompt_reported: true,
                prompt_logprobs: None,
                prompt_tokens: Vec::new(),
            };
            let mut fork = Sequence {
                tokens: s.tokens.clone(),
                prompt_len: s.prompt_len,
                computed: s.computed,
                chain: s.chain,
                proposed: Vec::new(),
                guesser: Guesser::default(),
                draft_computed: s.draft_computed,
                origin: s.origin,
                adapter: s.adapter.clone(),
                cached_tokens: s.cached_tokens,
                blocks: self.scheduler.pool.share(&s.blocks),
                work: Work::Generate(Box::new(generation)),
                client: Arc::clone(&s.client),
            };
            let next = advance(&mut fork, &mut logits.to_vec(), context);
            forks.push((fork, next));
        }
        let next = advance(s, logits, context);
        // each has one token that is not computed yet, unless it was to have none
        let sampled = s.remaining() + forks.iter().map(|(fork, _)| fork.remaining()).sum::<usize>();
        self.shared.stats().generated_tokens += sampled as u64;
        (0..sampled).for_each(|_| self.scheduler.turns.answer(workspace));
        for (mut fork, next) in forks {
            if next == Next::GoesOn && self.own_last_block(&mut fork) {
                self.scheduler.running.push(fork);
            } else {
                self.scheduler.pool.release(&mut fork.blocks);
                if next == Next::GoesOn {
                    self.scheduler.set_back(fork);
                }
            }
        }
        next
    }

    /// Gives a fork a copy of the block that it will write to, if it shares a part of one; `false` without a block.
    fn own_last_block(&mut self, fork: &mut Sequence) -> bool {
        if fork.computed.is_multiple_of(BLOCK_TOKENS) {
            return true;
        }
        let Some(shared) = fork.blocks.pop() else { return true };
        let grown = self.scheduler.pool.grow(&mut fork.blocks, fork.computed);
        if let (true, Some(&own)) = (grown, fork.blocks.last()) {
            self.cache.copy_block(shared, own);
            if let Some(draft) = &mut self.draft {
                draft.copy_block(shared, own);
            }
        }
        self.scheduler.pool.release(&mut vec![shared]);
        grown
    }
}

/// Rows of the batch of `plan` that something is made of, and what: of which sequence, for what purpose.
fn used_rows(plan: &[Planned], running: &[Sequence]) -> (Vec<usize>, Vec<(usize, Purpose)>) {
    let (mut rows, mut uses) = (Vec::new(), Vec::new());
    let mut start = 0;
    for p in plan {
        let s = &running[p.index];
        let mut push = |row, purpose| {
            rows.push(row);
            uses.push((p.index, purpose));
        };
        let upto = s.computed + p.len;
        if let Some(top) = s.prompt_logprobs() {
            // the row of a token foretells the token after it
            let told = s.computed..upto.min(s.prompt_len - 1);
            told.for_each(|at| push(start + at - s.computed, Purpose::PromptToken(top)));
        }
        if s.remaining() == p.len {
            let last = start + p.len - 1;
            let embeds = matches!(s.work, Work::Embed);
            push(last, if embeds { Purpose::Embedding } else { Purpose::Last });
            (1..=s.proposed.len()).for_each(|i| push(last + i, Purpose::AfterProposed(i)));
        }
        start += p.len + s.proposed.len();
    }
    (rows, uses)
}

/// The rows of a step that go through adapters, each adapter's as one run.
fn adapted_rows<'a>(plan: &[Planned], running: &'a [Sequence]) -> Vec<AdaptedRows<'a>> {
    let mut adapted: Vec<AdaptedRows<'a>> = Vec::new();
    let mut end = 0;
    for p in plan {
        let s = &running[p.index];
        let start = end;
        end += p.len + s.proposed.len();
        let Some(adapter) = s.adapter.as_ref().map(LoadedAdapter::served) else { continue };
        match adapted.last_mut() {
            Some(last) if std::ptr::eq(last.adapter, adapter) => last.rows.end = end,
            _ => adapted.push(AdaptedRows { rows: start..end, adapter }),
        }
    }
    adapted
}

/// Tells the client once that its prompt is computed.
fn report_prompt(s: &mut Sequence) {
    let cached_tokens = s.cached_tokens.unwrap_or(0);
    let Work::Generate(g) = &mut s.work else { return };
    if g.prompt_reported {
        return;
    }
    g.prompt_reported = true;
    let mut logprobs = std::mem::take(&mut g.prompt_tokens);
    if g.prompt_logprobs.is_some() {
        logprobs.insert(0, None);
    }
    s.tell(Event::Prompt { logprobs, cached_tokens });
}

/// One token of the answer of `s`.
fn advance(s: &mut Sequence, logits: &mut [f32], context: usize) -> Next {
    let Work::Generate(g) = &mut s.work else { return Next::Ended };
    if let Some(event) = g.answer.empty() {
        s.tell(event);
        return Next::Ended;
    }
    match g.answer.step(logits, context - s.tokens.len()) {
        Ok(step) => {
            s.tokens.push(step.token);
            step.events.into_iter().for_each(|e| s.tell(e));
            if step.finished { Next::Ended } else { Next::GoesOn }
        }
        Err(why) => {
            s.tell(Event::Failed(why));
            Next::Ended
        }
    }
}

/// `row` scaled to length 1.
fn normalised(row: &[f32]) -> Vec<f32> {
    let norm = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt().max(1e-12);
    row.iter().map(|v| (f64::from(*v) / norm) as f32).collect()
}
