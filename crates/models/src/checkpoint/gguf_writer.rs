//! Writes GGUF files (version 3): metadata, a directory of tensors, aligned data.
//!
//! Layout after <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Tensors come under Hugging Face's names and are
//! written under GGUF's; names without a counterpart stay.

use super::names::to_gguf;
use super::writer::NewTensor;
use half::f16;
use std::io::{self, Write};

/// Bytes that each tensor's data begins at a multiple of.
const ALIGNMENT: usize = 32;
/// Values of a block of Q8_0.
const BLOCK: usize = 32;

/// A value of a file's metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// A number without sign.
    U32(u32),
    /// A number.
    F32(f32),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// Whole numbers.
    I32s(Vec<i32>),
}

/// GGUF's numbers for the types of values.
mod kind {
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const TEXT: u32 = 8;
    pub const LIST: u32 = 9;
}

/// The matrix `name` in Q8_0: blocks of 32 values of a row, 8 bits each, with a scale of 16 bits.
///
/// # Panics
/// When rows are no multiple of 32 values, or `values` are not as many as `shape` says.
pub fn q8_0_tensor(name: String, shape: Vec<usize>, values: &[f32]) -> NewTensor<'static> {
    assert!(
        shape.last().is_some_and(|cols| cols.is_multiple_of(BLOCK)),
        "{name} {shape:?} has no whole blocks"
    );
    assert_eq!(values.len(), shape.iter().product::<usize>());
    let mut bytes = Vec::with_capacity(values.len() / BLOCK * (BLOCK + 2));
    for block in values.chunks_exact(BLOCK) {
        let largest = block.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        let scale = largest / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        bytes.extend(f16::from_f32(scale).to_le_bytes());
        bytes.extend(block.iter().map(|v| (v * inverse).round() as i8 as u8));
    }
    NewTensor { name, type_name: "Q8_0", shape, bytes: bytes.into() }
}

/// Writes a file of `metadata` and `tensors`, which are F32, F16, BF16 or Q8_0.
///
/// # Errors
/// When writing fails, or with a tensor of another type.
pub fn write_gguf(
    out: &mut dyn Write,
    metadata: &[(String, MetadataValue)],
    tensors: &[NewTensor<'_>],
) -> io::Result<()> {
    let mut header = Vec::new();
    header.extend(b"GGUF");
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_text(&mut header, key);
        put_value(&mut header, value);
    }
    let mut at = 0u64;
    for tensor in tensors {
        put_text(&mut header, &to_gguf(&tensor.name).unwrap_or_else(|| tensor.name.clone()));
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        // innermost first
        tensor.shape.iter().rev().for_each(|dim| header.extend((*dim as u64).to_le_bytes()));
        header.extend(type_number(tensor)?.to_le_bytes());
        header.extend(at.to_le_bytes());
        at += tensor.bytes.len().next_multiple_of(ALIGNMENT) as u64;
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    out.write_all(&header)?;
    for tensor in tensors {
        out.write_all(&tensor.bytes)?;
        let len = tensor.bytes.len();
        out.write_all(&[0; ALIGNMENT][..len.next_multiple_of(ALIGNMENT) - len])?;
    }
    Ok(())
}

fn type_number(tensor: &NewTensor<'_>) -> io::Result<u32> {
    match tensor.type_name {
        "F32" => Ok(0),
        "F16" => Ok(1),
        "Q8_0" => Ok(8),
        "BF16" => Ok(30),
        other => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("tensor `{}` is {other}, which is not written to GGUF files", tensor.name),
        )),
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &MetadataValue) {
    let list = |out: &mut Vec<u8>, of: u32, len: usize| {
        out.extend(kind::LIST.to_le_bytes());
        out.extend(of.to_le_bytes());
        out.extend((len as u64).to_le_bytes());
    };
    match value {
        MetadataValue::U32(n) => {
            out.extend(kind::U32.to_le_bytes());
            out.extend(n.to_le_bytes());
        }
        MetadataValue::F32(n) => {
            out.extend(kind::F32.to_le_bytes());
            out.extend(n.to_le_bytes());
        }
        MetadataValue::Text(text) => {
            out.extend(kind::TEXT.to_le_bytes());
            put_text(out, text);
        }
        MetadataValue::Texts(texts) => {
            list(out, kind::TEXT, texts.len());
            texts.iter().for_each(|text| put_text(out, text));
        }
        MetadataValue::I32s(numbers) => {
            list(out, kind::I32, numbers.len());
            numbers.iter().for_each(|n| out.extend(n.to_le_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    #[test]
    fn what_is_written_is_read() {
        let values: Vec<f32> = (0..64).map(|i| (i as f32 - 31.0) / 10.0).collect();
        let tensors = [
            q8_0_tensor("model.layers.1.mlp.up_proj.weight".to_owned(), vec![2, 32], &values),
            NewTensor::f32("model.norm.weight", vec![3], &[1.0, 2.0, 3.0]),
        ];
        let texts = MetadataValue::Texts(vec!["a".to_owned(), "问".to_owned()]);
        let metadata = [
            ("general.architecture".to_owned(), MetadataValue::Text("qwen3".to_owned())),
            ("tokenizer.ggml.tokens".to_owned(), texts),
            ("tokenizer.ggml.token_type".to_owned(), MetadataValue::I32s(vec![1, -3])),
            ("qwen3.block_count".to_owned(), MetadataValue::U32(2)),
            ("general.sampling.temp".to_owned(), MetadataValue::F32(0.5)),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        super::super::writer::write_file(&path, |out| write_gguf(out, &metadata, &tensors)).unwrap();
        let read = Checkpoint::open(&path).unwrap();
        let found = read.gguf().unwrap();
        assert_eq!(found.str("general.architecture").unwrap(), Some("qwen3"));
        assert_eq!(found.strings("tokenizer.ggml.tokens").unwrap().unwrap(), ["a", "问"]);
        assert_eq!(found.integers("tokenizer.ggml.token_type").unwrap().unwrap(), [1, -3]);
        assert_eq!(found.u64("qwen3.block_count").unwrap(), Some(2));
        assert_eq!(found.f32("general.sampling.temp").unwrap(), Some(0.5));
        assert_eq!(read.vector("model.norm.weight", 3).unwrap(), [1.0, 2.0, 3.0]);
        let decoded = read.weight("model.layers.1.mlp.up_proj.weight", 2, 32).unwrap().to_f32();
        // half a step of 3.2 / 127, and the scale's rounding
        assert!(values.iter().zip(&decoded).all(|(a, b)| (a - b).abs() < 0.015), "{decoded:?}");
    }
}
