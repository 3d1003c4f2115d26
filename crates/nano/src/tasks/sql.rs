//! A question to SQL over a small schema that stands in the prompt.
//!
//! One table answers a question; another may stand beside it. Tables and columns are drawn at random, also made-up ones, so
//! that nothing but the schema says what they are called.

use super::Task;
use crate::example::{Example, Scoring};
use crate::grammar::{Language, Writer};
use crate::words;
use serde_json::json;

/// The task.
pub const TASK: Task = Task { name: "sql", scoring: Scoring::Sql, weight: 18, max_tokens: 96, write };

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
    let table = table(&mut w, &mut used);
    let (question, sql) = query(&mut w, &table);
    let mut schema = vec![describe(&mut w, &table)];
    let rows = rows(&mut w, &table);
    if w.chance(40) {
        let other = self::table(&mut w, &mut used);
        let at = w.below(2);
        schema.insert(at, describe(&mut w, &other));
    }
    let prompt = w.phrase(
        w.language().pick(PROMPTS_ZH, PROMPTS_EN),
        &[("schema", &schema.join("\n")), ("question", &question)],
    );
    let answer = format!("{sql};");
    let mut example = Example::new(w, prompt, answer.clone(), json!(answer));
    example.database = Some(rows);
    example
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

/// The line of the schema, as people write them. In Chinese each name has its meaning behind it.
fn describe(w: &mut Writer, table: &Table) -> String {
    let typed = w.chance(20);
    let named = |sql: &str, spoken: &str| match w.language() {
        Language::En => sql.to_owned(),
        Language::Zh => format!("{sql} {spoken}"),
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

const TABLES: &[(&str, &str)] = &[
    ("orders", "订单"),
    ("customers", "客户"),
    ("employees", "员工"),
    ("products", "产品"),
    ("invoices", "发票"),
    ("students", "学生"),
    ("courses", "课程"),
    ("books", "图书"),
    ("flights", "航班"),
    ("hotels", "酒店"),
    ("patients", "病人"),
    ("projects", "项目"),
    ("stores", "门店"),
    ("trips", "行程"),
    ("tickets", "工单"),
    ("machines", "设备"),
    ("payments", "付款"),
    ("contracts", "合同"),
    ("suppliers", "供应商"),
    ("meals", "菜品"),
    ("films", "电影"),
    ("songs", "歌曲"),
    ("players", "球员"),
    ("matches", "比赛"),
    ("cars", "汽车"),
    ("houses", "房屋"),
    ("loans", "贷款"),
    ("visits", "访问"),
    ("members", "会员"),
    ("shipments", "货运"),
    ("reviews", "评论"),
    ("events", "活动"),
    ("farms", "农场"),
    ("ships", "船只"),
    ("tasks", "任务"),
    ("teams", "团队"),
    ("plants", "植物"),
    ("sensors", "传感器"),
    ("repairs", "维修"),
    ("rooms", "房间"),
];
const TEXTS: &[(&str, &str)] = &[
    ("name", "名称"),
    ("city", "城市"),
    ("country", "国家"),
    ("category", "类别"),
    ("status", "状态"),
    ("color", "颜色"),
    ("department", "部门"),
    ("manager", "经理"),
    ("brand", "品牌"),
    ("region", "地区"),
    ("type", "类型"),
    ("owner", "负责人"),
    ("title", "标题"),
    ("author", "作者"),
    ("supplier", "供货商"),
    ("customer", "顾客"),
    ("level", "级别"),
    ("channel", "渠道"),
    ("language", "语言"),
    ("team", "小组"),
    ("genre", "流派"),
    ("material", "材料"),
    ("model", "型号"),
    ("seller", "卖家"),
    ("street", "街道"),
    ("school", "学校"),
    ("doctor", "医生"),
    ("driver", "司机"),
    ("origin", "产地"),
    ("sponsor", "赞助商"),
];
const NUMBERS: &[(&str, &str)] = &[
    ("amount", "金额"),
    ("price", "价格"),
    ("quantity", "数量"),
    ("salary", "工资"),
    ("age", "年龄"),
    ("score", "分数"),
    ("weight", "重量"),
    ("length", "长度"),
    ("rating", "评分"),
    ("stock", "库存"),
    ("cost", "成本"),
    ("budget", "预算"),
    ("hours", "工时"),
    ("distance", "距离"),
    ("capacity", "容量"),
    ("discount", "折扣"),
    ("profit", "利润"),
    ("height", "高度"),
    ("views", "浏览量"),
    ("points", "积分"),
    ("fee", "费用"),
    ("tax", "税额"),
    ("speed", "速度"),
    ("power", "功率"),
    ("seats", "座位数"),
    ("pages", "页数"),
    ("balance", "余额"),
    ("area", "面积"),
    ("income", "收入"),
    ("unit_price", "单价"),
];
const DATES: &[(&str, &str)] = &[
    ("date", "日期"),
    ("created", "创建日期"),
    ("start_date", "开始日期"),
    ("birthday", "生日"),
    ("deadline", "期限"),
    ("hired", "入职日期"),
    ("order_date", "下单日期"),
    ("due_date", "到期日"),
    ("delivered", "送达日期"),
    ("updated", "更新日期"),
    ("paid", "付款日期"),
    ("opened", "开业日期"),
];

const PROMPTS_EN: &[&str] = &[
    "{schema}\n<|\n>{question}",
    "<Write|Give me|Return> <SQL|a SQL query|one query>.\n{schema}\n{question}",
    "<Tables|Schema|Table>:\n{schema}\n<|\n><Question: |>{question}",
    "<Given|With|Using> the <tables|schema|table>\n{schema}\n<write|give> a query: {question}",
    "{question}\n<|\n><Schema|Tables|Table>:\n{schema}",
    "<Translate|Turn this> <to|into> SQL: {question}\n{schema}",
    "<Database|Data>:\n{schema}\n\nAnswer with SQL: {question}",
    "<I have|We have> this <table|schema>.\n{schema}\n<Which|What> SQL <answers|query answers> this? {question}",
    "SQL<|, please>: {question}\n{schema}",
];
const PROMPTS_ZH: &[&str] = &[
    "{schema}\n<|\n>{question}",
    "<写|给我|请写><SQL|一条SQL|查询>。\n{schema}\n{question}",
    "<表|表结构|数据表>：\n{schema}\n<|\n><问题：|>{question}",
    "<已知|根据><表|表结构>\n{schema}\n<写出|给出>查询：{question}",
    "{question}\n<|\n><表结构|表|数据表>：\n{schema}",
    "<翻译|转换>成SQL：{question}\n{schema}",
    "<数据库|数据>：\n{schema}\n\n用SQL回答：{question}",
    "<我有|我们有>这样的表。\n{schema}\n<哪条|什么>SQL能回答？{question}",
    "<请给出|请写>SQL：{question}\n{schema}",
];
const IS_EN: &[&str] =
    &["<the |>{c} <is|equals|=> {v}", "{v} is the {c}", "<the |>{c} is <called |exactly |>{v}"];
const ABOVE_EN: &[&str] = &[
    "<the |>{c} is <above|more than|greater than|over|higher than|larger than> {v}",
    "<the |>{c} exceeds {v}",
];
const BELOW_EN: &[&str] = &["<the |>{c} is <below|less than|under|lower than|smaller than> {v}"];
const AFTER_EN: &[&str] = &["<the |>{c} is <after|later than> {v}", "<the |>{c} comes after {v}"];
const BEFORE_EN: &[&str] = &["<the |>{c} is <before|earlier than> {v}", "<the |>{c} comes before {v}"];
const COUNT_EN: &[&str] = &[
    "How many {t} <are there|do we have|exist>{f}?",
    "<Count|Count all> <the |>{t}{f}.",
    "<What is the|Give me the|> number of {t}{f}?",
    "How many <entries|rows> does {t} have{f}?",
];
const SUM_EN: &[&str] = &[
    "What is the <total|sum of the|summed> {n} of <the |all |>{t}{f}?",
    "<total|sum of the|summed> {n} <of|in|over> <the |all |>{t}{f}?",
    "<Give|Find|Show|Compute> the <total|sum of the|summed> {n} <of|for> <the |all |>{t}{f}.",
    "<Add|Sum> up the {n} of <the |all |>{t}{f}.",
];
const AVG_EN: &[&str] = &[
    "What is the <average|mean> {n} of <the |all |>{t}{f}?",
    "<average|mean> {n} <of|in|over> <the |all |>{t}{f}?",
    "<Give|Find|Show|Compute> the <average|mean> {n} <of|for> <the |all |>{t}{f}.",
];
const MAX_EN: &[&str] = &[
    "What is the <highest|maximum|largest|biggest> {n} of <the |all |>{t}{f}?",
    "<highest|maximum|largest|biggest> {n} <of|in|over> <the |all |>{t}{f}?",
    "<Give|Find|Show|Compute> the <highest|maximum|largest|biggest> {n} <of|for> <the |all |>{t}{f}.",
];
const MIN_EN: &[&str] = &[
    "What is the <lowest|minimum|smallest|least> {n} of <the |all |>{t}{f}?",
    "<lowest|minimum|smallest|least> {n} <of|in|over> <the |all |>{t}{f}?",
    "<Give|Find|Show|Compute> the <lowest|minimum|smallest|least> {n} <of|for> <the |all |>{t}{f}.",
];
const LIST_EN: &[&str] = &[
    "<List|Show|Give me|Find> the {x} of <the |all |>{t}{f}.",
    "<Which|What> {x} do the {t} have{f}?",
    "What is the {x} of <the |all |>{t}{f}?",
];
const GROUP_COUNT_EN: &[&str] = &[
    "How many {t} <are there|do we have> <per|for each|for every|by> {x}?",
    "<Count|Count all> <the |>{t} <per|for each|for every|by> {x}.",
    "<Give the|Show the|> number of {t} <per|for each|for every|by> {x}?",
];
const GROUP_SUM_EN: &[&str] = &[
    "What is the <total|summed> {n} of <the |all |>{t} <per|for each|for every|by> {x}?",
    "<Total|Sum of> {n} of <the |>{t} <per|for each|for every|by> {x}?",
    "Add up the {n} of <the |>{t} <per|for each|for every|by> {x}.",
];
const TOP_EN: &[&str] = &[
    "<Which|What> {x} do the {k} {t} with the <highest|largest|most|biggest> {n} have?",
    "<List|Show|Give me> the {x} of the {k} {t} with the <highest|largest|most|biggest> {n}.",
    "<List|Show|Give me> the {x} of the <top> {k} {t} by {n}.",
    "The {x} of the {k} {t} with the <highest|largest|most|biggest> {n}?",
];
const BOTTOM_EN: &[&str] = &[
    "<Which|What> {x} do the {k} {t} with the <lowest|smallest|least> {n} have?",
    "<List|Show|Give me> the {x} of the {k} {t} with the <lowest|smallest|least> {n}.",
    "<List|Show|Give me> the {x} of the <bottom|last> {k} {t} by {n}.",
    "The {x} of the {k} {t} with the <lowest|smallest|least> {n}?",
];
const DISTINCT_EN: &[&str] = &[
    "<Which|What> <different|distinct> {x} <are there in|do we have in> <the |>{t}?",
    "<List|Show|Give me> <every|each> {x} of <the |>{t} <once|without duplicates>.",
    "<List|Show|Give me> the <different|distinct> {x} <in|of> <the |>{t}.",
];
const IS_ZH: &[&str] = &["{c}<是|为|等于|叫|=>{v}", "{c}<就是|正好是>{v}"];
const ABOVE_ZH: &[&str] = &["{c}<大于|超过|高于|多于>{v}", "{c}<在{v}以上|比{v}大|比{v}高|比{v}多>"];
const BELOW_ZH: &[&str] = &["{c}<小于|低于|不到|少于>{v}", "{c}<在{v}以下|比{v}小|比{v}低|比{v}少>"];
const AFTER_ZH: &[&str] = &["{c}<晚于|迟于>{v}", "{c}<在{v}之后|在{v}以后|比{v}晚>"];
const BEFORE_ZH: &[&str] = &["{c}<早于|先于>{v}", "{c}<在{v}之前|在{v}以前|比{v}早>"];
const COUNT_ZH: &[&str] = &[
    "{f}{t}<一共|总共|><有多少|有几个|有多少个|有多少条>？",
    "<统计|查|求|数一数>{f}{t}的<数量|个数|条数>。",
    "<一共|总共|>有<多少|几个>{f}{t}？",
    "{f}{t}的<数量|个数><是多少|>？",
];
const SUM_ZH: &[&str] = &[
    "{f}{t}的{n}<总和|合计|之和|总计><是多少|>？",
    "<求|查|算一下|统计>{f}{t}的{n}<总和|合计|之和>。",
    "{f}{t}的<总|总共的>{n}是多少？",
    "把{f}{t}的{n}加起来。",
    "{f}{t}的{n}<一共|总共>多少？",
];
const AVG_ZH: &[&str] = &[
    "{f}{t}的平均{n}<是多少|>？",
    "<求|查|算一下|统计>{f}{t}的平均{n}。",
    "{f}{t}的{n}<平均值|均值|平均><是多少|>？",
    "{f}{t}{n}平均多少？",
];
const MAX_ZH: &[&str] = &[
    "{f}{t}的<最高|最大>{n}是多少？",
    "<求|查|找出|统计>{f}{t}的<最高|最大>{n}。",
    "{f}{t}的{n}<最大值|最高值><是多少|>？",
    "{f}{t}的{n}<最高|最大|最多>是多少？",
];
const MIN_ZH: &[&str] = &[
    "{f}{t}的<最低|最小>{n}是多少？",
    "<求|查|找出|统计>{f}{t}的<最低|最小>{n}。",
    "{f}{t}的{n}<最小值|最低值><是多少|>？",
    "{f}{t}的{n}<最低|最小|最少>是多少？",
];
const LIST_ZH: &[&str] =
    &["<列出|显示|查|给我|找出|查询>{f}{t}的{x}。", "{f}{t}的{x}<是什么|有哪些|是哪些>？"];
const GROUP_COUNT_ZH: &[&str] = &[
    "<每个|各个|各|不同>{x}<的|有>多少{t}？",
    "<每个|各个|各>{x}的{t}<数量|个数><是多少|>？",
    "按{x}<统计|分组统计|分组数>{t}<的数量|的个数>。",
];
const GROUP_SUM_ZH: &[&str] = &[
    "<每个|各个|各|不同>{x}的{t}的<总{n}|{n}总和|{n}之和|{n}合计><是多少|>？",
    "按{x}<统计|分组求|求>{t}的<{n}总和|总{n}|{n}合计>。",
];
const TOP_ZH: &[&str] = &[
    "{n}<最高|最大|最多>的{k}个{t}的{x}<是什么|有哪些|>？",
    "<列出|查|给我|找出>{n}<最高|最大|最多>的{k}个{t}的{x}。",
    "按{n}从<高到低|大到小>，前{k}个{t}的{x}<是什么|>？",
];
const BOTTOM_ZH: &[&str] = &[
    "{n}<最低|最小|最少>的{k}个{t}的{x}<是什么|有哪些|>？",
    "<列出|查|给我|找出>{n}<最低|最小|最少>的{k}个{t}的{x}。",
    "按{n}从<低到高|小到大>，前{k}个{t}的{x}<是什么|>？",
];
const DISTINCT_ZH: &[&str] = &[
    "{t}<有|里有|出现过><哪些|几种>不同的{x}？",
    "<列出|查|给我|找出>{t}的<所有|全部|>{x}，<不要重复|去掉重复>。",
    "<列出|查|给我|找出>{t}的不同{x}。",
    "{t}的{x}去重后<有哪些|是什么>？",
];
