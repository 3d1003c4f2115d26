//! Products of quantized activations with packed weights.

// sums are named by row, tile and part, which are places of registers
#![allow(clippy::needless_range_loop)]

use super::dot::{Dot, MAX_ROWS, PortableDot};
use super::format::SPAN_GROUPS;
use super::rows::{PANEL_ROWS, PanelRows, Source};
use super::{GROUP, PackedMatrix, PackedType, QuantizedRows, SPAN, TILE};
use crate::isa::{self, Isa};
use crate::pool::Parts;
use crate::simd::{CACHE_LINE, Simd};
use crate::{Aligned, Pool};
use std::cell::Cell;
use std::ops::Range;

/// One product: `out [m, n] = x [m, k] · weightᵀ (+ bias)`, or `out += …`.
pub struct Product<'a> {
    /// The weight `[n, k]`.
    pub weight: PackedMatrix<'a>,
    /// `[n]`.
    pub bias: Option<&'a [f32]>,
    /// `[m, n]`.
    pub out: &'a mut [f32],
    /// Whether it is added to what is in `out`.
    pub adds: bool,
}

/// Tiles in a task at most.
const TASK_TILES: usize = 8;
/// Tasks for each thread at least, so that none waits long for the last.
const TASKS_PER_THREAD: usize = 4;

/// Computes products of the same rows, on all threads at once.
///
/// # Panics
/// When lengths do not fit.
pub fn matmul_packed(pool: &Pool, x: &QuantizedRows, products: &mut [Product<'_>]) {
    let all_tiles: usize = products.iter().map(|p| p.weight.tiles()).sum();
    let tiles_in_task = (all_tiles / (TASKS_PER_THREAD * pool.threads())).clamp(1, TASK_TILES);
    let mut tasks = Vec::with_capacity(products.len());
    let mut count = 0;
    for p in products.iter_mut() {
        let (n, k) = (p.weight.rows(), p.weight.cols());
        assert_eq!((x.cols(), p.out.len()), (k, x.rows() * n), "x is [m, {k}] and out is [m, {n}]");
        assert!(p.bias.is_none_or(|b| b.len() == n), "one bias for each of {n} outputs");
        let columns = Columns { out: Parts::new(p.out), n, first: (0, 0), bias: p.bias, adds: p.adds };
        tasks.push((count, p.weight, columns));
        count += p.weight.tiles().div_ceil(tiles_in_task);
    }
    if x.rows() == 0 {
        return;
    }
    pool.run(count, &|task| {
        let at = tasks.partition_point(|t| t.0 <= task) - 1;
        let (first, weight, columns) = &tasks[at];
        let start = (task - first) * tiles_in_task;
        let end = (start + tiles_in_task).min(weight.tiles());
        tiles(Work { x, rows: 0..x.rows(), weight: *weight, tiles: start..end, out: columns });
    });
}

/// Bytes of both weights for a span of outputs, up to which a gated layer's task has both: they pass once for each panel of rows, and
/// should stay in the second-level cache. With a third more, products took a twentieth longer than one after another.
const GATED_BYTES: usize = 1 << 20;

/// Whether [`matmul_gated`] is for weights as `gate`: small enough, with outputs enough for all threads.
pub fn gates_in_cache(pool: &Pool, gate: PackedMatrix<'_>) -> bool {
    let (tasks, bytes) = (gate.rows().div_ceil(SPAN), 2 * SPAN / TILE * gate.tile_len());
    bytes <= GATED_BYTES && tasks >= TASKS_PER_THREAD * pool.threads()
}

/// Quantizes into `out` what a gated layer makes of `x [m, k]`: `silu(x · gateᵀ) · (x · upᵀ)` `[m, n]`, with weights `[n, k]`. It has
/// the bits that [`matmul_packed`] and then [`Source::Gated`] give, but products don't leave the cache: a task has the same
/// outputs of both weights.
///
/// # Panics
/// When lengths do not fit.
pub fn matmul_gated(
    pool: &Pool,
    x: &QuantizedRows,
    gate: PackedMatrix<'_>,
    up: PackedMatrix<'_>,
    out: &mut QuantizedRows,
) {
    let (n, rows) = (gate.rows(), x.rows());
    for weight in [gate, up] {
        assert_eq!((weight.rows(), weight.cols()), (n, x.cols()), "weights are [{n}, {}]", x.cols());
    }
    let into = out.begin(rows, n);
    pool.run(n.div_ceil(SPAN), &|span| {
        let first = span * SPAN;
        let width = SPAN.min(n - first);
        let mut outputs = OUTPUTS.take();
        for row in (0..rows).step_by(PANEL_ROWS) {
            let panel = row..(row + PANEL_ROWS).min(rows);
            for (outputs, weight) in outputs.iter_mut().zip([gate, up]) {
                outputs.resize(panel.len() * width);
                let out = Parts::new(outputs);
                let columns = Columns { out, n: width, first: (row, first), bias: None, adds: false };
                let tiles_of_span = first / TILE..(first + width).div_ceil(TILE);
                tiles(Work { x, rows: panel.clone(), weight, tiles: tiles_of_span, out: &columns });
            }
            let [gate, up] = outputs.each_ref().map(|outputs| &outputs[..]);
            // SAFETY: this span is this task's.
            unsafe { into.put_span(Source::Gated { gate, up }, width, row, span) };
        }
        OUTPUTS.set(outputs);
    });
}

thread_local! {
    /// Outputs of a panel of rows and a span of columns, of two weights.
    static OUTPUTS: Cell<[Aligned<f32>; 2]> = Cell::default();
}

/// How far before its use a single row's weight is asked for, which is bound by memory.
const AHEAD_BYTES: usize = 4096;
/// Bytes of a row's activations at a time: those of a panel are 120 KB, which stay in the second-level cache while tiles pass,
/// beside the codes of one or two tiles. Outputs are written and read again for each such part, which costs more than codes that
/// come from the second-level cache.
const CHUNK_BYTES: usize = 2048;

/// Where the outputs of one product go.
struct Columns<'a> {
    /// `[.., n]`, of which the first is that of this row and column.
    out: Parts<f32>,
    n: usize,
    first: (usize, usize),
    bias: Option<&'a [f32]>,
    adds: bool,
}

/// Some rows of `x`, from the first of a panel on, against some tiles of a weight.
struct Work<'a> {
    x: &'a QuantizedRows,
    rows: Range<usize>,
    weight: PackedMatrix<'a>,
    tiles: Range<usize>,
    out: &'a Columns<'a>,
}

fn tiles(work: Work<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        use super::dot::x86::{Avx2Half, Avx2Wide, Avx512Vnni, AvxVnni};

        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn avx512vnni(work: Work<'_>) {
            // SAFETY: this function has the features.
            unsafe { tiles_body::<Avx512Vnni<true>, Avx512Vnni<false>, 2>(work) }
        }
        #[target_feature(enable = "avxvnni,avx2,fma,f16c")]
        fn avxvnni(work: Work<'_>) {
            // SAFETY: this function has the features.
            unsafe { tiles_body::<AvxVnni<true>, AvxVnni<false>, 1>(work) }
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2(work: Work<'_>) {
            // SAFETY: this function has the features.
            unsafe { tiles_body::<Avx2Wide, Avx2Half, 1>(work) }
        }
        match isa::current() {
            // SAFETY: `current` answers only what the processor has.
            Isa::Avx512Vnni | Isa::Avx512Bf16 => return unsafe { avx512vnni(work) },
            // SAFETY: as above.
            Isa::AvxVnni => return unsafe { avxvnni(work) },
            // SAFETY: as above; every processor with AVX-512 has AVX2.
            Isa::Avx2 | Isa::Avx512 => return unsafe { avx2(work) },
            _ => {}
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        use super::dot::arm::{NeonDot, SDOT, SMMLA, WIDENING};
        match isa::current() {
            Isa::NeonI8mm => {
                // SAFETY: `current` answers only what the processor has.
                return unsafe { tiles_body::<NeonDot<true, SMMLA>, NeonDot<false, SMMLA>, 1>(work) };
            }
            Isa::NeonDot => {
                // SAFETY: as above.
                return unsafe { tiles_body::<NeonDot<true, SDOT>, NeonDot<false, SDOT>, 1>(work) };
            }
            Isa::Neon => {
                // SAFETY: every 64-bit Arm processor has NEON.
                return unsafe { tiles_body::<NeonDot<true, WIDENING>, NeonDot<false, WIDENING>, 1>(work) };
            }
            _ => {}
        }
    }
    // SAFETY: Portable needs no instruction set.
    unsafe { tiles_body::<PortableDot<true>, PortableDot<false>, 1>(work) }
}

/// Products with 8-bit codes by `W` and with 4-bit ones by `H`, `T` tiles at a time. `SUM` groups of a packed type are one
/// integer sum.
#[inline(always)]
unsafe fn tiles_body<W: Dot, H: Dot, const T: usize>(work: Work<'_>) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        match work.weight.packed_type() {
            PackedType::Int8 => rows_body::<W, T, SPAN_GROUPS, false>(work),
            PackedType::Int8Fine => rows_body::<W, T, 1, false>(work),
            PackedType::Int4 => rows_body::<H, T, 1, false>(work),
            PackedType::Int4Zero | PackedType::Int4Super => rows_body::<H, T, 1, true>(work),
        }
    }
}

#[inline(always)]
unsafe fn rows_body<D: Dot, const T: usize, const SUM: usize, const AFFINE: bool>(work: Work<'_>) {
    let Work { x, rows, weight: w, tiles, out } = work;
    assert!(!D::PAIRS || x.has_pairs(), "rows were quantized for another instruction set");
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        if x.rows() == 1 {
            // one stream of memory, not `T`
            for tile in tiles {
                let x = x.panel_rows(0, 1);
                let ahead = Ahead { bytes: AHEAD_BYTES as isize, first: 0, step: 1 };
                let piece = Piece { row: 0, x, groups: 0..w.groups(), ahead };
                block::<D, 1, 1, SUM, AFFINE>(piece, w, tile, out);
            }
            return;
        }
        let chunk = CHUNK_BYTES / D::group_bytes();
        // outputs of a panel stay in the second-level cache from one chunk to the next
        for row in rows.clone().step_by(PANEL_ROWS) {
            let rows = row..(row + PANEL_ROWS).min(rows.end);
            for from in (0..w.groups()).step_by(chunk) {
                let groups = from..(from + chunk).min(w.groups());
                all_tiles::<D, T, SUM, AFFINE>(x, rows.clone(), groups, w, tiles.clone(), out);
            }
        }
    }
}

/// Part `i` of `count`, all about as long: 8 rows in two are 4 and 4, not 5 and 3.
#[inline(always)]
fn part(rows: Range<usize>, i: usize, count: usize) -> Range<usize> {
    rows.start + rows.len() * i / count..rows.start + rows.len() * (i + 1) / count
}

/// What a block covers.
struct Piece {
    /// Its first row, of the activations and of the outputs.
    row: usize,
    /// The activations from its first row on.
    x: PanelRows,
    /// Its groups. Sums begin with what is among the outputs; with the first group only if they are to be added to.
    groups: Range<usize>,
    ahead: Ahead,
}

/// What is asked for while a group is computed: of the cache lines so many bytes from it the `first`, and every one `step` lines
/// further. Turns share them, so that memory is as busy in each of them.
#[derive(Clone, Copy)]
struct Ahead {
    bytes: isize,
    first: usize,
    step: usize,
}

/// Some rows of a panel and some groups against all `tiles`, `T` at a time.
#[inline(always)]
unsafe fn all_tiles<D: Dot, const T: usize, const SUM: usize, const AFFINE: bool>(
    x: &QuantizedRows,
    rows: Range<usize>,
    groups: Range<usize>,
    w: PackedMatrix<'_>,
    tiles: Range<usize>,
    out: &Columns<'_>,
) {
    let turns = rows.len().div_ceil(D::ROWS);
    let panel = x.panel_rows(rows.start, rows.len());
    let mut tile = tiles.start;
    while tile < tiles.end {
        let wide = tile + T <= tiles.end;
        let next = tile + if wide { T } else { 1 };
        // the next tiles' same groups, and after the last tiles the first ones' next groups, or the next task's first
        let bytes = if next < tiles.end {
            ((next - tile) * w.tile_len()) as isize
        } else {
            let (to, group) =
                if groups.end < w.groups() { (tiles.start, groups.end) } else { (tiles.end, 0) };
            let place =
                |tile: usize, group: usize| (tile * w.tile_len() + w.packed_type().codes_at(group)) as isize;
            place(to, group) - place(tile, groups.start)
        };
        for turn in 0..turns {
            let turn_rows = part(0..rows.len(), turn, turns);
            let ahead = Ahead { bytes, first: turn, step: turns };
            // SAFETY: these rows are the panel's. The caller's promise on the instruction set.
            unsafe {
                let x = panel.skip(turn_rows.start);
                let piece = Piece { row: rows.start + turn_rows.start, x, groups: groups.clone(), ahead };
                if wide {
                    some_rows::<D, T, SUM, AFFINE>(turn_rows.len(), piece, w, tile, out);
                } else {
                    some_rows::<D, 1, SUM, AFFINE>(turn_rows.len(), piece, w, tile, out);
                }
            }
        }
        tile = next;
    }
}

/// Up to [`Dot::ROWS`] rows against `T` tiles from `tile`.
#[inline(always)]
unsafe fn some_rows<D: Dot, const T: usize, const SUM: usize, const AFFINE: bool>(
    rows: usize,
    piece: Piece,
    w: PackedMatrix<'_>,
    tile: usize,
    out: &Columns<'_>,
) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        match rows {
            1 => block::<D, 1, T, SUM, AFFINE>(piece, w, tile, out),
            2 => block::<D, 2, T, SUM, AFFINE>(piece, w, tile, out),
            3 => block::<D, 3, T, SUM, AFFINE>(piece, w, tile, out),
            4 => block::<D, 4, T, SUM, AFFINE>(piece, w, tile, out),
            5 => block::<D, 5, T, SUM, AFFINE>(piece, w, tile, out),
            _ if D::ROWS == MAX_ROWS => block::<D, MAX_ROWS, T, SUM, AFFINE>(piece, w, tile, out),
            rows => unreachable!("{rows} rows at once"),
        }
    }
}

/// Outputs of two tiles.
const TWO_TILES: usize = 2 * TILE;

/// `M` rows against `T` tiles, over the groups of `piece`. Outputs are read and written where they are; those of a last tile
/// that is not whole pass through memory that is.
#[inline(always)]
unsafe fn block<D: Dot, const M: usize, const T: usize, const SUM: usize, const AFFINE: bool>(
    piece: Piece,
    w: PackedMatrix<'_>,
    tile: usize,
    out: &Columns<'_>,
) {
    const { assert!(T * TILE <= TWO_TILES && (SUM == 1 || !AFFINE)) };
    let (lanes, col) = (D::Float::LANES, tile * TILE - out.first.1);
    let (parts, count) = (TILE / lanes, (T * TILE).min(out.n - col));
    let (is_first, is_whole) = (piece.groups.start == 0, count == T * TILE);
    let continues = !is_first || out.adds;
    // SAFETY: a tile has codes and scales of every group, a row activations of every group; no other task has these
    // outputs, and `run` returns before `out` is used again. The caller's promise on the instruction set.
    unsafe {
        let first = (piece.row - out.first.0) * out.n + col;
        let outputs = out.out.pointer(first, (M - 1) * out.n + count);
        let mut bias = out.bias.filter(|_| is_first).map(|bias| bias[col..].as_ptr());
        let mut edge: [[f32; TWO_TILES]; MAX_ROWS];
        let mut edge_bias: [f32; TWO_TILES];
        let (to, stride) = if is_whole {
            (outputs, out.n)
        } else {
            edge = [[0.0; TWO_TILES]; MAX_ROWS];
            if continues {
                for i in 0..M {
                    outputs.add(i * out.n).copy_to_nonoverlapping(edge[i].as_mut_ptr(), count);
                }
            }
            if let Some(bias) = &mut bias {
                edge_bias = [0.0; TWO_TILES];
                bias.copy_to_nonoverlapping(edge_bias.as_mut_ptr(), count);
                *bias = edge_bias.as_ptr();
            }
            (edge.as_mut_ptr().cast(), TWO_TILES)
        };
        let mut sums = [[D::Float::splat_sixteen(0.0); T]; M];
        if continues {
            for i in 0..M {
                for t in 0..T {
                    for part in 0..parts {
                        sums[i][t][part] = D::Float::load(to.add(i * stride + t * TILE + part * lanes));
                    }
                }
            }
        }
        if let Some(bias) = bias {
            for t in 0..T {
                for part in 0..parts {
                    let bias = D::Float::load(bias.add(t * TILE + part * lanes));
                    for i in 0..M {
                        sums[i][t][part] = D::Float::add(sums[i][t][part], bias);
                    }
                }
            }
        }
        add_groups::<D, M, T, SUM, AFFINE>(&piece, w, tile, &mut sums);
        for i in 0..M {
            for t in 0..T {
                for part in 0..parts {
                    D::Float::store(to.add(i * stride + t * TILE + part * lanes), sums[i][t][part]);
                }
            }
        }
        if !is_whole {
            for i in 0..M {
                to.add(i * stride).copy_to_nonoverlapping(outputs.add(i * out.n), count);
            }
        }
    }
}

/// Adds the groups of `piece` to `sums`.
#[inline(always)]
unsafe fn add_groups<D: Dot, const M: usize, const T: usize, const SUM: usize, const AFFINE: bool>(
    piece: &Piece,
    w: PackedMatrix<'_>,
    tile: usize,
    sums: &mut [[<D::Float as Simd>::Sixteen; T]; M],
) {
    let packed = w.packed_type();
    let mut tiles = [w.tile(tile).as_ptr(); T];
    for t in 1..T {
        tiles[t] = w.tile(tile + t).as_ptr();
    }
    let rows = piece.x;
    for group in piece.groups.clone().step_by(SUM) {
        // SAFETY: a tile has codes and scales of every group, rows of a panel have activations of every group. What is asked
        // for may lie anywhere.
        unsafe {
            let at = group * rows.stride;
            let (x_scales, x_corrections) = (rows.scales.add(at), rows.corrections.add(at));
            let of_span = rows.span_corrections.add(group / SPAN_GROUPS * rows.stride);
            let mut correction = [0; M];
            for i in 0..M {
                // codes are `zero` too large, which divides 128
                correction[i] = match packed.zero() {
                    128 if SUM == SPAN_GROUPS => *of_span.add(i),
                    128 => *x_corrections.add(i),
                    8 => *x_corrections.add(i) >> 4,
                    _ => 0,
                };
            }
            let products =
                sum_products::<D, M, T, SUM>(packed, &tiles, group, rows, &correction, piece.ahead);
            for t in 0..T {
                for part in 0..TILE / D::Float::LANES {
                    let (scale, offset) = group_scales::<D::Float, AFFINE>(packed, tiles[t], group, part);
                    for i in 0..M {
                        let x_scale = *x_scales.add(i);
                        let product = D::finish(products[i][t], correction[i], part);
                        let factor = D::Float::mul(scale, D::Float::splat(x_scale));
                        let mut sum = D::Float::fma(factor, product, sums[i][t][part]);
                        if AFFINE {
                            let x_sum = x_scale * (*x_corrections.add(i) / -128) as f32;
                            sum = D::Float::fma(offset, D::Float::splat(x_sum), sum);
                        }
                        sums[i][t][part] = sum;
                    }
                }
            }
        }
    }
}

/// The integer sums of the `SUM` groups from `first`.
#[inline(always)]
unsafe fn sum_products<D: Dot, const M: usize, const T: usize, const SUM: usize>(
    packed: PackedType,
    tiles: &[*const u8; T],
    first: usize,
    rows: PanelRows,
    correction: &[i32; M],
    ahead: Ahead,
) -> [[D::Sums; T]; M] {
    // SAFETY: these groups are some of the tile's and of the rows'. What is asked for may lie anywhere.
    unsafe {
        let mut sums = [[D::start(correction[0]); T]; M];
        for (sums, correction) in sums.iter_mut().zip(correction) {
            *sums = [D::start(*correction); T];
        }
        for group in first..first + SUM {
            let mut codes = [tiles[0]; T];
            for t in 0..T {
                codes[t] = tiles[t].add(packed.codes_at(group));
            }
            // with a segment's last group its scales, too
            let is_last = (group + 1).is_multiple_of(packed.segment_groups());
            let scales = if is_last { packed.segment_scale_bytes() } else { 0 };
            let lines = (packed.group_code_bytes() + scales) / CACHE_LINE;
            // `step_by` would divide
            let mut line = ahead.first;
            while line < lines {
                for t in 0..T {
                    D::Float::prefetch(codes[t].wrapping_offset(ahead.bytes + (line * CACHE_LINE) as isize));
                }
                line += ahead.step;
            }
            let at = group * rows.stride * GROUP;
            let row: *const u8 = if D::PAIRS { rows.pairs.add(at).cast() } else { rows.codes.add(at).cast() };
            let mut xs = [row; M];
            for i in 1..M {
                xs[i] = row.add(i * D::group_bytes());
            }
            if D::add_rows(&mut sums, &codes, &xs) {
                continue;
            }
            // two steps a turn: they read the same bytes, each its half of them
            for step in (0..D::STEPS).step_by(2) {
                add_step::<D, M, T>(&mut sums, &codes, step, &xs);
                add_step::<D, M, T>(&mut sums, &codes, step + 1, &xs);
            }
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
    tile: *const u8,
    group: usize,
    part: usize,
) -> (S::V, S::V) {
    // SAFETY: a tile has scales of every group.
    unsafe {
        let at = tile.add(packed.scales_at(group));
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
        let shared = tile.add(packed.segment_scales_at(group));
        let (d, dmin) = (half(shared), half(shared.add(TILE * 2)));
        (S::mul(d, byte(at)), S::mul(S::mul(dmin, byte(at.add(TILE))), minus))
    }
}

const _: () = assert!(SPAN.is_multiple_of(TILE), "a span of outputs is whole tiles");
const _: () = assert!(GROUP == 32, "the instruction sets' steps cover 32 inputs");
const _: () = assert!(CHUNK_BYTES.is_multiple_of(2 * GROUP * SPAN_GROUPS), "a chunk is whole sums");
