//! The commands, a file each.

pub mod bench;
pub mod chat;
pub mod completions;
pub mod convert;
pub mod eval;
pub mod inspect;
pub mod logits;
pub mod models;
pub mod pull;
pub mod push;
pub mod render;
pub mod serve;
pub mod tokenize;
pub mod tokenizer;
pub mod train;

use crate::exit::Usage;
use anyhow::Context;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of text that are read from standard input or a file: a prompt of some million tokens.
const MAX_INPUT_BYTES: u64 = 32 << 20;

/// The text of standard input for `-`, else of the file.
fn read_text(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return read_stdin();
    }
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    read_bounded(file, &path.display().to_string())
}

/// The text of standard input.
fn read_stdin() -> anyhow::Result<String> {
    read_bounded(io::stdin().lock(), "standard input")
}

fn read_bounded(source: impl Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    source
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        return Err(Usage(format!("{name} has more than {MAX_INPUT_BYTES} bytes")).into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Usage(format!("{name} is not UTF-8: byte {at} does not belong there")).into()
    })
}

/// Token ids as `1,2,3`, each below `vocab_size`.
fn parse_ids(text: &str, vocab_size: usize) -> Result<Vec<u32>, Usage> {
    let id = |part: &str| match part.trim().parse::<u32>() {
        Ok(id) if (id as usize) < vocab_size => Ok(id),
        Ok(id) => Err(Usage(format!("{id} is not the id of one of the model's {vocab_size} tokens"))),
        Err(_) => Err(Usage(format!("`{part}` is not a token id; give numbers with commas between: 1,2,3"))),
    };
    text.split(',').map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_ids_are_numbers_inside_the_vocabulary() {
        assert_eq!(parse_ids("1, 2,99", 100).unwrap(), [1, 2, 99]);
        for (text, why) in [
            ("1,100", "100 is not the id"),
            ("", "`` is not"),
            ("1,,2", "`` is not"),
            ("-1", "`-1`"),
            ("x", "`x`"),
        ] {
            assert!(parse_ids(text, 100).unwrap_err().to_string().starts_with(why), "{text}");
        }
    }

    #[test]
    fn broken_text_is_refused_with_its_place() {
        let error = read_bounded(&b"ab\xff"[..], "standard input").unwrap_err();
        assert_eq!(error.to_string(), "standard input is not UTF-8: byte 2 does not belong there");
        assert_eq!(read_bounded("汉字".as_bytes(), "x").unwrap(), "汉字");
    }
}
