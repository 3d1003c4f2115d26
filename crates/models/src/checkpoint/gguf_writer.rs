//! Writes GGUF files (version 3): metadata, a directory of tensors, aligned data.
//!
//! Layout after <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Tensors come under Hugging Face's names and are
//! written under GGUF's; names without a counterpart stay.

use super::names::to_gguf;
use super::quantize::{OutOfRange, encode_row};
use super::writer::{NewTensor, TensorHead};
use nn::DType;
use std::io::{self, Write};

/// Bytes that each tensor's data begins at a multiple of.
const ALIGNMENT: u64 = 32;

/// A value of a file's metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// A number without sign.
    U32(u32),
    /// A number.
    F32(f32),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// Whole numbers.
    I32s(Vec<i32>),
    /// Numbers.
    F32s(Vec<f32>),
    /// As another file has it, with its type.
    Encoded(Vec<u8>),
}

/// GGUF's numbers for the types of values.
mod kind {
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const TEXT: u32 = 8;
    pub const LIST: u32 = 9;
}

/// The matrix `name` in Q8_0: blocks of 32 values of a row, 8 bits each, with a scale of 16 bits.
///
/// # Panics
/// When rows are no multiple of 32 values, `values` are not as many as `shape` says, or one of them is no number.
pub fn q8_0_tensor(name: String, shape: Vec<usize>, values: &[f32]) -> NewTensor<'static> {
    assert!(
        shape.last().is_some_and(|cols| cols.is_multiple_of(DType::Q8_0.block_len())),
        "{name} {shape:?} has no whole blocks"
    );
    assert_eq!(values.len(), shape.iter().product::<usize>());
    let mut bytes = Vec::new();
    if let Err(OutOfRange(value)) = encode_row(DType::Q8_0, values, &mut bytes) {
        panic!("{name} has the value {value}");
    }
    NewTensor { name, type_name: DType::Q8_0.name(), shape, bytes: bytes.into() }
}

/// Writes a file of `metadata` and `tensors`.
///
/// # Errors
/// When writing fails, or with a tensor of a type that GGUF doesn't have.
pub fn write_gguf(
    out: &mut dyn Write,
    metadata: &[(String, MetadataValue)],
    tensors: &[NewTensor<'_>],
) -> io::Result<()> {
    let heads: Vec<TensorHead> = tensors.iter().map(NewTensor::head).collect();
    out.write_all(&gguf_header(metadata, &heads)?)?;
    for tensor in tensors {
        out.write_all(&tensor.bytes)?;
        out.write_all(padding(tensor.bytes.len() as u64))?;
    }
    Ok(())
}

/// What a file of `metadata` and `tensors` begins with. The values follow in this order, each tensor's with its [`padding`].
///
/// # Errors
/// With a tensor of a type that GGUF doesn't have.
pub fn gguf_header(metadata: &[(String, MetadataValue)], tensors: &[TensorHead]) -> io::Result<Vec<u8>> {
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
        at += tensor.bytes.next_multiple_of(ALIGNMENT);
    }
    header.extend(padding(header.len() as u64));
    Ok(header)
}

/// What stands behind so many bytes, so that the next ones are aligned.
pub fn padding(bytes: u64) -> &'static [u8] {
    &[0; ALIGNMENT as usize][..(bytes.next_multiple_of(ALIGNMENT) - bytes) as usize]
}

fn type_number(tensor: &TensorHead) -> io::Result<u32> {
    let dtype = DType::ALL.into_iter().find(|dtype| dtype.name() == tensor.type_name);
    dtype.map(gguf_type).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("tensor `{}` is {}, which is not written to GGUF files", tensor.name, tensor.type_name),
        )
    })
}

/// The number of a storage type (`enum ggml_type`).
fn gguf_type(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Q4_0 => 2,
        DType::Q4_1 => 3,
        DType::Q5_0 => 6,
        DType::Q5_1 => 7,
        DType::Q8_0 => 8,
        DType::Q4_K => 12,
        DType::Q5_K => 13,
        DType::Q6_K => 14,
        DType::BF16 => 30,
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
        MetadataValue::Bool(yes) => {
            out.extend(kind::BOOL.to_le_bytes());
            out.push(u8::from(*yes));
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
        MetadataValue::F32s(numbers) => {
            list(out, kind::F32, numbers.len());
            numbers.iter().for_each(|n| out.extend(n.to_le_bytes()));
        }
        MetadataValue::Encoded(bytes) => out.extend(bytes),
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
