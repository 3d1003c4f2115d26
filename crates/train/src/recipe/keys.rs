//! Keys of a recipe, with dots: `steps.epochs`, and `data.mix[].files` within lists of sections.

use std::collections::BTreeSet;

/// Sets the value at a path; a number is a place in a list.
pub(super) fn set(at: &mut toml::Value, path: &[&str], value: toml::Value) {
    let Some((first, rest)) = path.split_first() else { return *at = value };
    if let (Some(items), Ok(index)) = (at.as_array_mut(), first.parse::<usize>())
        && let Some(item) = items.get_mut(index)
    {
        return set(item, rest, value);
    }
    if !at.is_table() {
        *at = toml::Value::Table(toml::Table::new());
    }
    if let Some(table) = at.as_table_mut() {
        let empty = || toml::Value::Table(toml::Table::new());
        set(table.entry(*first).or_insert_with(empty), rest, value);
    }
}

/// The keys of all values, with dots.
pub(super) fn keys(value: &toml::Value, prefix: &str) -> BTreeSet<String> {
    let within = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        toml::Value::Table(table) => table.iter().flat_map(|(key, v)| keys(v, &within(key))).collect(),
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            items.iter().flat_map(|item| keys(item, &format!("{prefix}[]"))).collect()
        }
        _ => BTreeSet::from([prefix.to_owned()]),
    }
}

/// How many letters must change to make one of the other (Levenshtein).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
