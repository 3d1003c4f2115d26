//! Directories and files as a whole: shards, names, weights, and what is no checkpoint.

use crate::assert_refused;
use crate::files::{Gguf, parity, safetensors_of};
use models::checkpoint::{Checkpoint, CheckpointError};
use models::{CausalLm, Config};
use nn::DType;
use std::path::Path;
use tempfile::TempDir;

/// A directory with these files.
fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn open(files: &[(&str, &[u8])]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::open(directory(files).path())
}

fn index(weight_map: &str) -> Vec<u8> {
    format!(r#"{{"metadata":{{"total_size":0}},"weight_map":{weight_map}}}"#).into_bytes()
}

const INDEX: &str = "model.safetensors.index.json";

#[test]
fn weights_point_into_their_file_and_vectors_are_decoded() {
    let checkpoint = Checkpoint::open(&parity("qwen3-tied")).unwrap();
    let weight = checkpoint.weight("model.layers.0.self_attn.q_proj.weight", 128, 64).unwrap();
    assert_eq!(
        (weight.rows(), weight.cols(), weight.format(), weight.byte_len()),
        (128, 64, nn::WeightFormat::Rows(DType::F32), 32768)
    );
    let norm = checkpoint.vector("model.norm.weight", 64).unwrap();
    assert!(norm.len() == 64 && norm.iter().all(|x| x.is_finite() && *x != 0.0));
    drop(checkpoint);
    assert!(weight.to_f32().iter().any(|x| *x != 0.0), "a weight outlives its checkpoint");
}

#[test]
fn a_weight_of_another_shape_or_type_is_refused_by_name() {
    let file = safetensors_of(&[("w", "F32", 4, &[2, 3]), ("ids", "I64", 8, &[2])]);
    let checkpoint = open(&[("model.safetensors", &file)]).unwrap();
    assert_refused("shape", checkpoint.weight("w", 3, 2), &["`w` should be [3, 2]", "but is [2, 3]"]);
    assert_refused("a vector", checkpoint.vector("w", 6), &["`w` should be [6]", "but is [2, 3]"]);
    assert_refused("type", checkpoint.vector("ids", 2), &["`ids` is stored as I64", "supported are F32"]);
    assert_refused("absent", checkpoint.vector("v", 2), &["lacks 1 tensor: `v`"]);
}

#[test]
fn shards_are_one_checkpoint() {
    let a = safetensors_of(&[("a", "F32", 4, &[2])]);
    let b = safetensors_of(&[("b", "F32", 4, &[3]), ("unlisted", "U8", 1, &[1])]);
    let map = index(r#"{"a":"1.safetensors","b":"2.safetensors"}"#);
    let checkpoint = open(&[("1.safetensors", &a), ("2.safetensors", &b), (INDEX, &map)]).unwrap();
    assert_eq!((checkpoint.vector("a", 2).unwrap().len(), checkpoint.vector("b", 3).unwrap().len()), (2, 3));
}

#[test]
fn broken_indexes_are_refused_with_the_reason() {
    let a = safetensors_of(&[("a", "F32", 4, &[2])]);
    let files = |map: &str| open(&[("1.safetensors", &a), ("2.safetensors", &a), (INDEX, &index(map))]);
    let plain = "is not the plain name of a .safetensors file";
    let long: Vec<String> = (0..70_000).map(|i| format!(r#""{i}":"1.safetensors""#)).collect();
    let many: Vec<String> = (0..1_025).map(|i| format!(r#""{i}":"{i}.safetensors""#)).collect();
    let cases: &[(&str, &str, &[&str])] = &[
        ("climbing out", r#"{"a":"../1.safetensors"}"#, &["`../1.safetensors`", plain]),
        ("absolute", r#"{"a":"/etc/1.safetensors"}"#, &[plain]),
        ("a folder", r#"{"a":"x/1.safetensors"}"#, &[plain]),
        ("a Windows path", r#"{"a":"..\\1.safetensors"}"#, &[plain]),
        ("a drive", r#"{"a":"c:1.safetensors"}"#, &[plain]),
        ("a NUL", r#"{"a":"\u0000.safetensors"}"#, &[plain]),
        ("a pickle", r#"{"a":"pytorch_model-1.bin"}"#, &[plain]),
        ("empty", "{}", &["`weight_map` is empty"]),
        ("no map", "[]", &["file names by tensor"]),
        ("numbers", r#"{"a":1}"#, &["expected a string"]),
        ("a name twice", r#"{"a":"1.safetensors","a":"1.safetensors"}"#, &["`a` is there twice"]),
        ("a shard that is not there", r#"{"a":"3.safetensors"}"#, &["cannot read", "3.safetensors"]),
        (
            "a tensor elsewhere",
            r#"{"b":"1.safetensors"}"#,
            &["`b` in `1.safetensors`, which does not hold it"],
        ),
        (
            "two shards with one tensor",
            r#"{"a":"1.safetensors","b":"2.safetensors"}"#,
            &["`a` is there twice"],
        ),
        ("a million tensors", &format!("{{{}}}", long.join(",")), &["limit of 65536"]),
        ("a thousand shards", &format!("{{{}}}", many.join(",")), &["1025 shards", "limit of 1024"]),
    ];
    for (what, map, parts) in cases {
        assert_refused(what, files(map), parts);
    }
    assert_refused("not JSON", open(&[(INDEX, b"x")]), &["index is broken"]);
    assert_refused("16 MB", open(&[(INDEX, &vec![b' '; (16 << 20) + 1])]), &["limit of 16777216 bytes"]);
}

#[test]
fn what_is_no_checkpoint_is_refused_with_what_to_do() {
    let pickle = b"PK\x03\x04.....".as_slice();
    assert_refused("nothing", open(&[]), &["holds no weights", "model.safetensors"]);
    assert_refused(
        "a pickle",
        open(&[("pytorch_model.bin", pickle)]),
        &["pickle", "convert it to safetensors"],
    );
    assert_refused("an old pickle", open(&[("consolidated.00.pth", &[0x80, 2, 0x8a])]), &["pickle"]);
    assert_refused("a GGUF inside", open(&[("m.gguf", b"GGUF")]), &["give the file's path", "m.gguf"]);
    let absent = Path::new("/nonexistent/model");
    assert_refused("absent", Checkpoint::open(absent), &["cannot read /nonexistent/model"]);

    let dir = directory(&[("m.bin", pickle), ("model.safetensors", b""), ("m.gguf", b"")]);
    let file = |name: &str| Checkpoint::open(&dir.path().join(name));
    assert_refused("a pickle's path", file("m.bin"), &["pickle"]);
    assert_refused("a shard's path", file("model.safetensors"), &["path of its directory"]);
    assert_refused("an empty file", file("m.gguf"), &["m.gguf", "not a GGUF file"]);
    assert_refused("an empty shard", Checkpoint::open(dir.path()), &["model.safetensors", "too few"]);
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_file_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("model.safetensors");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if made.is_ok_and(|status| status.success()) {
        assert_refused("a pipe", Checkpoint::open(dir.path()), &["is not a regular file"]);
    }
}

#[test]
fn names_of_bare_decoders_and_of_gguf_files_become_those_of_full_models() {
    let bare = Checkpoint::open(&parity("qwen3-embedding")).unwrap();
    assert!(bare.contains("model.embed_tokens.weight") && bare.contains("model.layers.1.mlp.up_proj.weight"));

    let file = Gguf::default()
        .tensor("token_embd.weight", &[3, 4])
        .tensor("output.weight", &[3, 4])
        .tensor("blk.12.attn_q.bias", &[4])
        .tensor("blk.12.ffn_gate_inp.weight", &[2, 4])
        .tensor("blk.12.ffn_down_exps.weight", &[2, 4, 5])
        .tensor("blk.12.something_new.weight", &[1])
        .tensor("rope_freqs.weight", &[2]);
    let dir = directory(&[("m.gguf", &file.bytes())]);
    let checkpoint = Checkpoint::open(&dir.path().join("m.gguf")).unwrap();
    let names: Vec<&str> = checkpoint.tensors().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "blk.12.something_new.weight",
            "lm_head.weight",
            "model.embed_tokens.weight",
            "model.layers.12.mlp.experts.0.down_proj.weight",
            "model.layers.12.mlp.experts.1.down_proj.weight",
            "model.layers.12.mlp.gate.weight",
            "model.layers.12.self_attn.q_proj.bias",
            "rope_freqs.weight",
        ]
    );
    let second = checkpoint.weight("model.layers.12.mlp.experts.1.down_proj.weight", 4, 5).unwrap();
    assert_eq!(second.to_f32(), (20..40).map(|i| i as f32).collect::<Vec<_>>());
}

#[test]
fn a_stack_of_countless_experts_is_left_at_the_limit() {
    let file = Gguf::default().tensor("blk.0.ffn_up_exps.weight", &[70_000, 1, 1]);
    let dir = directory(&[("m.gguf", &file.bytes())]);
    assert_refused("experts", Checkpoint::open(&dir.path().join("m.gguf")), &["limit of 65536"]);
}

#[test]
fn two_names_for_one_tensor_are_refused() {
    let file = Gguf::default().tensor("output.weight", &[1, 1]).tensor("lm_head.weight", &[1, 1]);
    let dir = directory(&[("m.gguf", &file.bytes())]);
    assert_refused(
        "twice",
        Checkpoint::open(&dir.path().join("m.gguf")),
        &["`lm_head.weight` is there twice"],
    );
}

/// The sizes of a tiny model, and its tensors without those of layer 1.
fn half_a_model() -> (Vec<u8>, Vec<u8>) {
    let config = br#"{"model_type":"qwen2","hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,
        "num_key_value_heads":1,"intermediate_size":16,"vocab_size":10,"max_position_embeddings":64,
        "tie_word_embeddings":true,"rms_norm_eps":1e-6}"#;
    let layer = "model.layers.0";
    let shapes: [(&str, &[usize]); 12] = [
        ("input_layernorm.weight", &[8]),
        ("post_attention_layernorm.weight", &[8]),
        ("self_attn.q_proj.weight", &[8, 8]),
        ("self_attn.k_proj.weight", &[4, 8]),
        ("self_attn.v_proj.weight", &[4, 8]),
        ("self_attn.o_proj.weight", &[8, 8]),
        ("self_attn.q_proj.bias", &[8]),
        ("self_attn.k_proj.bias", &[4]),
        ("self_attn.v_proj.bias", &[4]),
        ("mlp.gate_proj.weight", &[16, 8]),
        ("mlp.up_proj.weight", &[16, 8]),
        ("mlp.down_proj.weight", &[8, 16]),
    ];
    let mut named: Vec<(String, &[usize])> =
        shapes.iter().map(|(name, shape)| (format!("{layer}.{name}"), *shape)).collect();
    named.push(("model.embed_tokens.weight".to_owned(), &[10, 8]));
    named.push(("model.norm.weight".to_owned(), &[8]));
    let tensors: Vec<(&str, &str, usize, &[usize])> =
        named.iter().map(|(name, shape)| (name.as_str(), "BF16", 2, *shape)).collect();
    (config.to_vec(), safetensors_of(&tensors))
}

fn load(config: &[u8], weights: &[u8]) -> Result<CausalLm, String> {
    let dir = directory(&[("model.safetensors", weights), ("config.json", config)]);
    let checkpoint = Checkpoint::open(dir.path()).map_err(|e| e.to_string())?;
    let config = Config::read(&checkpoint).map_err(|e| e.to_string())?;
    CausalLm::load(&checkpoint, config).map_err(|e| e.to_string())
}

fn replaced(json: &[u8], from: &str, to: &str) -> Vec<u8> {
    let json = std::str::from_utf8(json).unwrap();
    assert!(json.contains(from));
    json.replace(from, to).into_bytes()
}

#[test]
fn missing_tensors_are_named_all_at_once() {
    let (config, weights) = half_a_model();
    let missing =
        ["lacks 12 tensors", "`model.layers.1.input_layernorm.weight`", "layers.1.mlp.down_proj.weight`"];
    assert_refused("layer 1", load(&config, &weights), &missing);
    let more = replaced(&config, r#""num_hidden_layers":2"#, r#""num_hidden_layers":1000"#);
    assert_refused("many layers", load(&more, &weights), &["lacks 11988 tensors", "and 11972 more"]);
}

#[test]
fn a_configuration_that_does_not_fit_the_weights_is_refused() {
    let (config, weights) = half_a_model();
    let config = replaced(&config, r#""num_hidden_layers":2"#, r#""num_hidden_layers":1"#);
    assert!(load(&config, &weights).is_ok());
    let wider = replaced(&config, r#""intermediate_size":16"#, r#""intermediate_size":17"#);
    assert_refused(
        "wider",
        load(&wider, &weights),
        &["mlp.gate_proj.weight` should be [17, 8]", "is [16, 8]"],
    );
    let vocab = replaced(&config, r#""vocab_size":10"#, r#""vocab_size":60000000"#);
    assert_refused("vocabulary", load(&vocab, &weights), &["embed_tokens.weight` should be [60000000, 8]"]);
}

#[test]
fn a_head_in_the_file_counts_and_without_one_the_embedding_table_serves() {
    let (config, weights) = half_a_model();
    let config = replaced(&config, r#""num_hidden_layers":2"#, r#""num_hidden_layers":1"#);
    let untied = replaced(&config, r#""tie_word_embeddings":true"#, r#""tie_word_embeddings":false"#);
    assert!(load(&untied, &weights).is_ok(), "untied, but no head in the file");

    // A head of another shape is noticed, so it is looked at although the configuration says tied.
    let dir = directory(&[]);
    let bad_head = safetensors_of(&[("lm_head.weight", "BF16", 2, &[9, 8])]);
    let names: Vec<String> = models::checkpoint::safetensors::parse(&weights)
        .unwrap()
        .into_iter()
        .map(|(name, _)| format!(r#""{name}":"a.safetensors""#))
        .collect();
    let map = format!(r#"{{{},"lm_head.weight":"b.safetensors"}}"#, names.join(","));
    for (name, bytes) in [
        ("a.safetensors", &weights),
        ("b.safetensors", &bad_head),
        (INDEX, &index(&map)),
        ("config.json", &config),
    ] {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let result = CausalLm::load(&checkpoint, Config::read(&checkpoint).unwrap());
    assert_refused("a bad head", result, &["`lm_head.weight` should be [10, 8]", "but is [9, 8]"]);
}

#[test]
fn warming_up_reports_every_byte() {
    let checkpoint = Checkpoint::open(&parity("qwen2-tied")).unwrap();
    let mut reports = Vec::new();
    checkpoint.warm_up(|done, total| reports.push((done, total)));
    let size = std::fs::metadata(parity("qwen2-tied/model.safetensors")).unwrap().len();
    assert_eq!(reports.last(), Some(&(size, size)));
}

#[test]
fn types_are_counted() {
    let file = safetensors_of(&[("a", "BF16", 2, &[8, 8]), ("b", "F32", 4, &[2]), ("c", "BF16", 2, &[8])]);
    let checkpoint = open(&[("model.safetensors", &file)]).unwrap();
    let types: Vec<_> =
        checkpoint.types().iter().map(|t| (t.type_name, t.tensors, t.parameters, t.bytes)).collect();
    assert_eq!(types, [("BF16", 2, 72, 144), ("F32", 1, 2, 8)]);
    assert_eq!(checkpoint.main_dtype(), Some(DType::BF16));
}
