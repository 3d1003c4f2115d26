//! The fields that say how tokens are chosen and where an answer ends, checked once for all routes.

use super::fields::{Entries, Items, OneOrMany};
use crate::error::ApiError;
use crate::limits::MAX_STOP_TOKENS;
use crate::state::Served;
use engine::Sampling;
use engine::limits::{MAX_CHOICES, MAX_LOGIT_BIAS, MAX_STOP_BYTES, MAX_STOP_STRINGS};
use std::ops::RangeInclusive;

/// A map from token id to bias, as it comes.
pub type LogitBias = Entries<f64, MAX_LOGIT_BIAS>;
/// Stop strings, as they come.
pub type Stop = OneOrMany<String, MAX_STOP_STRINGS>;
/// Stop tokens, as they come.
pub type StopTokens = Items<u32, MAX_STOP_TOKENS>;

/// How tokens are chosen, as requests say it.
#[derive(Clone, Debug, Default)]
pub struct SamplingFields {
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// -1 or 0: all.
    pub top_k: Option<i64>,
    /// 0 to 1.
    pub min_p: Option<f64>,
    /// Above 0.
    pub repetition_penalty: Option<f64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// -100 to 100 each.
    pub logit_bias: Option<LogitBias>,
    /// Any.
    pub seed: Option<i64>,
}

impl SamplingFields {
    /// The engine's values; what is not said is as the model's author recommends.
    pub fn check(self, served: &Served) -> Result<Sampling, ApiError> {
        let recommended = &served.model().generation;
        let plain = Sampling::default();
        let top_p = within("top_p", self.top_p, 0.0..=1.0)?;
        Ok(Sampling {
            temperature: within("temperature", self.temperature, 0.0..=2.0)?
                .or(recommended.temperature)
                .unwrap_or(plain.temperature),
            // 0 keeps the most likely token only
            top_p: top_p.map(|p| p.max(f32::MIN_POSITIVE)).or(recommended.top_p).unwrap_or(plain.top_p),
            top_k: top_k(self.top_k)?.or(recommended.top_k).unwrap_or(plain.top_k),
            min_p: within("min_p", self.min_p, 0.0..=1.0)?.or(recommended.min_p).unwrap_or(plain.min_p),
            repetition_penalty: within("repetition_penalty", self.repetition_penalty, 0.01..=10.0)?
                .or(recommended.repetition_penalty)
                .unwrap_or(plain.repetition_penalty),
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0..=2.0)?
                .unwrap_or(plain.presence_penalty),
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0..=2.0)?
                .unwrap_or(plain.frequency_penalty),
            logit_bias: logit_bias(self.logit_bias, served.model().lm.config().vocab_size)?,
            seed: self.seed.map(i64::cast_unsigned),
        })
    }
}

/// `value` as a float, if it is in `range`.
fn within(param: &str, value: Option<f64>, range: RangeInclusive<f64>) -> Result<Option<f32>, ApiError> {
    match value {
        Some(value) if !range.contains(&value) => Err(ApiError::invalid(
            param,
            format!("{value} is not between {} and {}", range.start(), range.end()),
        )),
        value => Ok(value.map(|value| value as f32)),
    }
}

fn top_k(value: Option<i64>) -> Result<Option<u32>, ApiError> {
    match value {
        None => Ok(None),
        Some(-1) => Ok(Some(0)),
        Some(k) => u32::try_from(k).map(Some).map_err(|_| {
            ApiError::invalid("top_k", format!("{k} is not a number of candidates; -1 or 0 keeps all"))
        }),
    }
}

fn logit_bias(entries: Option<LogitBias>, vocab_size: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let entry = |(token, bias): (String, f64)| {
        let id = token_id(&token, vocab_size).ok_or_else(|| {
            let message = format!("a key is not the id of one of the model's {vocab_size} tokens");
            ApiError::invalid("logit_bias", message)
        })?;
        let bias = within("logit_bias", Some(bias), -100.0..=100.0)?.unwrap_or_default();
        Ok((id, bias))
    };
    entries.into_iter().flat_map(|entries| entries.0).map(entry).collect()
}

fn token_id(text: &str, vocab_size: usize) -> Option<u32> {
    text.parse().ok().filter(|id| (*id as usize) < vocab_size)
}

/// Checked stop strings.
pub fn stop_strings(stop: Option<Stop>) -> Result<Vec<String>, ApiError> {
    let stop = stop.map(OneOrMany::into_vec).unwrap_or_default();
    match stop.iter().find(|text| text.is_empty() || text.len() > MAX_STOP_BYTES) {
        Some(text) => Err(ApiError::invalid(
            "stop",
            format!("a stop string has {} bytes; 1 to {MAX_STOP_BYTES} are allowed", text.len()),
        )),
        None => Ok(stop),
    }
}

/// Checked stop tokens.
pub fn stop_token_ids(ids: Option<StopTokens>, served: &Served) -> Result<Vec<u32>, ApiError> {
    let ids = ids.map(|ids| ids.0).unwrap_or_default();
    check_token_ids("stop_token_ids", &ids, served)?;
    Ok(ids)
}

/// Refuses ids that the model has no row for.
pub fn check_token_ids(param: &str, ids: &[u32], served: &Served) -> Result<(), ApiError> {
    let vocab_size = served.model().lm.config().vocab_size;
    match ids.iter().find(|id| **id as usize >= vocab_size) {
        Some(id) => Err(ApiError::invalid(
            param,
            format!("{id} is not the id of one of the model's {vocab_size} tokens"),
        )),
        None => Ok(()),
    }
}

/// A checked number of choices.
pub fn choices(param: &str, n: Option<u32>) -> Result<usize, ApiError> {
    match n.unwrap_or(1) as usize {
        n @ 1..=MAX_CHOICES => Ok(n),
        n => Err(ApiError::invalid(param, format!("{n} is not between 1 and {MAX_CHOICES}"))),
    }
}

/// A checked bound on the answer's length. One that could not be reached even without a prompt is an error; one that
/// the prompt leaves no room for just ends the answer with `length`.
pub fn max_tokens(
    param: &str,
    value: Option<u32>,
    least: usize,
    served: &Served,
) -> Result<Option<usize>, ApiError> {
    let context = served.engine.options().context_length;
    match value.map(|value| value as usize) {
        Some(tokens) if tokens < least || tokens > context => Err(ApiError::invalid(
            param,
            format!("{tokens} is not between {least} and the context length, {context}"),
        )),
        tokens => Ok(tokens),
    }
}

/// `min_tokens` would need the engine to hide end tokens for a while.
pub fn min_tokens(value: Option<u32>) -> Result<(), ApiError> {
    match value {
        None | Some(0) => Ok(()),
        Some(_) => {
            Err(ApiError::unsupported("min_tokens", "answers end where the model ends them; leave it out"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_their_range_name_the_field_and_the_range() {
        for (value, ok) in
            [(0.0, true), (2.0, true), (2.1, false), (-0.1, false), (f64::NAN, false), (9.0, false)]
        {
            let checked = within("temperature", Some(value), 0.0..=2.0);
            assert_eq!(checked.is_ok(), ok, "{value}");
            if let Err(error) = checked {
                assert!(error.to_string().starts_with("temperature: "), "{error}");
                assert!(error.to_string().ends_with("is not between 0 and 2"), "{error}");
            }
        }
    }

    #[test]
    fn top_k_takes_both_dialects_of_all() {
        for (value, expected) in [(-1, Ok(Some(0))), (0, Ok(Some(0))), (20, Ok(Some(20)))] {
            assert_eq!(top_k(Some(value)), expected);
        }
        assert!(top_k(Some(-2)).is_err());
        assert!(top_k(Some(i64::MAX)).is_err());
    }

    #[test]
    fn biases_are_for_tokens_of_the_model() {
        let bias = |key: &str, value| logit_bias(Some(Entries([(key.to_owned(), value)].into())), 100);
        assert_eq!(bias("99", -100.0), Ok(vec![(99, -100.0)]));
        for (key, value) in [("100", 1.0), ("x", 1.0), ("-1", 1.0), ("1", 101.0)] {
            assert!(bias(key, value).is_err(), "{key} {value}");
        }
    }

    #[test]
    fn stop_strings_have_text_and_an_end() {
        let stop = |text: &str| stop_strings(Some(OneOrMany::One(text.to_owned())));
        assert_eq!(stop("\n"), Ok(vec!["\n".to_owned()]));
        assert!(stop("").is_err());
        assert!(stop(&"x".repeat(MAX_STOP_BYTES + 1)).is_err());
    }
}
