//! Every bound on task files, cases and answers, with its reason.

use std::time::Duration;

/// Bytes of a task file: settings, not data.
pub const MAX_TASK_BYTES: u64 = 256 << 10;
/// Bytes of a line of cases: a long conversation with its tools.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// Cases of a task.
pub const MAX_CASES: usize = 100_000;
/// Faulty lines that an error lists; the others are counted.
pub const MAX_FAULTS_IN_MESSAGE: usize = 20;
/// Messages of a case.
pub const MAX_MESSAGES: usize = 1024;
/// Choices of a case: each is computed with the whole prompt.
pub const MAX_CHOICES: usize = 64;
/// Bytes of a compiled pattern: a repetition of repetitions grows without end otherwise.
pub const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Values in an expected JSON document. Lists are aligned item by item, so the work is its size times the answer's.
pub const MAX_EXPECTED_VALUES: usize = 1000;
/// Values in an answer's JSON document; see [`MAX_EXPECTED_VALUES`].
pub const MAX_ANSWER_VALUES: usize = 10_000;

/// Bytes of an answer that is taken for SQL.
pub const MAX_SQL_BYTES: usize = 64 << 10;
/// Bytes of one value or row in SQL. Functions such as `instr` take up to its square in one step, which nothing interrupts.
pub const MAX_SQL_VALUE_BYTES: i32 = 64 << 10;
/// Steps of SQLite's virtual machine for one statement: some seconds at most, and the same ones on every machine.
pub const MAX_SQL_STEPS: u64 = 20_000_000;
/// Time for one statement, where its steps are slow ones.
pub const MAX_SQL_TIME: Duration = Duration::from_secs(20);
/// Rows of a result.
pub const MAX_SQL_ROWS: usize = 10_000;
/// Bytes of memory that SQLite may take, over the whole process: a statement can hold a value in each of its steps.
pub const MAX_SQL_MEMORY_BYTES: usize = 256 << 20;

/// Bytes of an endpoint's reply.
pub const MAX_REPLY_BYTES: usize = 8 << 20;
/// Bytes of a reply that an error message repeats.
pub const MAX_QUOTED_BYTES: usize = 300;
/// Time to connect to an endpoint.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an answer, on a busy server with a large model.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// Times that a request is sent at most, where the endpoint is busy or away.
pub const MAX_TRIES: u32 = 5;
/// Longest wait before the next try, whatever the endpoint asks for.
pub const MAX_RETRY_WAIT: Duration = Duration::from_secs(30);
/// Tokens of a judge's reply: its thoughts, its reasons and the verdict.
pub const JUDGE_TOKENS: usize = 2048;

/// Samples of a bootstrap: the ends of a 95% interval are then known to about a hundredth of its width.
pub const BOOTSTRAP_SAMPLES: usize = 5000;
