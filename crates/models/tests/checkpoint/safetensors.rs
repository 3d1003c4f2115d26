//! The safetensors parser.

use crate::allocation::peak_of;
use crate::assert_refused;
use crate::files::{parity, safetensors, safetensors_of};
use models::checkpoint::safetensors::parse;
use models::limits;
use nn::DType;

#[test]
fn tensors_have_their_names_types_shapes_and_places() {
    let file =
        safetensors_of(&[("a", "BF16", 2, &[2, 3]), ("scalar", "F32", 4, &[]), ("ids", "I64", 8, &[2])]);
    let tensors = parse(&file).unwrap();
    let data = file.len() - 12 - 4 - 16;
    let found: Vec<_> = tensors
        .iter()
        .map(|(name, t)| (name.as_str(), t.type_name, t.dtype, &t.shape[..], t.range.clone()))
        .collect();
    assert_eq!(
        found,
        [
            ("a", "BF16", Some(DType::BF16), &[2, 3][..], data..data + 12),
            ("scalar", "F32", Some(DType::F32), &[][..], data + 12..data + 16),
            ("ids", "I64", None, &[2][..], data + 16..data + 32),
        ]
    );
}

#[test]
fn metadata_and_padding_of_the_header_are_passed_over() {
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   "#;
    assert_eq!(parse(&safetensors(header, &[7])).unwrap().len(), 1);
    assert!(parse(&safetensors("{}", &[])).unwrap().is_empty());
}

/// One tensor `a`, described by the text of its fields.
fn one(fields: &str, data: usize) -> Vec<u8> {
    safetensors(&format!(r#"{{"a":{{{fields}}}}}"#), &vec![0; data])
}

#[test]
fn broken_files_are_refused_with_the_reason() {
    let sound = r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#;
    let two = |a: &str, b: &str| {
        let entry = |range: &str| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":[{range}]}}"#);
        format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b))
    };
    let deep = format!(r#"{{"__metadata__":{}}}"#, "[".repeat(1000));
    let long_name = format!(r#"{{"{}":{{{sound}}}}}"#, "n".repeat(limits::MAX_NAME_BYTES + 1));
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        ("empty", Vec::new(), &["0 bytes", "too few"]),
        ("no whole length", vec![1; 7], &["7 bytes"]),
        ("a header of 100 MB", 100_000_000u64.to_le_bytes().to_vec(), &["100000000", "limit of 16777216"]),
        ("a header of 2^64 bytes", u64::MAX.to_le_bytes().to_vec(), &["limit"]),
        ("a header over the file", safetensors("{}", &[])[..9].to_vec(), &["cut off", "2 bytes", "1 follow"]),
        ("not JSON", safetensors("GGUF", &[]), &["header is broken", "expected value"]),
        ("not UTF-8", [&4u64.to_le_bytes()[..], b"{\"\xff\""].concat(), &["header is broken"]),
        ("not an object", safetensors("[]", &[]), &["expected an object of tensors"]),
        ("text behind", safetensors("{} {}", &[]), &["trailing"]),
        ("deep metadata", safetensors(&deep, &[]), &["header is broken"]),
        ("a long name", safetensors(&long_name, &[0; 8]), &["1025 bytes", "limit of 1024"]),
        ("no type", one(r#""shape":[2],"data_offsets":[0,8]"#, 8), &["`a` lacks one of dtype"]),
        ("a field twice", one(r#""dtype":"F32","dtype":"F32""#, 8), &["`a` has a field twice"]),
        ("an unknown field", one(&format!(r#"{sound},"code":"x""#), 8), &["unknown variant `code`"]),
        ("an unknown type", one(&sound.replace("F32", "Q9"), 8), &["`a`", "unknown type `Q9`"]),
        ("a zero", one(&sound.replace("[2]", "[2,0]"), 8), &["`a`", "impossible shape [2, 0]"]),
        ("a negative size", one(&sound.replace("[2]", "[-2]"), 8), &["-2"]),
        ("a fraction", one(&sound.replace("[2]", "[2.0]"), 8), &["2.0"]),
        ("nine dimensions", one(&sound.replace("[2]", "[1,1,1,1,1,1,1,1,2]"), 8), &["at most 8 dimensions"]),
        (
            "an overflowing shape",
            one(&sound.replace("[2]", "[4294967296,4294967296]"), 8),
            &["impossible shape [4294967296, 4294967296]"],
        ),
        ("another size", one(&sound.replace("[0,8]", "[0,9]"), 9), &["`a` [2] needs 8 bytes", "0 to 9"]),
        ("offsets backwards", one(&sound.replace("[0,8]", "[8,0]"), 8), &["needs 8 bytes", "8 to 0"]),
        ("three offsets", one(&sound.replace("[0,8]", "[0,8,9]"), 8), &["header is broken"]),
        ("too few bytes", one(sound, 7), &["cut off", "`a` ends at byte 8", "has 7"]),
        ("too many bytes", one(sound, 9), &["tensors take 8 bytes", "has 9 bytes"]),
        ("an overlap", safetensors(&two("0,4", "2,6"), &[0; 6]), &["`a` and `b` overlap"]),
        ("the same place", safetensors(&two("0,4", "0,4"), &[0; 4]), &["overlap"]),
        ("a gap", safetensors(&two("0,4", "5,9"), &[0; 9]), &["tensors take 8 bytes", "has 9"]),
        (
            "a name twice",
            safetensors(&two("0,4", "4,8").replace("\"b\"", "\"a\""), &[0; 8]),
            &["`a` is there twice"],
        ),
    ];
    for (what, file, parts) in cases {
        assert_refused(what, parse(file), parts);
    }
}

#[test]
fn hundreds_of_thousands_of_entries_are_left_at_the_limit() {
    let entries: Vec<String> = (0..200_000)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{}]}}"#, i + 1))
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    assert!(header.len() as u64 <= limits::MAX_SAFETENSORS_HEADER_BYTES, "the header itself is allowed");
    let file = safetensors(&header, &[0; 200_000]);
    let (result, peak) = peak_of(|| parse(&file));
    assert_refused("200,000 entries", result, &["more tensors than the limit of 65536"]);
    assert!(peak < 32 << 20, "allocated {peak} bytes");
}

#[test]
fn every_beginning_of_a_file_is_refused() {
    let file = std::fs::read(parity("qwen3-tied/model.safetensors")).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize + 8;
    for len in (0..header).step_by(97).chain(header..header + 5).chain([file.len() - 1]) {
        assert!(parse(&file[..len]).is_err(), "{len} bytes of {}", file.len());
    }
    assert!(parse(&file).is_ok());
}
