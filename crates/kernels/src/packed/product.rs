//! Products of quantized activations with packed weights.

use super::dot::{Dot, MAX_ROWS, PortableDot};
use super::format::super_at;
use super::{GROUP, PackedMatrix, PackedType, QuantizedRows, TILE};
use crate::Pool;
use crate::isa::{self, Isa};
use crate::pool::Parts;
use crate::simd::Simd;
use std::ops::Range;

/// One product: `out [m, n] = x [m, k] · weightᵀ (+ bias)`.
pub struct Product<'a> {
    /// The weight `[n, k]`.
    pub weight: PackedMatrix<'a>,
    /// `[n]`.
    pub bias: Option<&'a [f32]>,
    /// `[m, n]`.
    pub out: &'a mut [f32],
}

/// Bytes of weights in a task: they stay in the second-level cache while all rows pass.
const TASK_BYTES: usize = 192 * 1024;
/// Outputs in a task at most, so that small matrices are shared by many threads.
const TASK_TILES: usize = 4;

/// Computes products of the same rows, on all threads at once.
///
/// # Panics
/// When lengths do not fit.
pub fn matmul_packed(pool: &Pool, x: &QuantizedRows, products: &mut [Product<'_>]) {
    let mut tasks = Vec::with_capacity(products.len());
    let mut count = 0;
    for p in products.iter_mut() {
        let (n, k) = (p.weight.rows(), p.weight.cols());
        assert_eq!((x.cols(), p.out.len()), (k, x.rows() * n), "x is [m, {k}] and out is [m, {n}]");
        assert!(p.bias.is_none_or(|b| b.len() == n), "one bias for each of {n} outputs");
        let tiles = p.weight.tiles();
        let tile_bytes = p.weight.packed_type().tile_bytes(k).unwrap_or(usize::MAX);
        let tiles_in_task = (TASK_BYTES / tile_bytes.max(1)).clamp(1, TASK_TILES);
        let columns = Columns { out: Parts::new(p.out), n, bias: p.bias };
        tasks.push((count, tiles_in_task, p.weight, columns));
        count += tiles.div_ceil(tiles_in_task);
    }
    if x.rows() == 0 {
        return;
    }
    pool.run(count, &|task| {
        let at = tasks.partition_point(|t| t.0 <= task) - 1;
        let (first, tiles_in_task, weight, columns) = &tasks[at];
        let start = (task - first) * tiles_in_task;
        let end = (start + tiles_in_task).min(weight.tiles());
        tiles(x, *weight, start, end, columns);
    });
}

/// How far before its use a single row's weight is asked for, which is bound by memory.
const AHEAD_BYTES: usize = 4096;
const CACHE_LINE: usize = 64;

/// Where the outputs of one product go.
struct Columns<'a> {
    out: Parts<f32>,
    n: usize,
    bias: Option<&'a [f32]>,
}

impl Columns<'_> {
    /// Writes outputs `col ..` of `row`, as far as they exist.
    #[inline(always)]
    fn put(&self, row: usize, col: usize, sums: &[f32]) {
        let count = sums.len().min(self.n - col);
        // SAFETY: no other task has these outputs, and `run` returns before `out` is used again.
        let out = unsafe { self.out.part(row * self.n + col, count) };
        match self.bias {
            Some(bias) => {
                for ((out, sum), bias) in out.iter_mut().zip(sums).zip(&bias[col..]) {
                    *out = sum + bias;
                }
            }
            // a whole tile is two or four vectors, where a length that is not known is a call
            None => match out.first_chunk_mut::<TILE>() {
                Some(tile) if count == TILE => *tile = *sums.first_chunk().expect("a whole tile"),
                _ => out.copy_from_slice(&sums[..count]),
            },
        }
    }
}

/// All rows of `x` against tiles `start .. end`.
fn tiles(x: &QuantizedRows, w: PackedMatrix<'_>, start: usize, end: usize, out: &Columns<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        use super::dot::x86::{Avx2Half, Avx2Wide, Avx512Vnni, AvxVnni};

        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn avx512vnni(x: &QuantizedRows, w: PackedMatrix<'_>, start: usize, end: usize, out: &Columns<'_>) {
            // SAFETY: this function has the features.
            unsafe { tiles_body::<Avx512Vnni<true>, Avx512Vnni<false>, 2>(x, w, start, end, out) }
        }
        #[target_feature(enable = "avxvnni,avx2,fma,f16c")]
        fn avxvnni(x: &QuantizedRows, w: PackedMatrix<'_>, start: usize, end: usize, out: &Columns<'_>) {
            // SAFETY: this function has the features.
            unsafe { tiles_body::<AvxVnni<true>, AvxVnni<false>, 1>(x, w, start, end, out) }
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2(x: &QuantizedRows, w: PackedMatrix<'_>, start: usize, end: usize, out: &Columns<'_>) {
            // SAFETY: this function has the features.
            unsafe { tiles_body::<Avx2Wide, Avx2Half, 1>(x, w, start, end, out) }
        }
        match isa::current() {
            // SAFETY: `current` answers only what the processor has.
            Isa::Avx512Vnni => return unsafe { avx512vnni(x, w, start, end, out) },
            // SAFETY: as above.
            Isa::AvxVnni => return unsafe { avxvnni(x, w, start, end, out) },
            // SAFETY: as above; every processor with AVX-512 has AVX2.
            Isa::Avx2 | Isa::Avx512 => return unsafe { avx2(x, w, start, end, out) },
            _ => {}
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        use super::dot::arm::{NeonDot, SDOT, SMMLA, WIDENING};
        match isa::current() {
            Isa::NeonI8mm => {
                // SAFETY: `current` answers only what the processor has.
                return unsafe {
                    tiles_body::<NeonDot<true, SMMLA>, NeonDot<false, SMMLA>, 1>(x, w, start, end, out)
                };
            }
            Isa::NeonDot => {
                // SAFETY: as above.
                return unsafe {
                    tiles_body::<NeonDot<true, SDOT>, NeonDot<false, SDOT>, 1>(x, w, start, end, out)
                };
            }
            Isa::Neon => {
                // SAFETY: every 64-bit Arm processor has NEON.
                return unsafe {
                    tiles_body::<NeonDot<true, WIDENING>, NeonDot<false, WIDENING>, 1>(x, w, start, end, out)
                };
            }
            _ => {}
        }
    }
    // SAFETY: Portable needs no instruction set.
    unsafe { tiles_body::<PortableDot<true>, PortableDot<false>, 1>(x, w, start, end, out) }
}

/// Products with 8-bit codes by `W` and with 4-bit ones by `H`, `T` tiles at a time.
#[inline(always)]
unsafe fn tiles_body<W: Dot, H: Dot, const T: usize>(
    x: &QuantizedRows,
    w: PackedMatrix<'_>,
    start: usize,
    end: usize,
    out: &Columns<'_>,
) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        match w.packed_type() {
            PackedType::Int8 => rows_body::<W, T, false>(x, w, start, end, out),
            PackedType::Int4 => rows_body::<H, T, false>(x, w, start, end, out),
            PackedType::Int4Zero | PackedType::Int4Super => rows_body::<H, T, true>(x, w, start, end, out),
        }
    }
}

#[inline(always)]
unsafe fn rows_body<D: Dot, const T: usize, const AFFINE: bool>(
    x: &QuantizedRows,
    w: PackedMatrix<'_>,
    start: usize,
    end: usize,
    out: &Columns<'_>,
) {
    // as few turns as can be, and all about as long: 8 rows are 4 and 4, not 5 and 3
    let turns = x.rows().div_ceil(D::ROWS);
    for turn in 0..turns {
        let rows = x.rows() * turn / turns..x.rows() * (turn + 1) / turns;
        let mut tile = start;
        while tile < end {
            // SAFETY: the caller's promise on the instruction set.
            unsafe {
                if tile + T <= end {
                    some_rows::<D, T, AFFINE>(x, rows.clone(), w, tile, out);
                    tile += T;
                } else {
                    some_rows::<D, 1, AFFINE>(x, rows.clone(), w, tile, out);
                    tile += 1;
                }
            }
        }
    }
}

/// Up to [`Dot::ROWS`] rows against `T` tiles from `tile`.
#[inline(always)]
unsafe fn some_rows<D: Dot, const T: usize, const AFFINE: bool>(
    x: &QuantizedRows,
    rows: Range<usize>,
    w: PackedMatrix<'_>,
    tile: usize,
    out: &Columns<'_>,
) {
    let row = rows.start;
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        match rows.len() {
            1 => block::<D, 1, T, AFFINE>(x, row, w, tile, out),
            2 => block::<D, 2, T, AFFINE>(x, row, w, tile, out),
            3 => block::<D, 3, T, AFFINE>(x, row, w, tile, out),
            4 => block::<D, 4, T, AFFINE>(x, row, w, tile, out),
            5 => block::<D, 5, T, AFFINE>(x, row, w, tile, out),
            _ if D::ROWS == MAX_ROWS => block::<D, MAX_ROWS, T, AFFINE>(x, row, w, tile, out),
            rows => unreachable!("{rows} rows at once"),
        }
    }
}

/// `M` rows against `T` tiles. Sums of a group stay in registers; those over groups are in `sums`.
#[inline(always)]
unsafe fn block<D: Dot, const M: usize, const T: usize, const AFFINE: bool>(
    x: &QuantizedRows,
    row: usize,
    w: PackedMatrix<'_>,
    tile: usize,
    out: &Columns<'_>,
) {
    let packed = w.packed_type();
    let lanes = D::Float::LANES;
    let mut sums = [[0.0f32; TILE * 2]; M];
    let into: *mut f32 = sums.as_mut_ptr().cast();
    let tiles: [(&[u8], &[u8]); T] = std::array::from_fn(|t| w.tile(tile + t));
    let xs: [*const u8; M] = std::array::from_fn(|i| {
        if D::PAIRS { x.pairs(row + i).as_ptr().cast() } else { x.codes(row + i).as_ptr().cast() }
    });
    let scales: [(&[f32], &[i32]); M] = std::array::from_fn(|i| x.scales(row + i));
    for group in 0..x.groups() {
        // SAFETY: a tile has codes and scales of every group, a row activations of every group; `into` has a vector for
        // each part of each tile of each row.
        unsafe {
            let mut correction = [0; M];
            for i in 0..M {
                correction[i] = -packed.zero() * scales[i].1.get_unchecked(group);
            }
            if M == 1 {
                let bytes = packed.group_code_bytes();
                let ahead = tiles[0].0.as_ptr().wrapping_add(group * bytes + AHEAD_BYTES);
                for line in (0..bytes).step_by(CACHE_LINE) {
                    D::Float::prefetch(ahead.wrapping_add(line));
                }
            }
            let products = group_products::<D, M, T>(packed, &tiles, group, &xs, &correction);
            for t in 0..T {
                for part in 0..TILE / lanes {
                    let at = tiles[t].1.as_ptr();
                    let (scale, offset) = group_scales::<D::Float, AFFINE>(packed, at, group, part);
                    for i in 0..M {
                        let into = into.add(i * TILE * 2 + t * TILE + part * lanes);
                        let x_scale = *scales[i].0.get_unchecked(group);
                        let product = D::finish(products[i][t], correction[i], part);
                        let factor = D::Float::mul(scale, D::Float::splat(x_scale));
                        let mut sum = D::Float::fma(factor, product, D::Float::load(into));
                        if AFFINE {
                            let x_sum = x_scale * *scales[i].1.get_unchecked(group) as f32;
                            sum = D::Float::fma(offset, D::Float::splat(x_sum), sum);
                        }
                        D::Float::store(into, sum);
                    }
                }
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        out.put(row + i, tile * TILE, &sums[..T * TILE]);
    }
}

/// The integer sums of one group.
#[inline(always)]
unsafe fn group_products<D: Dot, const M: usize, const T: usize>(
    packed: PackedType,
    tiles: &[(&[u8], &[u8]); T],
    group: usize,
    xs: &[*const u8; M],
    correction: &[i32; M],
) -> [[D::Sums; T]; M] {
    // SAFETY: `group` is one of the tile's and of the rows'.
    unsafe {
        let mut codes = [tiles[0].0.as_ptr(); T];
        for t in 0..T {
            codes[t] = tiles[t].0.as_ptr().add(group * packed.group_code_bytes());
        }
        let mut xs = *xs;
        for x in &mut xs {
            *x = x.add(group * D::STEPS * 4);
        }
        if let Some(sums) = D::rows(&codes, &xs, correction) {
            return sums;
        }
        let mut sums = [[D::start(correction[0]); T]; M];
        for (sums, correction) in sums.iter_mut().zip(correction) {
            *sums = [D::start(*correction); T];
        }
        // two steps a turn: they read the same bytes, each its half of them
        for step in (0..D::STEPS).step_by(2) {
            add_step::<D, M, T>(&mut sums, &codes, step, &xs);
            add_step::<D, M, T>(&mut sums, &codes, step + 1, &xs);
        }
        sums
    }
}

/// Adds the products of one step.
#[inline(always)]
unsafe fn add_step<D: Dot, const M: usize, const T: usize>(
    sums: &mut [[D::Sums; T]; M],
    codes: &[*const u8; T],
    step: usize,
    xs: &[*const u8; M],
) {
    // SAFETY: the caller's promise on the pointers and the instruction set.
    unsafe {
        let mut loaded = [D::load(codes[0], step); T];
        for t in 1..T {
            loaded[t] = D::load(codes[t], step);
        }
        for i in 0..M {
            for t in 0..T {
                sums[i][t] = D::add(sums[i][t], loaded[t], xs[i].add(step * 4));
            }
        }
    }
}

/// Scale and offset of vector `part` of a tile's outputs in a group; the offset only of `AFFINE` types.
#[inline(always)]
unsafe fn group_scales<S: Simd, const AFFINE: bool>(
    packed: PackedType,
    scales: *const u8,
    group: usize,
    part: usize,
) -> (S::V, S::V) {
    // SAFETY: `scales` has those of every group.
    unsafe {
        let at = scales.add(packed.scale_at(group));
        let first = part * S::LANES;
        let half = |at: *const u8| S::load_f16(at.cast::<u16>().add(first));
        let byte = |at: *const u8| S::load_i8(at.cast::<i8>().add(first));
        if !AFFINE {
            return (half(at), S::splat(0.0));
        }
        let minus = S::splat(-1.0);
        if packed == PackedType::Int4Zero {
            let scale = half(at);
            return (scale, S::mul(S::mul(scale, byte(at.add(TILE * 2))), minus));
        }
        let shared = scales.add(super_at(group));
        let (d, dmin) = (half(shared), half(shared.add(TILE * 2)));
        (S::mul(d, byte(at)), S::mul(S::mul(dmin, byte(at.add(TILE))), minus))
    }
}

const _: () = assert!(GROUP == 32, "the instruction sets' steps cover 32 inputs");
