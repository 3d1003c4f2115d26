//! What this machine can do at best: the limits that benchmarks state their results against.

use crate::isa::{self, Isa};
use crate::matmul::rounds_activations;
use crate::simd::{Simd, simd_kernel};
use crate::{DType, Pool};
use std::hint::black_box;
use std::time::Instant;

/// Limits of all threads of a pool together, each the best of several short measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Multiplications and additions of 8-bit integers a second, in units of 10⁹: products of exactly 8-bit factors, which
    /// is `vpdpbusd`, `smmla` or `sdot` where the processor has them, and `vpmaddwd` with `vpaddd` on AVX2.
    pub int8_gops: f64,
    /// Multiplications and additions of float32 a second, in units of 10⁹.
    pub f32_gflops: f64,
    /// Multiplications of BF16 numbers and additions of float32 a second, in units of 10⁹: by `vdpbf16ps` where the processor
    /// has it, else [`Self::f32_gflops`].
    pub bf16_gflops: f64,
    /// Bytes read from memory a second, in units of 10⁹.
    pub read_gbs: f64,
}

/// Times that each limit is measured.
const REPEATS: usize = 7;
/// Turns of a loop of products: some milliseconds.
const TURNS: usize = 1_000_000;
/// Independent sums, which hide the latency of an instruction.
const CHAINS: usize = 12;
/// Bytes to read: far more than caches hold.
const READ_BYTES: usize = 256 << 20;
/// Bytes that a thread reads at once.
const READ_CHUNK: usize = 1 << 20;

/// Measures them, on all threads of `pool` at once. Takes about a second; needs 256 MB of memory.
pub fn limits(pool: &Pool) -> Limits {
    let threads = pool.threads();
    let lanes = float_lanes();
    let int8 = best_seconds(|| pool.run(threads, &|_| int8_products(TURNS)));
    let f32 = best_seconds(|| {
        pool.run(threads, &|_| {
            let mut sum = 0.0;
            float_products(TURNS, &mut sum);
            black_box(sum);
        });
    });
    let bf16 = rounds_activations(DType::BF16)
        .then(|| best_seconds(|| pool.run(threads, &|_| bf16_products(TURNS))));
    // written, so that every page is there
    let memory: Vec<f32> = (0..READ_BYTES / 4).map(|i| (i % 7) as f32).collect();
    let read = best_seconds(|| {
        let chunks = READ_BYTES / READ_CHUNK;
        pool.run(chunks, &|i| {
            let mut sum = 0.0;
            read_all(&memory[i * (READ_CHUNK / 4)..][..READ_CHUNK / 4], &mut sum);
            black_box(sum);
        });
    });
    let turns = (threads * TURNS * CHAINS) as f64 / 1e9;
    let f32_gflops = turns * (2 * lanes) as f64 / f32;
    Limits {
        int8_gops: turns * (2 * int8_products_in_turn()) as f64 / int8,
        f32_gflops,
        bf16_gflops: bf16.map_or(f32_gflops, |seconds| turns * (2 * BF16_PRODUCTS) as f64 / seconds),
        read_gbs: READ_BYTES as f64 / 1e9 / read,
    }
}

fn best_seconds(mut measure: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let started = Instant::now();
        measure();
        best = best.min(started.elapsed().as_secs_f64());
    }
    best
}

/// Values of float32 in a vector.
fn float_lanes() -> usize {
    match isa::current() {
        Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16 => 16,
        Isa::Avx2 | Isa::AvxVnni | Isa::Portable => 8,
        Isa::Neon | Isa::NeonDot | Isa::NeonI8mm => 4,
    }
}

/// Products that one chain's turn of [`int8_products`] makes.
fn int8_products_in_turn() -> usize {
    match isa::current() {
        Isa::Avx512Vnni | Isa::Avx512Bf16 => 64,
        Isa::AvxVnni | Isa::NeonI8mm => 32,
        Isa::Avx2 | Isa::Avx512 | Isa::NeonDot => 16,
        Isa::Neon | Isa::Portable => 8,
    }
}

/// Products that one chain's turn of [`bf16_products`] makes.
const BF16_PRODUCTS: usize = 32;

/// Products of BF16 numbers in registers; nothing where there is no instruction for them.
fn bf16_products(turns: usize) {
    #[cfg(target_arch = "x86_64")]
    if rounds_activations(DType::BF16) {
        // SAFETY: `current` answers only what the processor has.
        unsafe { x86::avx512bf16(turns) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = turns;
}

simd_kernel! {
    fn float_products(turns: usize, sum: &mut f32) = float_products_body;
}

#[inline(always)]
unsafe fn float_products_body<S: Simd>(turns: usize, sum: &mut f32) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        let factor = S::splat(black_box(0.5));
        let mut sums = [factor; CHAINS];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = S::fma(*sum, factor, factor);
            }
        }
        let mut total = sums[0];
        for other in sums {
            total = S::add(total, other);
        }
        *sum = S::sum(total);
    }
}

simd_kernel! {
    fn read_all(memory: &[f32], sum: &mut f32) = read_all_body;
}

#[inline(always)]
unsafe fn read_all_body<S: Simd>(memory: &[f32], sum: &mut f32) {
    // SAFETY: the caller's promise on the instruction set; reads stay within whole vectors of the slice.
    unsafe {
        let mut sums = [S::splat(0.0); 4];
        for at in (0..memory.len() / (4 * S::LANES) * 4 * S::LANES).step_by(4 * S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = S::add(*sum, S::load(memory.as_ptr().add(at + i * S::LANES)));
            }
        }
        *sum = S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
    }
}

/// Products of integers in registers.
fn int8_products(turns: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY (all arms): `current` answers only what the processor has.
        match isa::current() {
            Isa::Avx512Vnni | Isa::Avx512Bf16 => return unsafe { x86::avx512vnni(turns) },
            Isa::AvxVnni => return unsafe { x86::avxvnni(turns) },
            Isa::Avx2 | Isa::Avx512 => return unsafe { x86::avx2(turns) },
            _ => {}
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        match isa::current() {
            // SAFETY: `current` answers only what the processor has.
            Isa::NeonI8mm => return unsafe { arm::matrix(turns) },
            // SAFETY: as above.
            Isa::NeonDot => return unsafe { arm::dot(turns) },
            // SAFETY: every 64-bit Arm processor has NEON.
            Isa::Neon => return unsafe { arm::widening(turns) },
            _ => {}
        }
    }
    let factor = black_box([3i32; 8]);
    let mut sums = [factor; CHAINS];
    for _ in 0..turns {
        for sum in &mut sums {
            for (sum, factor) in sum.iter_mut().zip(factor) {
                *sum = sum.wrapping_mul(factor).wrapping_add(factor);
            }
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::CHAINS;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(turns: usize) {
        let (factor, term) = (_mm256_set1_epi16(black_box(3)), _mm256_set1_epi32(black_box(5)));
        let mut sums = [term; CHAINS];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm256_add_epi32(_mm256_madd_epi16(*sum, factor), term);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avxvnni,avx2")]
    pub(super) fn avxvnni(turns: usize) {
        let factor = _mm256_set1_epi8(black_box(3));
        let mut sums = [factor; CHAINS];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm256_dpbusd_avx_epi32(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn avx512vnni(turns: usize) {
        let factor = _mm512_set1_epi8(black_box(3));
        let mut sums = [factor; CHAINS];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn avx512bf16(turns: usize) {
        let term = _mm512_set1_ps(black_box(0.5));
        let factor = _mm512_cvtne2ps_pbh(term, term);
        let mut sums = [term; CHAINS];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::CHAINS;
    use crate::packed::{sdot, smmla};
    use std::arch::aarch64::*;
    use std::hint::black_box;

    /// # Safety
    /// The processor must have the matrix product instructions.
    pub(super) unsafe fn matrix(turns: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let factor = vdupq_n_s8(black_box(3));
            let mut sums = [vdupq_n_s32(0); CHAINS];
            for _ in 0..turns {
                for sum in &mut sums {
                    *sum = smmla(*sum, factor, factor);
                }
            }
            black_box(sums);
        }
    }

    /// # Safety
    /// The processor must have the dot product instructions.
    pub(super) unsafe fn dot(turns: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let factor = vdupq_n_s8(black_box(3));
            let mut sums = [vdupq_n_s32(0); CHAINS];
            for _ in 0..turns {
                for sum in &mut sums {
                    *sum = sdot(*sum, factor, factor);
                }
            }
            black_box(sums);
        }
    }

    /// # Safety
    /// The processor must have NEON.
    pub(super) unsafe fn widening(turns: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let factor = vdup_n_s8(black_box(3));
            let mut sums = [vdupq_n_s16(0); CHAINS];
            for _ in 0..turns {
                for sum in &mut sums {
                    *sum = vmlal_s8(*sum, factor, factor);
                }
            }
            black_box(sums);
        }
    }
}
