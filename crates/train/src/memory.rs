//! How much memory a run will take, before its first step.

use models::Config;

/// Bytes of a value.
const F32: u64 = size_of::<f32>() as u64;
/// The share of the memory that is there which a run takes at most: the estimate counts tensors, and not what the allocator
/// and the system need beside them.
const USED_SHARE: f64 = 0.9;
/// Logits that are held at once, with their gradient (`nn::ops::log_probs_backward`).
const LOGITS_BYTES: u64 = 96 << 20;
/// Rows of logits at once, at most.
const LOGITS_ROWS: u64 = 1024;

/// What decides how much memory a step takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// The model's sizes.
    pub sizes: Sizes,
    /// Bytes of weights that are read and not trained.
    pub frozen_bytes: u64,
    /// Values that are trained.
    pub trained: u64,
    /// Bytes that the optimiser keeps for them.
    pub optimizer_bytes: u64,
    /// Rank of the adapter; 0 where all weights are trained.
    pub rank: u64,
    /// Whether the adapter is a DoRA.
    pub dora: bool,
    /// Tokens of the longest example.
    pub longest: u64,
    /// Tokens of the longest examples that a step can have, together.
    pub batch_tokens: u64,
}

/// Widths of a decoder, in values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    layers: u64,
    hidden: u64,
    queries: u64,
    keys: u64,
    /// Of all experts that compute a token.
    intermediate: u64,
    vocabulary: u64,
    qk_norm: bool,
}

impl Sizes {
    /// Those of `config`.
    pub fn of(config: &Config) -> Sizes {
        let experts = config.experts.as_ref();
        let intermediate = experts.map_or(config.intermediate_size, |e| e.used * e.intermediate_size);
        Sizes {
            layers: config.layers as u64,
            hidden: config.hidden_size as u64,
            queries: (config.heads * config.head_dim) as u64,
            keys: (config.kv_heads * config.head_dim) as u64,
            intermediate: intermediate.max(config.intermediate_size) as u64,
            vocabulary: config.vocab_size as u64,
            qk_norm: config.qk_norm,
        }
    }

    /// Values that a token keeps in a layer until the backward pass: both residual states and their norms; queries, keys and
    /// values before and after their norm and rotation, and what attention gives; gate, up and their product; the
    /// adapters' inner states; and with DoRA what each linear layer gives before its length is changed.
    fn kept_by_layer(&self, rank: u64, dora: bool) -> u64 {
        let attention = if self.qk_norm { 3 } else { 2 };
        let undirected = self.queries + 2 * (self.keys + self.hidden + self.intermediate);
        4 * self.hidden
            + attention * (self.queries + self.keys)
            + 3 * self.intermediate
            + 7 * rank
            + u64::from(dora) * undirected
    }

    /// Values of a token's gradients that are there at once.
    fn gradients(&self) -> u64 {
        3 * self.hidden + (3 * self.intermediate).max(2 * (self.queries + self.keys))
    }
}

/// What can be chosen to take less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Tokens that are computed at once.
    pub part_tokens: u64,
    /// Whether activations are computed again in place of being kept.
    pub recompute: bool,
}

/// More than there is.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "this run needs about {:.1} GB of memory, and {:.1} GB can be had: {}",
    *.needed as f64 / 1e9, *.available as f64 / 1e9, advice(.fits, *.full)
)]
pub struct TooLittleMemory {
    needed: u64,
    available: u64,
    /// What would fit, and its bytes.
    fits: Option<(Choice, u64)>,
    /// Whether all weights are trained.
    full: bool,
}

fn advice(fits: &Option<(Choice, u64)>, full: bool) -> String {
    match fits {
        Some((choice, bytes)) => format!(
            "steps.part_tokens = {} with steps.recompute = {:?} would fit, with about {:.1} GB",
            choice.part_tokens,
            if choice.recompute { "on" } else { "off" },
            *bytes as f64 / 1e9
        ),
        None if full => "no part is small enough; lower data.max_tokens, take optimizer.kind = \"adamw8bit\", or train an \
                         adapter (method.kind = \"lora\")"
            .to_owned(),
        None => "no part is small enough; lower data.max_tokens, or take method.quantize = \"int8\" or \"int4\"".to_owned(),
    }
}

impl Demand {
    /// Tokens of the largest part that is computed at once.
    fn tokens(&self, part_tokens: u64) -> u64 {
        part_tokens.min(self.batch_tokens).max(self.longest)
    }

    /// Bytes that the run takes at most beside the trained values, which are there already.
    pub fn bytes(&self, choice: Choice) -> u64 {
        let s = &self.sizes;
        let layer = s.kept_by_layer(self.rank, self.dora);
        let kept = if choice.recompute { s.layers * s.hidden + layer } else { s.layers * layer };
        // the head's input and its gradient beside them, and the cache of one layer
        let per_token = kept + s.gradients() + 3 * s.hidden + 2 * s.keys;
        let logits = (LOGITS_ROWS * s.vocabulary * F32).min(LOGITS_BYTES);
        // gradients, and a copy of the values while a checkpoint is written
        let trained = 2 * self.trained * F32 + self.optimizer_bytes;
        let step = self.tokens(choice.part_tokens).saturating_mul(per_token * F32);
        // the largest matrix with its adapter added, whose rows are measured
        let summed = u64::from(self.dora) * 2 * s.hidden * s.intermediate.max(s.queries) * F32;
        (self.frozen_bytes + trained + logits + summed).saturating_add(step)
    }

    /// Decides whether to compute activations again: as `asked`, or else when memory is short. `available` is the memory that
    /// can be had; where the system does not say, everything fits.
    ///
    /// # Errors
    /// When it does not fit; the error says what would.
    pub fn decide(
        &self,
        part_tokens: u64,
        asked: Option<bool>,
        available: Option<u64>,
    ) -> Result<bool, TooLittleMemory> {
        let wanted = Choice { part_tokens, recompute: asked.unwrap_or(false) };
        let Some(available) = available else { return Ok(wanted.recompute) };
        let fits = |choice: &Choice| self.bytes(*choice) <= (available as f64 * USED_SHARE) as u64;
        let again = Choice { part_tokens, recompute: true };
        let choices = if asked.is_some() { vec![wanted] } else { vec![wanted, again] };
        if let Some(choice) = choices.iter().find(|choice| fits(choice)) {
            return Ok(choice.recompute);
        }
        let smaller = std::iter::successors(Some(part_tokens), |tokens| Some(tokens / 2))
            .take_while(|tokens| *tokens >= self.longest.min(part_tokens).max(1));
        let found = smaller.map(|part_tokens| Choice { part_tokens, recompute: true }).find(fits);
        Err(TooLittleMemory {
            needed: self.bytes(*choices.last().unwrap_or(&wanted)),
            available,
            fits: found.map(|choice| (choice, self.bytes(choice))),
            full: self.rank == 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An adapter of rank 16 beside Qwen3-0.6B in bfloat16.
    fn demand() -> Demand {
        let sizes = Sizes {
            layers: 28,
            hidden: 1024,
            queries: 2048,
            keys: 1024,
            intermediate: 3072,
            vocabulary: 151_936,
            qk_norm: true,
        };
        Demand {
            sizes,
            frozen_bytes: 1_200_000_000,
            trained: 10_000_000,
            optimizer_bytes: 80_000_000,
            rank: 16,
            dora: false,
            longest: 512,
            batch_tokens: 4096,
        }
    }

    #[test]
    fn memory_that_is_short_is_met_by_computing_again_and_then_by_smaller_parts() {
        let gigabytes = |n: f64| Some((n * 1e9) as u64);
        let demand = demand();
        for (asked, available, expected) in [
            (None, None, Ok(false)),
            (None, gigabytes(16.0), Ok(false)),
            (None, gigabytes(4.0), Ok(true)),
            (Some(false), gigabytes(4.0), Err("steps.part_tokens = 2048 with steps.recompute = \"on\"")),
            (Some(true), gigabytes(16.0), Ok(true)),
            (None, gigabytes(2.0), Err("steps.part_tokens = 1024 with steps.recompute = \"on\"")),
            (None, gigabytes(1.0), Err("method.quantize = \"int8\"")),
        ] {
            match (demand.decide(2048, asked, available), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{asked:?} {available:?}"),
                (Err(found), Err(expected)) => {
                    assert!(found.to_string().contains(expected), "{found}");
                }
                (found, _) => panic!("{asked:?} {available:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn dora_keeps_more() {
        let gigabytes =
            |demand: Demand| demand.bytes(Choice { part_tokens: 2048, recompute: false }) as f64 / 1e9;
        // 2,048 tokens x 28 layers x (2,048 + 2 x (1,024 + 1,024 + 3,072)) values, and a matrix twice
        let more = gigabytes(Demand { dora: true, ..demand() }) - gigabytes(demand());
        assert!((more - 2.84).abs() < 0.01, "{more}");
    }

    #[test]
    fn a_part_is_never_smaller_than_the_longest_example() {
        let demand = Demand { longest: 1500, ..demand() };
        assert_eq!(demand.tokens(512), 1500);
        let error = demand.decide(2048, None, Some(2_000_000_000)).unwrap_err();
        assert_eq!(error.fits, None, "{error}");
    }
}
