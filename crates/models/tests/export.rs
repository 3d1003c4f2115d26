//! Models written as GGUF files and as directories are read again as the same models.

use kernels::Pool;
use kernels::matmul::rounds_activations;
use models::checkpoint::safetensors;
use models::export::{ExportError, Options, Origin, Provenance, Storage, Written, directory, gguf, unheard};
use models::model::open_weights;
use models::{Adapter, CausalLm, Checkpoint, Model};
use nn::{Batch, Context, DType, KvCache};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TOKENS: [u32; 12] = [5, 17, 256, 31, 9, 300, 88, 3, 3, 120, 77, 45];

fn parity(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity").join(name)
}

/// Writes the model at `model`, as one file where `out` ends in `.gguf`.
fn export(
    model: &Path,
    out: &Path,
    storage: Storage,
    adapters: &[Adapter],
    shard_bytes: u64,
) -> Result<Written, ExportError> {
    let (checkpoint, mut lm) = open_weights(model)?;
    let pool = Pool::new(2);
    let options = Options { storage, adapters, provenance: None, pool: &pool, progress: &mut unheard };
    match out.extension() {
        Some(_) => gguf::write(&mut lm, Origin::of(&checkpoint), out, options),
        None => directory::write(&mut lm, Origin::of(&checkpoint), out, shard_bytes, options),
    }
}

#[track_caller]
fn convert(model: &Path, out: &Path, storage: Storage) -> Written {
    export(model, out, storage, &[], u64::MAX).unwrap_or_else(|e| panic!("{}: {e}", model.display()))
}

const F32: Storage = Storage::In(DType::F32);

fn logits(model: &Path) -> Vec<f32> {
    logits_of(&open_weights(model).unwrap().1)
}

fn logits_of(lm: &CausalLm) -> Vec<f32> {
    let mut cache = KvCache::new(lm.kv_cache_shape(DType::F32, 32, 1)).unwrap();
    let cx = Context::new(Arc::new(Pool::new(1)));
    let hidden = lm.forward(&cx, &Batch::single(&TOKENS, 0, vec![0]), &mut cache);
    lm.logits(&cx, &hidden).values().to_vec()
}

/// The largest difference as a share of the largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0f32, |max, v| max.max(v.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / largest
}

/// Type, shape and bytes of each tensor, by the names of the full model.
fn tensors(dir: &Path) -> BTreeMap<String, (&'static str, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    let named = safetensors::parse(&bytes).unwrap().into_iter().map(|(name, tensor)| {
        let full = name.starts_with("model.") || name.starts_with("lm_head.");
        let name = if full { name } else { format!("model.{name}") };
        (name, (tensor.type_name, tensor.shape, bytes[tensor.range].to_vec()))
    });
    named.collect()
}

/// A copy of a reference checkpoint with some fields of its configuration changed.
fn changed(name: &str, fields: &[(&str, Value)]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    // other tests may have left packed weights beside it, in a directory
    for entry in std::fs::read_dir(parity(name)).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = copy.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    fields.iter().for_each(|(field, value)| config[*field] = value.clone());
    std::fs::write(path, config.to_string()).unwrap();
    copy
}

/// The root of the mean square by which matrices are off, as a share of that of their values; the worst of them.
fn weights_off(expected: &Path, found: &Path) -> f64 {
    let [expected, found] = [expected, found].map(|path| Checkpoint::open(path).unwrap());
    let matrices = expected.tensors().filter(|(_, tensor)| tensor.shape.len() == 2);
    let off = matrices.map(|(name, tensor)| {
        let values = |of: &Checkpoint| of.weight(name, tensor.shape[0], tensor.shape[1]).unwrap().to_f32();
        let (expected, found) = (values(&expected), values(&found));
        let squares: f64 = expected.iter().map(|v| f64::from(*v).powi(2)).sum();
        let off: f64 = expected.iter().zip(found).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (off / squares).sqrt()
    });
    off.fold(0.0, f64::max)
}

fn types(path: &Path) -> Vec<&'static str> {
    let mut types: Vec<&str> =
        Checkpoint::open(path).unwrap().types().iter().map(|count| count.type_name).collect();
    types.sort_unstable();
    types
}

#[track_caller]
fn assert_same_text(expected: &Path, found: &Path) {
    let [expected, found] = [expected, found].map(|path| {
        let mut model = Model::open(path).unwrap();
        // which of them stands first is no promise
        model.generation.eos_token_ids.sort_unstable();
        model
    });
    assert_eq!(expected.kind, found.kind);
    assert_eq!(expected.chat_template.is_some(), found.chat_template.is_some());
    assert_eq!(expected.generation, found.generation);
    for text in
        ["", "Hello, world! It's 2026.", "  two\n\n spaces\t", "通义千问 你好", "<|im_start|>user\nhé"]
    {
        let ids =
            |model: &Model| (model.tokenizer.encode_with_added(text), model.tokenizer.encode_wrapped(text));
        assert_eq!(ids(&expected), ids(&found), "{text:?}");
    }
}

#[test]
fn every_family_goes_to_gguf_and_back_with_the_same_bytes() {
    // llama.cpp knows models whose layers all have experts
    let sparse =
        changed("qwen3-moe", &[("num_hidden_layers", 1.into()), ("mlp_only_layers", Value::Array(vec![]))]);
    for (model, exact) in [
        (parity("qwen2-tied"), true),
        (parity("qwen3-tied"), true),
        (parity("qwen3-embedding"), true),
        (sparse.path().to_owned(), true),
        // pairs are rotated in another order, and frequencies divided by factors that were rounded
        (parity("llama3-rope-tied"), false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (file, back) = (dir.path().join("model.gguf"), dir.path().join("back"));
        convert(&model, &file, F32);
        convert(&file, &back, Storage::Same);
        let (expected, found) = (tensors(&model), tensors(&back));
        assert!(!found.is_empty());
        for (name, tensor) in &found {
            assert!(expected.get(name) == Some(tensor), "{}: {name}", model.display());
        }
        let one_layer = |name: &&String| !name.contains(".layers.1.") && !name.contains(".layers.2.");
        let layers =
            if model == sparse.path() { expected.keys().filter(one_layer).count() } else { expected.len() };
        assert_eq!(found.len(), layers, "{}", model.display());
        let [first, second, third] = [&model, &file, &back].map(|path| logits(path));
        let allowed = if exact { 0.0 } else { 1e-5 };
        for found in [second, third] {
            let off = distance(&first, &found);
            assert!(off <= allowed, "{}: {off}", model.display());
        }
        assert_same_text(&model, &file);
        assert_same_text(&model, &back);
    }
}

#[test]
fn what_llama_cpp_does_not_compute_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model.gguf");
    let unscaled = [("num_hidden_layers", 1.into()), ("mlp_only_layers", Value::Array(vec![]))];
    let unscaled = [&unscaled[..], &[("norm_topk_prob", false.into())]].concat();
    for (model, fields, parts) in [
        ("qwen3-moe", vec![], ["experts in all layers", "one without experts"]),
        ("qwen3-moe", unscaled, ["norm_topk_prob", "takes it for true"]),
        (
            "qwen2-tied",
            vec![
                ("use_sliding_window", true.into()),
                ("sliding_window", 8.into()),
                ("max_window_layers", 0.into()),
            ],
            ["sliding window is 8", "see everything"],
        ),
    ] {
        let model = changed(model, &fields);
        let error = export(model.path(), &out, Storage::Same, &[], 0).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(!out.exists());
    }
}

#[test]
fn quantized_files_are_near_the_model_and_say_what_did_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    for (model, dtype, expected, off, uneven) in [
        ("qwen2-tied", DType::Q8_0, &["F32", "Q8_0"][..], 0.008, None),
        ("qwen2-tied", DType::Q4_0, &["F32", "Q4_0", "Q8_0"][..], 0.12, None),
        ("qwen2-tied", DType::BF16, &["BF16", "F32"][..], 0.003, None),
        ("qwen2-tied", DType::Q4_K, &["F32", "Q8_0"][..], 0.008, Some((64, DType::Q8_0))),
        ("llama3-rope-tied", DType::Q8_0, &["F16", "F32", "Q8_0"][..], 0.008, Some((48, DType::F16))),
    ] {
        let name = format!("{model} {}", dtype.name());
        let out = dir.path().join(format!("{name}.gguf"));
        let written = convert(&parity(model), &out, Storage::In(dtype));
        assert_eq!(types(&out), expected, "{name}");
        let first = written.fallbacks.first();
        assert_eq!(first.map(|fallback| (fallback.cols, fallback.stored)), uneven, "{name}");
        assert!(written.fallbacks.iter().all(|fallback| fallback.wanted == dtype));
        assert_eq!(written.bytes, std::fs::metadata(&out).unwrap().len());
        // heads of Llama's files stand in another order
        let back = dir.path().join(&name);
        convert(&out, &back, F32);
        let found = weights_off(&parity(model), &back);
        println!("{name}: {found}");
        assert!(found > 0.0 && found < off, "{name}: {found}");
        let same = if rounds_activations(dtype) { 2e-2 } else { 1e-5 };
        assert!(distance(&logits(&out), &logits(&back)) < same, "{name}");
        assert_same_text(&parity(model), &out);
    }
}

#[test]
fn quantized_files_are_decoded_copied_and_sharded() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["q4_0", "q8_0"] {
        let model = parity(&format!("gguf-qwen3/{name}.gguf"));
        let [decoded, copied, sharded] =
            ["decoded", "copied.gguf", "sharded"].map(|end| dir.path().join(format!("{name}-{end}")));
        convert(&model, &decoded, F32);
        convert(&model, &copied, Storage::Same);
        let written = export(&model, &sharded, F32, &[], 60_000).unwrap();
        assert_eq!(types(&decoded), ["F32"]);
        assert_eq!(types(&copied), types(&model));
        assert!(written.files > 2);
        assert!(sharded.join(format!("model-00001-of-{:05}.safetensors", written.files)).exists());
        assert_eq!(Checkpoint::open(&sharded).unwrap().files().len(), written.files);
        let expected = logits(&model);
        assert_eq!(logits(&copied), expected, "{name}");
        for path in [&decoded, &sharded] {
            assert!(distance(&expected, &logits(path)) < 1e-5, "{name}");
        }
        assert_same_text(&model, &decoded);
        assert_same_text(&model, &copied);
        // the tokenizer is the one that the file was made from
        let written = std::fs::read(decoded.join("tokenizer.json")).unwrap();
        let [written, of]: [Value; 2] =
            [written, std::fs::read(parity("gguf-qwen3/hf/tokenizer.json")).unwrap()]
                .map(|json| serde_json::from_slice(&json).unwrap());
        for part in ["added_tokens", "normalizer", "pre_tokenizer"] {
            assert_eq!(written[part], of[part], "{part}");
        }
        assert_eq!(written["model"]["vocab"], of["model"]["vocab"]);
        assert_eq!(written["model"]["merges"], of["model"]["merges"]);
    }
}

#[test]
fn adapters_are_merged_into_either_format() {
    let dir = tempfile::tempdir().unwrap();
    let base = parity("qwen3-train-base");
    for name in ["lora/adapter", "lora/adapter-rslora", "dora/adapter"] {
        let adapter = Adapter::read(&parity(name)).unwrap();
        let (_checkpoint, mut merged) = open_weights(&base).unwrap();
        adapter.merge(&mut merged, &Pool::new(1)).unwrap();
        let expected = logits_of(&merged);
        assert!(distance(&expected, &logits(&base)) > 1e-3, "{name} changes something");
        let adapters = [adapter];
        for out in ["merged.gguf", "merged"].map(|name| dir.path().join(name)) {
            export(&base, &out, Storage::Same, &adapters, u64::MAX).unwrap();
            assert_eq!(logits(&out), expected, "{name}");
        }
    }
    let adapters = [Adapter::read(&parity("lora/adapter")).unwrap()];
    let other = export(&parity("qwen2-tied"), &dir.path().join("other"), Storage::Same, &adapters, 1);
    assert!(matches!(other, Err(ExportError::Adapter(_))));
}

#[test]
fn a_file_says_where_its_model_comes_from_and_not_what_another_said() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = ["first.gguf", "second.gguf"].map(|name| dir.path().join(name));
    let write = |model: &Path, out: &Path, provenance| {
        let (checkpoint, mut lm) = open_weights(model).unwrap();
        let (storage, pool) = (Storage::Same, Pool::new(1));
        let options = Options { storage, adapters: &[], provenance, pool: &pool, progress: &mut unheard };
        gguf::write(&mut lm, Origin::of(&checkpoint), out, options).unwrap();
    };
    let url = "https://huggingface.co/Qwen/Qwen3-0.6B";
    let (base, license, card) = ("Qwen/Qwen3-0.6B", Some("apache-2.0"), "a card");
    write(&parity("qwen3-train-base"), &first, Some(Provenance { base, base_url: Some(url), license, card }));
    write(
        &first,
        &second,
        Some(Provenance { base: "first", base_url: None, license: None, card: "another" }),
    );
    let said = |file: &Path| {
        let checkpoint = Checkpoint::open(file).unwrap();
        let metadata = checkpoint.gguf().unwrap();
        assert_eq!(metadata.u64("general.base_model.count").unwrap(), Some(1));
        let text = |key: &str| metadata.str(key).unwrap().map(str::to_owned);
        ["license", "base_model.0.name", "base_model.0.organization", "base_model.0.repo_url"]
            .map(|key| text(&format!("general.{key}")))
            .into_iter()
            .chain([text("wen.card")])
            .collect::<Vec<_>>()
    };
    let texts = |texts: [Option<&str>; 5]| texts.map(|text| text.map(str::to_owned)).to_vec();
    assert_eq!(said(&first), texts([license, Some("Qwen3-0.6B"), Some("Qwen"), Some(url), Some(card)]));
    assert_eq!(said(&second), texts([None, Some("first"), None, None, Some("another")]));
    assert_eq!(logits(&second), logits(&parity("qwen3-train-base")));
}

#[test]
fn an_adapter_goes_into_a_file_of_llama_whose_heads_stand_in_another_order() {
    let dir = tempfile::tempdir().unwrap();
    let base = parity("llama3-rope-tied");
    let adapters = [Adapter::random(&open_weights(&base).unwrap().1, 4, 7)];
    let [plain, merged, from_file, back] =
        ["plain.gguf", "merged", "from-file.gguf", "back"].map(|name| dir.path().join(name));
    convert(&base, &plain, Storage::Same);
    for (model, out) in [(&base, &merged), (&plain, &from_file), (&plain, &back)] {
        export(model, out, Storage::Same, &adapters, u64::MAX).unwrap();
    }
    assert!(tensors(&merged) == tensors(&back));
    assert!(distance(&logits(&base), &logits(&merged)) > 1e-3);
    assert!(distance(&logits(&merged), &logits(&from_file)) < 1e-5);
}

#[test]
fn a_value_that_a_type_cannot_hold_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let model = changed("qwen3-train-base", &[]);
    let path = model.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::parse(&bytes).unwrap();
    let (_, tensor) = tensors.iter().find(|(name, _)| name == "model.embed_tokens.weight").unwrap();
    bytes[tensor.range.start..tensor.range.start + 4].copy_from_slice(&1e6f32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let out = dir.path().join("model.gguf");
    let error = export(model.path(), &out, Storage::In(DType::F16), &[], 0).unwrap_err().to_string();
    assert!(error.contains("`model.embed_tokens.weight` holds the value 1000000"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let blocks = Storage::In(DType::Q8_0);
    let error = export(model.path(), &dir.path().join("model"), blocks, &[], 0).unwrap_err().to_string();
    assert!(error.contains("the type is Q8_0, which is not written to safetensors"), "{error}");
}

#[test]
fn whoever_stops_it_finds_what_was_there_before() {
    let dir = tempfile::tempdir().unwrap();
    let (base, path) = (parity("qwen3-train-base"), dir.path().join("model.gguf"));
    std::fs::write(&path, "old").unwrap();
    let (_checkpoint, mut lm) = open_weights(&base).unwrap();
    let pool = Pool::new(1);
    let mut calls = 0;
    let mut third = |_, _| {
        calls += 1;
        if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let storage = Storage::Same;
    let options = Options { storage, adapters: &[], provenance: None, pool: &pool, progress: &mut third };
    let result = gguf::write(&mut lm, Origin::Directory(&base), &path, options);
    assert!(matches!(result, Err(ExportError::Stopped)));
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
}
