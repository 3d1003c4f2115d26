//! Any bytes are refused or give tensors that lie inside them and do not overlap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::checkpoint::safetensors;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensors) = safetensors::parse(bytes) else { return };
    let mut ranges: Vec<_> = tensors.iter().map(|(_, tensor)| tensor.range.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= bytes.len()));
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
});
