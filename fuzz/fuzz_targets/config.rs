//! Any text is refused or gives a configuration whose frequencies are finite.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::Config;

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = Config::from_json(bytes) else { return };
    assert!(config.heads % config.kv_heads == 0 && config.windows.len() == config.layers);
    if config.head_dim <= 512 {
        assert_eq!(config.rope.frequencies(config.head_dim).inv_freq.len(), config.head_dim / 2);
    }
});
