//! Vectors of BF16 values, two in the place of a float32, on processors that multiply such pairs (`vdpbf16ps`). All of it
//! requires [`crate::Isa::Avx512Bf16`].

use std::arch::x86_64::*;

/// Values in a vector.
pub(crate) const LANES: usize = 32;
/// Pairs in a vector, and sums.
pub(crate) const PAIRS: usize = LANES / 2;

/// `sum + a · b`, pair by pair: both products of a pair are added to its sum.
///
/// # Safety
/// The processor must have the instructions.
#[inline(always)]
pub(crate) unsafe fn multiply_pairs(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
    // SAFETY: the caller's promise; all bits are values of both types of vectors.
    unsafe {
        let [a, b]: [__m512bh; 2] = std::mem::transmute([a, b]);
        _mm512_dpbf16_ps(sum, a, b)
    }
}

/// Where the pairs of the first and of the second half of two vectors come from.
static WOVEN: [[u16; LANES]; 2] = {
    let mut places = [[0; LANES]; 2];
    let mut i = 0;
    while i < 2 * LANES {
        places[i / LANES][i % LANES] = (i / 2 + i % 2 * LANES) as u16;
        i += 1;
    }
    places
};

/// The pairs of two rows' vectors.
///
/// # Safety
/// As [`multiply_pairs`].
#[inline(always)]
pub(crate) unsafe fn weave(first: __m512i, second: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm512_loadu_si512(WOVEN[0].as_ptr().cast());
        let high = _mm512_loadu_si512(WOVEN[1].as_ptr().cast());
        [_mm512_permutex2var_epi16(first, low, second), _mm512_permutex2var_epi16(first, high, second)]
    }
}

/// Where each value of 16 pairs lies in a vector that has all first values before all second ones.
static PAIRED: [u16; LANES] = {
    let mut places = [0; LANES];
    let mut i = 0;
    while i < LANES {
        places[i] = (i / 2 + i % 2 * PAIRS) as u16;
        i += 1;
    }
    places
};

/// The pairs of two vectors of float32, rounded as [`round_row`] does.
///
/// # Safety
/// As [`multiply_pairs`].
#[inline(always)]
pub(crate) unsafe fn pair(first: __m512, second: __m512) -> __m512i {
    // SAFETY: the caller's promise; all bits are values of both types of vectors.
    unsafe {
        let rounded: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
        _mm512_permutexvar_epi16(_mm512_loadu_si512(PAIRED.as_ptr().cast()), rounded)
    }
}

/// Writes `x`, rounded to nearest, halves to even; numbers below the normal ones become zero. Zeros pad the last vector of `out`, which
/// may be longer.
///
/// # Safety
/// The processor must have [`crate::Isa::Avx512Bf16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(crate) unsafe fn round_row(x: &[f32], out: &mut [u16]) {
    for (x, out) in x.chunks(LANES).zip(out.chunks_exact_mut(LANES)) {
        let some = u32::MAX >> (LANES - x.len());
        // SAFETY: masked values are not read; the other half begins within the slice or is not read.
        unsafe {
            let low = _mm512_maskz_loadu_ps(some as u16, x.as_ptr());
            let high = _mm512_maskz_loadu_ps((some >> 16) as u16, x.as_ptr().wrapping_add(LANES / 2));
            let rounded: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), rounded);
        }
    }
}
