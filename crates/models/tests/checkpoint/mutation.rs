//! Damaged files give an error or a consistent directory, and cost no memory beyond their own size.

use crate::allocation::peak_of;
use crate::files::{Gguf, parity, safetensors_of};
use models::checkpoint::{StoredTensor, gguf, safetensors};
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::Arc;

/// What happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    /// Numbers at the edges are what overflows.
    SetWord(Index, u64),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

impl Damage {
    fn apply(&self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }
        match self {
            Damage::Set(at, byte) => *at.get_mut(file) = *byte,
            Damage::SetWord(at, word) => {
                let at = at.index(file.len());
                let end = (at + 8).min(file.len());
                file[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
            }
            Damage::Cut(at) => file.truncate(at.index(file.len())),
            Damage::Insert(at, bytes) => {
                let at = at.index(file.len());
                file.splice(at..at, bytes.iter().copied());
            }
            Damage::Remove(at, len) => {
                let at = at.index(file.len());
                file.drain(at..(at + len).min(file.len()));
            }
            Damage::Repeat(at, len) => {
                let at = at.index(file.len());
                let piece = file[at..(at + len).min(file.len())].to_vec();
                file.splice(at..at, piece);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    let edge = prop_oneof![
        Just(0u64),
        Just(1),
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << 32),
        Just(65_536),
        Just(2_000_000),
        any::<u64>(),
    ];
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        4 => (at(), edge).prop_map(|(at, word)| Damage::SetWord(at, word)),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (at(), 1..40usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        1 => (at(), 1..80usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
    ]
}

/// Memory that a parser may take for a file of `len` bytes: an entry of a few dozen bytes becomes a name, a shape
/// and a place in the sets that find duplicates.
fn allowed(len: usize) -> usize {
    (64 << 10) + 24 * len
}

fn assert_consistent(tensors: &[(String, StoredTensor)], len: usize) {
    let mut ranges: Vec<_> = tensors.iter().map(|(_, tensor)| tensor.range.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= len), "inside the file");
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "without overlap");
    for (name, tensor) in tensors {
        let values = tensor.shape.iter().product::<usize>();
        assert_eq!((tensor.len(), tensor.is_empty()), (values, false), "{name}");
        if let (Some(dtype), Some(&cols)) = (tensor.dtype, tensor.shape.last()) {
            assert_eq!(
                dtype.row_bytes(cols).map(|row| row * (values / cols)),
                Some(tensor.range.len()),
                "{name}"
            );
        }
    }
}

fn check_gguf(file: Vec<u8>) {
    let len = file.len();
    let bytes: nn::Bytes = Arc::new(file);
    let (result, peak) = peak_of(|| gguf::parse(&bytes));
    assert!(peak <= allowed(len), "{peak} bytes for a file of {len}");
    let Ok(file) = result else { return };
    assert_consistent(&file.tensors, len);
    for key in file.metadata.keys() {
        // Whatever the type, each way of asking gives a value or an error.
        let m = &file.metadata;
        let _ = (m.u64(key), m.f32(key), m.bool(key), m.str(key), m.token_id(key));
        let _ = (m.strings(key), m.integers(key), m.floats(key));
    }
}

fn check_safetensors(file: &[u8]) {
    let (result, peak) = peak_of(|| safetensors::parse(file));
    assert!(peak <= allowed(file.len()), "{peak} bytes for a file of {}", file.len());
    if let Ok(tensors) = result {
        assert_consistent(&tensors, file.len());
    }
}

fn small_gguf() -> Vec<u8> {
    Gguf::default()
        .text("general.architecture", "qwen3")
        .u32("qwen3.block_count", 1)
        .strings("tokenizer.ggml.tokens", &["a", "b", "cd"])
        .tensor("token_embd.weight", &[3, 4])
        .tensor("blk.0.ffn_gate_exps.weight", &[2, 2, 4])
        .bytes()
}

/// The front of a real file, where its directory is.
fn front(path: &str) -> Vec<u8> {
    let mut file = std::fs::read(parity(path)).unwrap();
    file.truncate(24 << 10);
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_gguf_file_is_refused_or_consistent(damage in prop::collection::vec(damage(), 1..5)) {
        let mut file = small_gguf();
        damage.iter().for_each(|d| d.apply(&mut file));
        check_gguf(file);
    }

    #[test]
    fn a_damaged_safetensors_file_is_refused_or_consistent(damage in prop::collection::vec(damage(), 1..5)) {
        let mut file = safetensors_of(&[("a", "F32", 4, &[2, 3]), ("b", "BF16", 2, &[8]), ("c", "I64", 8, &[])]);
        damage.iter().for_each(|d| d.apply(&mut file));
        check_safetensors(&file);
    }

    #[test]
    fn any_bytes_are_refused_or_consistent(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_safetensors(&bytes);
        check_gguf([b"GGUF\x03\0\0\0", &bytes[..]].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_real_files_are_refused_or_consistent(damage in prop::collection::vec(damage(), 1..5)) {
        let mut file = front("gguf-qwen3/q4_0.gguf");
        damage.iter().for_each(|d| d.apply(&mut file));
        check_gguf(file);
        let mut file = front("qwen3-moe/model.safetensors");
        damage.iter().for_each(|d| d.apply(&mut file));
        check_safetensors(&file);
    }
}
