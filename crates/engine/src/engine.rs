//! The handle that the rest of the program holds, and the thread behind it.

use crate::adapters::{AdapterName, Adapters, LoadAdapterError, LoadedAdapter};
use crate::answer::Answer;
use crate::api::{
    EngineOptions, Event, Generate, Request, Speculation, StartError, Stats, SubmitError, Task,
};
use crate::block_pool::{BLOCK_TOKENS, blocks_for};
use crate::draft;
use crate::prefix_cache::Chain;
use crate::sequence::{Client, Generation, Sequence, Work};
use crate::speculation::Guesser;
use crate::worker::Worker;
use kernels::Pool;
use models::{Adapter, Model};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// A running engine. Cloning shares it; dropping the last one ends its thread.
#[derive(Clone)]
pub struct Engine(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the thread both see.
pub(crate) struct Shared {
    pub model: Arc<Model>,
    pub options: EngineOptions,
    adapters: Adapters,
    inbox: Mutex<Inbox>,
    wake: Condvar,
    stats: Mutex<Stats>,
}

/// Requests that wait.
#[derive(Default)]
pub(crate) struct Inbox {
    pub waiting: VecDeque<Sequence>,
    draining: bool,
    pub closed: bool,
}

impl Shared {
    pub fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Sleeps until a request waits or the engine is closed.
    pub fn wait_for_work(&self) {
        let idle = |inbox: &mut Inbox| inbox.waiting.is_empty() && !inbox.closed;
        drop(self.wake.wait_while(self.inbox(), idle));
    }
}

impl Engine {
    /// Moves `model` into a new thread that computes on `pool`.
    ///
    /// # Errors
    /// When a draft model does not fit the model, or the system has no thread or memory to give.
    pub fn start(
        model: Arc<Model>,
        pool: Arc<Pool>,
        mut options: EngineOptions,
    ) -> Result<Engine, StartError> {
        if let Speculation::Draft(draft) = &options.speculation {
            draft::check(draft, &model)?;
        }
        options.context_length = options.context_length.min(model.lm.config().context_length);
        options.cache_tokens = blocks_for(options.cache_tokens.max(1)) * BLOCK_TOKENS;
        let stats = Stats { blocks_total: options.cache_tokens / BLOCK_TOKENS, ..Stats::default() };
        let shared = Arc::new(Shared {
            model,
            options,
            adapters: Adapters::default(),
            inbox: Mutex::default(),
            wake: Condvar::new(),
            stats: Mutex::new(stats),
        });
        let worker = Worker::new(Arc::clone(&shared), pool)?;
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || worker.run())?;
        Ok(Engine(Arc::new(Running { shared, thread: Some(thread) })))
    }

    /// Queues a request. Dropping the receiver cancels it within one step.
    pub fn submit(&self, request: Request) -> Result<mpsc::UnboundedReceiver<Event>, SubmitError> {
        self.check(&request)?;
        let (events, receiver) = mpsc::unbounded_channel();
        let sequence = self.sequence(request, Client::new(events));
        let shared = &self.0.shared;
        let mut inbox = shared.inbox();
        if inbox.draining || inbox.closed {
            return Err(SubmitError::ShuttingDown);
        }
        let waiting = inbox.waiting.len();
        let tokens = inbox.waiting.iter().map(Sequence::most_tokens).fold(0, usize::saturating_add);
        let with_this = tokens.saturating_add(sequence.most_tokens());
        // alone, what can be computed at all may wait
        if waiting >= shared.options.max_waiting
            || waiting > 0 && with_this > shared.options.max_waiting_tokens
        {
            let retry_after = (tokens as f64 / shared.stats().tokens_per_second.max(1.0)).ceil() as u64;
            return Err(SubmitError::QueueFull { waiting, tokens, retry_after });
        }
        inbox.waiting.push_back(sequence);
        drop(inbox);
        shared.wake.notify_one();
        Ok(receiver)
    }

    fn check(&self, request: &Request) -> Result<(), SubmitError> {
        let options = self.options();
        let vocab = self.model().lm.config().vocab_size;
        let invalid = |field, message: String| Err(SubmitError::Invalid { field, message });
        if request.prompt.is_empty() {
            return invalid("prompt", "it has no tokens".into());
        }
        if let Some(adapter) = request.adapter.as_ref().filter(|a| !a.is_beside(self.model())) {
            return invalid("adapter", format!("`{}` was loaded beside another model", adapter.name()));
        }
        if let Some(id) = request.prompt.iter().find(|&&id| id as usize >= vocab) {
            return invalid("prompt", format!("token {id} does not exist; tokens are below {vocab}"));
        }
        let (prompt, context) = (request.prompt.len(), options.context_length);
        let (answer, wanted) = match &request.task {
            Task::Generate(g) => {
                g.check(vocab)?;
                if g.n > options.max_sequences {
                    let most = options.max_sequences;
                    return invalid(
                        "n",
                        format!("{} is more than the {most} sequences that run at once", g.n),
                    );
                }
                (g.max_tokens.min(1), g.max_tokens)
            }
            Task::Embed => (0, 0),
            Task::Score(tokens) => match tokens.iter().find(|&&id| id as usize >= vocab) {
                Some(id) => return invalid("score", format!("token {id} does not exist")),
                None => (0, 0),
            },
        };
        if prompt.saturating_add(answer) > context {
            return Err(SubmitError::TooLong { prompt, answer, context });
        }
        let needed = prompt.saturating_add(wanted).min(context);
        if needed > options.cache_tokens {
            return Err(SubmitError::NeverFits { needed, capacity: options.cache_tokens });
        }
        Ok(())
    }

    fn sequence(&self, request: Request, client: Arc<Client>) -> Sequence {
        let Request { prompt, task, origin, adapter } = request;
        let work = match task {
            Task::Embed => Work::Embed,
            Task::Score(tokens) => Work::Score(tokens),
            Task::Generate(g) => Work::Generate(Box::new(self.generation(&g, &prompt))),
        };
        Sequence {
            prompt_len: prompt.len(),
            tokens: prompt,
            computed: 0,
            blocks: Vec::new(),
            chain: Chain::new(origin.workspace, adapter.as_ref().map(LoadedAdapter::id)),
            origin,
            adapter,
            cached_tokens: None,
            proposed: Vec::new(),
            guesser: Guesser::default(),
            draft_computed: 0,
            work,
            client,
        }
    }

    fn generation(&self, request: &Generate, prompt: &[u32]) -> Generation {
        let model = self.model();
        // the process's random keys serve as a random seed
        let seed = request.sampling.seed.unwrap_or_else(|| RandomState::new().hash_one(prompt.len()));
        let eos = &model.generation.eos_token_ids;
        let answer = |choice| Answer::new(request, choice, prompt, seed, eos, &model.tokenizer);
        Generation {
            answer: answer(0),
            siblings: (1..request.n).map(answer).collect(),
            prompt_reported: false,
            prompt_logprobs: request.prompt_logprobs,
            prompt_tokens: Vec::new(),
        }
    }

    /// Counters and gauges of this moment.
    pub fn stats(&self) -> Stats {
        let waiting = self.0.shared.inbox().waiting.len();
        let stats = self.0.shared.stats().clone();
        let adapters = &self.0.shared.adapters;
        Stats {
            waiting: waiting + stats.waiting,
            adapters: adapters.list().len(),
            adapter_bytes: adapters.bytes(),
            ..stats
        }
    }

    /// Makes `adapter` ready for requests under `name`; with `replace`, requests that come later get it in the place of the
    /// one that has the name. It takes its time: not for async threads.
    ///
    /// # Errors
    /// When it is another model's, the name is taken, or there is no room.
    pub fn load_adapter(
        &self,
        name: AdapterName,
        adapter: &Adapter,
        replace: bool,
    ) -> Result<LoadedAdapter, LoadAdapterError> {
        let Shared { model, options, adapters, .. } = &*self.0.shared;
        adapters.load(model, name, adapter, replace, options.adapter_bytes)
    }

    /// Bytes of a file of weights beyond which its adapter can't have room: in float32, and perhaps kept in half of that.
    pub fn adapter_file_bytes(&self) -> u64 {
        const HEADER_BYTES: u64 = 1 << 20;
        (self.options().adapter_bytes as u64).saturating_mul(2).saturating_add(HEADER_BYTES)
    }

    /// Takes an adapter's name away, and its memory when the last request that holds it is done; `false` when there is none
    /// of that name.
    pub fn unload_adapter(&self, name: &str) -> bool {
        self.0.shared.adapters.unload(name)
    }

    /// The adapter of that name.
    pub fn adapter(&self, name: &str) -> Option<LoadedAdapter> {
        self.0.shared.adapters.get(name)
    }

    /// All adapters that are loaded, by their names.
    pub fn adapters(&self) -> Vec<LoadedAdapter> {
        self.0.shared.adapters.list()
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.0.shared.model
    }

    /// The sizes it runs with: the context at most the model's own, the cache in whole blocks.
    pub fn options(&self) -> &EngineOptions {
        &self.0.shared.options
    }

    /// Takes no more requests; those accepted go on.
    pub fn drain(&self) {
        self.0.shared.inbox().draining = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.inbox().closed = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // the thread catches panics of its steps, so there is nothing to learn from its end
            let _ = thread.join();
        }
    }
}
