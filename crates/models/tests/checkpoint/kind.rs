//! What a directory's files say that its model is for.

use crate::assert_refused;
use crate::files::safetensors_of;
use models::checkpoint::Checkpoint;
use models::{ModelError, ModelKind};

const TRANSFORMER: &str = r#"{"path":"","type":"sentence_transformers.models.Transformer"}"#;
const POOLING: &str = r#"{"path":"1_Pooling","type":"sentence_transformers.models.Pooling"}"#;
const SCORE: &str =
    r#"{"path":"1_LogitScore","type":"sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}"#;

/// Paths and texts.
type Files<'a> = &'a [(&'a str, &'a str)];

/// The kind of a directory called `name` with these files beside its weights.
fn kind(name: &str, files: Files) -> Result<ModelKind, ModelError> {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join(name);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("model.safetensors"), safetensors_of(&[("w", "F32", 4, &[2, 3])])).unwrap();
    for (path, text) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    ModelKind::of(&Checkpoint::open(&dir).unwrap())
}

#[test]
fn a_model_is_for_what_its_files_say() {
    let modules = |last: &str| format!("[{TRANSFORMER},{last}]");
    let (pooled, scored, alone) = (modules(POOLING), modules(SCORE), format!("[{TRANSFORMER}]"));
    let last_token = ("1_Pooling/config.json", r#"{"pooling_mode_lasttoken":true}"#);
    let cases: &[(&str, Files, ModelKind)] = &[
        ("qwen", &[], ModelKind::Generate),
        ("Qwen3-Reranker-0.6B", &[], ModelKind::Rerank),
        ("mine", &[("config.json", r#"{"_name_or_path":"Qwen/Qwen3-Reranker-4B"}"#)], ModelKind::Rerank),
        ("mine", &[("modules.json", &pooled), last_token], ModelKind::Embed),
        ("mine", &[last_token], ModelKind::Embed),
        ("mine", &[("modules.json", &alone)], ModelKind::Generate),
        (
            "mine",
            &[
                ("modules.json", &scored),
                ("1_LogitScore/config.json", r#"{"true_token_id":9693,"false_token_id":2152}"#),
            ],
            ModelKind::Rerank,
        ),
    ];
    for (name, files, expected) in cases {
        assert_eq!(kind(name, files).unwrap(), *expected, "{name} {files:?}");
    }
}

#[test]
fn ways_to_vectors_and_scores_that_are_not_known_are_refused() {
    let other = r#"[{"path":"2_Dense","type":"sentence_transformers.models.Dense"}]"#;
    let mean = ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens":true}"#);
    let one = ("1_LogitScore/config.json", r#"{"true_token_id":9454,"false_token_id":null}"#);
    let scored = format!("[{TRANSFORMER},{SCORE}]");
    assert_refused("module", kind("m", &[("modules.json", other)]), &["models.Dense", "not supported"]);
    assert_refused("pooling", kind("m", &[mean]), &["mean_tokens", "not supported"]);
    assert_refused(
        "score",
        kind("m", &[("modules.json", &scored), one]),
        &["one token alone", "not supported"],
    );
}
