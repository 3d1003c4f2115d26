//! From logits to a token.

use crate::api::{Sampling, TokenLogprob};
use kernels::softmax::softmax_row;
use std::collections::HashMap;

/// Chooses the tokens of one answer.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// Seed of this choice's random numbers.
    seed: u64,
    /// Tokens of prompt and answer, with how often each is in the answer. Kept only when a penalty needs it.
    seen: HashMap<u32, u32>,
}

/// The logits hold no number that could be chosen: the weights are broken, or a constraint allows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// A logit is not a number, of a token that the constraint allows.
    #[error("the model computed a logit that is not a number; its weights are damaged or overflow")]
    NotANumber,
    /// No candidate is left.
    #[error("the constraint allows no token here")]
    NoCandidate,
}

/// Candidates that are looked at first when only the most likely are needed: at a usual `top_p` more are rare.
const FIRST_CANDIDATES: usize = 256;

impl Sampler {
    /// A sampler for answer `choice` of a prompt. `seed` is the request's, already fixed.
    pub fn new(sampling: Sampling, seed: u64, choice: usize, prompt: &[u32]) -> Sampler {
        let mut sampler = Sampler { sampling, seed: mix(seed, choice as u64), seen: HashMap::new() };
        if sampler.counts() {
            sampler.seen.extend(prompt.iter().map(|&t| (t, 0)));
        }
        sampler
    }

    fn counts(&self) -> bool {
        let s = &self.sampling;
        s.repetition_penalty != 1.0 || s.presence_penalty != 0.0 || s.frequency_penalty != 0.0
    }

    /// Counts `token` as part of the answer.
    pub fn accept(&mut self, token: u32) {
        if self.counts() {
            *self.seen.entry(token).or_insert(0) += 1;
        }
    }

    /// The token at place `position` of the answer. `logits` are used up; `allow` puts a
    /// constraint on them, after penalties and biases.
    pub fn sample(
        &self,
        logits: &mut [f32],
        position: usize,
        allow: impl FnOnce(&mut [f32]),
    ) -> Result<u32, SampleError> {
        self.penalise(logits);
        allow(logits);
        let best = largest(logits)?;
        let first = at_least(logits, best).next().map_or(0, |c| c.0);
        if self.sampling.temperature == 0.0 || best == f32::INFINITY {
            return Ok(first);
        }
        let place = uniform(mix(self.seed, position as u64));
        let drawn = match self.candidates(logits, best) {
            Some(candidates) => draw(&candidates, place),
            None => draw_any(logits, place),
        };
        Ok(drawn.unwrap_or(first))
    }

    /// Repetition (arXiv:1909.05858), presence and frequency penalties, then biases.
    fn penalise(&self, logits: &mut [f32]) {
        let s = &self.sampling;
        for (&token, &count) in &self.seen {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / s.repetition_penalty } else { *logit * s.repetition_penalty };
            if count > 0 {
                *logit -= s.presence_penalty + s.frequency_penalty * count as f32;
            }
        }
        for &(token, bias) in &s.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
    }

    /// The tokens that temperature, top-k, top-p and min-p leave, with weights to each other, in a fixed order. Where nothing
    /// is left out it is `None`, and `logits` have become probabilities. `best` is the largest logit.
    fn candidates(&self, logits: &mut [f32], best: f32) -> Option<Vec<(u32, f32)>> {
        let s = &self.sampling;
        // min-p works on what top-p leaves, but both keep the most likely: the order between them does not matter,
        // except for the total that top-p is a share of
        if (1..logits.len()).contains(&(s.top_k as usize)) {
            let least = kth_largest(logits, s.top_k as usize).max(best - NOTHING * s.temperature);
            let weight = |(token, l): (u32, f32)| (token, ((l - best) / s.temperature).exp());
            let all: Vec<_> = at_least(logits, least).map(weight).collect();
            let total: f64 = all.iter().map(|c| f64::from(c.1)).sum();
            let mut kept = if s.top_p < 1.0 { nucleus(all, f64::from(s.top_p) * total) } else { all };
            kept.retain(|c| c.1 >= s.min_p);
            return Some(kept);
        }
        // of differences to the largest: its own stays 0 at any temperature
        logits.iter_mut().for_each(|l| *l -= best);
        let (_, total) = softmax_row(logits, s.temperature.recip().min(f32::MAX));
        let most = (1.0 / total) as f32;
        let floor = (s.min_p * most).max(NEGLIGIBLE);
        if s.top_p < 1.0 {
            let mut kept = top_p(logits, most, f64::from(s.top_p));
            kept.retain(|c| c.1 >= floor);
            return Some(kept);
        }
        (s.min_p > 0.0).then(|| at_least(logits, floor).collect())
    }
}

/// Below `e^-NOTHING` a weight is 0 in float32.
const NOTHING: f32 = 104.0;
/// Below this a probability is none: exponentials of a masked logit end a little above 0.
const NEGLIGIBLE: f32 = 1e-30;

/// The most likely tokens that together have a share of all `probabilities`, of which `most` is the largest; best first, at
/// least one.
fn top_p(probabilities: &[f32], most: f32, share: f64) -> Vec<(u32, f32)> {
    let share = share * run_sums(probabilities).iter().sum::<f64>();
    // usually a few are most of it, and the rest needs no ordering
    let mut least = most;
    loop {
        least = (least / 1024.0).max(NEGLIGIBLE);
        let some: Vec<_> = at_least(probabilities, least).collect();
        let sum: f64 = some.iter().map(|c| f64::from(c.1)).sum();
        if sum >= share || least == NEGLIGIBLE {
            return nucleus(some, share);
        }
    }
}

/// The most likely of `all` up to a total weight of `share`, best first; at least one.
fn nucleus(mut all: Vec<(u32, f32)>, share: f64) -> Vec<(u32, f32)> {
    let better = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let mut sorted = 0;
    let mut before = 0.0;
    let mut kept = 0;
    while kept < all.len() && (kept == 0 || before < share) {
        if kept == sorted {
            // sort the next candidates only: four times as many each time
            let upto = (sorted.max(FIRST_CANDIDATES / 4) * 4).min(all.len());
            if upto < all.len() {
                all[sorted..].select_nth_unstable_by(upto - sorted, better);
            }
            all[sorted..upto].sort_unstable_by(better);
            sorted = upto;
        }
        before += f64::from(all[kept].1);
        kept += 1;
    }
    all.truncate(kept);
    all
}

/// The candidate at `place`, in 0..1, of their total weight.
fn draw(candidates: &[(u32, f32)], place: f64) -> Option<u32> {
    let total: f64 = candidates.iter().map(|c| f64::from(c.1)).sum();
    let mut rest = place * total;
    for &(token, weight) in candidates {
        rest -= f64::from(weight);
        if rest < 0.0 {
            return Some(token);
        }
    }
    candidates.last().map(|c| c.0)
}

/// The token at `place`, in 0..1, of the total of all `probabilities`.
fn draw_any(probabilities: &[f32], place: f64) -> Option<u32> {
    let sums = run_sums(probabilities);
    let mut rest = place * sums.iter().sum::<f64>();
    for (run, sum) in sums.into_iter().enumerate() {
        if rest >= sum {
            rest -= sum;
            continue;
        }
        for (token, p) in (run * RUN..).zip(probabilities[run * RUN..].iter().take(RUN)) {
            rest -= f64::from(*p);
            if rest < 0.0 && *p > NEGLIGIBLE {
                return Some(token as u32);
            }
        }
    }
    None
}

/// Values that are looked at together.
const RUN: usize = 64;
/// Sums and maxima are kept for so many values beside each other, which compilers turn into vectors.
const LANES: usize = 16;

/// The sum of each run of values.
fn run_sums(values: &[f32]) -> Vec<f64> {
    let sum = |run: &[f32]| {
        let (vectors, rest) = run.as_chunks::<LANES>();
        let mut sums = [0.0f64; LANES];
        vectors.iter().for_each(|v| (0..LANES).for_each(|i| sums[i] += f64::from(v[i])));
        sums.iter().sum::<f64>() + rest.iter().map(|v| f64::from(*v)).sum::<f64>()
    };
    values.chunks(RUN).map(sum).collect()
}

/// The largest value.
fn largest(values: &[f32]) -> Result<f32, SampleError> {
    let (mut most, mut broken) = ([f32::NEG_INFINITY; LANES], [0u32; LANES]);
    let mut note = |i: usize, v: f32| {
        most[i] = if v > most[i] { v } else { most[i] };
        broken[i] |= u32::from(v.is_nan());
    };
    let (vectors, rest) = values.as_chunks::<LANES>();
    vectors.iter().for_each(|v| (0..LANES).for_each(|i| note(i, v[i])));
    rest.iter().enumerate().for_each(|(i, v)| note(i, *v));
    if broken != [0; LANES] {
        return Err(SampleError::NotANumber);
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if most == f32::NEG_INFINITY { Err(SampleError::NoCandidate) } else { Ok(most) }
}

/// The values that are at least `least`, with their places. Runs without one are passed over.
fn at_least(values: &[f32], least: f32) -> impl Iterator<Item = (u32, f32)> {
    let runs = values.chunks(RUN).zip((0u32..).step_by(RUN));
    let some = runs.filter(move |(run, _)| run.iter().fold(false, |some, v| some | (*v >= least)));
    some.flat_map(|(run, first)| (first..).zip(run.iter().copied())).filter(move |c| c.1 >= least)
}

/// The `k`-th largest value, for `0 < k <= values.len()`.
fn kth_largest(values: &[f32], k: usize) -> f32 {
    let descending = |a: &f32, b: &f32| b.total_cmp(a);
    let most = (4 * k).max(FIRST_CANDIDATES);
    // whatever is left out is at most `least`, and `k` values are at least as large
    let (mut kept, mut least) = (Vec::with_capacity(most), f32::NEG_INFINITY);
    for run in values.chunks(RUN) {
        if !run.iter().fold(false, |some, v| some | (*v > least)) {
            continue;
        }
        kept.extend(run.iter().copied().filter(|v| *v > least));
        if kept.len() + RUN > most {
            least = *kept.select_nth_unstable_by(k - 1, descending).1;
            kept.truncate(k);
        }
    }
    if kept.len() < k { least } else { *kept.select_nth_unstable_by(k - 1, descending).1 }
}

/// The first of the largest values; `None` when there is none, or one is no number.
pub fn argmax(logits: &[f32]) -> Option<u32> {
    let best = largest(logits).ok()?;
    at_least(logits, best).next().map(|c| c.0)
}

/// Log-probabilities under the model itself: of `token`, and of the `top` most likely.
pub fn logprob(logits: &[f32], token: u32, top: usize) -> TokenLogprob {
    // exponentials of what is no number are numbers
    let norm = largest(logits).map_or(f64::NAN, |_| {
        let (max, sum) = softmax_row(&mut logits.to_vec(), 1.0);
        f64::from(max) + sum.ln()
    });
    let of = |l: f32| (f64::from(l) - norm) as f32;
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(top + 1);
    if top > 0 {
        for (&l, i) in logits.iter().zip(0u32..) {
            if best.len() == top && best.last().is_some_and(|b| l <= b.1) {
                continue;
            }
            let at = best.partition_point(|b| b.1 >= l);
            best.insert(at, (i, l));
            best.truncate(top);
        }
    }
    let top = best.into_iter().map(|(i, l)| (i, of(l))).collect();
    TokenLogprob {
        id: token,
        logprob: of(logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY)),
        top,
    }
}

/// A random number for a place: SplitMix64 (Steele et al., OOPSLA 2014) of seed and counter. There is no state,
/// so a sequence that is computed again, or beside others, draws the same numbers.
fn mix(seed: u64, counter: u64) -> u64 {
    let mut z = seed ^ counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// In 0..1, from the upper 53 bits.
fn uniform(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn random_numbers_are_frozen() {
        // answers for a seed must stay the same from release to release
        let numbers = [mix(0, 0), mix(7, 0), mix(7, 1)];
        assert_eq!(
            numbers,
            [7_960_286_522_194_355_700, 17_039_259_473_404_265_729, 11_307_387_092_600_937_729]
        );
    }

    #[test]
    fn tokens_of_a_seed_are_frozen() {
        let logits: Vec<f32> =
            (0..1000u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 20) as f32 / 400.0).collect();
        let with = |temperature, top_k, top_p, min_p| {
            let sampling = Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
            let sampler = Sampler::new(sampling, 5, 0, &[]);
            (0..4).map(|at| sampler.sample(&mut logits.clone(), at, |_| ()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(with(0.0, 0, 1.0, 0.0), [987, 987, 987, 987]);
        assert_eq!(with(1.0, 0, 1.0, 0.0), [55, 830, 377, 176]);
        assert_eq!(with(0.7, 20, 0.8, 0.0), [987, 576, 898, 754]);
        assert_eq!(with(1.5, 0, 0.8, 0.0), [288, 956, 851, 398]);
        assert_eq!(with(1.5, 0, 1.0, 0.1), [55, 830, 377, 176]);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        assert!(logprob(&[0.0, f32::NAN], 0, 0).logprob.is_nan());
        let sampler = Sampler::new(Sampling::default(), 1, 0, &[]);
        let mask = |l: &mut [f32]| l[1] = f32::NEG_INFINITY;
        assert_eq!(sampler.sample(&mut [0.0, 3.0, f32::INFINITY], 0, mask), Ok(2));
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let logits = [0.0f32, 1.0, 2.0, f32::NEG_INFINITY];
        let sampler = Sampler::new(Sampling::default(), 42, 0, &[]);
        let mut counts = [0u32; 4];
        for position in 0..20_000 {
            counts[sampler.sample(&mut logits.clone(), position, |_| ()).unwrap() as usize] += 1;
        }
        let total: f32 = logits.iter().map(|l| l.exp()).sum();
        for (count, l) in counts.iter().zip(logits) {
            assert!((*count as f32 / 20_000.0 - l.exp() / total).abs() < 0.01, "{counts:?}");
        }
    }

    fn logit() -> impl Strategy<Value = f32> {
        let odd = prop_oneof![Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(f32::MAX), Just(f32::MIN)];
        prop_oneof![99 => -40.0f32..40.0, 1 => odd]
    }

    fn sampling() -> impl Strategy<Value = Sampling> {
        let share = prop_oneof![Just(1.0f32), 0.0f32..1.0];
        let few = prop_oneof![Just(0u32), 1u32..400];
        (prop_oneof![Just(0.0f32), 1e-6f32..3.0], few, share, prop_oneof![Just(0.0f32), 0.0f32..1.0])
            .prop_map(|(temperature, top_k, top_p, min_p)| Sampling {
                temperature,
                top_k,
                top_p,
                min_p,
                ..Sampling::default()
            })
    }

    proptest! {
        #[test]
        fn a_masked_token_is_never_drawn(
            logits in proptest::collection::vec(logit(), 1..500),
            masked in proptest::collection::vec(any::<bool>(), 500),
            sampling in sampling(),
            seed in any::<u64>(),
        ) {
            let mask = |row: &mut [f32]| {
                row.iter_mut().zip(&masked).filter(|(_, m)| **m).for_each(|(l, _)| *l = f32::NEG_INFINITY);
            };
            let sampler = Sampler::new(sampling, seed, 0, &[]);
            for position in 0..8 {
                match sampler.sample(&mut logits.clone(), position, mask) {
                    Ok(token) => prop_assert!(!masked[token as usize] && logits[token as usize] > f32::NEG_INFINITY),
                    Err(error) => {
                        prop_assert_eq!(error, SampleError::NoCandidate);
                        let out = |(l, m): (&f32, &bool)| *m || *l == f32::NEG_INFINITY;
                        prop_assert!(logits.iter().zip(&masked).all(out));
                    }
                }
            }
        }

        #[test]
        fn the_largest_are_those_of_sorting(
            values in proptest::collection::vec((-9i32..9).prop_map(|v| v as f32 / 4.0), 1..2000),
            k in 1usize..2000,
            share in 0.0f64..1.0,
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let k = k.min(values.len());
            prop_assert_eq!(kth_largest(&values, k), sorted[k - 1]);
            prop_assert_eq!(largest(&values), Ok(sorted[0]));
            let first = values.iter().position(|v| *v == sorted[0]);
            prop_assert_eq!(argmax(&values).map(|t| t as usize), first);

            let mut probabilities = values.clone();
            let (_, total) = softmax_row(&mut probabilities, 4.0);
            let mut all: Vec<(u32, f32)> = (0..).zip(probabilities.iter().copied()).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let kept = top_p(&probabilities, (1.0 / total) as f32, share);
            prop_assert_eq!(&kept[..], &all[..kept.len()]);
            let before: f64 = kept[..kept.len() - 1].iter().map(|c| f64::from(c.1)).sum();
            let after = before + f64::from(kept[kept.len() - 1].1);
            prop_assert!(kept.len() == 1 || before < share + 1e-9);
            prop_assert!(after > share - 1e-5);
        }
    }

    #[test]
    fn choices_and_seeds_draw_differently() {
        let draw = |seed, choice| {
            let sampler = Sampler::new(Sampling::default(), seed, choice, &[]);
            (0..16).map(|p| sampler.sample(&mut [0.0; 64], p, |_| ()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }

    #[test]
    fn broken_logits_and_empty_masks_are_errors() {
        let sampler = Sampler::new(Sampling::default(), 1, 0, &[]);
        assert_eq!(sampler.sample(&mut [0.0, f32::NAN], 0, |_| ()), Err(SampleError::NotANumber));
        let nothing = |l: &mut [f32]| l.fill(f32::NEG_INFINITY);
        assert_eq!(sampler.sample(&mut [0.0, 1.0], 0, nothing), Err(SampleError::NoCandidate));
    }

    #[test]
    fn logprobs_are_of_the_models_own_distribution() {
        let found = logprob(&[1.0, 3.0, 2.0, 3.0], 0, 3);
        let norm = (1f64.exp() + 2.0 * 3f64.exp() + 2f64.exp()).ln() as f32;
        assert!((found.logprob - (1.0 - norm)).abs() < 1e-6);
        assert_eq!(found.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3, 2]);
        assert_eq!(logprob(&[0.0; 4], 2, 0).top, []);
    }

    /// Every case of the reference whose parameters are ours.
    #[test]
    fn probabilities_equal_the_references() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity/sampling");
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
        let file = std::fs::read(dir.join("expected.safetensors")).unwrap();
        let tensors = Tensors::read(&file);
        let (logits, want) = (tensors.f32("logits"), tensors.f32("probabilities"));
        let prompt = tensors.ids("prompt_ids");
        let generated = tensors.ids("generated_ids");
        let mut checked = 0;
        for case in json["cases"].as_array().unwrap() {
            let p = &case["parameters"];
            if p.get("no_repeat_ngram_size").is_some() || p.get("typical_p").is_some() {
                continue;
            }
            let float = |name: &str, default: f32| p[name].as_f64().map_or(default, |v| v as f32);
            let sampling = Sampling {
                temperature: float("temperature", 1.0),
                top_k: p["top_k"].as_u64().unwrap_or(0) as u32,
                top_p: float("top_p", 1.0),
                min_p: float("min_p", 0.0),
                repetition_penalty: float("repetition_penalty", 1.0),
                presence_penalty: float("presence_penalty", 0.0),
                frequency_penalty: float("frequency_penalty", 0.0),
                ..Sampling::default()
            };
            let mut sampler = Sampler::new(sampling, 0, 0, &prompt);
            generated.iter().for_each(|&t| sampler.accept(t));
            let mut row = logits.clone();
            sampler.penalise(&mut row);
            let best = largest(&row).unwrap();
            let kept = sampler.candidates(&mut row, best);
            let kept = kept.unwrap_or_else(|| (0..).zip(row.iter().copied()).collect());
            let total: f32 = kept.iter().map(|c| c.1).sum();
            let mut got = vec![0.0; logits.len()];
            kept.iter().for_each(|&(t, w)| got[t as usize] = w / total);
            let at = case["row"].as_u64().unwrap() as usize * logits.len();
            for (token, (got, want)) in got.iter().zip(&want[at..]).enumerate() {
                assert!((got - want).abs() < 1e-5, "{p}: token {token} is {got}, not {want}");
            }
            checked += 1;
        }
        assert!(checked >= 15, "{checked} cases");
    }

    /// A safetensors file of a test, without checks.
    struct Tensors<'a>(serde_json::Value, &'a [u8]);

    impl<'a> Tensors<'a> {
        fn read(file: &'a [u8]) -> Tensors<'a> {
            let len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            Tensors(serde_json::from_slice(&file[8..8 + len]).unwrap(), &file[8 + len..])
        }

        fn bytes(&self, name: &str) -> &'a [u8] {
            let at = |i: usize| self.0[name]["data_offsets"][i].as_u64().unwrap() as usize;
            &self.1[at(0)..at(1)]
        }

        fn f32(&self, name: &str) -> Vec<f32> {
            self.bytes(name).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        }

        fn ids(&self, name: &str) -> Vec<u32> {
            self.bytes(name)
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32)
                .collect()
        }
    }
}
