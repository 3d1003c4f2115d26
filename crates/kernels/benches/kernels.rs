//! Kernels on the shapes of Qwen3-0.6B, as shares of what this machine can do: `cargo bench -p kernels`.
//!
//! The limits are probed in the same run: a product that stays in the first-level cache, and reading memory that no cache
//! holds.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kernels::attention::{AttentionShape, KvLayout, SequenceRows, paged_attention};
use kernels::matmul::{Matrix, matmul};
use kernels::{DType, Pool};
use std::hint::black_box;

/// A product whose operands fit the first-level cache: its rate stands for the machine's arithmetic limit.
fn probe_arithmetic(c: &mut Criterion, pool: &Pool) {
    let (m, n, k) = (48, 24, 64);
    let (x, w) = (vec![0.5f32; m * k], vec![0u8; n * k * 4]);
    let mut group = c.benchmark_group("limit/arithmetic");
    group.throughput(Throughput::Elements((2 * m * n * k * pool.threads()) as u64));
    group.bench_function("f32 in cache", |b| {
        b.iter(|| {
            pool.run(pool.threads(), &|_| {
                let mut out = vec![0.0; m * n];
                matmul(&Pool::new(1), &x, Matrix::new(&w, DType::F32, n, k), None, &mut out);
                black_box(out);
            });
        });
    });
    group.finish();
}

fn probe_memory(c: &mut Criterion, pool: &Pool) {
    let words = vec![1u64; 32 << 20];
    let mut group = c.benchmark_group("limit/memory");
    group.throughput(Throughput::Bytes(words.len() as u64 * 8));
    group.bench_function("read", |b| {
        b.iter(|| {
            let part = words.len() / pool.threads();
            pool.run(pool.threads(), &|i| {
                black_box(words[i * part..][..part].iter().fold(0u64, |a, w| a ^ w));
            });
        });
    });
    group.finish();
}

fn products(c: &mut Criterion, pool: &Pool) {
    for dtype in [DType::BF16, DType::Q8_0, DType::Q4_K] {
        // the vocabulary's matrix is larger than any cache; the layers' are met once a step, so also from memory
        for (n, k) in [(151_936, 1024), (3072, 1024), (1024, 3072)] {
            let bytes = dtype.row_bytes(k).expect("whole blocks") * n;
            let copies = ((256 << 20) / bytes).max(1);
            let w = vec![0x11u8; bytes * copies];
            let mut group = c.benchmark_group(format!("matmul/{} [{n}, {k}]", dtype.name()));
            for m in [1, 8, 512] {
                if m == 512 && n > 10_000 {
                    continue;
                }
                let (x, mut out) = (vec![0.01f32; m * k], vec![0.0; m * n]);
                let mut copy = 0;
                group.throughput(match m {
                    1 => Throughput::Bytes(bytes as u64),
                    _ => Throughput::Elements(2 * (m * n * k) as u64),
                });
                group.bench_function(BenchmarkId::from_parameter(m), |b| {
                    b.iter(|| {
                        copy = (copy + 1) % copies;
                        let w = Matrix::new(&w[copy * bytes..][..bytes], dtype, n, k);
                        matmul(pool, &x, w, None, &mut out);
                    });
                });
            }
            group.finish();
        }
    }
}

fn attention(c: &mut Criterion, pool: &Pool) {
    let layout = KvLayout { dtype: DType::BF16, block_tokens: 32, kv_heads: 8, head_dim: 128 };
    let shape = AttentionShape { heads: 16, scale: 0.088, window: None };
    let blocks: Vec<u32> = (0..64).collect();
    let cache = vec![0u8; layout.block_bytes() * blocks.len()];
    let mut group = c.benchmark_group("attention/BF16, 16 over 8 heads of 128");
    for (name, past, len) in [("decode at 2047", 2047, 1), ("prefill 512", 0, 512)] {
        let (q, mut out) = (vec![0.01f32; len * 2048], vec![0.0; len * 2048]);
        let seqs = [SequenceRows { start: 0, len, past, blocks: &blocks }];
        group.bench_function(name, |b| {
            b.iter(|| paged_attention(pool, &q, &cache, &cache, layout, shape, &seqs, &mut out));
        });
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    let pool = Pool::new(Pool::default_threads());
    probe_arithmetic(c, &pool);
    probe_memory(c, &pool);
    products(c, &pool);
    attention(c, &pool);
}

criterion_group!(benches, all);
criterion_main!(benches);
