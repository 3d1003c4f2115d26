//! Matrices that are stored as 4-bit codes in groups: GPTQ's and AWQ's tensors.
//!
//! A matrix `NAME` `[out, in]` is `scale · (code - zero)`. In words of eight codes, the lowest bits first:
//!
//! | tensor         | GPTQ              | AWQ               |
//! |----------------|-------------------|-------------------|
//! | `NAME.qweight` | I32 `[in/8, out]` | I32 `[in, out/8]` |
//! | `NAME.qzeros`  | I32 `[groups, out/8]` | the same      |
//! | `NAME.scales`  | `[groups, out]`   | the same          |
//! | `NAME.g_idx`   | I32 `[in]`, the group of each input | absent |
//!
//! GPTQ's order is plain; AWQ's words hold outputs 0, 2, 4, 6, 1, 3, 5, 7. GPTQ's first format stores zeros less one.
//! That one is added without wrapping, as in the kernels of exllama and vLLM: a stored 15 is a zero of 16. Layouts
//! after <https://github.com/ModelCloud/GPTQModel> and <https://github.com/casper-hansen/AutoAWQ>.

use super::{Checkpoint, CheckpointError, Located, NameList, StoredTensor};
use crate::config::{GroupLayout, GroupQuantization};
use half::f16;
use kernels::packed::{GROUP, GroupScale, PackedType, TILE, TileMut};
use nn::{Bytes, DType, MatrixSource, Weight};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Codes in a word.
const WORD: usize = 8;
/// Where in AWQ's word each of its outputs is.
const AWQ_PLACE: [usize; WORD] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The tensors of one matrix; all have the sizes that its shape needs.
struct GroupQuantized {
    layout: GroupLayout,
    rows: usize,
    cols: usize,
    group_size: usize,
    /// Of each input, where it is not `input / group_size`; below the number of groups.
    group_of: Option<Vec<usize>>,
    qweight: Mapped,
    qzeros: Mapped,
    scales: Mapped,
    scale_type: DType,
    packed_type: Option<PackedType>,
}

/// Bytes of a tensor in its file.
struct Mapped {
    file: Bytes,
    range: Range<usize>,
}

impl Mapped {
    fn bytes(&self) -> &[u8] {
        &(*self.file).as_ref()[self.range.clone()]
    }
}

impl Checkpoint {
    /// The matrix `name` (`….weight`) `[rows, cols]`: its values, or where only codes are stored, those. It points into
    /// its files.
    pub fn matrix(
        &self,
        name: &str,
        quantization: Option<&GroupQuantization>,
        rows: usize,
        cols: usize,
    ) -> Result<Weight, CheckpointError> {
        match (quantization, name.strip_suffix(".weight")) {
            (Some(quantization), Some(stem)) if self.has_codes(name) => {
                let source = GroupQuantized::open(self, stem, quantization, rows, cols)?;
                Ok(Weight::from_source(Arc::new(source), rows, cols))
            }
            _ => self.weight(name, rows, cols),
        }
    }

    /// Whether the matrix `name` (`….weight`) is there as codes and not as values.
    pub fn has_codes(&self, name: &str) -> bool {
        let codes = name.strip_suffix(".weight").map(|stem| format!("{stem}.qweight"));
        !self.contains(name) && codes.is_some_and(|codes| self.contains(&codes))
    }
}

/// How many parameters of the model a tensor holds: eight in each word of codes, none in what belongs to codes.
pub(super) fn parameters(tensors: &BTreeMap<String, Located>, name: &str, tensor: &StoredTensor) -> u64 {
    let len = tensor.len() as u64;
    match name.rsplit_once('.') {
        Some((_, "qweight")) if tensor.type_name == "I32" => len * WORD as u64,
        Some((stem, "qzeros" | "scales" | "g_idx")) if tensors.contains_key(&format!("{stem}.qweight")) => 0,
        _ => len,
    }
}

impl GroupQuantized {
    fn open(
        checkpoint: &Checkpoint,
        stem: &str,
        quantization: &GroupQuantization,
        rows: usize,
        cols: usize,
    ) -> Result<GroupQuantized, CheckpointError> {
        let layout = quantization.layout;
        let in_words = if layout == GroupLayout::Awq { "out" } else { "both" };
        if !rows.is_multiple_of(WORD) || layout != GroupLayout::Awq && !cols.is_multiple_of(WORD) {
            let (name, layout) = (stem.to_owned(), layout.name());
            return Err(CheckpointError::WordSize { name, layout, rows, cols, in_words });
        }
        let group_size = quantization.group_size.unwrap_or(cols);
        let groups = cols.div_ceil(group_size);
        let codes = match layout {
            GroupLayout::Awq => [cols, rows / WORD],
            GroupLayout::Gptq | GroupLayout::GptqV2 => [cols / WORD, rows],
        };
        let tensor = |kind: &str, shape: &[usize]| checkpoint.part(&format!("{stem}.{kind}"), shape);
        let (qweight, _) = tensor("qweight", &codes)?.of_type(&["I32"])?;
        let (qzeros, _) = tensor("qzeros", &[groups, rows / WORD])?.of_type(&["I32"])?;
        let (scales, scale_type) = tensor("scales", &[groups, rows])?.of_type(&["F16", "BF16", "F32"])?;
        let scale_type = scale_type.unwrap_or(DType::F16);
        let has_order = layout != GroupLayout::Awq && checkpoint.contains(&format!("{stem}.g_idx"));
        let group_of = if has_order || quantization.act_order {
            let (g_idx, _) = tensor("g_idx", &[cols])?.of_type(&["I32"])?;
            read_order(stem, g_idx.bytes(), groups, group_size)?
        } else {
            None
        };
        let matrix = GroupQuantized {
            layout,
            rows,
            cols,
            group_size,
            group_of,
            qweight,
            qzeros,
            scales,
            scale_type,
            packed_type: None,
        };
        let packed_type = matrix.fits(groups).then_some(PackedType::Int4Zero);
        Ok(GroupQuantized { packed_type, ..matrix })
    }

    /// Whether [`PackedType::Int4Zero`] holds the values exactly: groups are consecutive inputs, and all scales are
    /// half-precision numbers.
    fn fits(&self, groups: usize) -> bool {
        let half = |scale: f32| f16::from_f32(scale).to_f32() == scale;
        let mut scales = (0..groups).flat_map(|group| (0..self.rows).map(move |output| (group, output)));
        self.group_of.is_none()
            && (self.scale_type == DType::F16
                || scales.all(|(group, output)| half(self.scale(group, output))))
    }

    fn scale(&self, group: usize, output: usize) -> f32 {
        let (bytes, at) = (self.scales.bytes(), group * self.rows + output);
        match self.scale_type {
            DType::F32 => f32::from_bits(word(bytes, at)),
            DType::BF16 => f32::from_bits(u32::from(half_word(bytes, at)) << 16),
            _ => f16::from_bits(half_word(bytes, at)).to_f32(),
        }
    }

    /// At most 16, whatever the file says.
    fn zero(&self, group: usize, output: usize) -> u8 {
        let word = word(self.qzeros.bytes(), group * (self.rows / WORD) + output / WORD);
        match self.layout {
            GroupLayout::Gptq => code(word, output % WORD) + 1,
            GroupLayout::GptqV2 => code(word, output % WORD),
            GroupLayout::Awq => code(word, AWQ_PLACE[output % WORD]),
        }
    }

    /// The codes of rows `rows`, at most [`TILE`], and of the [`GROUP`] inputs from `from` on; 0 behind the last.
    /// Such a block stays in the fastest cache, while it is read along the lines of the file and used along its rows.
    fn block(&self, rows: Range<usize>, from: usize) -> [[u8; GROUP]; TILE] {
        let mut block = [[0; GROUP]; TILE];
        let inputs = from..(from + GROUP).min(self.cols);
        let bytes = self.qweight.bytes();
        if self.layout == GroupLayout::Awq {
            for at in rows.start / WORD..rows.end.div_ceil(WORD) {
                let mut words = [0; GROUP];
                for (w, input) in words.iter_mut().zip(inputs.clone()) {
                    *w = word(bytes, input * (self.rows / WORD) + at);
                }
                for (output, place) in (at * WORD..).zip(AWQ_PLACE).filter(|(o, _)| rows.contains(o)) {
                    block[output - rows.start] = words.map(|word| code(word, place));
                }
            }
        } else {
            for (i, line) in (inputs.start / WORD..inputs.end / WORD).enumerate() {
                for (codes, output) in block.iter_mut().zip(rows.clone()) {
                    let word = word(bytes, line * self.rows + output);
                    codes[i * WORD..][..WORD]
                        .copy_from_slice(&std::array::from_fn::<u8, WORD, _>(|i| code(word, i)));
                }
            }
        }
        block
    }

    /// Decodes at most [`TILE`] rows.
    fn decode_tile(&self, rows: Range<usize>, out: &mut [f32]) {
        for from in (0..self.cols).step_by(GROUP) {
            let block = self.block(rows.clone(), from);
            let lines = out.chunks_exact_mut(self.cols).zip(&block);
            for (output, (values, codes)) in rows.clone().zip(lines) {
                let affine = |group: usize| (self.scale(group, output), i32::from(self.zero(group, output)));
                let mut last = affine(from / self.group_size);
                for (input, (value, code)) in (from..).zip(values[from..].iter_mut().zip(codes)) {
                    if let Some(group_of) = &self.group_of {
                        last = affine(group_of[input]);
                    }
                    *value = last.0 * (i32::from(*code) - last.1) as f32;
                }
            }
        }
    }
}

impl MatrixSource for GroupQuantized {
    fn byte_len(&self) -> usize {
        self.qweight.range.len() + self.qzeros.range.len() + self.scales.range.len()
    }

    fn packed_type(&self) -> Option<PackedType> {
        self.packed_type
    }

    fn decode_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        assert_eq!(out.len(), rows.len() * self.cols, "room for the rows");
        for (from, out) in rows.clone().step_by(TILE).zip(out.chunks_mut(TILE * self.cols)) {
            self.decode_tile(from..(from + TILE).min(rows.end), out);
        }
    }

    fn pack_rows(&self, rows: Range<usize>, tile: &mut [u8]) {
        assert!(self.packed_type.is_some(), "a matrix in no packed type");
        let mut tile = TileMut::new(tile, PackedType::Int4Zero, self.cols);
        for (i, from) in (0..self.cols).step_by(GROUP).enumerate() {
            let block = self.block(rows.clone(), from);
            let group = from / self.group_size;
            for (at, (output, codes)) in rows.clone().zip(&block).enumerate() {
                let scale = f16::from_f32(self.scale(group, output)).to_bits();
                tile.put(at, i, codes, GroupScale::Zero(scale, self.zero(group, output)));
            }
        }
    }
}

/// A tensor of the shape that was asked for.
struct Part<'a> {
    name: String,
    tensor: &'a StoredTensor,
    mapped: Mapped,
}

impl Checkpoint {
    fn part(&self, name: &str, shape: &[usize]) -> Result<Part<'_>, CheckpointError> {
        let name = name.to_owned();
        let Some(Located { file, tensor }) = self.tensors.get(&name) else {
            let mut missing = NameList::default();
            missing.push(&name);
            return Err(CheckpointError::Incomplete(missing));
        };
        if tensor.shape != shape {
            let (expected, found) = (shape.to_vec(), tensor.shape.clone());
            return Err(CheckpointError::Shape { name, expected, found });
        }
        let mapped = Mapped { file: self.files[*file].shared(), range: tensor.range.clone() };
        Ok(Part { name, tensor, mapped })
    }
}

impl Part<'_> {
    fn of_type(self, expected: &'static [&'static str]) -> Result<(Mapped, Option<DType>), CheckpointError> {
        let found = self.tensor.type_name;
        if !expected.contains(&found) {
            return Err(CheckpointError::PartType { name: self.name, expected, found });
        }
        Ok((self.mapped, self.tensor.dtype))
    }
}

/// The group of each input by the values of `NAME.g_idx`; `None` when it is `input / group_size`.
fn read_order(
    name: &str,
    g_idx: &[u8],
    groups: usize,
    group_size: usize,
) -> Result<Option<Vec<usize>>, CheckpointError> {
    let mut order = Vec::with_capacity(g_idx.len() / size_of::<i32>());
    for input in 0..g_idx.len() / size_of::<i32>() {
        let found = word(g_idx, input) as i32;
        let Some(group) = usize::try_from(found).ok().filter(|group| *group < groups) else {
            return Err(CheckpointError::GroupIndex { name: name.to_owned(), input, found, groups });
        };
        order.push(group);
    }
    let plain = order.iter().enumerate().all(|(input, group)| *group == input / group_size);
    Ok((!plain).then_some(order))
}

/// Code `i` of a word.
fn code(word: u32, i: usize) -> u8 {
    (word >> (4 * i) & 15) as u8
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let b = &bytes[at * 4..at * 4 + 4];
    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
}

fn half_word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at * 2], bytes[at * 2 + 1]])
}
