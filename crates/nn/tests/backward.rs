//! Each operation's backward gives the derivatives that central differences give.

use kernels::attention::AttentionShape;
use kernels::gemm::Precision;
use kernels::packed::{TILE, quantize_outputs};
use nn::ops::{self, Lora, RopeLayout};
use nn::{Batch, Context, DType, Gradients, KvCache, KvCacheShape, PackedType, ParameterId};
use nn::{Tensor, Vector, Weight};
use std::sync::Arc;

/// xorshift64*: enough for test data.
struct Random(u64);

impl Random {
    /// In -1..1.
    fn float(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// The values that a test differentiates by, as what an operation takes.
struct Parameters {
    values: Vec<(Vec<f32>, usize)>,
}

impl Parameters {
    fn random(seed: u64, shapes: &[(usize, usize)]) -> Parameters {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Parameters { values: shapes.iter().map(|&(rows, cols)| (random.floats(rows * cols), cols)).collect() }
    }

    fn matrix(&self, i: usize) -> Weight {
        let (values, cols) = &self.values[i];
        Weight::from_f32(&values[..], values.len() / cols, *cols).trainable(ParameterId(i))
    }

    fn vector(&self, i: usize) -> Vector {
        Vector::new(self.values[i].0.clone()).trainable(ParameterId(i))
    }

    /// As an activation: all rows of a table.
    fn input(&self, cx: &Context, i: usize) -> Tensor {
        let table = self.matrix(i);
        let rows: Vec<u32> = (0..table.rows() as u32).collect();
        ops::embedding(cx, &table, &rows)
    }
}

const STEP: f32 = 1e-2;

/// Compares the gradients of `Σ coefficient · f(parameters)` with central differences, for parameters of these shapes.
#[track_caller]
fn check(name: &str, shapes: &[(usize, usize)], f: impl Fn(&Context, &Parameters) -> Tensor) {
    let mut parameters = Parameters::random(7 + shapes.len() as u64, shapes);
    let pool = Arc::new(kernels::Pool::new(2));
    let recording = Context::recording(pool.clone());
    let out = f(&recording, &parameters);
    let coefficients = Random(99).floats(out.values().len());
    let end = Tensor::from_vec(coefficients.clone(), out.rows(), out.cols());
    let mut gradients = Gradients::new();
    recording.backward(vec![(out.clone(), end)], &mut gradients);

    let eager = Context::new(pool);
    let loss = |parameters: &Parameters| -> f64 {
        let out = f(&eager, parameters);
        out.values().iter().zip(&coefficients).map(|(o, c)| f64::from(*o) * f64::from(*c)).sum()
    };
    // products are summed in another order
    let same = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs().max(1.0);
    let unrecorded = f(&eager, &parameters);
    assert!(
        unrecorded.values().iter().zip(out.values()).all(same),
        "{name}: recording changes nothing but rounding"
    );
    for i in 0..shapes.len() {
        let found =
            gradients.get(ParameterId(i)).unwrap_or_else(|| panic!("{name}: no gradient {i}")).to_vec();
        let largest = found.iter().fold(0.1f32, |a, v| a.max(v.abs()));
        for (j, &found) in found.iter().enumerate() {
            let at = parameters.values[i].0[j];
            parameters.values[i].0[j] = at + STEP;
            let above = loss(&parameters);
            parameters.values[i].0[j] = at - STEP;
            let below = loss(&parameters);
            parameters.values[i].0[j] = at;
            let want = ((above - below) / f64::from(2.0 * STEP)) as f32;
            assert!(
                (found - want).abs() <= 3e-3 * largest,
                "{name}, parameter {i} value {j}: {found} for {want}, where the largest is {largest}"
            );
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn embedding_and_row_operations() {
    check("embedding", &[(5, 3)], |cx, p| ops::embedding(cx, &p.matrix(0), &[4, 0, 4, 2]));
    check("add", &[(3, 7), (3, 7)], |cx, p| ops::add(cx, p.input(cx, 0), &p.input(cx, 1)));
    check("add to itself", &[(3, 7)], |cx, p| {
        let x = p.input(cx, 0);
        ops::add(cx, x.clone(), &x)
    });
    check("select_rows", &[(5, 3)], |cx, p| ops::select_rows(cx, &p.input(cx, 0), &[3, 1, 3]));
}

#[test]
fn products_with_trained_weights_and_biases() {
    for (n, inputs, outputs) in [(1, 1, 1), (3, 5, 7), (9, 17, 33)] {
        check("linear", &[(n, inputs), (outputs, inputs), (1, outputs)], |cx, p| {
            ops::linear(cx, &p.input(cx, 0), &p.matrix(1), Some(&p.vector(2)))
        });
    }
    check("linears", &[(3, 5), (7, 5), (7, 5)], |cx, p| {
        let x = p.input(cx, 0);
        let [a, b] = ops::linears(cx, &x, [(&p.matrix(1), None), (&p.matrix(2), None)]);
        ops::swiglu(cx, a, &b)
    });
}

#[test]
fn products_in_bf16_have_the_gradients_of_float32_but_for_rounding() {
    let p = Parameters::random(9, &[(9, 96), (80, 96)]);
    let gradients = [Precision::Float32, Precision::Bf16].map(|precision| {
        let cx = Context::recording(Arc::new(kernels::Pool::new(2))).with_precision(precision);
        let y = ops::linear(&cx, &p.input(&cx, 0), &p.matrix(1), None);
        let dy = Tensor::from_vec(Random(3).floats(9 * 80), 9, 80);
        let mut gradients = Gradients::new();
        let result = y.values().to_vec();
        cx.backward(vec![(y, dy)], &mut gradients);
        [
            result,
            gradients.get(ParameterId(0)).unwrap().to_vec(),
            gradients.get(ParameterId(1)).unwrap().to_vec(),
        ]
    });
    let rounds = kernels::isa::current() == kernels::Isa::Avx512Bf16;
    for (exact, rounded) in gradients[0].iter().zip(&gradients[1]) {
        let largest = exact.iter().fold(0.0f32, |a, v| a.max(v.abs()));
        let off = exact.iter().zip(rounded).fold(0.0f32, |a, (e, r)| a.max((e - r).abs()));
        assert!(off < 1e-2 * largest && (off > 1e-5 * largest) == rounds, "{off} of {largest}");
    }
}

/// The gradient by the input of a product with a frozen weight.
fn input_gradient(weight: &Weight, n: usize) -> (Vec<f32>, Vec<f32>) {
    let cx = Context::recording(Arc::new(kernels::Pool::new(2)));
    let p = Parameters::random(3, &[(n, weight.cols())]);
    let out = ops::linear(&cx, &p.input(&cx, 0), weight, None);
    let dy = Random(5).floats(n * weight.rows());
    let mut gradients = Gradients::new();
    cx.backward(vec![(out, Tensor::from_vec(dy.clone(), n, weight.rows()))], &mut gradients);
    assert!(gradients.get(ParameterId(1)).is_none(), "a frozen weight has no gradient");
    (gradients.get(ParameterId(0)).unwrap().to_vec(), dy)
}

#[test]
fn frozen_weights_of_every_format_pass_gradients_on() {
    let (rows, cols, n) = (21, 256, 5);
    let mut weights = Vec::new();
    for dtype in DType::ALL {
        let mut bytes: Vec<u8> = Random(11)
            .floats(rows * dtype.row_bytes(cols).unwrap())
            .iter()
            .map(|v| (v * 127.0) as i8 as u8)
            .collect();
        match dtype {
            // any byte could be the end of a number that is none
            DType::F32 | DType::F16 | DType::BF16 => {
                bytes.chunks_exact_mut(dtype.block_bytes()).for_each(|b| *b.last_mut().unwrap() &= 0xbb)
            }
            _ => bytes.chunks_exact_mut(dtype.block_bytes()).for_each(|b| {
                b[1] &= 0x3b;
                b[3] &= 0x3b;
                *b.last_mut().unwrap() &= 0x3b;
            }),
        }
        let range = 0..bytes.len();
        weights.push(Weight::new(Arc::new(bytes), range, dtype, rows, cols).unwrap());
    }
    for packed in PackedType::ALL {
        let mut bytes = vec![0x35u8; packed.matrix_bytes(rows, cols).unwrap()];
        let codes = bytes.len() / 2;
        bytes[..codes].iter_mut().enumerate().for_each(|(i, b)| *b = (i * 37) as u8 & 0x3b);
        let range = 0..bytes.len();
        weights.push(Weight::packed(Arc::new(bytes), range, packed, rows, cols).unwrap());
    }
    for weight in weights {
        let (found, dy) = input_gradient(&weight, n);
        let w = weight.to_f32();
        let name = weight.format().name();
        for (found, dy) in found.chunks_exact(cols).zip(dy.chunks_exact(rows)) {
            for (c, found) in found.iter().enumerate() {
                let products = dy.iter().zip(w[c..].iter().step_by(cols));
                let (sum, size) = products.fold((0.0f64, 0.0f64), |(sum, size), (d, w)| {
                    let product = f64::from(*d) * f64::from(*w);
                    (sum + product, size + product.abs())
                });
                assert!((f64::from(*found) - sum).abs() <= 1e-5 * size + 1e-30, "{name}: {found} for {sum}");
            }
        }
    }
}

/// `values [rows, cols]` in 8 bits.
fn int8(values: &[f32], rows: usize, cols: usize) -> Weight {
    let packed = PackedType::Int8;
    let mut bytes = vec![0; packed.matrix_bytes(rows, cols).unwrap()];
    let tiles = bytes.chunks_exact_mut(packed.tile_bytes(cols).unwrap());
    for (values, tile) in values.chunks(TILE * cols).zip(tiles) {
        quantize_outputs(packed, values, cols, tile);
    }
    let range = 0..bytes.len();
    Weight::packed(Arc::new(bytes), range, packed, rows, cols).unwrap()
}

#[test]
fn a_transpose_in_8_bits_passes_gradients_on_up_to_its_rounding() {
    for (rows, cols, n) in [(21, 40, 5), (64, 33, 1), (100, 256, 9)] {
        let values = Random(5).floats(rows * cols);
        let turned: Vec<f32> = (0..cols).flat_map(|c| values[c..].iter().step_by(cols).copied()).collect();
        let weight = int8(&values, rows, cols).with_transpose(int8(&turned, cols, rows));
        let (found, dy) = input_gradient(&weight, n);
        let (mut error, mut power) = (0.0f64, 0.0f64);
        for (found, dy) in found.chunks_exact(cols).zip(dy.chunks_exact(rows)) {
            for (c, found) in found.iter().enumerate() {
                let products = dy.iter().zip(values[c..].iter().step_by(cols));
                let sum: f64 = products.map(|(d, w)| f64::from(*d) * f64::from(*w)).sum();
                error += (f64::from(*found) - sum).powi(2);
                power += sum * sum;
            }
        }
        let relative = (error / power).sqrt();
        assert!((1e-6..0.015).contains(&relative), "[{rows}, {cols}]: {relative}");
    }
}

#[test]
fn norms_and_gates() {
    check("rms_norm", &[(3, 7), (1, 7)], |cx, p| ops::rms_norm(cx, &p.input(cx, 0), &p.vector(1), 1e-2));
    check("rms_norm of heads", &[(3, 12), (1, 4)], |cx, p| {
        ops::rms_norm(cx, &p.input(cx, 0), &p.vector(1), 1e-2)
    });
    check("swiglu", &[(3, 7), (3, 7)], |cx, p| ops::swiglu(cx, p.input(cx, 0), &p.input(cx, 1)));
}

#[test]
fn rotary_positions_of_both_layouts() {
    let (tokens, half) = (3, 2);
    let angles = Random(4).floats(tokens * half);
    let cos = Tensor::from_vec(angles.iter().map(|a| a.cos()).collect(), tokens, half);
    let sin = Tensor::from_vec(angles.iter().map(|a| a.sin()).collect(), tokens, half);
    for layout in [RopeLayout::Half, RopeLayout::Interleaved] {
        check("rope", &[(tokens, 8)], |cx, p| ops::rope(cx, p.input(cx, 0), &cos, &sin, layout));
    }
}

#[test]
fn attention_over_packed_sequences() {
    for (lens, heads, kv_heads, head_dim, window) in
        [(vec![1], 1, 1, 2, None), (vec![3, 2], 2, 1, 4, None), (vec![4, 1, 3], 4, 2, 2, Some(2))]
    {
        let tokens: usize = lens.iter().sum();
        let ids = vec![0u32; tokens];
        let mut rest = &ids[..];
        let sequences: Vec<&[u32]> = lens.iter().map(|&len| rest.split_off(..len).unwrap()).collect();
        let batch = Batch::packed(sequences, 4);
        let shape = KvCacheShape {
            layers: 3,
            kv_heads,
            head_dim,
            dtype: DType::F32,
            block_tokens: 4,
            blocks: batch.blocks(),
        };
        let attention = AttentionShape { heads, scale: 0.8, window };
        let width = kv_heads * head_dim;
        check("attention", &[(tokens, heads * head_dim), (tokens, width), (tokens, width)], |cx, p| {
            let [q, k, v] = [0, 1, 2].map(|i| p.input(cx, i));
            ops::attention(cx, &q, &k, &v, attention, &batch, None, &mut KvCache::passing(shape).unwrap(), 2)
        });
    }
}

#[test]
fn a_mixture_of_experts() {
    for norm_topk_prob in [false, true] {
        // tokens 0, 1, 2 to two experts, whose results are parameters 1 and 2
        let places = [vec![(0, 0), (2, 1)], vec![(0, 1), (1, 0), (2, 0)]];
        check("experts", &[(3, 5), (2, 4), (3, 4), (3, 4)], |cx, p| {
            let routing = ops::route(cx, &p.input(cx, 0), 2, norm_topk_prob);
            let mut out = p.input(cx, 3);
            for (expert, places) in places.iter().enumerate() {
                let y = p.input(cx, 1 + expert);
                out = ops::add_weighted_rows(cx, out, &y, &routing.weights, places);
            }
            out
        });
    }
}

#[test]
fn adapters_beside_a_frozen_weight() {
    let frozen = Weight::from_f32(Random(13).floats(7 * 5), 7, 5);
    for scale in [1.0, 0.3] {
        check("lora", &[(3, 5), (2, 5), (7, 2)], |cx, p| {
            let x = p.input(cx, 0);
            let y = ops::linear(cx, &x, &frozen, None);
            ops::lora(
                cx,
                y,
                &x,
                &Lora { a: p.matrix(1), b: p.matrix(2), scale, dropout: 0.0, magnitude: None },
            )
        });
    }
}

#[test]
fn adapters_with_lengths_of_their_own() {
    let mut random = Random(17);
    let frozen = Weight::from_f32(random.floats(7 * 5), 7, 5);
    let bias = Vector::new(random.floats(7));
    let [a, b] =
        [(2, 5), (7, 2)].map(|(rows, cols)| Weight::from_f32(random.floats(rows * cols), rows, cols));
    // the matrices are compared with PEFT's: what their gradients hold constant, differences do not
    check("dora", &[(3, 5), (1, 7)], |cx, p| {
        let x = p.input(cx, 0);
        let y = ops::linear(cx, &x, &frozen, Some(&bias));
        let lora = Lora { a: a.clone(), b: b.clone(), scale: 0.5, dropout: 0.0, magnitude: None };
        ops::dora(cx, y, &x, &frozen, Some(&bias), &lora, &p.vector(1))
    });
    // lengths as they are change nothing
    let cx = Context::new(Arc::new(kernels::Pool::new(1)));
    let lora = Lora { a, b, scale: 0.5, dropout: 0.0, magnitude: None };
    let x = Tensor::from_vec(random.floats(15), 3, 5);
    let lengths = Vector::new(ops::lengths(cx.pool(), &frozen, &lora));
    let beside = ops::lora(&cx, ops::linear(&cx, &x, &frozen, Some(&bias)), &x, &lora);
    let y = ops::linear(&cx, &x, &frozen, Some(&bias));
    let found = ops::dora(&cx, y, &x, &frozen, Some(&bias), &lora, &lengths);
    let off = found.values().iter().zip(beside.values()).map(|(a, b)| (a - b).abs());
    assert!(off.fold(0.0, f32::max) < 1e-5);
}

#[test]
fn dropout_uses_the_same_choices_in_both_directions() {
    let pool = Arc::new(kernels::Pool::new(1));
    let p = Parameters::random(21, &[(4, 6), (2, 6), (3, 2)]);
    let cx = Context::recording(pool);
    let run = |values: &Parameters| {
        cx.set_seed(5);
        let x = values.input(&cx, 0);
        let zero = Weight::from_f32(vec![0.0; 18], 3, 6);
        let y = ops::linear(&cx, &x, &zero, None);
        let lora =
            Lora { a: values.matrix(1), b: values.matrix(2), scale: 1.0, dropout: 0.5, magnitude: None };
        ops::lora(&cx, y, &x, &lora)
    };
    let out = run(&p);
    let mut gradients = Gradients::new();
    let ones = Tensor::from_vec(vec![1.0; 12], 4, 3);
    cx.backward(vec![(out.clone(), ones)], &mut gradients);
    // linear in `x` where the choices are the same, so that f(x) = gradient · x
    let dx = gradients.get(ParameterId(0)).unwrap();
    let along: f32 = dx.iter().zip(&p.values[0].0).map(|(d, x)| d * x).sum();
    let sum: f32 = out.values().iter().sum();
    assert!((along - sum).abs() < 1e-4, "{along} {sum}");
    assert!(dx.iter().filter(|d| **d == 0.0).count() >= 4, "half of the inputs are dropped");
}

#[test]
fn the_loss_gives_the_gradients_of_its_logarithms() {
    let (rows, cols, vocab) = (5, 6, 11);
    let tokens = [3u32, 10, 0, 3, 7];
    let factors = Random(31).floats(rows);
    let p = Parameters::random(8, &[(rows, cols), (vocab, cols)]);
    let cx = Context::recording(Arc::new(kernels::Pool::new(2)));
    let mut gradients = Gradients::new();
    let hidden = p.input(&cx, 0);
    let head = p.matrix(1);
    let (found, dhidden) = ops::log_probs_backward(&cx, &hidden, &head, &tokens, &factors, &mut gradients);
    assert_eq!(bits(&found), bits(&ops::log_probs(&cx, &hidden, &head, &tokens)));
    cx.backward(vec![(hidden, dhidden)], &mut gradients);

    let eager = Context::new(Arc::new(kernels::Pool::new(1)));
    let loss = |p: &Parameters| -> f64 {
        let found = ops::log_probs(&eager, &p.input(&eager, 0), &p.matrix(1), &tokens);
        found.iter().zip(&factors).map(|(l, f)| f64::from(*l) * f64::from(*f)).sum()
    };
    let mut p = p;
    for i in 0..2 {
        for (j, &found) in gradients.get(ParameterId(i)).unwrap().to_vec().iter().enumerate() {
            let at = p.values[i].0[j];
            p.values[i].0[j] = at + STEP;
            let above = loss(&p);
            p.values[i].0[j] = at - STEP;
            let want = ((above - loss(&p)) / f64::from(2.0 * STEP)) as f32;
            p.values[i].0[j] = at;
            assert!((found - want).abs() < 2e-3, "{i} {j}: {found} {want}");
        }
    }
}

#[test]
fn what_comes_before_the_first_trained_weight_keeps_nothing() {
    let cx = Context::recording(Arc::new(kernels::Pool::new(1)));
    let frozen = Weight::from_f32(Random(1).floats(20), 5, 4);
    let x = ops::embedding(&cx, &frozen, &[1, 2]);
    let y = ops::linear(&cx, &x, &frozen, None);
    let y = ops::linear(&cx, &y, &Weight::from_f32(Random(2).floats(10), 2, 5), None);
    let mut gradients = Gradients::new();
    cx.backward(vec![(y.clone(), y)], &mut gradients);
    assert_eq!(gradients.iter_mut().count(), 0);
}
