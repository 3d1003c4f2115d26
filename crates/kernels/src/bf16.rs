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
static WOVEN: [__m512i; 2] = {
    let mut places = [[0u16; LANES]; 2];
    let mut i = 0;
    while i < 2 * LANES {
        places[i / LANES][i % LANES] = (i / 2 + i % 2 * LANES) as u16;
        i += 1;
    }
    // SAFETY: all bits are values of both types.
    unsafe { std::mem::transmute(places) }
};

/// The pairs of two rows' vectors.
///
/// # Safety
/// As [`multiply_pairs`].
#[inline(always)]
pub(crate) unsafe fn weave(first: __m512i, second: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            _mm512_permutex2var_epi16(first, WOVEN[0], second),
            _mm512_permutex2var_epi16(first, WOVEN[1], second),
        ]
    }
}

/// The integers 0 to 127 in BF16: their low bytes and their high ones.
static INTEGERS: [[__m512i; 2]; 2] = {
    let mut halves = [[0u8; 128]; 2];
    let mut i = 0;
    while i < 128 {
        let bits = (i as f32).to_bits() >> 16;
        halves[0][i] = bits as u8;
        halves[1][i] = (bits >> 8) as u8;
        i += 1;
    }
    // SAFETY: all bits are values of both types.
    unsafe { std::mem::transmute(halves) }
};

/// [`WOVEN`] of values whose low bytes are in one vector and their high ones in another, [`LANES`] of each row.
static WOVEN_BYTES: [__m512i; 2] = {
    let mut places = [[0u8; 2 * LANES]; 2];
    let mut i = 0;
    while i < 4 * LANES {
        // byte by byte of a value, value by value of a pair
        places[i / (2 * LANES)][i % (2 * LANES)] = (i / 4 + i / 2 % 2 * LANES + i % 2 * 2 * LANES) as u8;
        i += 1;
    }
    // SAFETY: all bits are values of both types.
    unsafe { std::mem::transmute(places) }
};

/// Makes pairs of codes of 8 bits.
#[derive(Clone, Copy)]
pub(crate) struct CodeWeaver {
    integers: [[__m512i; 2]; 2],
    woven: [__m512i; 2],
}

impl CodeWeaver {
    /// To be made before a loop, in which its tables then stay in registers. Reads them as volatile ones, or else the compiler does
    /// so where a kernel begins, and then once more for each pair.
    ///
    /// # Safety
    /// As [`multiply_pairs`].
    #[inline(always)]
    pub(crate) unsafe fn new() -> CodeWeaver {
        // SAFETY: these are valid and aligned.
        unsafe {
            CodeWeaver {
                integers: (&raw const INTEGERS).read_volatile(),
                woven: (&raw const WOVEN_BYTES).read_volatile(),
            }
        }
    }

    /// The pairs of two rows' codes, [`LANES`] of each, which are integers of -127 to 127 (-128 counts as zero).
    ///
    /// # Safety
    /// As [`multiply_pairs`], and the processor must have VBMI.
    #[inline(always)]
    pub(crate) unsafe fn weave(self, first: *const u8, second: *const u8) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let first = _mm512_castsi256_si512(_mm256_loadu_si256(first.cast()));
            let codes = _mm512_inserti64x4::<1>(first, _mm256_loadu_si256(second.cast()));
            let size = _mm512_abs_epi8(codes);
            let [low, high] = self.integers;
            let low = _mm512_permutex2var_epi8(low[0], size, low[1]);
            let high = _mm512_permutex2var_epi8(high[0], size, high[1]);
            // the code's sign is the value's
            const OR_OF_AND: i32 = 0xf8;
            let high = _mm512_ternarylogic_epi64::<OR_OF_AND>(high, codes, _mm512_set1_epi8(i8::MIN));
            [
                _mm512_permutex2var_epi8(low, self.woven[0], high),
                _mm512_permutex2var_epi8(low, self.woven[1], high),
            ]
        }
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
