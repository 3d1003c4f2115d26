//! Scores of some queries with some keys, which stay in registers while the head's values pass.

// sums are named by query and vector, which are places of registers
#![allow(clippy::needless_range_loop)]

use crate::simd::{CACHE_LINE, MAX_LANES, Simd, Stored};

/// Queries of a tile of scores, which is [`TILE_VECTORS`] vectors wide: 12 sums.
pub(super) const TILE_QUERIES: usize = 6;
const TILE_VECTORS: usize = 2;
/// Vectors of a tile of one or two queries where a row has so many, so that sums don't wait for each other.
const FEW_VECTORS: usize = 4;
/// Rows of keys are whole tiles of every instruction set.
pub(super) const TILE_TOKENS: usize = TILE_VECTORS * MAX_LANES;

/// A block's keys of a head `[head_dim, row]`, which may have scales for each `chunk` values.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) codes: *const u8,
    /// `[head_dim / chunk, row]`.
    pub(super) scales: *const u8,
    /// Tokens of a row, a multiple of [`TILE_TOKENS`].
    pub(super) row: usize,
    pub(super) chunk: usize,
}

/// Scores that are computed together: of some queries `[.., dim]` with tokens from `at`.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) queries: *const f32,
    pub(super) dim: usize,
    pub(super) keys: Keys,
    pub(super) at: usize,
    /// `[.., columns]`.
    pub(super) scores: *mut f32,
    pub(super) columns: usize,
}

/// Up to [`TILE_QUERIES`] queries of a tile; returns the number of tokens.
#[inline(always)]
pub(super) unsafe fn some_scores<S: Simd, T: Stored, C: Stored, const SCALED: bool>(
    tile: Tile,
    queries: usize,
    ahead: Option<[*const u8; 2]>,
) -> usize {
    let wide = tile.at + FEW_VECTORS * S::LANES <= tile.keys.row;
    // SAFETY: the caller's promises.
    unsafe {
        match queries {
            1 if wide => tile_scores::<S, T, C, SCALED, 1, FEW_VECTORS>(tile, ahead),
            2 if wide => tile_scores::<S, T, C, SCALED, 2, FEW_VECTORS>(tile, ahead),
            1 => tile_scores::<S, T, C, SCALED, 1, TILE_VECTORS>(tile, ahead),
            2 => tile_scores::<S, T, C, SCALED, 2, TILE_VECTORS>(tile, ahead),
            3 => tile_scores::<S, T, C, SCALED, 3, TILE_VECTORS>(tile, ahead),
            4 => tile_scores::<S, T, C, SCALED, 4, TILE_VECTORS>(tile, ahead),
            5 => tile_scores::<S, T, C, SCALED, 5, TILE_VECTORS>(tile, ahead),
            _ => tile_scores::<S, T, C, SCALED, TILE_QUERIES, TILE_VECTORS>(tile, ahead),
        }
    }
}

/// `Q` queries with `N` vectors of tokens; returns their number. Each score is summed in the order of the head's values.
///
/// # Safety
/// As for [`Simd`]; keys and queries of `dim` values, and room for the scores.
#[inline(always)]
unsafe fn tile_scores<S: Simd, T: Stored, C: Stored, const SCALED: bool, const Q: usize, const N: usize>(
    tile: Tile,
    ahead: Option<[*const u8; 2]>,
) -> usize {
    let Tile { queries, dim, keys, at, scores, columns } = tile;
    // SAFETY: the caller's promises.
    unsafe {
        let mut totals = [[S::splat(0.0); N]; Q];
        for chunk in 0..dim / keys.chunk {
            let first = chunk * keys.chunk;
            let mut sums = if SCALED { [[S::splat(0.0); N]; Q] } else { totals };
            for d in 0..keys.chunk {
                if let Some(ahead) = ahead {
                    for byte in (0..T::bytes(keys.row)).step_by(CACHE_LINE) {
                        let byte = (first + d) * T::bytes(keys.row) + byte;
                        S::prefetch(ahead[0].wrapping_add(byte));
                        S::prefetch(ahead[1].wrapping_add(byte));
                    }
                }
                let mut loaded = [S::splat(0.0); N];
                for n in 0..N {
                    loaded[n] = T::load::<S>(keys.codes, (first + d) * keys.row + at + n * S::LANES);
                }
                for q in 0..Q {
                    let x = S::splat(*queries.add(q * dim + first + d));
                    for n in 0..N {
                        sums[q][n] = S::fma(x, loaded[n], sums[q][n]);
                    }
                }
            }
            if SCALED {
                for n in 0..N {
                    let scale = C::load::<S>(keys.scales, chunk * keys.row + at + n * S::LANES);
                    for q in 0..Q {
                        totals[q][n] = S::fma(scale, sums[q][n], totals[q][n]);
                    }
                }
            } else {
                totals = sums;
            }
        }
        for q in 0..Q {
            for n in 0..N {
                S::store(scores.add(q * columns + n * S::LANES), totals[q][n]);
            }
        }
    }
    N * S::LANES
}
