//! How answers are made: by flags, and by `/set` in a conversation.

use engine::Sampling;
use models::model::GenerationDefaults;
use std::str::FromStr;

/// How answers are made. What is not set is as the model's author recommends.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Answers")]
pub struct Settings {
    /// How freely tokens are chosen; 0 takes the most likely one
    #[arg(long, value_name = "X")]
    temperature: Option<f32>,
    /// Choose among the most likely tokens up to this probability
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Choose among this many most likely tokens; 0 is all
    #[arg(long, value_name = "N")]
    top_k: Option<u32>,
    /// Leave out tokens less likely than this share of the most likely one
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Make tokens that were there already less likely; 1 does not
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f32>,
    /// Taken from the logits of tokens that the answer has already
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Taken from the logits for each time that the answer has a token
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Longest answer, reasoning included [default: to the end of the context]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Same seed, same answer
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Answer without reasoning, if the model can
    #[arg(long = "no-thinking", num_args = 0, default_missing_value = "false")]
    thinking: Option<bool>,
}

/// The names that `/set` knows.
pub const NAMES: [&str; 10] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "max_tokens",
    "seed",
    "thinking",
];

impl Settings {
    /// Sets a value by its name; `default` forgets it.
    ///
    /// # Errors
    /// What is wrong with the name or the value, and what would be right.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "temperature" => self.temperature = number(name, value)?,
            "top_p" => self.top_p = number(name, value)?,
            "top_k" => self.top_k = number(name, value)?,
            "min_p" => self.min_p = number(name, value)?,
            "repetition_penalty" => self.repetition_penalty = number(name, value)?,
            "presence_penalty" => self.presence_penalty = number(name, value)?,
            "frequency_penalty" => self.frequency_penalty = number(name, value)?,
            "max_tokens" => self.max_tokens = number(name, value)?,
            "seed" => self.seed = number(name, value)?,
            "thinking" => {
                self.thinking = match value {
                    "on" => Some(true),
                    "off" => Some(false),
                    "default" => None,
                    _ => return Err(format!("thinking is on, off or default, not `{value}`")),
                }
            }
            _ => return Err(format!("there is no `{name}`; there are {}", NAMES.join(", "))),
        }
        Ok(())
    }

    /// The value of a name of [`NAMES`] as text; `default` if it isn't set.
    pub fn get(&self, name: &str) -> String {
        fn text(value: Option<impl ToString>) -> Option<String> {
            value.map(|value| value.to_string())
        }
        let value = match name {
            "temperature" => text(self.temperature),
            "top_p" => text(self.top_p),
            "top_k" => text(self.top_k),
            "min_p" => text(self.min_p),
            "repetition_penalty" => text(self.repetition_penalty),
            "presence_penalty" => text(self.presence_penalty),
            "frequency_penalty" => text(self.frequency_penalty),
            "max_tokens" => text(self.max_tokens),
            "seed" => text(self.seed),
            _ => self.thinking.map(|on| if on { "on".to_owned() } else { "off".to_owned() }),
        };
        value.unwrap_or_else(|| "default".to_owned())
    }

    /// Whether to think, if it was said.
    pub fn thinking(&self) -> Option<bool> {
        self.thinking
    }

    /// Longest answer, if it was said.
    pub fn max_tokens(&self) -> Option<usize> {
        self.max_tokens
    }

    /// How tokens are chosen, with what the model's author recommends.
    pub fn sampling(&self, recommended: &GenerationDefaults) -> Sampling {
        let plain = Sampling::default();
        Sampling {
            temperature: self.temperature.or(recommended.temperature).unwrap_or(plain.temperature),
            top_k: self.top_k.or(recommended.top_k).unwrap_or(plain.top_k),
            top_p: self.top_p.or(recommended.top_p).unwrap_or(plain.top_p),
            min_p: self.min_p.or(recommended.min_p).unwrap_or(plain.min_p),
            repetition_penalty: self
                .repetition_penalty
                .or(recommended.repetition_penalty)
                .unwrap_or(plain.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(plain.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(plain.frequency_penalty),
            logit_bias: Vec::new(),
            seed: self.seed,
        }
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<Option<T>, String> {
    if value == "default" {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| format!("`{value}` is no number that {name} can be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_set_read_and_forgotten() {
        let mut settings = Settings::default();
        for name in NAMES {
            let value = if name == "thinking" { "off" } else { "1" };
            assert_eq!(settings.set(name, value), Ok(()));
            assert_eq!(settings.get(name), value, "{name}");
        }
        for name in NAMES {
            assert_eq!(settings.set(name, "default"), Ok(()));
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn wrong_names_and_values_say_what_is_right() {
        let mut settings = Settings::default();
        for (name, value, expected) in [
            ("temprature", "1", "there is no `temprature`; there are temperature,"),
            ("top_k", "-1", "`-1` is no number that top_k can be"),
            ("temperature", "hot", "`hot` is no number"),
            ("thinking", "yes", "thinking is on, off or default"),
        ] {
            let error = settings.set(name, value).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn what_is_set_counts_more_than_what_is_recommended() {
        let recommended =
            GenerationDefaults { temperature: Some(0.6), top_k: Some(20), ..GenerationDefaults::default() };
        let mut settings = Settings::default();
        settings.set("temperature", "0").unwrap();
        let sampling = settings.sampling(&recommended);
        assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (0.0, 20, 1.0));
    }
}
