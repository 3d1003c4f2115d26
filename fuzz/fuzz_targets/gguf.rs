//! Any bytes are refused or give tensors and metadata that lie inside them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::checkpoint::gguf;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let shared: nn::Bytes = Arc::new(bytes.to_vec());
    let Ok(file) = gguf::parse(&shared) else { return };
    let mut ranges: Vec<_> = file.tensors.iter().map(|(_, tensor)| tensor.range.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= bytes.len()));
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
    let metadata = &file.metadata;
    for key in metadata.keys() {
        let _ = (metadata.u64(key), metadata.f32(key), metadata.bool(key), metadata.str(key));
        let _ = (metadata.strings(key), metadata.integers(key), metadata.floats(key), metadata.token_id(key));
    }
});
