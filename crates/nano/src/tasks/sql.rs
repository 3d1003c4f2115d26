//! A question to SQL over a small schema that stands in the prompt.
//!
//! One table answers a question; another may stand beside it. Tables and columns are drawn at random, also made-up ones, so
//! that nothing but the schema says what they are called.
//!
//! In Chinese the names that a query needs are written down before it, each behind what the question calls it, and with it what is
//! asked of it: `类型 type = '群尘瑚'`.

mod tables;

use super::Task;
use crate::example::{Example, Scoring};
use crate::grammar::{Language, Writer};
use crate::words;
use serde_json::json;
use tables::*;

/// The task.
pub const TASK: Task = Task { name: "sql", scoring: Scoring::Sql, weight: 18, max_tokens: 160, write };

/// A column: its name in SQL, what questions call it, and what is in it.
#[derive(Clone)]
struct Column {
    sql: String,
    spoken: String,
    kind: Kind,
    /// Texts that are in it.
    values: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Date,
    Id,
}

impl Kind {
    fn sql(self) -> &'static str {
        match self {
            Kind::Number | Kind::Id => "INTEGER",
            Kind::Text | Kind::Date => "TEXT",
        }
    }
}

/// A table.
struct Table {
    sql: String,
    spoken: String,
    columns: Vec<Column>,
}

fn write(w: Writer) -> Example {
    let mut w = w;
    let mut used = Vec::new();
    let mut tables = vec![table(&mut w, &mut used)];
    if w.chance(40) {
        tables.push(table(&mut w, &mut used));
    }
    let (question, sql) = query(&mut w, &tables[0]);
    let rows = rows(&mut w, &tables[0]);
    let mut schema: Vec<String> = tables.iter().map(|table| describe(&mut w, table)).collect();
    w.shuffle(&mut schema);
    let prompt = w.phrase(
        w.language().pick(PROMPTS_ZH, PROMPTS_EN),
        &[("schema", &schema.join("\n")), ("question", &question)],
    );
    let language = w.language();
    let turns = match language {
        Language::Zh => w.further_thoughtful_turns(),
        Language::En => w.further_turns(),
    };
    let further: Vec<(usize, String, String)> = (0..turns)
        .map(|_| {
            let at = w.below(tables.len());
            let (question, sql) = query(&mut w, &tables[at]);
            (at, question, format!("{sql};"))
        })
        .collect();
    let answer = format!("{sql};");
    let mut thoughts = vec![names(&tables[0], &answer)];
    thoughts.extend(further.iter().map(|(at, _, sql)| names(&tables[*at], sql)));
    let further = further.into_iter().map(|(_, question, sql)| (question, sql)).collect();
    let mut example = Example::new(w, prompt, answer.clone(), json!(answer)).with_turns(further);
    if language == Language::Zh {
        example = example.with_thoughts(thoughts);
    }
    example.database = Some(rows);
    example
}

/// The names that a query has, the table's first, each behind what it is called in speech. Conditions come last and whole.
fn names(table: &Table, sql: &str) -> String {
    let sql = sql.trim_end_matches(';');
    let (head, conditions) = sql.split_once(" WHERE ").map_or((sql, None), |(head, rest)| (head, Some(rest)));
    let spoken = |part: &str| {
        let name = part.split(' ').next().unwrap_or_default();
        let column = table.columns.iter().find(|column| column.sql == name && column.kind != Kind::Id);
        column.map(|column| format!("{} {part}", column.spoken))
    };
    let mut names = vec![format!("{} {}", table.spoken, table.sql)];
    for word in head.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        names.extend(spoken(word).filter(|name| !names.contains(name)));
    }
    names.extend(conditions.into_iter().flat_map(|all| all.split(" AND ")).filter_map(spoken));
    names.join(", ")
}

/// A table whose names are in none of `used`.
fn table(w: &mut Writer, used: &mut Vec<String>) -> Table {
    // a schema is new as a whole: its words are known, but not together
    let mut made = None;
    w.entity(&mut |w| {
        let mut names = used.clone();
        let table = any_table(w, &mut names);
        let columns: Vec<&str> = table.columns.iter().map(|c| c.sql.as_str()).collect();
        let schema = format!("{}({})", table.sql, columns.join(","));
        made = Some((table, names));
        schema
    });
    let (table, names) = made.expect("made above");
    *used = names;
    table
}

fn any_table(w: &mut Writer, used: &mut Vec<String>) -> Table {
    let mut fresh = |w: &mut Writer, list: &'static [(&'static str, &'static str)]| loop {
        let (sql, spoken) = name(w, list);
        if !used.contains(&sql) {
            used.push(sql.clone());
            return (sql, spoken);
        }
    };
    let (sql, spoken) = fresh(w, TABLES);
    let mut columns = Vec::new();
    let lists = [
        (Kind::Text, TEXTS),
        (Kind::Number, NUMBERS),
        (Kind::Text, TEXTS),
        (Kind::Number, NUMBERS),
        (Kind::Date, DATES),
    ];
    for (at, (kind, list)) in lists.into_iter().enumerate() {
        // every question finds a text and a number
        if at >= 2 && w.chance(50) {
            continue;
        }
        let (sql, spoken) = fresh(w, list);
        let values = if kind == Kind::Text { (0..4).map(|_| value(w)).collect() } else { Vec::new() };
        columns.push(Column { sql, spoken, kind, values });
    }
    w.shuffle(&mut columns);
    if w.chance(60) {
        let (sql, spoken) = ("id".to_owned(), "id".to_owned());
        columns.insert(0, Column { sql, spoken, kind: Kind::Id, values: Vec::new() });
    }
    Table { sql, spoken, columns }
}

/// A name in SQL and in speech: one of `list` that belongs to the split, or made up.
fn name(w: &mut Writer, list: &'static [(&'static str, &'static str)]) -> (String, String) {
    let language = w.language();
    if w.chance(25) {
        let made = w.entity(&mut |w| words::made_up(w).to_lowercase());
        let spoken = match language {
            Language::En => made.clone(),
            Language::Zh => w.entity(&mut |w| format!("{}{}", words::hanzi(w), words::hanzi(w))),
        };
        return (made, spoken);
    }
    let (sql, zh) = list[w.below(list.len())];
    (sql.to_owned(), language.pick(zh.to_owned(), sql.replace('_', " ")))
}

fn value(w: &mut Writer) -> String {
    match w.below(3) {
        0 => words::city(w),
        1 => words::person(w),
        _ => words::brand(w),
    }
}

/// The line of the schema, as people write them. In Chinese each name has its meaning before it: what is copied then stands
/// behind what it is found by, as everywhere else.
fn describe(w: &mut Writer, table: &Table) -> String {
    let typed = w.chance(20);
    let named = |sql: &str, spoken: &str| match w.language() {
        Language::En => sql.to_owned(),
        Language::Zh => format!("{spoken} {sql}"),
    };
    let mut columns: Vec<String> = Vec::new();
    for column in &table.columns {
        let named =
            if column.kind == Kind::Id { column.sql.clone() } else { named(&column.sql, &column.spoken) };
        columns.push(if typed { format!("{named} {}", column.kind.sql()) } else { named });
    }
    let (name, columns) = (named(&table.sql, &table.spoken), columns.join(", "));
    match w.below(5) {
        0 => format!("{name} ({columns})"),
        1 => format!("CREATE TABLE {name} ({columns});"),
        _ => format!("{name}({columns})"),
    }
}

/// A condition on a column, in words and in SQL.
fn condition(w: &mut Writer, column: &Column) -> (String, String) {
    let language = w.language();
    let (sql, name) = (&column.sql, ("c", column.spoken.as_str()));
    match column.kind {
        Kind::Text => {
            let value = &column.values[w.below(4)];
            let said = w.phrase(language.pick(IS_ZH, IS_EN), &[name, ("v", value)]);
            (said, format!("{sql} = '{value}'"))
        }
        Kind::Number => {
            let value = words::quantity(w).to_string();
            let above = w.chance(50);
            let phrases = match above {
                true => language.pick(ABOVE_ZH, ABOVE_EN),
                false => language.pick(BELOW_ZH, BELOW_EN),
            };
            let said = w.phrase(phrases, &[name, ("v", &value)]);
            (said, format!("{sql} {} {value}", if above { '>' } else { '<' }))
        }
        Kind::Date | Kind::Id => {
            let value = words::iso_date(w);
            let after = w.chance(50);
            let phrases = match after {
                true => language.pick(AFTER_ZH, AFTER_EN),
                false => language.pick(BEFORE_ZH, BEFORE_EN),
            };
            let said = w.phrase(phrases, &[name, ("v", &value)]);
            (said, format!("{sql} {} '{value}'", if after { '>' } else { '<' }))
        }
    }
}

/// No, one or two conditions, in words and as a clause.
fn filter(w: &mut Writer, table: &Table, not: &str, percent: usize) -> (String, String) {
    if !w.chance(percent) {
        return (String::new(), String::new());
    }
    let usable: Vec<&Column> = table.columns.iter().filter(|c| c.sql != not && c.kind != Kind::Id).collect();
    let at = w.below(usable.len());
    let (first, others) = (usable[at], [&usable[..at], &usable[at + 1..]].concat());
    let (said, sql) = condition(w, first);
    if w.chance(25) && !others.is_empty() {
        let another = others[w.below(others.len())];
        let (more, second) = condition(w, another);
        let both = w.language().pick(format!("{said}且{more}"), format!("{said} and {more}"));
        return (both, format!(" WHERE {sql} AND {second}"));
    }
    (said, format!(" WHERE {sql}"))
}

/// A question and its query.
fn query(w: &mut Writer, table: &Table) -> (String, String) {
    let language = w.language();
    let of_kind = |w: &mut Writer, kind: Kind| {
        let found: Vec<&Column> = table.columns.iter().filter(|c| c.kind == kind).collect();
        found[w.below(found.len())].clone()
    };
    let from = &table.sql;
    let t = ("t", table.spoken.as_str());
    let number = of_kind(w, Kind::Number);
    let text = of_kind(w, Kind::Text);
    let (n, x) = (("n", number.spoken.as_str()), ("x", text.spoken.as_str()));
    let with = |said: &str| match (language, said.is_empty()) {
        (_, true) => String::new(),
        (Language::Zh, _) => format!("{said}的"),
        (Language::En, _) => format!(" where {said}"),
    };
    match w.below(12) {
        0 | 1 => {
            let (said, clause) = filter(w, table, "", 80);
            let question = w.phrase(language.pick(COUNT_ZH, COUNT_EN), &[t, ("f", &with(&said))]);
            (question, format!("SELECT COUNT(*) FROM {from}{clause}"))
        }
        2..=5 => {
            let (function, phrases) = match w.below(4) {
                0 => ("SUM", language.pick(SUM_ZH, SUM_EN)),
                1 => ("AVG", language.pick(AVG_ZH, AVG_EN)),
                2 => ("MAX", language.pick(MAX_ZH, MAX_EN)),
                _ => ("MIN", language.pick(MIN_ZH, MIN_EN)),
            };
            let (said, clause) = filter(w, table, &number.sql, 60);
            let question = w.phrase(phrases, &[t, n, ("f", &with(&said))]);
            (question, format!("SELECT {function}({}) FROM {from}{clause}", number.sql))
        }
        6 | 7 => {
            let (said, clause) = filter(w, table, &text.sql, 100);
            let question = w.phrase(language.pick(LIST_ZH, LIST_EN), &[t, x, ("f", &with(&said))]);
            (question, format!("SELECT {} FROM {from}{clause}", text.sql))
        }
        8 => {
            let question = w.phrase(language.pick(GROUP_COUNT_ZH, GROUP_COUNT_EN), &[t, x]);
            (question, format!("SELECT {0}, COUNT(*) FROM {from} GROUP BY {0}", text.sql))
        }
        9 => {
            let question = w.phrase(language.pick(GROUP_SUM_ZH, GROUP_SUM_EN), &[t, x, n]);
            (question, format!("SELECT {0}, SUM({1}) FROM {from} GROUP BY {0}", text.sql, number.sql))
        }
        10 => {
            let k = w.number(2, 9).to_string();
            let most = w.chance(60);
            let phrases = match most {
                true => language.pick(TOP_ZH, TOP_EN),
                false => language.pick(BOTTOM_ZH, BOTTOM_EN),
            };
            let question = w.phrase(phrases, &[t, x, n, ("k", &k)]);
            let order = if most { " DESC" } else { "" };
            (question, format!("SELECT {} FROM {from} ORDER BY {}{order} LIMIT {k}", text.sql, number.sql))
        }
        _ => {
            let question = w.phrase(language.pick(DISTINCT_ZH, DISTINCT_EN), &[t, x]);
            (question, format!("SELECT DISTINCT {} FROM {from}", text.sql))
        }
    }
}

/// The statements that make the table and fill it, so that other queries than the right one give other rows: numbers are all
/// different, texts repeat, and each text stands with small and large numbers.
fn rows(w: &mut Writer, table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| format!("{} {}", c.sql, c.kind.sql())).collect();
    let mut sql = format!("CREATE TABLE {} ({});", table.sql, columns.join(", "));
    for row in 0..24u32 {
        let values: Vec<String> = table
            .columns
            .iter()
            .enumerate()
            .map(|(i, column)| match column.kind {
                // over all magnitudes that questions ask about, and no two the same
                Kind::Number => (10u32.pow(row % 4 + 1) * w.number(1, 8) + row * 7 + i as u32).to_string(),
                Kind::Id => (row + 1).to_string(),
                Kind::Date => format!("'{}'", words::iso_date(w)),
                Kind::Text => format!("'{}'", column.values[w.below(4)]),
            })
            .collect();
        sql.push_str(&format!(" INSERT INTO {} VALUES ({});", table.sql, values.join(", ")));
    }
    sql
}
