//! Adapters that cannot be served say why, and what could be.

use models::adapter::{Adapter, AdapterError, CONFIG_FILE, WEIGHTS_FILE};
use models::model::open_weights;
use models::{CausalLm, Model};
use nn::Weight;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity").join(name)
}

fn base() -> CausalLm {
    open_weights(&fixture("qwen3-train-base")).unwrap_or_else(|e| panic!("{e}")).1
}

/// The error of an adapter with a change.
fn refused(change: impl FnOnce(&mut Adapter)) -> AdapterError {
    let mut adapter = Adapter::read(&fixture("lora/adapter")).unwrap();
    change(&mut adapter);
    base().adapted_by(&adapter).err().expect("it is refused")
}

#[test]
fn an_adapter_of_another_model_is_refused_with_the_layers_there_are() {
    let error = refused(|adapter| {
        let layer = adapter.layers.remove("model.layers.1.mlp.up_proj").unwrap();
        adapter.layers.insert("model.layers.1.mlp.w3".to_owned(), layer);
    });
    let message = error.to_string();
    for part in ["model.layers.1.mlp.w3", "model.layers.0 to 1", "self_attn.q_proj", "mlp.down_proj"] {
        assert!(message.contains(part), "the message lacks `{part}`: {message}");
    }
    let error = refused(|adapter| {
        let lora = adapter.layers.get_mut("model.layers.0.self_attn.q_proj").unwrap();
        lora.b = Weight::from_f32(vec![0.0; 64 * 4], 64, 4);
    });
    assert!(matches!(error, AdapterError::Shape { rows: 32, adapter_rows: 64, .. }), "{error}");
    let error = refused(|adapter| {
        let lora = adapter.layers.get_mut("model.layers.0.self_attn.q_proj").unwrap();
        lora.b = Weight::from_f32(vec![f32::NAN; 32 * 4], 32, 4);
    });
    assert!(matches!(error, AdapterError::NotFinite(_)), "{error}");
}

#[test]
fn an_adapter_that_tells_its_base_is_used_beside_no_other() {
    let model = Model::open(&fixture("qwen3-train-base")).unwrap();
    let mut adapter = Adapter::read(&fixture("lora/adapter")).unwrap();
    assert!(model.check_base(&adapter).is_ok(), "PEFT tells no hashes");
    let (checkpoint, _) = open_weights(&fixture("qwen3-train-base")).unwrap();
    adapter.config.base_model_sha256 = checkpoint.sha256();
    assert!(model.check_base(&adapter).is_ok());
    let other = Model::open(&fixture("qwen3-tied")).unwrap();
    let message = other.check_base(&adapter).unwrap_err().to_string();
    assert!(message.contains("`qwen3-train-base`") && message.contains("base_model_sha256"), "{message}");
}

#[test]
fn broken_directories_say_which_file_is_wrong() {
    let cases: [(&str, &str, Option<&[u8]>); 5] = [
        ("no configuration", CONFIG_FILE, None),
        ("no weights", WEIGHTS_FILE, None),
        ("a configuration that is no JSON", CONFIG_FILE, Some(b"{")),
        ("weights that are cut", WEIGHTS_FILE, Some(b"\xff\0\0\0\0\0\0\0{}")),
        ("weights of nothing", WEIGHTS_FILE, Some(b"\x02\0\0\0\0\0\0\0{}")),
    ];
    for (what, file, content) in cases {
        let dir = tempfile::tempdir().unwrap();
        for name in [CONFIG_FILE, WEIGHTS_FILE] {
            std::fs::copy(fixture("lora/adapter").join(name), dir.path().join(name)).unwrap();
        }
        match content {
            Some(bytes) => std::fs::write(dir.path().join(file), bytes).unwrap(),
            None => std::fs::remove_file(dir.path().join(file)).unwrap(),
        }
        let error = Adapter::read(dir.path()).err().unwrap_or_else(|| panic!("{what} is read"));
        assert!(error.to_string().contains(file), "{what}: {error}");
    }
    let weights = std::fs::metadata(fixture("lora/adapter").join(WEIGHTS_FILE)).unwrap().len();
    assert!(Adapter::read_limited(&fixture("lora/adapter"), weights).is_ok());
    assert!(Adapter::read_limited(&fixture("lora/adapter"), weights - 1).is_err());
}
