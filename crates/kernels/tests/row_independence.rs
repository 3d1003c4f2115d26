//! A row's result is the same bits whatever else is computed with it.

mod common;

use common::{Random, bits, matrix};
use kernels::attention::{
    AttentionShape, KvLayout, SequenceRows, paged_attention, rounds_queries, store_rows,
};
use kernels::low_rank::{Addend, RankMatrix, add_low_rank};
use kernels::matmul::{Segment, decode_row, matmul, matmul_segments};
use kernels::{DType, Pool};
use std::ops::Range;

#[test]
fn matmul_rows_do_not_depend_on_each_other_or_on_threads() {
    let mut random = Random::new(1);
    for dtype in DType::ALL {
        // below and above a panel's rows and columns, and off every tile and lane count
        let odd = [(5, 7), (50, 33), (25, 1100), (9, 4110)];
        let whole = [(5, 256), (50, 256), (25, 1280), (9, 4352)];
        for (n, k) in if dtype.block_len() == 1 { odd } else { whole } {
            let bytes = random.stored(dtype, n, k);
            let w = matrix(&bytes, dtype, n, k);
            let (x, bias) = (random.floats(67 * k), random.floats(n));
            let mut alone = vec![0.0; 67 * n];
            for (x, out) in x.chunks_exact(k).zip(alone.chunks_exact_mut(n)) {
                matmul(&Pool::new(1), x, w, Some(&bias), out);
            }
            for m in [2, 3, 4, 5, 6, 7, 8, 67] {
                for threads in [1, 3] {
                    let mut out = vec![0.0; m * n];
                    matmul(&Pool::new(threads), &x[..m * k], w, Some(&bias), &mut out);
                    let what = format!("{} [{n}, {k}] m {m} threads {threads}", dtype.name());
                    assert_eq!(bits(&out), bits(&alone[..m * n]), "{what}");
                }
            }
        }
    }
}

#[test]
fn rows_of_many_adapters_are_as_those_of_one_alone() {
    let mut random = Random::new(5);
    for dtype in [DType::F32, DType::BF16] {
        // ranks and sizes off every tile, panel and task
        for (k, rank, n) in [(7, 1, 5), (33, 4, 64), (100, 16, 70), (40, 17, 2100)] {
            let (m, stride) = (90, rank + 3);
            let x = random.floats(m * k);
            let adapters: Vec<(Vec<u8>, RankMatrix, Vec<f32>)> = (0..3)
                .map(|_| {
                    let stored = random.stored(dtype, rank, n);
                    let mut up = vec![0.0; rank * n];
                    decode_row(dtype, &stored, &mut up);
                    let matrix = RankMatrix::new(dtype, rank, n, |r, c| up[r * n + c]);
                    (random.stored(dtype, rank, k), matrix, up)
                })
                .collect();
            // rows 7.. to 12 and the last have no adapter
            let runs = [(0..1, 0), (1..7, 1), (12..80, 2), (80..88, 0)];
            let base = random.floats(m * n);
            let product = |threads, runs: &[(Range<usize>, usize)]| {
                let pool = Pool::new(threads);
                let (mut h, mut out) = (vec![f32::NAN; m * stride], base.clone());
                let segments: Vec<Segment<'_>> = runs
                    .iter()
                    .map(|(rows, which)| Segment {
                        rows: rows.clone(),
                        weight: matrix(&adapters[*which].0, dtype, rank, k),
                    })
                    .collect();
                matmul_segments(&pool, &x, k, &segments, stride, &mut h);
                let addend = |(rows, which): &(Range<usize>, usize)| Addend {
                    rows: rows.clone(),
                    from: 0,
                    matrix: &adapters[*which].1,
                    out: 0,
                };
                let addends: Vec<Addend<'_>> = runs.iter().map(addend).collect();
                add_low_rank(&pool, &h, stride, &addends, &mut [&mut out]);
                out
            };
            let whole = product(3, &runs);
            let what = format!("{} k {k} rank {rank} n {n}", dtype.name());
            for (rows, which) in runs.clone() {
                for row in rows {
                    let alone = product(1, &[(row..row + 1, which)]);
                    let at = row * n..(row + 1) * n;
                    assert_eq!(bits(&whole[at.clone()]), bits(&alone[at]), "{what} row {row}");
                }
            }
            for row in (7..12).chain(88..90) {
                let at = row * n..(row + 1) * n;
                assert_eq!(bits(&whole[at.clone()]), bits(&base[at]), "{what} row {row}");
            }
            // and it is the product
            for (row, which, col) in [(0, 0, 0), (6, 1, n - 1), (79, 2, n / 2)] {
                let (down, _, up) = &adapters[which];
                let mut expected = f64::from(base[row * n + col]);
                for r in 0..rank {
                    let mut a = vec![0.0; k];
                    decode_row(dtype, matrix(down, dtype, rank, k).row(r), &mut a);
                    let x = &x[row * k..(row + 1) * k];
                    let h: f64 = a.iter().zip(x).map(|(a, x)| f64::from(*a) * f64::from(*x)).sum();
                    expected += h * f64::from(up[r * n + col]);
                }
                let off = (f64::from(whole[row * n + col]) - expected).abs();
                assert!(off < 1e-6 * (k * rank) as f64, "{what}: off by {off}");
            }
        }
    }
}

struct Attention {
    layout: KvLayout,
    shape: AttentionShape,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Attention {
    fn new(layout: KvLayout, shape: AttentionShape, blocks: usize) -> Attention {
        // no numbers, as what another sequence has left may be
        let cache = vec![255; layout.block_bytes() * blocks];
        Attention { layout, shape, keys: cache.clone(), values: cache }
    }

    fn step(&mut self, pool: &Pool, q: &[f32], k: &[f32], v: &[f32], seqs: &[SequenceRows<'_>]) -> Vec<f32> {
        store_rows(pool, k, v, &mut self.keys, &mut self.values, self.layout, seqs);
        let mut out = vec![f32::NAN; q.len()];
        paged_attention(pool, q, &self.keys, &self.values, self.layout, self.shape, seqs, &mut out);
        out
    }
}

#[test]
fn attention_is_the_same_whole_in_chunks_and_beside_another_sequence() {
    let mut random = Random::new(2);
    let tokens = 83;
    // few queries read blocks of 32 tokens as they are stored, and of others what was decoded
    for (dtype, block_tokens, head_dim, kv_heads, heads, window) in [
        (DType::F32, 16, 12, 1, 3, None),
        (DType::F32, 32, 48, 1, 3, None),
        (DType::BF16, 16, 128, 2, 4, None),
        (DType::BF16, 32, 128, 2, 4, None),
        (DType::F16, 16, 80, 2, 2, Some(8)),
        (DType::F16, 32, 80, 2, 2, Some(8)),
        (DType::BF16, 16, 16, 3, 6, Some(40)),
        (DType::BF16, 32, 16, 3, 6, Some(40)),
        (DType::BF16, 32, 64, 2, 2, None),
        (DType::BF16, 32, 96, 1, 3, Some(37)),
        (DType::BF16, 64, 128, 2, 4, None),
        (DType::Q8_0, 16, 64, 2, 4, None),
        (DType::Q8_0, 32, 64, 2, 4, None),
        (DType::Q8_0, 32, 96, 1, 3, Some(37)),
        (DType::Q8_0, 64, 128, 2, 4, None),
    ] {
        let layout = KvLayout { dtype, block_tokens, kv_heads, head_dim };
        let shape = AttentionShape { heads, scale: (head_dim as f32).powf(-0.5), window };
        let (qw, kw) = (heads * head_dim, kv_heads * head_dim);
        let (q, k, v) = (random.floats(tokens * qw), random.floats(tokens * kw), random.floats(tokens * kw));
        let blocks: Vec<u32> = vec![7, 2, 9, 0, 4, 11];
        let whole = Attention::new(layout, shape, 12).step(
            &Pool::new(1),
            &q,
            &k,
            &v,
            &[SequenceRows { start: 0, len: tokens, past: 0, blocks: &blocks }],
        );
        reference(&q, &k, &v, layout, shape, &whole);

        let pool = Pool::new(3);
        let mut chunked = Attention::new(layout, shape, 12);
        let mut got = Vec::new();
        let mut past = 0;
        for len in [5, 1, 1, 40, 35, 1] {
            let seq = SequenceRows { start: 0, len, past, blocks: &blocks };
            got.extend(chunked.step(
                &pool,
                &q[past * qw..][..len * qw],
                &k[past * kw..][..len * kw],
                &v[past * kw..][..len * kw],
                &[seq],
            ));
            past += len;
        }
        assert_eq!(past, tokens);
        assert_eq!(bits(&got), bits(&whole), "chunked {layout:?}");

        let mut both = Attention::new(layout, shape, 24);
        let other: Vec<u32> = vec![20, 21, 22, 23, 1, 3];
        let twice = |x: &[f32]| [x, x].concat();
        let seqs = [
            SequenceRows { start: 0, len: tokens, past: 0, blocks: &other },
            SequenceRows { start: tokens, len: tokens, past: 0, blocks: &blocks },
        ];
        let got = both.step(&pool, &twice(&q), &twice(&k), &twice(&v), &seqs);
        assert_eq!(bits(&got), bits(&twice(&whole)), "beside another {layout:?}");
    }
}

/// `values` as a cache of `dtype` holds them.
fn rounded(dtype: DType, values: &[f32]) -> Vec<f64> {
    let block = |values: &[f32]| -> Vec<f32> {
        match dtype {
            DType::F16 => values.iter().map(|v| half::f16::from_f32(*v).to_f32()).collect(),
            DType::BF16 => values.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect(),
            DType::Q8_0 => {
                let largest = values.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                // of 8 bits, upwards
                let scale =
                    half::f16::from_bits((half::f16::from_f32(largest / 127.0).to_bits() + 7) & !7).to_f32();
                // a value between two codes goes where the reciprocal takes it, as in the cache
                let factor = 1.0 / scale;
                values.iter().map(|v| (v * factor).round_ties_even() * scale).collect()
            }
            _ => values.to_vec(),
        }
    };
    values.chunks(dtype.block_len()).flat_map(block).map(f64::from).collect()
}

/// Attention as the formula says, in float64 over rounded keys and values.
fn reference(q: &[f32], k: &[f32], v: &[f32], layout: KvLayout, shape: AttentionShape, got: &[f32]) {
    let (k, v) = (rounded(layout.dtype, k), rounded(layout.dtype, v));
    // what is left are the weights, of which each is off by at most a 512th part
    let (q, tolerance) = match rounds_queries(layout) {
        true => (rounded(DType::BF16, q), 2e-3),
        false => (q.iter().map(|&v| f64::from(v)).collect(), 2e-5),
    };
    let (d, group) = (layout.head_dim, shape.heads / layout.kv_heads);
    for (i, got) in got.chunks_exact(d).enumerate() {
        let (token, head) = (i / shape.heads, i % shape.heads);
        let first = shape.window.map_or(0, |w| (token + 1).saturating_sub(w));
        let at = |p: usize| (p * layout.kv_heads + head / group) * d;
        let weights: Vec<f64> = (first..=token)
            .map(|p| {
                let dot: f64 = (0..d).map(|c| q[i * d + c] * k[at(p) + c]).sum();
                (dot * f64::from(shape.scale)).exp()
            })
            .collect();
        let total: f64 = weights.iter().sum();
        for c in 0..d {
            let want: f64 = (first..=token).zip(&weights).map(|(p, w)| w / total * v[at(p) + c]).sum();
            assert!(
                (want - f64::from(got[c])).abs() < tolerance,
                "{layout:?} row {i} column {c}: {} {want}",
                got[c]
            );
        }
    }
}

#[test]
fn nothing_to_compute_is_no_error() {
    let pool = Pool::new(2);
    let bytes = Random::new(3).stored(DType::F32, 4, 8);
    matmul(&pool, &[], matrix(&bytes, DType::F32, 4, 8), None, &mut []);
    kernels::elementwise::rms_norm(&pool, &[], &[1.0; 8], 1e-6, &mut []);
    kernels::elementwise::silu_mul(&pool, &mut [], &[]);
    let layout = KvLayout { dtype: DType::F32, block_tokens: 16, kv_heads: 1, head_dim: 8 };
    let shape = AttentionShape { heads: 1, scale: 1.0, window: None };
    paged_attention(&pool, &[], &[], &[], layout, shape, &[], &mut []);
}
