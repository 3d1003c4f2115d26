//! The products and gradients of backward passes give what their formulas say, on any number of threads.

mod common;

use common::{Random, bits, to_bf16};
use kernels::attention::AttentionShape;
use kernels::attention_backward::{AttentionForward, attention_backward};
use kernels::dtype::f32_bytes;
use kernels::gemm::{self, Precision, Right, View, add_product};
use kernels::matmul::Matrix;
use kernels::{DType, Pool, backward, softmax};

/// `before + a · b` in float64.
fn product(a: &[f32], b: &[f32], k: usize, n: usize, before: &[f32]) -> Vec<f64> {
    let mut out: Vec<f64> = before.iter().map(|&v| f64::from(v)).collect();
    for (i, out) in out.chunks_exact_mut(n).enumerate() {
        for (j, b) in b.chunks_exact(n).enumerate() {
            let a = f64::from(a[i * k + j]);
            out.iter_mut().zip(b).for_each(|(o, b)| *o += a * f64::from(*b));
        }
    }
    out
}

fn transpose(a: &[f32], cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|c| a.iter().skip(c).step_by(cols).copied()).collect()
}

#[test]
fn products_are_exact_to_rounding_and_the_same_bits_on_any_threads() {
    let mut random = Random::new(5);
    // off every tile, and beyond a block of each dimension
    let shapes = [
        (1, 1, 1),
        (7, 3, 17),
        (6, 256, 16),
        (100, 300, 33),
        (100, 301, 80),
        (13, 521, 1040),
        (8, 601, 8200),
    ];
    let both = [Precision::Float32, Precision::Bf16].map(|precision| shapes.map(|shape| (precision, shape)));
    for (precision, (m, k, n)) in both.into_iter().flatten() {
        let (mut a, mut b, before) = (random.floats(m * k), random.floats(k * n), random.floats(m * n));
        if precision == Precision::Bf16 {
            (a, b) = (to_bf16(&a), to_bf16(&b));
        }
        let want = product(&a, &b, k, n, &before);
        let rows = |row: usize, out: &mut [f32]| out.copy_from_slice(&b[row * n..][..n]);
        let (columns, weight) = (transpose(&a, k), transpose(&b, n));
        let weight = Right::Transposed(Matrix::new(f32_bytes(&weight), DType::F32, n, k));
        let mut first = None;
        for (threads, a, b) in [
            (1, View::new(&a, k), Right::Rows(&rows)),
            (3, View::new(&a, k), Right::Rows(&rows)),
            (2, View::new(&columns, m).transposed(), Right::Rows(&rows)),
            (2, View::new(&a, k), weight),
        ] {
            let mut out = before.clone();
            add_product(&Pool::new(threads), precision, a, b, n, &mut out);
            for (found, want) in out.iter().zip(&want) {
                assert!(
                    (f64::from(*found) - want).abs() < 1e-5 * k as f64,
                    "[{m}, {k}, {n}]: {found}, {want}"
                );
            }
            assert_eq!(&bits(&out), first.get_or_insert_with(|| bits(&out)), "[{m}, {k}, {n}]");
            // what takes the place of other values is what is added to none
            let (mut added, mut set) = (vec![0.0; m * n], before.clone());
            add_product(&Pool::new(threads), precision, a, b, n, &mut added);
            gemm::product(&Pool::new(threads), precision, a, b, n, &mut set);
            assert_eq!(bits(&set), bits(&added), "[{m}, {k}, {n}]");
        }
    }
}

#[test]
fn products_in_bf16_round_both_sides_or_none() {
    let (m, k, n) = (20, 70, 200);
    let mut random = Random::new(8);
    let (a, b) = (random.floats(m * k), random.floats(k * n));
    let multiply = |precision, a: &[f32], b: &[f32]| {
        let mut out = vec![0.0; m * n];
        let rows = |row: usize, out: &mut [f32]| out.copy_from_slice(&b[row * n..][..n]);
        gemm::product(&Pool::new(2), precision, View::new(a, k), Right::Rows(&rows), n, &mut out);
        bits(&out)
    };
    let of = |rounds: bool| match rounds {
        true => multiply(Precision::Bf16, &to_bf16(&a), &to_bf16(&b)),
        false => multiply(Precision::Float32, &a, &b),
    };
    let rounds = kernels::isa::current() == kernels::Isa::Avx512Bf16;
    assert_eq!(multiply(Precision::Bf16, &a, &b), of(rounds));
}

/// The derivative of `f` by each value of `x`, by central differences in float64.
fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let (at, step) = (x[i], 1e-5);
            x[i] = at + step;
            let above = f(&x);
            x[i] = at - step;
            let below = f(&x);
            x[i] = at;
            (above - below) / (2.0 * step)
        })
        .collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

#[track_caller]
fn assert_close(what: &str, found: &[f32], want: &[f64]) {
    assert_eq!(found.len(), want.len(), "{what}");
    let largest = want.iter().fold(1e-3f64, |a, v| a.max(v.abs()));
    for (i, (found, want)) in found.iter().zip(want).enumerate() {
        let off = (f64::from(*found) - want).abs();
        assert!(off <= 2e-5 * largest, "{what} {i}: {found} for {want}, where the largest is {largest}");
    }
}

#[test]
fn norm_and_gate_have_the_gradients_of_their_formulas() {
    let mut random = Random::new(6);
    for (rows, n) in [(1, 1), (3, 7), (130, 20), (2, 100)] {
        let (x, dy) = (random.floats(rows * n), random.floats(rows * n));
        let (weight, eps) = (random.floats(n), 1e-3f32);
        let norm = |x: &[f64], weight: &[f64]| -> f64 {
            let rows = x.chunks_exact(n).zip(dy.chunks_exact(n));
            rows.map(|(x, dy)| {
                let mean = x.iter().map(|v| v * v).sum::<f64>() / n as f64;
                let r = 1.0 / (mean + f64::from(eps)).sqrt();
                x.iter().zip(weight).zip(dy).map(|((x, w), dy)| x * r * w * f64::from(*dy)).sum::<f64>()
            })
            .sum()
        };
        let mut dx = vec![0.0; x.len()];
        let mut dweight = vec![0.0; n];
        let pool = Pool::new(2);
        backward::rms_norm_backward(&pool, &x, &weight, eps, &dy, Some(&mut dx), Some(&mut dweight));
        assert_close("norm dx", &dx, &differences(&wide(&x), |x| norm(x, &wide(&weight))));
        assert_close("norm dweight", &dweight, &differences(&wide(&weight), |w| norm(&wide(&x), w)));

        let gate: Vec<f32> = x.iter().map(|v| v * 6.0).collect();
        let up = random.floats(x.len());
        let swiglu = |gate: &[f64], up: &[f64]| -> f64 {
            let values = gate.iter().zip(up).zip(&dy);
            values.map(|((g, u), dy)| g / (1.0 + (-g).exp()) * u * f64::from(*dy)).sum()
        };
        let (mut dgate, mut dup) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        backward::silu_mul_backward(&pool, &gate, &up, &dy, Some(&mut dgate), Some(&mut dup));
        assert_close("dgate", &dgate, &differences(&wide(&gate), |gate| swiglu(gate, &wide(&up))));
        assert_close("dup", &dup, &differences(&wide(&up), |up| swiglu(&wide(&gate), up)));
    }
}

#[test]
fn log_probabilities_have_the_gradient_of_their_formula() {
    let mut random = Random::new(7);
    for (rows, vocab) in [(1, 2), (3, 19), (2, 5000)] {
        let logits: Vec<f32> = random.floats(rows * vocab).iter().map(|v| v * 5.0).collect();
        let tokens: Vec<u32> = (0..rows).map(|i| (i * 7 % vocab) as u32).collect();
        let factors = random.floats(rows);
        let log_prob =
            |row: &[f64], token: u32| row[token as usize] - row.iter().map(|v| v.exp()).sum::<f64>().ln();
        let mut found = vec![0.0; rows];
        let mut d = logits.clone();
        let pool = Pool::new(2);
        softmax::log_probs(&pool, &mut d, &tokens, &mut found);
        let wide_logits = wide(&logits);
        let expected = wide_logits.chunks_exact(vocab).zip(&tokens).map(|(row, &t)| log_prob(row, t));
        assert_close("log_probs", &found, &expected.collect::<Vec<_>>());
        softmax::log_probs_backward(&pool, &mut d, &tokens, &factors);
        let loss = |logits: &[f64]| -> f64 {
            let rows = logits.chunks_exact(vocab).zip(&tokens).zip(&factors);
            rows.map(|((row, &t), f)| log_prob(row, t) * f64::from(*f)).sum()
        };
        if vocab < 100 {
            assert_close("dlogits", &d, &differences(&wide_logits, loss));
        }
    }
}

/// Attention of packed sequences as the formula says: values `[q, k, v]` to the result.
fn attend(
    x: &[Vec<f64>; 3],
    sequences: &[usize],
    kv_heads: usize,
    d: usize,
    shape: AttentionShape,
) -> Vec<f64> {
    let ([q, k, v], group) = (x, shape.heads / kv_heads);
    let mut out = vec![0.0; q.len()];
    let mut start = 0;
    for &len in sequences {
        for (row, head) in (0..len).flat_map(|row| (0..shape.heads).map(move |head| (row, head))) {
            let at = ((start + row) * shape.heads + head) * d;
            let key = |row: usize| ((start + row) * kv_heads + head / group) * d;
            let first = shape.window.map_or(0, |w| (row + 1).saturating_sub(w));
            let weight = |j: usize| {
                let dot: f64 = (0..d).map(|c| q[at + c] * k[key(j) + c]).sum();
                (dot * f64::from(shape.scale)).exp()
            };
            let total: f64 = (first..=row).map(weight).sum();
            for c in 0..d {
                out[at + c] = (first..=row).map(|j| weight(j) / total * v[key(j) + c]).sum();
            }
        }
        start += len;
    }
    out
}

#[test]
fn attention_has_the_gradients_of_its_formula() {
    let mut random = Random::new(8);
    for (sequences, heads, kv_heads, d, window) in [
        (vec![1], 1, 1, 2, None),
        (vec![5, 3], 4, 2, 6, None),
        (vec![7], 3, 1, 4, Some(3)),
        (vec![35, 2], 2, 1, 4, Some(9)),
    ] {
        let tokens: usize = sequences.iter().sum();
        let shape = AttentionShape { heads, scale: 0.7, window };
        let sizes = [heads, kv_heads, kv_heads].map(|h| tokens * h * d);
        let x = sizes.map(|size| random.floats(size));
        let dout = random.floats(sizes[0]);
        let wide_x = [wide(&x[0]), wide(&x[1]), wide(&x[2])];
        let out: Vec<f32> =
            attend(&wide_x, &sequences, kv_heads, d, shape).iter().map(|&v| v as f32).collect();
        let [q, k, v] = &x;
        let forward = AttentionForward { q, k, v, out: &out, kv_heads, head_dim: d, shape };
        let gradients = |threads: usize| {
            let [mut dq, mut dk, mut dv] = sizes.map(|size| vec![0.0; size]);
            attention_backward(&Pool::new(threads), forward, &sequences, &dout, &mut dq, &mut dk, &mut dv);
            [dq, dk, dv]
        };
        let found = gradients(1);
        assert_eq!(found.each_ref().map(|g| bits(g)), gradients(3).map(|g| bits(&g)));
        for (i, (name, found)) in ["dq", "dk", "dv"].into_iter().zip(&found).enumerate() {
            let want = differences(&wide_x[i], |values| {
                let mut x = wide_x.clone();
                x[i] = values.to_vec();
                let out = attend(&x, &sequences, kv_heads, d, shape);
                out.iter().zip(&dout).map(|(o, d)| o * f64::from(*d)).sum()
            });
            assert_close(&format!("{name} of {sequences:?}"), found, &want);
        }
    }
}

#[test]
fn dropout_keeps_its_share_and_the_sum() {
    let x = vec![1.0; 100_000];
    let mut out = vec![0.0; x.len()];
    backward::dropout(&Pool::new(2), &x, 0.25, 3, &mut out);
    let dropped = out.iter().filter(|v| **v == 0.0).count();
    assert!((24_000..26_000).contains(&dropped), "{dropped}");
    assert!(out.iter().all(|&v| v == 0.0 || v == 1.0 / 0.75));
    let mut again = vec![0.0; x.len()];
    backward::dropout(&Pool::new(1), &x, 0.25, 3, &mut again);
    assert_eq!(bits(&out), bits(&again));
    backward::dropout(&Pool::new(1), &x, 0.25, 4, &mut again);
    assert_ne!(bits(&out), bits(&again));
}
