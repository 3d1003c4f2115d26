//! Multiple choice by log-likelihood, counted as lm-evaluation-harness does: the model's choice is the one whose text is most
//! likely after the prompt (`acc`), or most likely per byte of it (`acc_norm`), the first of equals.
//!
//! The harness divides by characters, which it calls bytes; for English it is the same. Here it is bytes, as a tokenizer of
//! bytes splits Chinese finer than its characters.

use super::{Verdict, mark, quoted};
use crate::limits::MAX_CHOICES;
use serde_json::Value;

/// The kind's metrics.
pub const METRICS: [&str; 2] = ["acc", "acc_norm"];

/// Choices, and which of them is right.
#[derive(Debug)]
pub struct Gold {
    choices: Vec<String>,
    answer: usize,
}

impl Gold {
    /// From a case's `choices` and `expected`, the right one's index.
    pub fn new(choices: Vec<String>, expected: &Value) -> Result<Gold, String> {
        if !(2..=MAX_CHOICES).contains(&choices.len()) {
            return Err(format!("there are {} `choices`; there must be 2 to {MAX_CHOICES}", choices.len()));
        }
        if let Some(index) = choices.iter().position(String::is_empty) {
            return Err(format!("`choices[{index}]` is empty"));
        }
        let answer = expected.as_u64().and_then(|index| usize::try_from(index).ok());
        match answer.filter(|answer| *answer < choices.len()) {
            Some(answer) => Ok(Gold { choices, answer }),
            None => {
                Err(format!("`expected` must be the index of one of the {} choices, from 0", choices.len()))
            }
        }
    }

    /// What is to be computed, in order.
    pub fn choices(&self) -> &[String] {
        &self.choices
    }

    /// Whether the likeliest choice is right. One log-likelihood for each choice.
    pub fn score(&self, log_likelihoods: &[f64]) -> Verdict {
        let per_byte: Vec<f64> =
            log_likelihoods.iter().zip(&self.choices).map(|(sum, text)| sum / text.len() as f64).collect();
        let (plain, normalized) = (likeliest(log_likelihoods), likeliest(&per_byte));
        let right = |choice: Option<usize>| choice == Some(self.answer);
        let text =
            |choice: Option<usize>| choice.and_then(|i| self.choices.get(i)).map_or("none", String::as_str);
        let why = (!right(plain))
            .then(|| format!("{} is likelier than {}", quoted(text(plain)), quoted(text(Some(self.answer)))));
        Verdict::new(METRICS, [mark(right(plain)), mark(right(normalized))], why)
    }
}

/// The index of the largest number, the first of equals, as numpy's `argmax`.
fn likeliest(values: &[f64]) -> Option<usize> {
    let larger = |best: Option<(usize, f64)>, (index, value): (usize, f64)| match best {
        Some((_, largest)) if value <= largest || value.is_nan() => best,
        _ => Some((index, value)),
    };
    values.iter().copied().enumerate().fold(None, larger).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_likeliest_choice_counts_alone_and_by_its_bytes() {
        let gold = |choices: &[&str], answer: usize| {
            Gold::new(choices.iter().map(|c| (*c).to_owned()).collect(), &json!(answer)).unwrap()
        };
        // -3/2 and -4/8 and -6/6: the sum prefers the first, the bytes the second
        for (choices, sums, acc, acc_norm) in [
            (&["ab", "abcdefgh", "汉字"], [-3.0, -4.0, -6.0], 0, 1),
            // -3/3 and -4/6 and -2/2: two Chinese characters have 6 bytes
            (&["abc", "汉字", "ab"], [-3.0, -4.0, -2.0], 2, 1),
            // equals: the first
            (&["ab", "cd", "ef"], [-2.0, -2.0, -2.0], 0, 0),
            (&["ab", "cd", "ef"], [f64::NEG_INFINITY, -9.0, -9.5], 1, 1),
        ] {
            for answer in 0..3 {
                let verdict = gold(choices, answer).score(&sums);
                let found: Vec<f64> = verdict.metrics.iter().map(|metric| metric.value).collect();
                assert_eq!(found, [mark(answer == acc), mark(answer == acc_norm)], "{choices:?} {answer}");
            }
        }
        for (choices, expected) in [
            (vec!["a"], json!(0)),
            (vec!["a", "b"], json!(2)),
            (vec!["a", "b"], json!(-1)),
            (vec!["a", "b"], json!("a")),
            (vec!["a", ""], json!(0)),
        ] {
            let choices = choices.into_iter().map(str::to_owned).collect();
            assert!(Gold::new(choices, &expected).is_err(), "{expected}");
        }
    }
}
