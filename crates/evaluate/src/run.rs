//! Cases to verdicts: asks a subject, many cases at once, and has the answers scored.

use crate::Answer;
use crate::limits::JUDGE_TOKENS;
use crate::score::judge::{self, Better};
use crate::score::{Gold, Verdict};
use crate::subject::{Ask, Endpoint, EndpointError, Subject, SubjectError};
use crate::task::{Case, Question, Task};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

/// How a run goes about it.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Cases that are asked at once.
    pub parallel: usize,
    /// Of answers that are sampled.
    pub seed: u64,
}

/// What became of a case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResult {
    /// The case.
    pub id: String,
    /// Its group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// What the model said, where it was asked to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// How likely the choices are, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_likelihoods: Option<Vec<f64>>,
    /// Whether the case was longer than the model's context, so that it could not be asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub too_long: bool,
    /// How right it is. Without metrics where a judge has yet to say it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Why a task could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The model gives no answers.
    #[error("case `{id}` of {task}: {source}")]
    Subject {
        /// The task.
        task: String,
        /// The case.
        id: String,
        /// Why.
        source: SubjectError,
    },
    /// The judge gives no verdicts.
    #[error("judging case `{id}` of {task}: {source}")]
    Judge {
        /// The task.
        task: String,
        /// The case.
        id: String,
        /// Why.
        source: EndpointError,
    },
    /// A case of a judged task that has nothing to be compared with.
    #[error("case `{id}` of {task} has no `expected` answer to compare with; add one, or compare two models")]
    NoReference {
        /// The task.
        task: String,
        /// The case.
        id: String,
    },
}

/// Asks `subject` all cases of `task`. `tell` hears of each case that is done, as there are that many.
///
/// What a judge has to say is left out; see [`judge`].
///
/// # Errors
/// When the subject cannot be asked. A case that is longer than its context counts as answered wrong.
pub async fn run(
    task: &Task,
    subject: &Subject,
    options: RunOptions,
    tell: &(dyn Fn() + Sync),
) -> Result<Vec<CaseResult>, RunError> {
    let asked = task.cases.iter().enumerate().map(async |(index, case)| {
        let result = result(task, case, subject, options.seed).await;
        tell();
        result.map(|result| (index, result))
    });
    in_order(asked, options.parallel).await
}

/// Runs `work` so many at a time and gives the results in the order of their numbers.
async fn in_order<T>(
    work: impl Iterator<Item = impl Future<Output = Result<(usize, T), RunError>>>,
    parallel: usize,
) -> Result<Vec<T>, RunError> {
    let mut results: Vec<(usize, T)> =
        stream::iter(work).buffer_unordered(parallel.max(1)).try_collect().await?;
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

async fn result(task: &Task, case: &Case, subject: &Subject, seed: u64) -> Result<CaseResult, RunError> {
    let outcome = match &case.gold {
        Gold::Choice(gold) => {
            let likely = subject.log_likelihoods(&case.question, gold.choices(), task.thinking).await;
            likely.map(|likely| (None, gold.score(&likely), Some(likely)))
        }
        gold => {
            let answer = answer(task, case, subject, seed).await;
            answer.map(|answer| {
                let verdict = gold.score(&answer).unwrap_or_default();
                (Some(answer), verdict, None)
            })
        }
    };
    let result = |answer, verdict, log_likelihoods, too_long| {
        let (id, group) = (case.id.clone(), case.group.clone());
        CaseResult { id, group, answer, log_likelihoods, too_long, verdict }
    };
    match outcome {
        Ok((answer, verdict, log_likelihoods)) => Ok(result(answer, verdict, log_likelihoods, false)),
        Err(error) if error.is_of_the_case() => {
            // judged as an answer of no words
            let said = matches!(case.gold, Gold::Judge(_)).then(Answer::default);
            Ok(result(said, case.gold.failed(error.to_string()), None, true))
        }
        Err(source) => Err(RunError::Subject { task: task.name.clone(), id: case.id.clone(), source }),
    }
}

async fn answer(task: &Task, case: &Case, subject: &Subject, seed: u64) -> Result<Answer, SubjectError> {
    let Question::Chat { messages, tools } = &case.question else {
        // only choices have plain prompts, and they are not answered
        return Ok(Answer::default());
    };
    let ask = Ask {
        messages,
        tools,
        max_tokens: task.max_tokens,
        temperature: task.temperature,
        seed,
        thinking: task.thinking,
    };
    subject.answer(ask).await
}

/// Has `judge` compare each case's answer with `others`' to the same case, or with the case's own where there are none.
/// Both lists are in the task's order, as [`run`] gives them. Verdicts are put into `results`; those from the others' side are
/// put into `others`.
///
/// # Errors
/// When the judge cannot be asked, or a case has nothing to be compared with.
pub async fn judge(
    task: &Task,
    results: &mut [CaseResult],
    mut others: Option<&mut [CaseResult]>,
    judge: &Endpoint,
    options: RunOptions,
    tell: &(dyn Fn() + Sync),
) -> Result<(), RunError> {
    let mut pairs = Vec::new();
    for (index, case) in task.cases.iter().enumerate() {
        let (Gold::Judge(gold), Question::Chat { messages, .. }) = (&case.gold, &case.question) else {
            continue;
        };
        let of = |results: &[CaseResult]| results.get(index).and_then(|result| result.answer.clone());
        let other = match &others {
            Some(others) => of(others),
            None => gold.reference(),
        };
        let (Some(one), Some(other)) = (of(results), other) else {
            return Err(RunError::NoReference { task: task.name.clone(), id: case.id.clone() });
        };
        pairs.push((index, case, gold, messages, one, other));
    }
    let judged = pairs.iter().map(async |(index, case, gold, messages, one, other)| {
        let both = async {
            let first = verdict(judge, &gold.question(messages, one, other)).await?;
            let swapped = verdict(judge, &gold.question(messages, other, one)).await?;
            Ok(judge::combine(first, swapped))
        };
        let verdict = both.await.map_err(|source| {
            let (task, id) = (task.name.clone(), case.id.clone());
            RunError::Judge { task, id, source }
        });
        tell();
        verdict.map(|verdict| (*index, (*index, verdict)))
    });
    for (index, verdict) in in_order(judged, options.parallel).await? {
        if let Some(other) = others.as_deref_mut().and_then(|others| others.get_mut(index)) {
            other.verdict = judge::other_side(&verdict);
        }
        if let Some(result) = results.get_mut(index) {
            result.verdict = verdict;
        }
    }
    Ok(())
}

async fn verdict(judge: &Endpoint, question: &[serde_json::Value]) -> Result<Option<Better>, EndpointError> {
    let ask = Ask {
        messages: question,
        tools: &[],
        max_tokens: JUDGE_TOKENS,
        temperature: 0.0,
        seed: 0,
        thinking: None,
    };
    Ok(judge::verdict(&judge.answer(ask).await?.text))
}
