//! The GGUF parser and its metadata.

use crate::allocation::peak_of;
use crate::assert_refused;
use crate::files::{Gguf, parity, string};
use models::checkpoint::gguf::{GgufError, GgufFile, parse};
use nn::DType;
use std::sync::Arc;

fn read(file: &Gguf) -> Result<GgufFile, GgufError> {
    let bytes: nn::Bytes = Arc::new(file.bytes());
    parse(&bytes)
}

fn read_bytes(bytes: Vec<u8>) -> Result<GgufFile, GgufError> {
    let bytes: nn::Bytes = Arc::new(bytes);
    parse(&bytes)
}

/// Two tensors and a few entries.
fn sound() -> Gguf {
    Gguf::default()
        .text("general.architecture", "qwen3")
        .u32("qwen3.block_count", 2)
        .f32("qwen3.rope.freq_base", 1e6)
        .strings("tokenizer.ggml.tokens", &["a", "", "北京"])
        .tensor("token_embd.weight", &[3, 4])
        .tensor("output_norm.weight", &[4])
}

#[test]
fn tensors_and_metadata_are_found_in_versions_2_and_3() {
    for version in [2, 3] {
        let file = read(&Gguf { version, ..sound() }).unwrap();
        let found: Vec<_> = file
            .tensors
            .iter()
            .map(|(name, t)| (name.as_str(), t.dtype, &t.shape[..], t.range.len()))
            .collect();
        let expected = [
            ("token_embd.weight", Some(DType::F32), &[3, 4][..], 48),
            ("output_norm.weight", Some(DType::F32), &[4][..], 16),
        ];
        assert_eq!(found, expected);
        assert_eq!(file.metadata.str("general.architecture").unwrap(), Some("qwen3"));
        assert_eq!(file.metadata.u64("qwen3.block_count").unwrap(), Some(2));
        assert_eq!(file.metadata.f32("qwen3.rope.freq_base").unwrap(), Some(1e6));
        assert_eq!(file.metadata.strings("tokenizer.ggml.tokens").unwrap(), Some(vec!["a", "", "北京"]));
        assert_eq!(file.metadata.str("absent").unwrap(), None);
    }
}

#[test]
fn numbers_are_read_whatever_their_width() {
    let integers =
        [&5u32.to_le_bytes()[..], &2u64.to_le_bytes(), &(-1i32).to_le_bytes(), &7i32.to_le_bytes()];
    let file = Gguf::default()
        .entry("u8", 0, &[200])
        .entry("i8", 1, &[0xff])
        .entry("u16", 2, &40_000u16.to_le_bytes())
        .entry("i64", 11, &i64::MIN.to_le_bytes())
        .entry("f64", 12, &0.5f64.to_le_bytes())
        .entry("bool", 7, &[1])
        .entry("integers", 9, &integers.concat())
        .entry("floats", 9, &[&6u32.to_le_bytes()[..], &1u64.to_le_bytes(), &2.5f32.to_le_bytes()].concat())
        .entry("empty", 9, &[&4u32.to_le_bytes()[..], &0u64.to_le_bytes()].concat());
    let metadata = read(&file).unwrap().metadata;
    assert_eq!(metadata.u64("u8").unwrap(), Some(200));
    assert_eq!(metadata.u64("u16").unwrap(), Some(40_000));
    assert_eq!(metadata.f32("f64").unwrap(), Some(0.5));
    assert_eq!(metadata.bool("bool").unwrap(), Some(true));
    assert_eq!(metadata.integers("integers").unwrap(), Some(vec![-1, 7]));
    assert_eq!(metadata.floats("floats").unwrap(), Some(vec![2.5]));
    assert_eq!(metadata.strings("empty").unwrap(), Some(vec![]));
    assert_refused("a negative size", metadata.u64("i8"), &["`i8` is -1", "out of range"]);
    assert_refused("a negative size", metadata.u64("i64"), &["out of range"]);
    assert_refused("another type", metadata.str("bool"), &["`bool` should be a string, but is a bool"]);
    assert_refused(
        "another type",
        metadata.strings("integers"),
        &["an array of strings", "an array of integers"],
    );
    assert_refused(
        "another type",
        metadata.floats("u8"),
        &["should be an array of floats, but is an integer"],
    );
}

#[test]
fn text_that_is_not_utf8_is_an_error_where_it_is_asked_for() {
    let broken = [&1u64.to_le_bytes()[..], &[0xff]].concat();
    let array = [&8u32.to_le_bytes()[..], &2u64.to_le_bytes(), &string("a"), &broken].concat();
    let metadata =
        read(&Gguf::default().entry("text", 8, &broken).entry("array", 9, &array)).unwrap().metadata;
    assert_refused("a string", metadata.str("text"), &["`text`", "UTF-8"]);
    assert_refused("an array", metadata.strings("array"), &["`array`", "element 1"]);
}

#[test]
fn broken_files_are_refused_with_the_reason() {
    let array = |kind: u32, len: u64| [&kind.to_le_bytes()[..], &len.to_le_bytes()].concat();
    let tensor = |ne: &[u64], kind: u32, offset: u64| Gguf::default().info("t", ne, kind, offset).data(4096);
    let aligned = |value: u32| Gguf::default().u32("general.alignment", value);
    let huge = u64::MAX.to_le_bytes();
    let cases: &[(&str, Gguf, &[&str])] = &[
        ("version 1", Gguf { version: 1, ..sound() }, &["version 1 is not supported"]),
        ("version 4", Gguf { version: 4, ..sound() }, &["version 4"]),
        ("big-endian", Gguf { version: 3u32.swap_bytes(), ..sound() }, &["big-endian"]),
        (
            "a million tensors",
            Gguf { tensor_count: Some(1_000_000), ..sound() },
            &["tensors is 1000000", "65536"],
        ),
        ("2^64 tensors", Gguf { tensor_count: Some(u64::MAX), ..sound() }, &["limit"]),
        (
            "a million entries",
            Gguf { entry_count: Some(1_000_000), ..sound() },
            &["entries is 1000000", "65536"],
        ),
        ("more tensors than there are", Gguf { tensor_count: Some(60_000), ..sound() }, &[]),
        ("a long key", Gguf::default().text(&"k".repeat(1025), ""), &["metadata key is 1025", "1024"]),
        ("a key twice", Gguf::default().u32("k", 1).u32("k", 2), &["metadata `k` is there twice"]),
        ("a type that is none", Gguf::default().entry("k", 13, &[0; 8]), &["`k`", "type 13"]),
        ("an array of arrays", Gguf::default().entry("k", 9, &array(9, 1)), &["`k`", "type 9"]),
        ("a string of 2^64 bytes", Gguf::default().entry("k", 8, &huge), &["`k`", "limit of 1048576"]),
        (
            "a string over the file",
            Gguf::default().entry("k", 8, &1000u64.to_le_bytes()),
            &["cut off", "1000 bytes"],
        ),
        (
            "an array of 2^64",
            Gguf::default().entry("k", 9, &array(4, u64::MAX)),
            &["`k`", "limit of 2000000"],
        ),
        (
            "an array over the file",
            Gguf::default().entry("k", 9, &array(10, 1_999_999)),
            &["cut off", "15999992"],
        ),
        ("strings over the file", Gguf::default().entry("k", 9, &array(8, 1_999_999)), &["cut off"]),
        ("a bool of 2", Gguf::default().entry("k", 7, &[2]), &["`k` is a bool, but its byte is 2"]),
        ("alignment 0", aligned(0), &["power of two", "but is 0"]),
        ("alignment 24", aligned(24), &["power of two", "but is 24"]),
        ("alignment 2^31", aligned(1 << 31), &["at most 1048576"]),
        ("alignment as text", Gguf::default().text("general.alignment", "32"), &["power of two", "a string"]),
        (
            "one part of three",
            sound().entry("split.count", 2, &3u16.to_le_bytes()),
            &["one of 3 parts", "--merge"],
        ),
        (
            "a tensor twice",
            sound().tensor("output_norm.weight", &[4]),
            &["tensor `output_norm.weight` is there twice"],
        ),
        ("five dimensions", tensor(&[1; 5], 0, 0), &["`t`", "is 5", "limit of 4"]),
        ("2^32 dimensions", Gguf::default().entry("k", 4, &[0; 4]).info("t", &[], 0, 0), &["`t`"]),
        ("a zero", tensor(&[32, 0], 0, 0), &["`t`", "impossible shape [0, 32]"]),
        ("no dimensions", tensor(&[], 0, 0), &["`t`", "impossible shape []"]),
        ("an overflowing shape", tensor(&[1 << 40, 1 << 40], 0, 0), &["impossible shape"]),
        ("a shape that overflows in bytes only", tensor(&[1 << 62, 1], 0, 0), &["impossible shape"]),
        ("a row of half a block", tensor(&[48], 8, 0), &["impossible shape [48] for Q8_0"]),
        ("an unaligned offset", tensor(&[1], 0, 16), &["offset 16", "alignment 32"]),
        ("an offset over the file", tensor(&[1], 0, 4096), &["cut off", "`t`"]),
        ("an offset of 2^64", tensor(&[1], 0, u64::MAX - 31), &["cut off"]),
        ("a size over the file", tensor(&[1025], 0, 0), &["cut off", "4100 bytes"]),
        ("an overlap", tensor(&[16], 0, 0).info("u", &[8], 0, 32), &["`t` and `u` overlap"]),
        ("a format that is not read", tensor(&[256], 23, 0), &["`t` is stored as IQ4_XS", "Q4_K"]),
        ("a format that is none", tensor(&[256], 99, 0), &["type 99"]),
    ];
    for (what, file, parts) in cases {
        assert_refused(what, read(file), parts);
    }
    assert_refused("empty", read_bytes(Vec::new()), &["not a GGUF file"]);
    assert_refused("another file", read_bytes(b"PK\x03\x04....".to_vec()), &["not a GGUF file"]);
    assert_refused("only the magic", read_bytes(b"GGUF".to_vec()), &["cut off"]);
    let key = [&3u64.to_le_bytes()[..], &[0xff; 3]].concat();
    let header = [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes(), &1u64.to_le_bytes(), &key].concat();
    assert_refused("a key that is not UTF-8", read_bytes(header), &["metadata key at byte 32", "UTF-8"]);
}

#[test]
fn every_beginning_of_a_file_is_refused() {
    let file = sound().bytes();
    for len in 0..file.len() {
        assert!(read_bytes(file[..len].to_vec()).is_err(), "{len} bytes of {}", file.len());
    }
    assert!(read_bytes(file).is_ok());
}

#[test]
fn declared_sizes_cost_nothing_before_they_are_checked() {
    // Each declares as much as the bounds allow, in a file of some hundred bytes.
    let array = |kind: u32, len: u64| [&kind.to_le_bytes()[..], &len.to_le_bytes()].concat();
    let files = [
        Gguf { tensor_count: Some(65_536), entry_count: Some(65_536), ..Gguf::default() },
        Gguf::default().entry("k", 9, &array(8, 2_000_000)),
        Gguf::default().entry("k", 9, &array(10, 2_000_000)),
        Gguf::default().entry("k", 8, &(1u64 << 20).to_le_bytes()),
        Gguf::default().info("t", &[1 << 30, 1 << 20], 0, 0),
    ];
    for (i, file) in files.iter().enumerate() {
        let bytes: nn::Bytes = Arc::new(file.bytes());
        let (result, peak) = peak_of(|| parse(&bytes));
        assert!(result.is_err(), "file {i}");
        assert!(peak < 64 << 10, "file {i} allocated {peak} bytes");
    }
}

#[test]
fn real_files_are_read() {
    for (path, dtype) in [
        ("gguf-qwen3/q8_0.gguf", DType::Q8_0),
        ("gguf-qwen3/q4_0.gguf", DType::Q4_0),
        ("gguf-qwen3-kquants/q4_k_m.gguf", DType::Q4_K),
    ] {
        let file = read_bytes(std::fs::read(parity(path)).unwrap()).unwrap();
        let of_type = file.tensors.iter().filter(|(_, tensor)| tensor.dtype == Some(dtype)).count();
        assert!(of_type > 0, "{path}");
        let tokens = file.metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
        let types = file.metadata.integers("tokenizer.ggml.token_type").unwrap().unwrap();
        assert_eq!((tokens.len(), types.len()), (336, 336), "{path}");
        assert!(file.metadata.str("tokenizer.chat_template").unwrap().unwrap().contains("<|im_start|>"));
    }
}
