//! How results are written.

use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Writes `value` as JSON over several lines to standard output.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Writes `text` to standard output as it is and a newline.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes `text` and a newline to standard error, where it is not in the way of results.
pub fn note(text: &str) {
    // whoever reads notes may be gone
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Token ids with commas between.
pub fn ids(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// Names and values, the values under each other.
#[derive(Debug, Default)]
pub struct Facts(Vec<(String, String)>);

impl Facts {
    /// Adds a line.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// Writes the lines to standard output.
    pub fn print(&self) -> io::Result<()> {
        self.write(&mut io::stdout().lock())
    }

    /// Writes the lines to standard error, where they are not in the way of results.
    pub fn note(&self) {
        // whoever reads notes may be gone
        let _ = self.write(&mut io::stderr().lock());
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in &self.0 {
            writeln!(out, "{name:<width$}  {value}")?;
        }
        out.flush()
    }
}

/// A table with a head, its columns aligned to the right but the first.
#[derive(Debug)]
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with these columns.
    pub fn new(head: &[&str]) -> Table {
        Table(vec![head.iter().map(|cell| (*cell).to_owned()).collect()])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.0.push(cells);
    }

    /// Writes it to standard output.
    pub fn print(&self) -> io::Result<()> {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.0.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut out = io::stdout().lock();
        for row in &self.0 {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => line.push_str(&format!("{cell:<width$}")),
                    _ => line.push_str(&format!("  {cell:>width$}")),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        out.flush()
    }
}

/// A size for people: `1.19 GB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.iter().find(|(_, size)| n >= *size) {
        Some((unit, size)) => format!("{} {unit}", three_digits(n as f64 / *size as f64)),
        None => format!("{n} bytes"),
    }
}

/// A count for people: `752 M`.
pub fn count(n: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("T", 1_000_000_000_000), ("B", 1_000_000_000), ("M", 1_000_000)];
    match UNITS.iter().find(|(_, size)| n >= *size) {
        Some((unit, size)) => format!("{} {unit}", three_digits(n as f64 / *size as f64)),
        None => thousands(n),
    }
}

/// A number with its thousands apart: `40,960`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn three_digits(x: f64) -> String {
    let decimals = if x < 10.0 { 2 } else { usize::from(x < 100.0) };
    format!("{x:.decimals$}")
}

/// Whether text to standard output may be dimmed: it goes to a terminal, and nobody has asked for none
/// (<https://no-color.org>).
pub fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (n, expected) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_192_000_000, "1.19 GB"),
            (114_700_000, "115 MB"),
            (36_000, "36.0 kB"),
        ] {
            assert_eq!(bytes(n), expected);
        }
        for (n, expected) in
            [(999, "999"), (40_960, "40,960"), (596_049_920, "596 M"), (30_500_000_000, "30.5 B")]
        {
            assert_eq!(count(n), expected);
        }
    }
}
