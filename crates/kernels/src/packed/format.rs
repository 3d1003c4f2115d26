//! The layout of packed weights.
//!
//! A tile of 16 outputs is a row of segments: the codes of some groups, then their scales, in whole cache lines. So memory is
//! read from one end to the other. The codes of a group lie in steps of four inputs: `[step][output][4]`, which is what one
//! `vpdpbusd` of 512 bits, two of 256 or four `sdot` take. Codes are unsigned. Of 4-bit codes, steps `2i` and `2i + 1` share
//! bytes: low and high halves.

use crate::DType;
use half::f16;

/// Outputs in a tile.
pub const TILE: usize = 16;
/// Inputs whose codes lie together; they share a scale, or belong to a span that does.
pub const GROUP: usize = 32;
/// Inputs that share a scale of [`PackedType::Int8`]. As many activations of a row share one.
pub const SPAN: usize = 128;
/// Groups of a span.
pub(crate) const SPAN_GROUPS: usize = SPAN / GROUP;
const _: () = assert!(SPAN.is_multiple_of(GROUP));

/// How packed weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackedType {
    /// `scale · (code - 128)`, with a half-precision scale for each [`SPAN`]: 8.25 bits a weight. Products of a span are one
    /// integer sum, so that four times fewer sums become floating-point numbers.
    Int8,
    /// `scale · (code - 128)`, with a half-precision scale for each group: 8.5 bits a weight. Holds Q8_0 exactly.
    Int8Fine,
    /// `scale · (code - 8)`, with a half-precision scale for each group: 4.5 bits. Holds Q4_0 exactly.
    Int4,
    /// `scale · (code - zero)`, with a half-precision scale and an 8-bit zero for each group: 4.75 bits. Holds GPTQ and
    /// AWQ exactly.
    Int4Zero,
    /// `d · scale · code - dmin · min`, with 6-bit `scale` and `min` for each group and half-precision `d` and `dmin` for
    /// 8 groups: 4.625 bits. Holds Q4_K exactly.
    Int4Super,
}

/// The scale of one group of one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupScale {
    /// Of [`PackedType::Int8`], where it is the span's, [`PackedType::Int8Fine`] and [`PackedType::Int4`]: the bits of a
    /// half-precision number.
    Half(u16),
    /// Of [`PackedType::Int4Zero`]: the scale's bits and the zero, below 128.
    Zero(u16, u8),
    /// Of [`PackedType::Int4Super`]: the bits of `d` and `dmin`, and the group's `scale` and `min`, below 64.
    Super {
        /// Bits of the factor of `scale`.
        d: u16,
        /// Bits of the factor of `min`.
        dmin: u16,
        /// Scale of this group.
        scale: u8,
        /// Minimum of this group.
        min: u8,
    },
}

impl PackedType {
    /// Every packed type.
    pub const ALL: [PackedType; 5] = [
        PackedType::Int8,
        PackedType::Int8Fine,
        PackedType::Int4,
        PackedType::Int4Zero,
        PackedType::Int4Super,
    ];

    /// The name that output and files use.
    pub fn name(self) -> &'static str {
        match self {
            PackedType::Int8 => "int8",
            PackedType::Int8Fine => "int8-fine",
            PackedType::Int4 => "int4",
            PackedType::Int4Zero => "int4-zero",
            PackedType::Int4Super => "int4-super",
        }
    }

    /// The packed type that holds the values of `dtype` without loss, if there is one.
    pub fn of(dtype: DType) -> Option<PackedType> {
        match dtype {
            DType::Q8_0 => Some(PackedType::Int8Fine),
            DType::Q4_0 => Some(PackedType::Int4),
            DType::Q4_K => Some(PackedType::Int4Super),
            _ => None,
        }
    }

    /// Whether codes have 8 bits; else they have 4.
    pub fn is_wide(self) -> bool {
        matches!(self, PackedType::Int8 | PackedType::Int8Fine)
    }

    /// Groups of `cols` inputs that are multiplied: whole spans where these have scales.
    fn groups(self, cols: usize) -> usize {
        match self {
            PackedType::Int8 => cols.div_ceil(SPAN) * SPAN_GROUPS,
            _ => cols.div_ceil(GROUP),
        }
    }

    /// Groups of a segment, a power of two.
    #[inline(always)]
    pub(crate) fn segment_groups(self) -> usize {
        match self {
            PackedType::Int8Fine | PackedType::Int4 => 2,
            PackedType::Int8 | PackedType::Int4Zero => 4,
            PackedType::Int4Super => 8,
        }
    }

    /// Bytes of a segment's scales, whole cache lines.
    #[inline(always)]
    pub(crate) fn segment_scale_bytes(self) -> usize {
        match self {
            // one scale for each output takes half a line; two spans in a segment would fill it, and pad short rows more
            PackedType::Int8 => TILE * 4,
            PackedType::Int8Fine | PackedType::Int4 => 2 * TILE * 2,
            PackedType::Int4Zero => 4 * TILE * 3,
            PackedType::Int4Super => TILE * 4 + 8 * TILE * 2,
        }
    }

    /// Bytes of a segment.
    #[inline(always)]
    fn segment_bytes(self) -> usize {
        self.segment_groups() * self.group_code_bytes() + self.segment_scale_bytes()
    }

    /// What is subtracted from every code; 0 where a group says so itself.
    pub(crate) fn zero(self) -> i32 {
        match self {
            PackedType::Int8 | PackedType::Int8Fine => 128,
            PackedType::Int4 => 8,
            PackedType::Int4Zero | PackedType::Int4Super => 0,
        }
    }

    /// Bytes of the codes of a group of a tile.
    pub(crate) fn group_code_bytes(self) -> usize {
        TILE * GROUP / if self.is_wide() { 1 } else { 2 }
    }

    /// Bytes of a tile of `cols` inputs, a multiple of a cache line; `None` on overflow.
    pub fn tile_bytes(self, cols: usize) -> Option<usize> {
        cols.div_ceil(GROUP * self.segment_groups()).checked_mul(self.segment_bytes())
    }

    /// Bytes of a matrix; `None` on overflow.
    pub fn matrix_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        self.tile_bytes(cols)?.checked_mul(rows.div_ceil(TILE))
    }

    /// Where the codes of `group` lie in a tile.
    #[inline(always)]
    pub(crate) fn codes_at(self, group: usize) -> usize {
        let groups = self.segment_groups();
        group / groups * self.segment_bytes() + group % groups * self.group_code_bytes()
    }

    /// Where the scales of the segment of `group` begin.
    #[inline(always)]
    pub(crate) fn segment_scales_at(self, group: usize) -> usize {
        let groups = self.segment_groups();
        group / groups * self.segment_bytes() + groups * self.group_code_bytes()
    }

    /// Where the scales of `group` lie. In [`PackedType::Int4Super`] those of its 8 groups lie before them.
    #[inline(always)]
    pub(crate) fn scales_at(self, group: usize) -> usize {
        let within = group % self.segment_groups();
        self.segment_scales_at(group)
            + match self {
                PackedType::Int8 => 0,
                PackedType::Int8Fine | PackedType::Int4 => within * TILE * 2,
                PackedType::Int4Zero => within * TILE * 3,
                PackedType::Int4Super => TILE * 4 + within * TILE * 2,
            }
    }
}

/// A packed matrix `[rows, cols]` (out, in).
#[derive(Clone, Copy)]
pub struct PackedMatrix<'a> {
    bytes: &'a [u8],
    packed: PackedType,
    rows: usize,
    cols: usize,
    tile_len: usize,
}

impl<'a> PackedMatrix<'a> {
    /// A view of `bytes` as a matrix.
    ///
    /// # Panics
    /// When `bytes` is not as long as [`PackedType::matrix_bytes`] says: loaders check sizes before they come here.
    pub fn new(bytes: &'a [u8], packed: PackedType, rows: usize, cols: usize) -> PackedMatrix<'a> {
        assert_eq!(Some(bytes.len()), packed.matrix_bytes(rows, cols), "matrix bytes match its shape");
        let tile_len = bytes.len() / rows.div_ceil(TILE).max(1);
        PackedMatrix { bytes, packed, rows, cols, tile_len }
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How it is stored.
    pub fn packed_type(&self) -> PackedType {
        self.packed
    }

    pub(crate) fn groups(&self) -> usize {
        self.packed.groups(self.cols)
    }

    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    /// Bytes of a tile.
    pub(crate) fn tile_len(&self) -> usize {
        self.tile_len
    }

    /// Tile `i`.
    #[inline(always)]
    pub(crate) fn tile(&self, i: usize) -> &'a [u8] {
        &self.bytes[i * self.tile_len..][..self.tile_len]
    }

    /// Decodes row `row` into float32, exactly.
    ///
    /// # Panics
    /// When there is no such row or `out` is not `cols` long.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "values of a row");
        self.decode_groups(row, 0, out);
    }

    /// Decodes the values of row `row` from those of group `first` on, as many as `out` has, into float32, exactly.
    ///
    /// # Panics
    /// When there is no such row or it has fewer.
    pub fn decode_groups(&self, row: usize, first: usize, out: &mut [f32]) {
        assert!(
            row < self.rows && first * GROUP + out.len() <= self.cols,
            "row {row} has {} values",
            self.cols
        );
        let tile = self.tile(row / TILE);
        for (group, out) in (first..).zip(out.chunks_mut(GROUP)) {
            let codes = &tile[self.packed.codes_at(group)..][..self.packed.group_code_bytes()];
            let codes = group_codes(self.packed, codes, row % TILE);
            let (scale, offset) = self.packed.affine(tile, group, row % TILE);
            let zero = self.packed.zero();
            for (out, code) in out.iter_mut().zip(codes) {
                *out = scale * (i32::from(code) - zero) as f32 + offset;
            }
        }
    }
}

impl PackedType {
    /// Scale and offset of a group of output `output`: a weight is `scale · (code - zero) + offset`.
    fn affine(self, tile: &[u8], group: usize, output: usize) -> (f32, f32) {
        let half = |at: usize| f16::from_le_bytes([tile[at], tile[at + 1]]).to_f32();
        let at = self.scales_at(group);
        match self {
            PackedType::Int8 | PackedType::Int8Fine | PackedType::Int4 => (half(at + output * 2), 0.0),
            PackedType::Int4Zero => {
                let scale = half(at + output * 2);
                (scale, -(scale * f32::from(tile[at + TILE * 2 + output])))
            }
            PackedType::Int4Super => {
                let shared = self.segment_scales_at(group);
                let (d, dmin) = (half(shared + output * 2), half(shared + (TILE + output) * 2));
                let (scale, min) = (f32::from(tile[at + output]), f32::from(tile[at + TILE + output]));
                (d * scale, -(dmin * min))
            }
        }
    }
}

/// The codes of output `output` in a group.
fn group_codes(packed: PackedType, codes: &[u8], output: usize) -> [u8; GROUP] {
    std::array::from_fn(|k| {
        let (step, at) = (k / 4, output * 4 + k % 4);
        if packed.is_wide() {
            codes[step * TILE * 4 + at]
        } else {
            codes[step / 2 * TILE * 4 + at] >> (step % 2 * 4) & 15
        }
    })
}

/// One tile that is being written.
pub struct TileMut<'a> {
    packed: PackedType,
    bytes: &'a mut [u8],
}

impl<'a> TileMut<'a> {
    /// The tile of `cols` inputs in `bytes`, all zero: outputs that are not put have weights of zero.
    ///
    /// # Panics
    /// When `bytes` is not [`PackedType::tile_bytes`] long.
    pub fn new(bytes: &'a mut [u8], packed: PackedType, cols: usize) -> TileMut<'a> {
        assert_eq!(Some(bytes.len()), packed.tile_bytes(cols), "a tile of {cols} inputs");
        bytes.fill(0);
        TileMut { packed, bytes }
    }

    /// Writes a group of output `output`. Of groups that share a scale, that of the last counts.
    ///
    /// # Panics
    /// When the scale is of another packed type, or there is no such group.
    pub fn put(&mut self, output: usize, group: usize, codes: &[u8; GROUP], scale: GroupScale) {
        let into = &mut self.bytes[self.packed.codes_at(group)..][..self.packed.group_code_bytes()];
        for step in 0..GROUP / 4 {
            for j in 0..4 {
                let code = codes[step * 4 + j];
                if self.packed.is_wide() {
                    into[step * TILE * 4 + output * 4 + j] = code;
                } else {
                    into[step / 2 * TILE * 4 + output * 4 + j] |= (code & 15) << (step % 2 * 4);
                }
            }
        }
        let at = self.packed.scales_at(group);
        match (self.packed, scale) {
            (PackedType::Int8 | PackedType::Int8Fine | PackedType::Int4, GroupScale::Half(scale)) => {
                self.put_half(at + output * 2, scale);
            }
            (PackedType::Int4Zero, GroupScale::Zero(scale, zero)) => {
                self.put_half(at + output * 2, scale);
                self.bytes[at + TILE * 2 + output] = zero;
            }
            (PackedType::Int4Super, GroupScale::Super { d, dmin, scale, min }) => {
                let shared = self.packed.segment_scales_at(group);
                self.put_half(shared + output * 2, d);
                self.put_half(shared + (TILE + output) * 2, dmin);
                (self.bytes[at + output], self.bytes[at + TILE + output]) = (scale, min);
            }
            (packed, scale) => panic!("{scale:?} is no scale of {}", packed.name()),
        }
    }

    fn put_half(&mut self, at: usize, bits: u16) {
        self.bytes[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    }
}
