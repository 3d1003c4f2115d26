//! SQL: whether the answer's query gives the rows that the expected one gives.
//!
//! Both run in an SQLite database in memory that the case's statements have made. Rows are compared as a multiset, and in
//! order where the expected query ends with an ORDER BY. The answer's query is foreign code: it is one statement that may read
//! and nothing else, and it has bounds on steps, time, rows, and memory ([`crate::limits`]).

use super::{Verdict, fenced, mark, quoted};
use crate::Answer;
use crate::limits::{
    MAX_SQL_BYTES, MAX_SQL_MEMORY_BYTES, MAX_SQL_ROWS, MAX_SQL_STEPS, MAX_SQL_TIME, MAX_SQL_VALUE_BYTES,
};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, ErrorCode};
use std::time::Instant;

/// The kind's metrics: answers that give the right rows, and answers that can be run.
pub const METRICS: [&str; 2] = ["rows", "runs"];

/// Steps between two looks at the bounds.
const STEPS_PER_LOOK: u16 = 1000;

/// The right rows.
#[derive(Debug)]
pub struct Gold {
    /// Statements that make the tables.
    database: String,
    rows: Rows,
    ordered: bool,
}

/// A result: each row's values in a form in which equal ones are equal texts.
#[derive(Debug, PartialEq, Eq)]
struct Rows {
    columns: usize,
    rows: Vec<Vec<String>>,
}

/// Why a query gives no rows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum Fault {
    #[error("there is no SQL")]
    Empty,
    #[error("the SQL has more than {MAX_SQL_BYTES} bytes")]
    TooLong,
    #[error("there is more than one statement")]
    Several,
    #[error("it does something else than reading: {0}")]
    NotReading(String),
    #[error("it was stopped after {MAX_SQL_STEPS} steps or {} s", MAX_SQL_TIME.as_secs())]
    Endless,
    #[error("it gives more than {MAX_SQL_ROWS} rows")]
    TooManyRows,
    #[error("it takes more than {MAX_SQL_MEMORY_BYTES} bytes of memory")]
    Memory,
    #[error("{0}")]
    Sqlite(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Fault::Endless,
            Some(ErrorCode::OutOfMemory) => Fault::Memory,
            Some(ErrorCode::AuthorizationForStatementDenied) => Fault::NotReading(error.to_string()),
            _ => Fault::Sqlite(error.to_string()),
        }
    }
}

impl Gold {
    /// From a case's `database`, statements that make it, and `expected`, the right query, which is run at once.
    pub fn new(database: String, expected: &str) -> Result<Gold, String> {
        let connection = make(&database).map_err(|fault| format!("`database`: {fault}"))?;
        let rows = query(&connection, expected).map_err(|fault| format!("`expected`: {fault}"))?;
        Ok(Gold { database, rows, ordered: is_ordered(expected) })
    }

    /// Runs the answer's query: the first code fence, or all of the text.
    pub fn score(&self, answer: &Answer) -> Verdict {
        let sql = fenced(&answer.text).unwrap_or(&answer.text);
        let found = make(&self.database).and_then(|connection| query(&connection, sql));
        let found = match found {
            Ok(found) => found,
            Err(fault) => {
                let why = format!("{fault}: {}", quoted(sql));
                return Verdict::new(METRICS, [0.0; 2], Some(why));
            }
        };
        let right = self.rows.same(&found, self.ordered);
        let why = (!right).then(|| format!("it gives {found}, not {}", self.rows));
        Verdict::new(METRICS, [mark(right), 1.0], why)
    }
}

impl Rows {
    fn same(&self, other: &Rows, ordered: bool) -> bool {
        let sorted = |rows: &Rows| {
            let mut rows: Vec<Vec<String>> = rows.rows.clone();
            rows.sort_unstable();
            rows
        };
        self.columns == other.columns
            && self.rows.len() == other.rows.len()
            && (self == other || !ordered && sorted(self) == sorted(other))
    }
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first =
            self.rows.first().map_or_else(String::new, |row| format!(", first {}", quoted(&row.join(" | "))));
        write!(f, "{} rows of {} columns{first}", self.rows.len(), self.columns)
    }
}

/// A database in memory, made by `statements`, that can be read from then on.
fn make(statements: &str) -> Result<Connection, Fault> {
    let connection = Connection::open_in_memory()?;
    // the heap's bound is the process's; what would be spilled to files stays in memory, under that bound
    connection.execute_batch(&format!(
        "PRAGMA hard_heap_limit = {MAX_SQL_MEMORY_BYTES}; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;"
    ))?;
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, MAX_SQL_VALUE_BYTES),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_COLUMN, 256),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    bound_steps(&connection)?;
    connection.authorizer(Some(|context: AuthContext<'_>| allow(may_make(&context.action))))?;
    let mut batch = Batch::new(&connection, statements);
    while let Some(mut statement) = batch.next()? {
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    connection.authorizer(Some(|context: AuthContext<'_>| allow(may_ask(&context.action))))?;
    Ok(connection)
}

/// Gives the statements that follow their bound on steps and time.
fn bound_steps(connection: &Connection) -> rusqlite::Result<()> {
    let (mut looks, begun) = (MAX_SQL_STEPS / u64::from(STEPS_PER_LOOK), Instant::now());
    let stop = move || {
        looks = looks.saturating_sub(1);
        looks == 0 || begun.elapsed() > MAX_SQL_TIME
    };
    connection.progress_handler(STEPS_PER_LOOK.into(), Some(stop))
}

fn allow(allowed: bool) -> Authorization {
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

/// Tables, rows, views and indexes; no other files, settings, or code.
fn may_make(action: &AuthAction<'_>) -> bool {
    !matches!(
        action,
        AuthAction::Attach { .. }
            | AuthAction::Detach { .. }
            | AuthAction::Pragma { .. }
            | AuthAction::CreateVtable { .. }
            | AuthAction::Function { function_name: "load_extension" | "fts3_tokenizer" }
            | AuthAction::Unknown { .. }
    )
}

fn may_ask(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => {
            !matches!(*function_name, "load_extension" | "fts3_tokenizer")
        }
        _ => false,
    }
}

/// The rows of the one statement that `sql` is.
fn query(connection: &Connection, sql: &str) -> Result<Rows, Fault> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(Fault::TooLong);
    }
    bound_steps(connection)?;
    let mut batch = Batch::new(connection, sql);
    let mut statement = batch.next()?.ok_or(Fault::Empty)?;
    if batch.next()?.is_some() {
        return Err(Fault::Several);
    }
    let columns = statement.column_count();
    if !statement.readonly() || columns == 0 {
        return Err(Fault::NotReading("the statement gives no rows".to_owned()));
    }
    let mut found = Rows { columns, rows: Vec::new() };
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if found.rows.len() == MAX_SQL_ROWS {
            return Err(Fault::TooManyRows);
        }
        let values = (0..columns).map(|column| Ok(comparable(row.get_ref(column)?)));
        found.rows.push(values.collect::<Result<_, rusqlite::Error>>()?);
    }
    Ok(found)
}

/// A value as text, the same for equal values: a number by its first 12 digits, whether it is stored whole or not, since sums
/// of the same numbers in another order differ in the last ones.
fn comparable(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(number) => format!("{:.11e}", number as f64),
        // -0.0 is 0
        ValueRef::Real(number) => format!("{:.11e}", number + 0.0),
        ValueRef::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => format!("x{bytes:02x?}"),
    }
}

/// Whether the rows of `sql` have an order: it has ORDER BY outside of parentheses, texts and comments.
fn is_ordered(sql: &str) -> bool {
    let (mut depth, mut rest) = (0usize, sql);
    let mut after_order = false;
    while let Some(first) = rest.chars().next() {
        let skip_to = |end: &str| rest[first.len_utf8()..].split_once(end).map_or("", |(_, rest)| rest);
        match first {
            '\'' | '"' | '`' => rest = skip_to(first.encode_utf8(&mut [0; 4])),
            '[' => rest = skip_to("]"),
            '-' if rest.starts_with("--") => rest = skip_to("\n"),
            '/' if rest.starts_with("/*") => rest = skip_to("*/"),
            '(' | ')' => {
                depth = if first == '(' { depth + 1 } else { depth.saturating_sub(1) };
                rest = &rest[1..];
            }
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let word = &rest[..end];
                if after_order && word.eq_ignore_ascii_case("by") {
                    return true;
                }
                after_order = depth == 0 && word.eq_ignore_ascii_case("order");
                rest = &rest[end..];
            }
            c => rest = &rest[c.len_utf8()..],
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAFF: &str = "CREATE TABLE staff (name TEXT, city TEXT, pay REAL, boss INTEGER);
        INSERT INTO staff VALUES ('Li', '杭州', 10.1, NULL), ('Wu', '上海', 20.2, 1), ('Xu', '杭州', 30, 1);
        -- that is all
        CREATE VIEW rich AS SELECT * FROM staff WHERE pay > 15;";

    fn score(expected: &str, answer: &str) -> (f64, f64, String) {
        let verdict = Gold::new(STAFF.to_owned(), expected).unwrap().score(&Answer::text(answer));
        let why = verdict.why.clone().unwrap_or_default();
        assert_eq!(why.is_empty(), verdict.headline() == 1.0, "{verdict:?}");
        (verdict.metrics[0].value, verdict.metrics[1].value, why)
    }

    #[test]
    fn rows_count_and_not_how_they_are_asked_for() {
        for (expected, answer, right) in [
            ("SELECT name FROM staff", "SELECT name FROM staff ORDER BY pay DESC", true),
            ("SELECT name FROM staff", "```sql\nSELECT name FROM staff;\n```\nThat lists all.", true),
            ("SELECT name FROM staff", "select NAME as n from staff -- all\n;", true),
            ("SELECT name FROM staff ORDER BY pay", "SELECT name FROM staff ORDER BY pay DESC", false),
            ("SELECT name FROM staff ORDER BY pay", "SELECT name FROM staff ORDER BY pay LIMIT 10", true),
            ("SELECT name FROM rich", "SELECT name FROM staff WHERE pay > 20", true),
            ("SELECT name FROM rich", "SELECT name, pay FROM rich", false),
            ("SELECT city FROM staff", "SELECT DISTINCT city FROM staff", false),
            ("SELECT count(*) FROM staff", "SELECT 3.0", true),
            ("SELECT sum(pay) FROM staff", "SELECT 30 + 20.2 + 10.1", true),
            ("SELECT boss FROM staff WHERE name = 'Li'", "SELECT ''", false),
            ("SELECT name FROM staff WHERE 0", "SELECT name FROM staff WHERE city = 'x'", true),
            (
                "SELECT count(*) FROM staff",
                "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t WHERE x < 3) SELECT max(x) FROM t",
                true,
            ),
        ] {
            let (rows, runs, why) = score(expected, answer);
            assert_eq!((rows, runs), (mark(right), 1.0), "{expected} {answer} {why}");
        }
    }

    #[test]
    fn hostile_queries_are_stopped_and_harm_nothing() {
        let endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t)";
        let long = format!("SELECT '{}'", "x".repeat(MAX_SQL_BYTES));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("made.db");
        let attach = format!("ATTACH DATABASE '{}' AS other", file.display());
        let vacuum = format!("VACUUM INTO '{}'", file.display());
        let nested = format!("SELECT {}1", "1 + ".repeat(5000));
        for (answer, why) in [
            (format!("{endless} SELECT count(*) FROM t").as_str(), "stopped after"),
            (&format!("{endless} SELECT x FROM t"), "more than 10000 rows"),
            (&attach, "something else than reading"),
            (&vacuum, "something else than reading"),
            ("DELETE FROM staff", "something else than reading"),
            ("INSERT INTO staff SELECT * FROM staff", "something else than reading"),
            ("DROP TABLE staff", "something else than reading"),
            ("CREATE TABLE more (x)", "something else than reading"),
            ("PRAGMA query_only = OFF", "something else than reading"),
            ("SELECT * FROM pragma_database_list", ""),
            ("SELECT load_extension('x')", ""),
            ("SELECT zeroblob(1000000000)", "too big"),
            ("SELECT name FROM staff; DELETE FROM staff", "something else than reading"),
            ("SELECT name FROM staff; SELECT 1", "more than one statement"),
            ("SELECT name FROM staf", "no such table"),
            ("BEGIN", "something else than reading"),
            ("I do not know.", "syntax error"),
            (&long, "more than 65536 bytes"),
            (&nested, "too large"),
            ("", "no SQL"),
            ("-- nothing", "no SQL"),
            ("SELECT '\0'; \0", ""),
        ] {
            let (rows, runs, found) = score("SELECT name FROM staff", answer);
            assert_eq!((rows, runs), (0.0, 0.0), "{} {found}", quoted(answer));
            assert!(found.contains(why), "{} {found}", quoted(answer));
        }
        assert!(!file.exists());
    }

    #[test]
    fn broken_cases_are_told_from_broken_answers() {
        for (database, expected, why) in [
            ("CREATE TABLE a (x", "SELECT 1", "`database`: "),
            ("ATTACH DATABASE 'x.db' AS other", "SELECT 1", "`database`: it does something else"),
            ("CREATE TABLE a (x)", "SELECT y FROM a", "`expected`: no such column"),
            ("CREATE TABLE a (x)", "", "`expected`: there is no SQL"),
        ] {
            let error = Gold::new(database.to_owned(), expected).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn only_the_outermost_order_counts() {
        for (sql, ordered) in [
            ("SELECT a FROM t ORDER BY a", true),
            ("select a from t order\n  by a limit 1", true),
            ("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3)", false),
            ("SELECT ' ORDER BY ' FROM t -- ORDER BY a", false),
            ("SELECT \"order by\", [order by] FROM t /* order by */", false),
            ("SELECT row_number() OVER (ORDER BY a) FROM t", false),
            ("SELECT a FROM (SELECT 1) ORDER BY 1", true),
            ("SELECT order_by FROM t", false),
            ("SELECT 'unclosed ORDER BY", false),
        ] {
            assert_eq!(is_ordered(sql), ordered, "{sql}");
        }
    }
}
