//! What both ways to evaluate tasks share: tasks, the judge, and the models that answer.

use super::output::CasesFile;
use crate::exit::Usage;
use crate::loading::{self, NotForChat};
use crate::output;
use crate::progress::Progress;
use crate::sizes::{self, SizeArgs, Wishes};
use anyhow::Context;
use evaluate::limits::MAX_CHOICES;
use evaluate::run::{self, RunOptions};
use evaluate::subject::EndpointError;
use evaluate::task::Kind;
use evaluate::{CaseResult, Endpoint, Local, Subject, Task};
use models::{Adapter, ModelKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is asked, and how.
#[derive(Debug, clap::Args)]
pub struct TaskArgs {
    /// Task files (TOML), or directories of them
    #[arg(required = true, value_name = "TASK")]
    pub tasks: Vec<PathBuf>,
    /// Ask no more than the first N cases of each group of a task [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Cases that are asked at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub parallel: u16,
    /// Of sampled answers and of the confidence intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Write the report as JSON to this file as well
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write each case's answer and verdict to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub cases: Option<PathBuf>,
    /// The environment variable with the API key of models behind endpoints [default: no key]
    #[arg(long, value_name = "NAME")]
    pub key_env: Option<String>,
    /// The model that compares answers, as http(s)://HOST/v1#MODEL
    #[arg(long, value_name = "URL#MODEL")]
    pub judge: Option<String>,
    /// The environment variable with the judge's API key [default: no key]
    #[arg(long, value_name = "NAME", requires = "judge")]
    pub judge_key_env: Option<String>,
    /// Sizes of the engine.
    #[command(flatten)]
    pub sizes: SizeArgs,
}

impl TaskArgs {
    /// Reads the tasks and their cases, all of them checked.
    pub fn load(&self) -> anyhow::Result<Vec<Task>> {
        let mut tasks: Vec<Task> = Vec::new();
        for path in self.files()? {
            let task = Task::load(&path, self.limit.map(|limit| limit as usize))
                .map_err(|error| Usage(error.to_string()))?;
            if tasks.iter().any(|other| other.name == task.name) {
                return Err(Usage(format!("two of the tasks are called `{}`; rename one", task.name)).into());
            }
            tasks.push(task);
        }
        Ok(tasks)
    }

    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for path in &self.tasks {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let mut inside = Vec::new();
            for entry in path.read_dir().with_context(|| format!("cannot read {}", path.display()))? {
                let path = entry?.path();
                if path.extension().is_some_and(|ending| ending == "toml") {
                    inside.push(path);
                }
            }
            if inside.is_empty() {
                return Err(Usage(format!("{} holds no task (*.toml)", path.display())).into());
            }
            inside.sort_unstable();
            files.extend(inside);
        }
        Ok(files)
    }

    /// The judge, which has to be there if a task needs one.
    pub fn judge(&self, tasks: &[Task]) -> anyhow::Result<Option<Endpoint>> {
        let judge = self.judge.as_deref().map(|address| endpoint(address, self.judge_key_env.as_deref()));
        let judge = judge.transpose()?;
        match tasks.iter().find(|task| task.kind == Kind::Judge) {
            Some(task) if judge.is_none() => {
                Err(Usage(format!("the task `{}` needs a judge; give --judge URL#MODEL", task.name)).into())
            }
            _ => Ok(judge),
        }
    }

    /// How the cases are asked.
    pub fn options(&self) -> RunOptions {
        RunOptions { parallel: self.parallel.into(), seed: self.seed }
    }

    /// The model that `model` names: a path, with an adapter beside it or not, or an endpoint. It has to be able to do `tasks`.
    pub fn open(&self, model: &str, adapter: Option<&Path>, tasks: &[Task]) -> anyhow::Result<Subject> {
        let subject = match (is_endpoint(model), adapter) {
            (true, Some(_)) => {
                let why = "an adapter is put beside a model on this machine; an endpoint serves it under a name of its own";
                return Err(Usage(why.to_owned()).into());
            }
            (true, None) => Subject::Endpoint(endpoint(model, self.key_env.as_deref())?),
            (false, adapter) => Subject::Local(self.open_local(Path::new(model), adapter)?),
        };
        tasks.iter().try_for_each(|task| subject.check(task)).map_err(|error| Usage(error.to_string()))?;
        Ok(subject)
    }

    fn open_local(&self, path: &Path, adapter: Option<&Path>) -> anyhow::Result<Local> {
        let pool = Arc::new(kernels::Pool::new(self.sizes.threads()));
        let mut model = loading::open(path)?;
        if model.kind == ModelKind::Embed {
            let why = "makes embeddings; it does not answer";
            return Err(NotForChat { path: path.to_owned(), why }.into());
        }
        if let Some(dir) = adapter {
            let dir = &loading::locate(dir)?;
            let attached = Adapter::read(dir).and_then(|adapter| {
                model.check_base(&adapter)?;
                adapter.attach(&mut model.lm)
            });
            attached.with_context(|| format!("cannot use the adapter {}", dir.display()))?;
        }
        let model = loading::pack(model, &self.sizes, &pool)?;
        let draft = loading::open_draft(&self.sizes, &pool)?;
        let parallel = usize::from(self.parallel);
        let wishes = Wishes {
            cache_tokens: None,
            max_sequences: parallel,
            // the choices of a case are computed at once
            max_waiting: parallel * MAX_CHOICES,
            max_waiting_tokens: Some(usize::MAX),
            memory: sizes::cache_memory(&[&model], draft.as_deref()),
        };
        let options = sizes::engine_options(&model, draft.as_ref(), &self.sizes, wishes)?;
        Ok(Local::new(loading::start(model, pool, options)?))
    }

    /// Asks `subject` a task's cases.
    pub fn ask(
        &self,
        task: &Task,
        subject: &Subject,
        runtime: &tokio::runtime::Runtime,
    ) -> anyhow::Result<Vec<CaseResult>> {
        let done = Counter::new(format!("asking {}", task.name), task);
        let results = runtime.block_on(run::run(task, subject, self.options(), &|| done.count()))?;
        let name = &task.name;
        let cut = results.iter().filter(|result| result.answer.as_ref().is_some_and(|answer| answer.cut));
        match cut.count() {
            0 => {}
            cut => output::note(&format!(
                "{name}: {cut} answers were cut at max_tokens = {} or at the end of the context",
                task.max_tokens
            )),
        }
        match results.iter().filter(|result| result.too_long).count() {
            0 => {}
            long => {
                output::note(&format!("{name}: {long} cases are longer than the context and count as wrong"))
            }
        }
        Ok(results)
    }

    /// Has the judge compare what was answered to a task, if it is the judge's.
    pub fn compare_answers(
        &self,
        task: &Task,
        results: &mut [CaseResult],
        others: Option<&mut [CaseResult]>,
        judge: Option<&Endpoint>,
        runtime: &tokio::runtime::Runtime,
    ) -> anyhow::Result<()> {
        let Some(judge) = judge.filter(|_| task.kind == Kind::Judge) else { return Ok(()) };
        let done = Counter::new(format!("judging {}", task.name), task);
        let tell = || done.count();
        Ok(runtime.block_on(run::judge(task, results, others, judge, self.options(), &tell))?)
    }

    /// Where each case is written to. It is opened before anything is asked, so that a wrong path costs nothing.
    pub fn cases_file(&self) -> anyhow::Result<CasesFile> {
        CasesFile::create(self.cases.as_deref())
    }
}

/// Whether `model` is an address and not a path.
pub fn is_endpoint(model: &str) -> bool {
    model.starts_with("http://") || model.starts_with("https://")
}

/// The name of a model in reports.
pub fn name(model: &str, adapter: Option<&Path>) -> String {
    let name = match model.split_once('#') {
        Some((_, name)) if is_endpoint(model) => name.to_owned(),
        _ => models::model::model_name(Path::new(model)),
    };
    match adapter {
        Some(dir) => format!("{name} + {}", dir.display()),
        None => name,
    }
}

fn endpoint(address: &str, key_env: Option<&str>) -> anyhow::Result<Endpoint> {
    let key = key_env.map(|variable| {
        std::env::var(variable)
            .map_err(|_| Usage(format!("the environment variable {variable} holds no API key; set it")))
    });
    Endpoint::new(address, key.transpose()?.as_deref()).map_err(|error| match error {
        EndpointError::Address(_) | EndpointError::Credentials | EndpointError::Key => {
            Usage(error.to_string()).into()
        }
        error => error.into(),
    })
}

/// Progress over a task's cases.
struct Counter {
    done: AtomicU64,
    progress: Progress,
}

impl Counter {
    fn new(what: String, task: &Task) -> Counter {
        Counter { done: AtomicU64::new(0), progress: Progress::steps(what, task.cases.len() as u64) }
    }

    fn count(&self) {
        self.progress.set(self.done.fetch_add(1, Ordering::Relaxed) + 1);
    }
}
