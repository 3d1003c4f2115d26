//! Rotary positions: the angle of each pair of a head, with the scalings that stretch the context.

use super::{ConfigError, wrong};
use nn::ops::RopeLayout;
use std::f64::consts::PI;

/// How positions turn into angles.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// What stretches the context.
    pub scaling: RopeScaling,
    /// Which elements of a head are rotated together.
    pub layout: RopeLayout,
}

/// Changes of the frequencies for contexts longer than the trained one.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    Default,
    /// All frequencies divided (arXiv:2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: long waves divided, short ones kept, those between in a mixture.
    Llama3 {
        /// The divisor of long waves.
        factor: f64,
        /// Waves longer than the original context over this are long.
        low_freq_factor: f64,
        /// Waves shorter than the original context over this are short.
        high_freq_factor: f64,
        /// The context of pre-training.
        original_context: f64,
    },
    /// YaRN (arXiv:2309.00071), applied at every length.
    Yarn {
        /// The divisor of long waves.
        factor: f64,
        /// The context of pre-training.
        original_context: f64,
        /// Turns within the original context above which a frequency is kept.
        beta_fast: f64,
        /// Turns within the original context below which a frequency is divided.
        beta_slow: f64,
        /// Whether the bounds between them are rounded to whole dimensions.
        truncate: bool,
        /// Factor on cosine and sine.
        attention_factor: f64,
    },
    /// Each frequency divided by a number of its own (GGUF's `rope_freqs.weight`).
    Factors(Vec<f32>),
}

/// Angles per position.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// Angle of pair `i` at position 1.
    pub inv_freq: Vec<f32>,
    /// Factor on cosine and sine.
    pub attention_factor: f32,
}

impl Rope {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        // YaRN divides by the logarithm of theta.
        check("rope_theta", self.theta, |x| x > 1.0, "above 1")?;
        match &self.scaling {
            RopeScaling::Default => Ok(()),
            RopeScaling::Linear { factor } => positive("rope scaling `factor`", *factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                positive("rope scaling `factor`", *factor)?;
                positive("rope scaling `low_freq_factor`", *low_freq_factor)?;
                let above = |x| x > *low_freq_factor;
                check(
                    "rope scaling `high_freq_factor`",
                    *high_freq_factor,
                    above,
                    "above `low_freq_factor`",
                )?;
                positive("rope scaling `original_max_position_embeddings`", *original_context)
            }
            RopeScaling::Yarn {
                factor, original_context, beta_fast, beta_slow, attention_factor, ..
            } => {
                positive("rope scaling `factor`", *factor)?;
                positive("rope scaling `original_max_position_embeddings`", *original_context)?;
                positive("rope scaling `beta_slow`", *beta_slow)?;
                check("rope scaling `beta_fast`", *beta_fast, |x| x >= *beta_slow, "at least `beta_slow`")?;
                positive("rope scaling `attention_factor`", *attention_factor)
            }
            RopeScaling::Factors(factors) => {
                factors.iter().try_for_each(|&f| positive("an element of rope_freqs.weight", f.into()))
            }
        }
    }

    /// The angles for heads of `head_dim` values. The base frequencies are rounded to float32 before they are
    /// scaled, as the reference does.
    pub fn frequencies(&self, head_dim: usize) -> Frequencies {
        let half = head_dim / 2;
        let plain = |i: usize| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            1.0 / (self.theta as f32).powf(exponent)
        };
        let mut attention_factor = 1.0;
        let inv_freq = match &self.scaling {
            RopeScaling::Default => (0..half).map(plain).collect(),
            RopeScaling::Linear { factor } => (0..half).map(|i| plain(i) / *factor as f32).collect(),
            RopeScaling::Factors(factors) => (0..half).zip(factors).map(|(i, f)| plain(i) / f).collect(),
            &RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context,
            } => {
                let scaled = |i| {
                    let inv = f64::from(plain(i));
                    let turns = original_context * inv / (2.0 * PI);
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (keep * inv + (1.0 - keep) * inv / factor) as f32
                };
                (0..half).map(scaled).collect()
            }
            &RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => {
                // The dimension whose wave turns `turns` times within the original context.
                let dimension = |turns: f64| {
                    head_dim as f64 * (original_context / (2.0 * PI * turns)).ln() / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                low = low.max(0.0);
                high = high.min(head_dim as f64 - 1.0);
                if low == high {
                    high += 0.001;
                }
                let scaled = |i| {
                    let inv = f64::from(plain(i));
                    let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    (divided * inv / factor + (1.0 - divided) * inv) as f32
                };
                (0..half).map(scaled).collect()
            }
        };
        if let RopeScaling::Yarn { attention_factor: factor, .. } = self.scaling {
            attention_factor = factor as f32;
        }
        Frequencies { inv_freq, attention_factor }
    }
}

/// YaRN's factor on cosine and sine where the file gives none: `0.1 · weight · ln(factor) + 1` for a factor that
/// stretches.
pub(super) fn yarn_mscale(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
}

fn positive(field: &'static str, found: f64) -> Result<(), ConfigError> {
    check(field, found, |x| x > 0.0, "above 0")
}

fn check(
    field: &'static str,
    found: f64,
    holds: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<(), ConfigError> {
    if found.is_finite() && holds(found) {
        return Ok(());
    }
    Err(wrong(field, found, expected.to_owned()))
}
