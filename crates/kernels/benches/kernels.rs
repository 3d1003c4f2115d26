//! Kernels on the shapes of Qwen3-0.6B, as shares of what this machine can do: `cargo bench -p kernels`.
//!
//! The limits are probed first, by [`kernels::probe`]: what does not wait for memory is stated as a share of the
//! arithmetic limit, a single row as a share of the speed at which memory can be read.

use criterion::{Criterion, criterion_group, criterion_main};
use kernels::attention::{AttentionShape, KvLayout, SequenceRows, paged_attention};
use kernels::matmul::{Matrix, matmul};
use kernels::packed::{
    PackedMatrix, PackedType, Product, QuantizedRows, Source, matmul_gated, matmul_packed,
};
use kernels::probe::{Limits, limits};
use kernels::{DType, Pool};
use std::hint::black_box;
use std::time::Instant;

/// Bytes of weights that are met in turn, so that none comes from a cache.
const TURN_BYTES: usize = 256 << 20;

/// `[outputs, inputs]`: the vocabulary, and two matrices of a layer.
const SHAPES: [(usize, usize); 3] = [(151_936, 1024), (3072, 1024), (1024, 3072)];
/// Rows: an answer, some answers, many, a prompt.
const ROWS: [usize; 4] = [1, 8, 16, 512];

/// The machine, and what each measurement is a share of.
struct Bench<'a> {
    criterion: &'a mut Criterion,
    pool: Pool,
    limits: Limits,
}

/// What a kernel is bound by, and how much of it one call takes.
enum Work {
    Int8(f64),
    Float(f64),
    Bf16(f64),
    Read(f64),
}

impl Bench<'_> {
    /// Measures `call` and prints what share of its limit it reached on average.
    fn measure(&mut self, name: &str, work: Work, mut call: impl FnMut(&Pool)) {
        let (pool, mut calls, mut seconds) = (&self.pool, 0u64, 0.0);
        self.criterion.bench_function(name, |b| {
            b.iter_custom(|count| {
                let started = Instant::now();
                (0..count).for_each(|_| call(pool));
                let elapsed = started.elapsed();
                (calls, seconds) = (calls + count, seconds + elapsed.as_secs_f64());
                elapsed
            });
        });
        if calls == 0 {
            return; // left out by a filter
        }
        let (done, limit, unit) = match work {
            Work::Int8(operations) => (operations, self.limits.int8_gops, "billion integer operations/s"),
            Work::Float(operations) => (operations, self.limits.f32_gflops, "billion float operations/s"),
            Work::Bf16(operations) => (operations, self.limits.bf16_gflops, "billion BF16 operations/s"),
            Work::Read(bytes) => (bytes, self.limits.read_gbs, "GB/s"),
        };
        let rate = done * calls as f64 / seconds / 1e9;
        println!("{name}: {rate:.1} {unit}, {:.0}% of the limit\n", 100.0 * rate / limit);
    }

    fn packed(&mut self, packed: PackedType) {
        for (n, k) in SHAPES {
            let bytes = packed.matrix_bytes(n, k).expect("a size");
            let copies = (TURN_BYTES / bytes).max(1);
            let weights = vec![0x11u8; bytes * copies];
            for m in ROWS {
                if m == 512 && n > 10_000 {
                    continue; // no prompt computes all its logits
                }
                let mut x = QuantizedRows::default();
                x.quantize(&self.pool, Source::Rows(&vec![0.01; m * k]), k);
                let (mut out, mut turn) = (vec![0.0; m * n], 0);
                let work = match m {
                    1 => Work::Read(bytes as f64),
                    _ => Work::Int8((2 * m * n * k) as f64),
                };
                self.measure(&format!("{} [{n}, {k}] of {m}", packed.name()), work, |pool| {
                    turn = (turn + 1) % copies;
                    let weight = PackedMatrix::new(&weights[turn * bytes..][..bytes], packed, n, k);
                    matmul_packed(
                        pool,
                        &x,
                        &mut [Product { weight, bias: None, out: &mut out, adds: false }],
                    );
                });
            }
        }
    }

    fn stored(&mut self, dtype: DType) {
        for (n, k) in SHAPES {
            let bytes = dtype.row_bytes(k).expect("whole blocks") * n;
            let copies = (TURN_BYTES / bytes).max(1);
            let weights = vec![0x11u8; bytes * copies];
            for m in ROWS {
                if m == 512 && n > 10_000 {
                    continue;
                }
                let (x, mut out, mut turn) = (vec![0.01f32; m * k], vec![0.0; m * n], 0);
                let work = match m {
                    1 => Work::Read(bytes as f64),
                    _ if dtype == DType::BF16 => Work::Bf16((2 * m * n * k) as f64),
                    _ => Work::Float((2 * m * n * k) as f64),
                };
                self.measure(&format!("{} [{n}, {k}] of {m}", dtype.name()), work, |pool| {
                    turn = (turn + 1) % copies;
                    let weight = Matrix::new(&weights[turn * bytes..][..bytes], dtype, n, k);
                    matmul(pool, &x, weight, None, &mut out);
                });
            }
        }
    }

    /// A feed-forward layer's first two weights, gated and rounded: at once, and one after another.
    fn gated(&mut self) {
        let m = 512;
        for (n, k) in [(3072, 1024), (6144, 2048), (13824, 5120)] {
            let bytes = vec![0x11u8; PackedType::Int8.matrix_bytes(n, k).expect("a size")];
            let weight = PackedMatrix::new(&bytes, PackedType::Int8, n, k);
            let [mut x, mut gated] = [QuantizedRows::default(), QuantizedRows::default()];
            x.quantize(&self.pool, Source::Rows(&vec![0.01; m * k]), k);
            let name = format!("gated int8 [{n}, {k}] of {m}");
            let ops = (4 * m * n * k) as f64;
            self.measure(&name, Work::Int8(ops), |pool| matmul_gated(pool, &x, weight, weight, &mut gated));
            let (mut gate, mut up) = (vec![0.0; m * n], vec![0.0; m * n]);
            self.measure(&format!("{name} in turn"), Work::Int8(ops), |pool| {
                let product = |out| Product { weight, bias: None, out, adds: false };
                matmul_packed(pool, &x, &mut [product(&mut gate), product(&mut up)]);
                gated.quantize(pool, Source::Gated { gate: &gate, up: &up }, n);
            });
        }
    }

    fn quantize_rows(&mut self) {
        let (rows, cols) = (512, 1024);
        let (x, mut quantized) = (vec![0.01f32; rows * cols], QuantizedRows::default());
        let work = Work::Read((rows * cols * 4) as f64);
        self.measure("activations to 8 bits [512, 1024]", work, |pool| {
            quantized.quantize(pool, Source::Rows(black_box(&x)), cols);
        });
    }

    /// One layer's attention: 16 query heads over 8 of 128 values.
    fn attention(&mut self, dtype: DType) {
        let layout = KvLayout { dtype, block_tokens: 32, kv_heads: 8, head_dim: 128 };
        let shape = AttentionShape { heads: 16, scale: 0.088, window: None };
        for (past, len) in [(511, 1), (8191, 1), (0, 512), (7680, 512)] {
            let blocks = (past + len) / layout.block_tokens;
            let bytes = blocks * layout.block_bytes();
            let copies = (TURN_BYTES / (2 * bytes)).max(1);
            let (keys, values) = (vec![0x11u8; bytes * copies], vec![0x11u8; bytes * copies]);
            let (q, mut out, mut turn) = (vec![0.01f32; len * 2048], vec![0.0; len * 2048], 0);
            let work = match len {
                1 => Work::Read(2.0 * bytes as f64),
                _ => Work::Float((4 * 2048 * (past * len + len * (len + 1) / 2)) as f64),
            };
            self.measure(&format!("attention in {} of {len} after {past}", dtype.name()), work, |pool| {
                turn = (turn + 1) % copies;
                let blocks: Vec<u32> = (0..blocks as u32).map(|b| b + (turn * blocks) as u32).collect();
                let seqs = [SequenceRows { start: 0, len, past, blocks: &blocks }];
                paged_attention(pool, &q, &keys, &values, layout, shape, &seqs, &mut out);
            });
        }
    }
}

fn all(criterion: &mut Criterion) {
    let pool = Pool::new(Pool::default_threads());
    let limits = limits(&pool);
    println!(
        "limits of {} threads with {}: {:.0} billion 8-bit integer operations/s, {:.0} of float32, {:.0} of BF16, {:.1} GB/s read\n",
        pool.threads(),
        kernels::isa::current().name(),
        limits.int8_gops,
        limits.f32_gflops,
        limits.bf16_gflops,
        limits.read_gbs
    );
    let mut bench = Bench { criterion, pool, limits };
    PackedType::ALL.into_iter().for_each(|packed| bench.packed(packed));
    [DType::BF16, DType::F32, DType::Q6_K].into_iter().for_each(|dtype| bench.stored(dtype));
    bench.gated();
    bench.quantize_rows();
    [DType::BF16, DType::Q8_0].into_iter().for_each(|dtype| bench.attention(dtype));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(2))
        .warm_up_time(std::time::Duration::from_millis(500)).without_plots();
    targets = all
}
criterion_main!(benches);
