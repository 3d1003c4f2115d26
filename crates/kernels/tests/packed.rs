//! Packed weights: what they hold, and what products with them give.

mod common;

use common::{Random, bits};
use kernels::packed::{
    GROUP, GroupScale, PackedMatrix, PackedType, Product, QuantizedRows, SPAN, Source, TILE, TileMut,
    matmul_gated, matmul_packed, quantize_outputs,
};
use kernels::{Pool, elementwise};

/// A packed matrix with random codes and scales.
fn packed(random: &mut Random, packed: PackedType, rows: usize, cols: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; packed.matrix_bytes(rows, cols).unwrap()];
    for (i, tile) in bytes.chunks_exact_mut(packed.tile_bytes(cols).unwrap()).enumerate() {
        let mut tile = TileMut::new(tile, packed, cols);
        for output in 0..TILE.min(rows - i * TILE) {
            for group in 0..cols.div_ceil(GROUP) {
                let limit = if packed.is_wide() { 255 } else { 15 };
                let codes = std::array::from_fn(|_| (random.bits() % (limit + 1)) as u8);
                let mut half = |scale: f32| half::f16::from_f32(random.float() * scale).to_bits();
                let scale = match packed {
                    // that of a span's last group counts
                    PackedType::Int8 | PackedType::Int8Fine | PackedType::Int4 => {
                        GroupScale::Half(half(0.01))
                    }
                    PackedType::Int4Zero => GroupScale::Zero(half(0.01), (i % 16) as u8),
                    // d and dmin belong to 8 groups: the last of them counts
                    PackedType::Int4Super => {
                        GroupScale::Super { d: 0x1400, dmin: 0x1800, scale: (group % 64) as u8, min: 63 }
                    }
                };
                tile.put(output, group, &codes, scale);
            }
        }
    }
    bytes
}

fn product(pool: &Pool, x: &[f32], w: PackedMatrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let mut rows = QuantizedRows::default();
    rows.quantize(pool, Source::Rows(x), w.cols());
    let mut out = vec![f32::NAN; rows.rows() * w.rows()];
    matmul_packed(pool, &rows, &mut [Product { weight: w, bias, out: &mut out, adds: false }]);
    out
}

/// Rows, outputs and inputs: also more rows than a panel has, more groups than pass at once, and so many outputs that two
/// tiles are computed together.
const SIZES: [(usize, usize, usize); 10] = [
    (1, 16, 32),
    (3, 33, 256),
    (7, 1, 64),
    (13, 70, 96),
    (6, 48, 1024),
    (2, 17, 77),
    (131, 20, 64),
    (2, 21, 2112),
    (67, 21, 4224),
    (7, 277, 160),
];

#[test]
fn products_equal_those_of_decoded_weights_and_rounded_activations() {
    let (pool, mut random) = (Pool::new(2), Random::new(5));
    for ty in PackedType::ALL {
        for (m, n, k) in SIZES {
            let bytes = packed(&mut random, ty, n, k);
            let w = PackedMatrix::new(&bytes, ty, n, k);
            let (x, bias) = (random.floats(m * k), random.floats(n));
            let out = product(&pool, &x, w, Some(&bias));
            let mut weight = vec![0.0; k];
            for j in 0..n {
                w.decode_row(j, &mut weight);
                for i in 0..m {
                    let (mut sum, mut size) = (f64::from(bias[j]), 0.0f64);
                    for (x, w) in x[i * k..][..k].chunks(SPAN).zip(weight.chunks(SPAN)) {
                        let largest = x.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                        for (x, w) in x.iter().zip(w) {
                            let rounded = (x * (127.0 / largest)).round_ties_even() * (largest / 127.0);
                            sum += f64::from(rounded) * f64::from(*w);
                            size += f64::from((rounded * w).abs());
                        }
                    }
                    let got = f64::from(out[i * n + j]);
                    // offsets and codes of affine types cancel, so the error is relative to their size
                    let allowed = 1e-5 * (size + 1.0);
                    assert!(
                        (got - sum).abs() < allowed,
                        "{} [{m}, {n}, {k}] {i},{j}: {got}, not {sum}",
                        ty.name()
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_bits_alone_and_among_others() {
    let (one, two, mut random) = (Pool::new(1), Pool::new(2), Random::new(6));
    for ty in PackedType::ALL {
        for (m, n, k) in SIZES {
            let bytes = packed(&mut random, ty, n, k);
            let w = PackedMatrix::new(&bytes, ty, n, k);
            let (x, bias) = (random.floats(m * k), random.floats(n));
            let all = product(&two, &x, w, Some(&bias));
            for i in 0..m {
                let alone = product(&one, &x[i * k..][..k], w, Some(&bias));
                assert_eq!(bits(&alone), bits(&all[i * n..][..n]), "{} [{m}, {n}, {k}] row {i}", ty.name());
            }
        }
    }
}

#[test]
fn rows_that_are_made_as_they_are_read_are_the_same_bits_as_written_ones() {
    let (pool, mut random) = (Pool::new(2), Random::new(11));
    for (m, n, k) in SIZES {
        let bytes = packed(&mut random, PackedType::Int8, n, k);
        let w = PackedMatrix::new(&bytes, PackedType::Int8, n, k);
        let (x, up, weight) = (random.floats(m * k), random.floats(m * k), random.floats(k));
        let made = |source: Source<'_>| {
            let mut rows = QuantizedRows::default();
            rows.quantize(&pool, source, k);
            let mut out = vec![f32::NAN; m * n];
            matmul_packed(&pool, &rows, &mut [Product { weight: w, bias: None, out: &mut out, adds: false }]);
            bits(&out)
        };
        let mut normed = vec![0.0; m * k];
        elementwise::rms_norm(&pool, &x, &weight, 1e-5, &mut normed);
        let norm = Source::Normed { x: &x, weight: &weight, eps: 1e-5 };
        assert_eq!(made(norm), made(Source::Rows(&normed)), "norm of [{m}, {k}]");
        let mut gated = x.clone();
        elementwise::silu_mul(&pool, &mut gated, &up);
        let gate = Source::Gated { gate: &x, up: &up };
        assert_eq!(made(gate), made(Source::Rows(&gated)), "gate of [{m}, {k}]");
    }
}

#[test]
fn a_gated_layer_has_the_bits_of_its_parts() {
    let (pool, mut random) = (Pool::new(2), Random::new(12));
    for ty in [PackedType::Int8, PackedType::Int4, PackedType::Int4Super] {
        // outputs of less than a span, and of some with a rest; more rows than a panel has; more inputs than pass at once
        for (m, n, k) in [
            (1, 300, 96),
            (1, 64, 2112),
            (3, 128, 64),
            (6, 400, 160),
            (131, 150, 64),
            (61, 20, 2304),
            (2, 20, 8960),
        ] {
            let [gate, up] = [0, 1].map(|_| packed(&mut random, ty, n, k));
            let [gate, up] = [&gate, &up].map(|bytes| PackedMatrix::new(bytes, ty, n, k));
            let down = packed(&mut random, PackedType::Int8, 16, n);
            let down = PackedMatrix::new(&down, PackedType::Int8, 16, n);
            let x = random.floats(m * k);
            let (gates, ups) = (product(&pool, &x, gate, None), product(&pool, &x, up, None));
            let mut rows = [QuantizedRows::default(), QuantizedRows::default()];
            let after = |rows: &QuantizedRows| {
                let mut out = vec![f32::NAN; m * 16];
                matmul_packed(
                    &pool,
                    rows,
                    &mut [Product { weight: down, bias: None, out: &mut out, adds: false }],
                );
                bits(&out)
            };
            rows[0].quantize(&pool, Source::Gated { gate: &gates, up: &ups }, n);
            let in_turn = after(&rows[0]);
            rows[0].quantize(&pool, Source::Rows(&x), k);
            let [x, out] = &mut rows;
            matmul_gated(&pool, x, gate, up, out);
            assert_eq!(after(out), in_turn, "{} [{m}, {n}, {k}]", ty.name());
        }
    }
}

#[test]
fn a_product_adds_to_what_is_there() {
    let (pool, mut random) = (Pool::new(2), Random::new(9));
    for ty in PackedType::ALL {
        for (m, n, k) in SIZES {
            let bytes = packed(&mut random, ty, n, k);
            let weight = PackedMatrix::new(&bytes, ty, n, k);
            let (x, before, bias) = (random.floats(m * k), random.floats(m * n), random.floats(n));
            let mut rows = QuantizedRows::default();
            rows.quantize(&pool, Source::Rows(&x), k);
            let mut out = before.clone();
            matmul_packed(
                &pool,
                &rows,
                &mut [Product { weight, bias: Some(&bias), out: &mut out, adds: true }],
            );
            let alone = product(&pool, &x, weight, Some(&bias));
            for ((sum, before), alone) in out.iter().zip(before).zip(alone) {
                let allowed = 1e-4 * (1.0 + alone.abs());
                assert!((sum - before - alone).abs() < allowed, "{} [{m}, {n}, {k}]: {sum}", ty.name());
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let (pool, mut random) = (Pool::new(1), Random::new(7));
    let bytes = packed(&mut random, PackedType::Int8, 16, 64);
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // four rows that are quantized together, and one more
        let mut x = random.floats(5 * 64);
        [40, 2 * 64, 4 * 64 + 63].iter().for_each(|&at| x[at] = broken);
        let (ones, weight) = (vec![1.0; 5 * 64], vec![1.0; 64]);
        let norm = Source::Normed { x: &x, weight: &weight, eps: 1e-5 };
        for source in [Source::Rows(&x), norm, Source::Gated { gate: &ones, up: &x }] {
            let mut rows = QuantizedRows::default();
            rows.quantize(&pool, source, 64);
            let (weight, mut out) = (PackedMatrix::new(&bytes, PackedType::Int8, 16, 64), vec![0.0; 5 * 16]);
            matmul_packed(&pool, &rows, &mut [Product { weight, bias: None, out: &mut out, adds: false }]);
            for (row, out) in out.chunks_exact(16).enumerate() {
                let lost = row % 2 == 0;
                assert!(out.iter().all(|v| v.is_nan() == lost), "{broken}, row {row} of {source:?}: {out:?}");
            }
        }
    }
}

#[test]
fn quantizing_loses_no_more_than_its_bits_cost() {
    let mut random = Random::new(8);
    // twelve uniform numbers make a nearly normal one
    let weights: Vec<f32> =
        (0..16 * 512).map(|_| (0..12).map(|_| random.float()).sum::<f32>() * 0.01).collect();
    for (ty, most) in [(PackedType::Int8, 0.0075), (PackedType::Int8Fine, 0.006), (PackedType::Int4, 0.085)] {
        let mut tile = vec![0; ty.tile_bytes(512).unwrap()];
        let (error, power) = quantize_outputs(ty, &weights, 512, &mut tile);
        let relative = (error / power).sqrt();
        assert!(relative < most && relative > most / 3.0, "{}: {relative}", ty.name());
        let mut row = vec![0.0; 512];
        PackedMatrix::new(&tile, ty, 16, 512).decode_row(3, &mut row);
        let found: f64 = row.iter().zip(&weights[3 * 512..]).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        assert!(found < 1.5 * error / 16.0, "{}: row 3 lost {found} of {error}", ty.name());
    }
    for (ty, extreme) in [PackedType::Int8, PackedType::Int8Fine]
        .iter()
        .flat_map(|ty| [0.0, 1e-30, 1e-9, 60_000.0].map(|e| (*ty, e)))
    {
        let mut tile = vec![0; ty.tile_bytes(32).unwrap()];
        let (error, _) = quantize_outputs(ty, &[extreme; 32], 32, &mut tile);
        assert!(error <= 32.0 * f64::from(extreme).powi(2) * 1.001, "{}: {extreme}: {error}", ty.name());
    }
}
