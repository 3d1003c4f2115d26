//! Every instruction set of this machine gives what the portable one gives. One test, since the choice is the
//! process's.

mod common;

use common::{Random, bits, matrix, to_bf16};
use kernels::attention::{
    AttentionShape, KvLayout, SequenceRows, paged_attention, rounds_queries, store_rows,
};
use kernels::attention_backward::{AttentionForward, attention_backward};
use kernels::backward::{rms_norm_backward, silu_mul_backward};
use kernels::elementwise::RopeLayout;
use kernels::gemm::{Precision, Right, View, add_product};
use kernels::low_rank::{Addend, RankMatrix, add_low_rank};
use kernels::matmul::{Segment, decode_row, matmul, matmul_segments};
use kernels::packed::{
    GROUP, GroupScale, PackedMatrix, PackedType, Product, QuantizedRows, Source, TILE, TileMut, matmul_gated,
    matmul_packed, quantize_outputs,
};
use kernels::{DType, Isa, Pool, elementwise, isa, softmax};

/// What the kernels give on seeded inputs of odd sizes: exact results and rounded ones.
fn everything() -> (Vec<f32>, Vec<f32>) {
    let mut random = Random::new(11);
    let pool = Pool::new(2);
    let (mut exact, mut rounded) = (Vec::new(), Vec::new());
    for dtype in DType::ALL {
        for (m, n, k) in [(1, 9, 37), (3, 10, 64), (9, 31, 1037), (2, 5, 7)] {
            let k = if dtype.block_len() == 1 { k } else { 256 * m.min(5) };
            let bytes = random.stored(dtype, n, k);
            let w = matrix(&bytes, dtype, n, k);
            let mut row = vec![0.0; k];
            decode_row(dtype, w.row(n - 1), &mut row);
            exact.extend(row);
            let (mut x, mut out) = (random.floats(m * k), vec![0.0; m * n]);
            if dtype == DType::BF16 {
                x = to_bf16(&x); // some sets round it
            }
            matmul(&pool, &x, w, None, &mut out);
            rounded.extend(out);
        }
    }
    for n in [1, 7, 16, 33, 1024] {
        let (x, w) = (random.floats(3 * n), random.floats(n));
        let mut out = vec![0.0; 3 * n];
        elementwise::rms_norm(&pool, &x, &w, 1e-6, &mut out);
        rounded.extend(&out);
        let mut gate: Vec<f32> = x.iter().map(|v| v * 120.0).collect();
        elementwise::silu_mul(&pool, &mut gate, &out);
        rounded.extend(gate);
    }
    for (heads, half) in [(1, 3), (5, 64)] {
        for layout in [RopeLayout::Half, RopeLayout::Interleaved] {
            let (tokens, len) = (7, 7 * heads * half * 2);
            let (x, weight) = (random.floats(len), random.floats(half * 2));
            let (cos, sin) = (random.floats(tokens * half), random.floats(tokens * half));
            let (mut in_turn, mut at_once) = (vec![0.0; len], x.clone());
            elementwise::rms_norm(&pool, &x, &weight, 1e-6, &mut in_turn);
            elementwise::rope(&pool, &mut in_turn, half * 2, &cos, &sin, layout);
            elementwise::norm_rope(&pool, &mut at_once, &weight, 1e-6, &cos, &sin, layout);
            assert_eq!(bits(&at_once), bits(&in_turn), "{layout:?} of [{tokens}, {heads}, {}]", half * 2);
            rounded.extend(at_once);
        }
    }
    for (m, k, n) in [(1, 3, 5), (7, 300, 37)] {
        let (a, b, mut out) = (random.floats(m * k), random.floats(k * n), random.floats(m * n));
        let rows = |row: usize, values: &mut [f32]| values.copy_from_slice(&b[row * n..][..n]);
        add_product(&pool, Precision::Float32, View::new(&a, k), Right::Rows(&rows), n, &mut out);
        rounded.extend(out);
    }
    for (m, k, rank, n) in [(1, 37, 3, 70), (7, 64, 16, 130)] {
        let down = random.stored(DType::BF16, rank, k);
        let up = RankMatrix::new(DType::BF16, rank, n, |r, c| ((r * 7 + c) % 9) as f32 - 4.0);
        let (mut h, mut out) = (vec![0.0; m * rank], random.floats(m * n));
        let segment = Segment { rows: 0..m, weight: matrix(&down, DType::BF16, rank, k) };
        matmul_segments(&pool, &random.floats(m * k), k, &[segment], rank, &mut h);
        let addend = Addend { rows: 0..m, from: 0, matrix: &up, out: 0 };
        add_low_rank(&pool, &h, rank, &[addend], &mut [&mut out]);
        rounded.extend(h);
        rounded.extend(out);
    }
    for n in [1, 7, 33] {
        let [x, dy, mut dx, mut dup] = [0; 4].map(|_| random.floats(3 * n));
        let (weight, mut dweight) = (random.floats(n), random.floats(n));
        rms_norm_backward(&pool, &x, &weight, 1e-3, &dy, Some(&mut dx), Some(&mut dweight));
        silu_mul_backward(&pool, &x, &dy, &weight.repeat(3), Some(&mut dx), Some(&mut dup));
        let mut log_probs = [0.0; 3];
        softmax::log_probs(&pool, &mut dup, &[0; 3], &mut log_probs);
        rounded.extend([&dx[..], &dweight, &dup, &log_probs].concat());
    }
    {
        let shape = AttentionShape { heads: 4, scale: 0.3, window: Some(21) };
        let [q, out, dout, mut dq] = [0; 4].map(|_| random.floats(40 * 4 * 20));
        let [k, v, mut dk, mut dv] = [0; 4].map(|_| random.floats(40 * 2 * 20));
        let forward = AttentionForward { q: &q, k: &k, v: &v, out: &out, kv_heads: 2, head_dim: 20, shape };
        attention_backward(&pool, forward, &[37, 3], &dout, &mut dq, &mut dk, &mut dv);
        rounded.extend([dq, dk, dv].concat());
    }
    for (dtype, head_dim) in [
        (DType::F32, 20),
        (DType::F16, 64),
        (DType::BF16, 128),
        (DType::F16, 160),
        (DType::BF16, 160),
        (DType::Q8_0, 64),
    ] {
        let layout = KvLayout { dtype, block_tokens: 16, kv_heads: 2, head_dim };
        let shape = AttentionShape { heads: 6, scale: 0.3, window: Some(21) };
        let seqs = [SequenceRows { start: 0, len: 45, past: 0, blocks: &[2, 0, 1] }];
        let [k, v] = [(); 2].map(|()| random.floats(45 * 2 * head_dim));
        let [mut keys, mut values] = [(); 2].map(|()| vec![0; layout.block_bytes() * 3]);
        store_rows(&pool, &k, &v, &mut keys, &mut values, layout, &seqs);
        let mut out = vec![0.0; 45 * 6 * head_dim];
        let q = random.floats(out.len());
        paged_attention(&pool, &q, &keys, &values, layout, shape, &seqs, &mut out);
        rounded.extend(out);
    }
    for packed in PackedType::ALL {
        for (m, n, k) in [(1, 40, 256), (5, 16, 96), (8, 33, 2176), (7, 277, 160)] {
            let mut bytes = vec![0; packed.matrix_bytes(n, k).unwrap()];
            for tile in bytes.chunks_exact_mut(packed.tile_bytes(k).unwrap()) {
                let mut tile = TileMut::new(tile, packed, k);
                for (output, group) in (0..TILE).flat_map(|o| (0..k / GROUP).map(move |g| (o, g))) {
                    let mask = if packed.is_wide() { 255 } else { 15 };
                    let codes = std::array::from_fn(|_| random.bits() as u8 & mask);
                    let scale = match packed {
                        PackedType::Int8 | PackedType::Int8Fine | PackedType::Int4 => {
                            GroupScale::Half(0x1c00 + output as u16)
                        }
                        PackedType::Int4Zero => GroupScale::Zero(0x1c00, group as u8 % 16),
                        PackedType::Int4Super => GroupScale::Super {
                            d: 0x1000,
                            dmin: 0x1000,
                            scale: group as u8,
                            min: output as u8,
                        },
                    };
                    tile.put(output, group, &codes, scale);
                }
            }
            let weight = PackedMatrix::new(&bytes, packed, n, k);
            let mut row = vec![0.0; k];
            weight.decode_row(n - 1, &mut row);
            exact.extend(row);
            let (mut x, mut out) = (QuantizedRows::default(), vec![0.0; m * n]);
            x.quantize(&pool, Source::Rows(&random.floats(m * k)), k);
            matmul_packed(&pool, &x, &mut [Product { weight, bias: None, out: &mut out, adds: false }]);
            rounded.extend(&out);
            // what is rounded as it is made, by a weight that tells codes apart
            let ones = vec![1.0; k];
            let mut made = [QuantizedRows::default(), QuantizedRows::default()];
            made[0].quantize(&pool, Source::Normed { x: &random.floats(m * k), weight: &ones, eps: 1e-5 }, k);
            let [x, gated] = &mut made;
            matmul_gated(&pool, x, weight, weight, gated);
            let down: Vec<f32> = (0..n).map(|i| 0.01 * (i % 13) as f32).collect();
            let mut tile = vec![0; PackedType::Int8.tile_bytes(n).unwrap()];
            quantize_outputs(PackedType::Int8, &down.repeat(TILE), n, &mut tile);
            let weight = PackedMatrix::new(&tile, PackedType::Int8, TILE, n);
            let mut out = vec![0.0; m * TILE];
            matmul_packed(&pool, gated, &mut [Product { weight, bias: None, out: &mut out, adds: false }]);
            rounded.extend(out);
        }
    }
    (exact, rounded)
}

/// A cache whose heads and blocks are whole vectors.
fn pairs_of(dtype: DType) -> KvLayout {
    KvLayout { dtype, block_tokens: 32, kv_heads: 2, head_dim: 64 }
}

/// Attention over a cache in BF16 or 8 bits: some sets round queries and weights to BF16.
fn attention_in_pairs(dtype: DType) -> Vec<f32> {
    let mut random = Random::new(13);
    let pool = Pool::new(2);
    let layout = pairs_of(dtype);
    let shape = AttentionShape { heads: 4, scale: 0.125, window: None };
    let seqs = [SequenceRows { start: 0, len: 45, past: 0, blocks: &[1, 0] }];
    let [k, v] = [(); 2].map(|()| random.floats(45 * 2 * 64));
    let [mut keys, mut values] = [(); 2].map(|()| vec![0; layout.block_bytes() * 2]);
    store_rows(&pool, &k, &v, &mut keys, &mut values, layout, &seqs);
    let q = to_bf16(&random.floats(45 * 4 * 64));
    let mut out = vec![0.0; q.len()];
    paged_attention(&pool, &q, &keys, &values, layout, shape, &seqs, &mut out);
    out
}

/// Where BF16 numbers are multiplied as they are, activations are rounded to them first, to nearest and halves to even, in rows
/// of any length; elsewhere they are not.
fn check_rounding(isa: Isa) {
    let mut random = Random::new(12);
    let pool = Pool::new(1);
    // below and above a block of columns, and off a vector
    for (m, n, k) in [(1, 9, 37), (5, 3, 1), (50, 5, 4100)] {
        let bytes = random.stored(DType::BF16, n, k);
        let w = matrix(&bytes, DType::BF16, n, k);
        let mut x = random.floats(m * k);
        x[0] = 1.0 + 1.0 / 256.0; // a half
        let product = |x: &[f32]| {
            let mut out = vec![0.0; m * n];
            matmul(&pool, x, w, None, &mut out);
            common::bits(&out)
        };
        let same = product(&x) == product(&to_bf16(&x));
        assert_eq!(same, isa == Isa::Avx512Bf16, "{} [{m}, {n}, {k}]", isa.name());
    }
}

/// A key that is no number is seen in what all tokens from it on find, wherever it stands, and in nothing before.
fn check_broken_keys(isa: Isa) {
    let mut random = Random::new(14);
    let pool = Pool::new(1);
    let shape = AttentionShape { heads: 4, scale: 0.125, window: None };
    let seqs = [SequenceRows { start: 0, len: 41, past: 0, blocks: &[1, 0] }];
    let [k, v] = [(); 2].map(|()| random.floats(41 * 2 * 64));
    let q = random.floats(41 * 4 * 64);
    for layout in [DType::F32, DType::BF16, DType::Q8_0].map(pairs_of) {
        for broken in 0..41 {
            let mut k = k.clone();
            k[broken * 2 * 64..][..2 * 64].fill(f32::NAN);
            let [mut keys, mut values] = [(); 2].map(|()| vec![0; layout.block_bytes() * 2]);
            store_rows(&pool, &k, &v, &mut keys, &mut values, layout, &seqs);
            let mut out = vec![0.0; q.len()];
            paged_attention(&pool, &q, &keys, &values, layout, shape, &seqs, &mut out);
            for (token, out) in out.chunks_exact(4 * 64).enumerate() {
                let expected = |x: &f32| x.is_nan() == (token >= broken);
                assert!(out.iter().all(expected), "{}, {layout:?}: token {token}, {broken}", isa.name());
            }
        }
    }
}

#[test]
fn every_instruction_set_agrees_with_the_portable_one() {
    assert!(isa::select("abacus").is_err_and(|e| e.to_string().contains("portable")));
    isa::select("portable").unwrap();
    let (exact, rounded) = everything();
    let attended = [DType::BF16, DType::Q8_0].map(|dtype| (dtype, attention_in_pairs(dtype)));
    for isa in Isa::available() {
        isa::select(isa.name()).unwrap();
        eprintln!("checking {}", isa.name());
        check_rounding(isa);
        check_broken_keys(isa);
        for (dtype, attended) in &attended {
            let expected = if rounds_queries(pairs_of(*dtype)) { 1e-5..2e-3 } else { 0.0..1e-5 };
            let found = attention_in_pairs(*dtype);
            let off = attended.iter().zip(found).fold(0.0f32, |a, (x, y)| a.max((x - y).abs()));
            assert!(expected.contains(&off), "{}, {dtype:?}: attention is off by {off}", isa.name());
        }
        let (e, r) = everything();
        assert_eq!(common::bits(&exact), common::bits(&e), "{} decodes exactly", isa.name());
        for (i, (a, b)) in rounded.iter().zip(&r).enumerate() {
            assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{} value {i}: {b}, portable {a}", isa.name());
        }
    }
}
