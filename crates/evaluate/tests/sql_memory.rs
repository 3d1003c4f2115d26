//! A query that fills memory is stopped. Alone in its process, since SQLite's bound is the process's.

use evaluate::Answer;
use evaluate::score::sql::Gold;

#[test]
fn a_query_that_fills_memory_is_stopped_and_the_next_one_runs() {
    let gold =
        Gold::new("CREATE TABLE a (x); INSERT INTO a VALUES (1)".to_owned(), "SELECT x FROM a").unwrap();
    for rows in ["SELECT x FROM t ORDER BY random()", "SELECT count(DISTINCT x) FROM t"] {
        let large =
            "WITH RECURSIVE t(x) AS (SELECT randomblob(60000) UNION ALL SELECT randomblob(60000) FROM t)";
        let verdict = gold.score(&Answer::text(format!("{large} {rows}")));
        assert_eq!(verdict.headline(), 0.0);
        assert!(verdict.why.as_deref().unwrap_or_default().contains("memory"), "{rows}: {:?}", verdict.why);
        assert_eq!(gold.score(&Answer::text("SELECT x FROM a")).headline(), 1.0);
    }
}
