//! Configurations of both JSON dialects and of GGUF files.

use models::checkpoint::Checkpoint;
use models::config::{Config, ConfigError, Experts, GroupLayout, GroupQuantization, RopeScaling};
use serde_json::{Value, json};

/// A Qwen3 of four layers, as published files write it.
fn qwen3() -> Value {
    json!({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": false, "head_dim": 32,
        "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 112, "max_position_embeddings": 512,
        "max_window_layers": 2, "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
        "tie_word_embeddings": true, "torch_dtype": "float32", "use_sliding_window": false, "vocab_size": 512
    })
}

/// `base` with some fields set; a field set to null is removed.
fn with(mut base: Value, changes: Value) -> Value {
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(base.as_object_mut().unwrap().remove(field)),
            value => base[field] = value.clone(),
        }
    }
    base
}

fn read(json: &Value) -> Result<Config, ConfigError> {
    Config::from_json(json.to_string().as_bytes())
}

#[track_caller]
fn assert_refused(what: &str, result: Result<Config, ConfigError>, parts: &[&str]) {
    let message = result.err().unwrap_or_else(|| panic!("{what}: was accepted")).to_string();
    for part in parts {
        assert!(message.contains(part), "{what}: the message lacks `{part}`: {message}");
    }
}

#[test]
fn both_dialects_of_config_json_say_the_same() {
    let yarn = json!({ "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128 });
    let old = with(qwen3(), json!({ "rope_scaling": yarn, "use_sliding_window": true, "sliding_window": 8 }));
    let parameters = json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "rope_theta": 1e6 });
    let layer_types = json!(["full_attention", "full_attention", "sliding_attention", "sliding_attention"]);
    let new = with(
        old.clone(),
        json!({ "rope_scaling": null, "rope_theta": null, "torch_dtype": null, "max_window_layers": null,
                "dtype": "float32", "rope_parameters": parameters, "layer_types": layer_types }),
    );
    let nested = json!({ "full_attention": parameters, "sliding_attention": parameters });
    let nested = with(new.clone(), json!({ "rope_parameters": nested }));

    let expected = read(&old).unwrap();
    assert_eq!(expected.windows, [None, None, Some(8), Some(8)]);
    assert_eq!(read(&new).unwrap(), expected);
    assert_eq!(read(&nested).unwrap(), expected);
}

#[test]
fn families_differ_in_biases_norms_and_experts() {
    let cases = [
        ("qwen2", json!({}), (true, false, false)),
        ("qwen2", json!({ "attention_bias": true }), (true, false, false)),
        ("qwen3", json!({}), (false, false, true)),
        ("qwen3", json!({ "attention_bias": true }), (true, true, true)),
        ("llama", json!({}), (false, false, false)),
        ("llama", json!({ "attention_bias": true }), (true, true, false)),
    ];
    for (model_type, changes, (qkv, output, norm)) in cases {
        let json = with(with(qwen3(), json!({ "model_type": model_type, "architectures": null })), changes);
        let config = read(&json).unwrap();
        assert_eq!((config.qkv_bias, config.output_bias, config.qk_norm), (qkv, output, norm), "{json}");
        assert_eq!((config.architecture.as_str(), &config.experts), (model_type, &None));
    }
    let config =
        read(&with(qwen3(), json!({ "model_type": "llama", "architectures": null, "mlp_bias": true })));
    assert!(config.unwrap().mlp_bias);
}

fn qwen3_moe() -> Value {
    with(
        qwen3(),
        json!({ "model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "num_experts": 8,
                "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": true }),
    )
}

#[test]
fn sparse_layers_follow_the_step_and_the_exceptions() {
    let cases = [
        (json!({}), [true, true, true, true]),
        (json!({ "mlp_only_layers": [] }), [true, true, true, true]),
        (json!({ "mlp_only_layers": [1, 9] }), [true, false, true, true]),
        (json!({ "decoder_sparse_step": 2 }), [false, true, false, true]),
        (json!({ "decoder_sparse_step": 2, "mlp_only_layers": [3] }), [false, true, false, false]),
    ];
    for (changes, sparse) in cases {
        let experts = read(&with(qwen3_moe(), changes.clone())).unwrap().experts;
        let sparse = sparse.to_vec();
        let expected = Experts { count: 8, used: 2, intermediate_size: 32, norm_topk_prob: true, sparse };
        assert_eq!(experts, Some(expected), "{changes}");
    }
    let silent = read(&with(qwen3_moe(), json!({ "norm_topk_prob": null }))).unwrap();
    assert!(!silent.experts.unwrap().norm_topk_prob, "the reference's default");
}

#[test]
fn a_window_counts_only_where_it_is_switched_on() {
    let on = json!({ "use_sliding_window": true, "sliding_window": 8 });
    let layer_types = json!(["sliding_attention", "full_attention", "full_attention", "full_attention"]);
    let w = Some(8);
    let cases = [
        (qwen3(), json!({ "sliding_window": 8 }), [None; 4]),
        (qwen3(), on.clone(), [None, None, w, w]),
        (qwen3(), with(on.clone(), json!({ "max_window_layers": 0 })), [w; 4]),
        (qwen3(), with(on.clone(), json!({ "max_window_layers": 4 })), [None; 4]),
        (qwen3(), with(on.clone(), json!({ "layer_types": layer_types })), [w, None, None, None]),
        (qwen3(), json!({ "use_sliding_window": true }), [None; 4]),
        (qwen3_moe(), on, [w; 4]),
    ];
    for (base, changes, windows) in cases {
        assert_eq!(read(&with(base, changes.clone())).unwrap().windows, windows, "{changes}");
    }
}

#[test]
fn sizes_have_the_defaults_of_the_reference() {
    let config = read(&with(qwen3(), json!({ "head_dim": null, "num_key_value_heads": null }))).unwrap();
    assert_eq!((config.head_dim, config.kv_heads), (16, 4));
    let mut json = qwen3();
    json["head_dim"] = Value::Null;
    assert_eq!(read(&json).unwrap().head_dim, 16, "null is as good as missing");
    let config = read(&with(qwen3(), json!({ "rope_theta": null, "tie_word_embeddings": null }))).unwrap();
    assert_eq!((config.rope.theta, config.tie_word_embeddings), (10_000.0, false));
    let config = read(&with(qwen3(), json!({ "model_type": null }))).unwrap();
    assert_eq!(config.architecture, "qwen3", "by the class alone");
}

fn rope(parameters: Value) -> Result<RopeScaling, ConfigError> {
    read(&with(qwen3(), json!({ "rope_scaling": parameters }))).map(|config| config.rope.scaling)
}

#[test]
fn rope_scalings_are_read_with_their_defaults() {
    assert_eq!(rope(json!({ "rope_type": "default" })).unwrap(), RopeScaling::Default);
    assert_eq!(rope(json!({ "type": "linear", "factor": 2 })).unwrap(), RopeScaling::Linear { factor: 2.0 });
    let llama3 = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64 });
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 64.0,
    };
    assert_eq!(rope(llama3).unwrap(), expected);

    let yarn = |attention_factor, original_context, truncate| RopeScaling::Yarn {
        factor: 4.0,
        original_context,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate,
        attention_factor,
    };
    let natural = 0.1 * 4f64.ln() + 1.0;
    let cases = [
        (json!({}), yarn(natural, 512.0, true)),
        (json!({ "original_max_position_embeddings": 128 }), yarn(natural, 128.0, true)),
        (json!({ "factor": null, "original_max_position_embeddings": 128 }), yarn(natural, 128.0, true)),
        (json!({ "attention_factor": 1.0, "truncate": false }), yarn(1.0, 512.0, false)),
        (json!({ "mscale": 1.0, "mscale_all_dim": 1.0 }), yarn(1.0, 512.0, true)),
        (json!({ "mscale": 2.0, "mscale_all_dim": 1.0 }), yarn((2.0 * natural - 1.0) / natural, 512.0, true)),
        (json!({ "mscale": 2.0 }), yarn(natural, 512.0, true)),
    ];
    for (changes, expected) in cases {
        let parameters = with(json!({ "rope_type": "yarn", "factor": 4.0 }), changes.clone());
        let found = rope(parameters).unwrap();
        match (&found, &expected) {
            (
                RopeScaling::Yarn { attention_factor: a, .. },
                RopeScaling::Yarn { attention_factor: b, .. },
            ) => {
                assert!((a - b).abs() < 1e-12, "{changes}: {a} for {b}");
            }
            _ => panic!("{changes}: {found:?}"),
        }
        let round = |scaling: RopeScaling| match scaling {
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => {
                (factor, original_context, beta_fast, beta_slow, truncate)
            }
            _ => unreachable!(),
        };
        assert_eq!(round(found), round(expected), "{changes}");
    }
}

#[test]
fn unsupported_switches_are_named_with_the_known_values() {
    let cases: &[(&str, Value, &[&str])] = &[
        (
            "an architecture",
            json!({ "model_type": "mamba" }),
            &["`mamba` is not supported", "qwen2, qwen3, qwen3_moe, llama"],
        ),
        (
            "a classifier",
            json!({ "architectures": ["Qwen3ForSequenceClassification"] }),
            &["`Qwen3ForSequenceClassification`", "known are"],
        ),
        ("no architecture", json!({ "model_type": null, "architectures": null }), &["no `model_type`"]),
        ("an activation", json!({ "hidden_act": "gelu" }), &["hidden_act `gelu`", "known are silu"]),
        (
            "a rope type",
            json!({ "rope_scaling": { "rope_type": "longrope" } }),
            &["rope scaling `longrope`", "default, linear, llama3, yarn"],
        ),
        (
            "partial rotation",
            json!({ "rope_parameters": { "rope_theta": 1e4, "partial_rotary_factor": 0.5 } }),
            &["partial_rotary_factor `0.5`"],
        ),
        (
            "rope for each layer type",
            json!({ "rope_parameters": { "full_attention": { "rope_theta": 1e6 }, "sliding_attention": { "rope_theta": 1e4 } } }),
            &["rope_parameters", "the same for all layers"],
        ),
        (
            "a layer type",
            json!({ "layer_types": ["full_attention", "full_attention", "full_attention", "linear_attention"] }),
            &["layer type `linear_attention`", "sliding_attention"],
        ),
        (
            "a window that is off",
            json!({ "layer_types": ["full_attention", "full_attention", "full_attention", "sliding_attention"] }),
            &["sliding_window is off"],
        ),
        (
            "another quantization",
            json!({ "quantization_config": { "quant_method": "fp8", "version": 1 } }),
            &["quantization_config `fp8`", "gptq and awq with 4 bits", "BF16", "GGUF"],
        ),
        (
            "a quantization without a name",
            json!({ "quantization_config": { "bits": 4 } }),
            &["quantization_config `unnamed`"],
        ),
        (
            "3 bits",
            json!({ "quantization_config": { "quant_method": "gptq", "bits": 3, "group_size": 128 } }),
            &["quantization_config `gptq with 3 bits`", "gptq and awq with 4 bits"],
        ),
        (
            "no bits",
            json!({ "quantization_config": { "quant_method": "awq", "group_size": 128 } }),
            &["no `quantization_config.bits`"],
        ),
        (
            "no groups",
            json!({ "quantization_config": { "quant_method": "awq", "bits": 4 } }),
            &["no `quantization_config.group_size`"],
        ),
        (
            "odd groups",
            json!({ "quantization_config": { "quant_method": "awq", "bits": 4, "group_size": 48 } }),
            &["quantization_config.group_size is 48", "a multiple of 32"],
        ),
        (
            "empty groups",
            json!({ "quantization_config": { "quant_method": "gptq", "bits": 4, "group_size": 0 } }),
            &["group_size is 0"],
        ),
        (
            "negative groups",
            json!({ "quantization_config": { "quant_method": "gptq", "bits": 4, "group_size": -32 } }),
            &["group_size is -32"],
        ),
        (
            "GPTQ for one kernel",
            json!({ "quantization_config":
                { "quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "marlin" } }),
            &["checkpoint_format `marlin`", "gptq, gptq_v2"],
        ),
        (
            "GPTQ for one kernel, by its switch",
            json!({ "quantization_config":
                { "quant_method": "gptq", "bits": 4, "group_size": 128, "is_marlin_format": true } }),
            &["checkpoint_format `marlin`"],
        ),
        (
            "another AWQ",
            json!({ "quantization_config":
                { "quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv" } }),
            &["quantization_config.version `gemv`", "gemm"],
        ),
        (
            "AWQ without zeros",
            json!({ "quantization_config":
                { "quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": false } }),
            &["zero_point `false`"],
        ),
    ];
    for (what, changes, parts) in cases {
        assert_refused(what, read(&with(qwen3(), changes.clone())), parts);
    }
}

#[test]
fn gptq_and_awq_say_how_matrices_are_stored() {
    use GroupLayout::{Awq, Gptq, GptqV2};
    let cases = [
        (json!({ "quant_method": "gptq", "group_size": 128, "sym": true }), Gptq, Some(128), false),
        (
            json!({ "quant_method": "gptq", "group_size": 64, "checkpoint_format": "gptq", "desc_act": true }),
            Gptq,
            Some(64),
            true,
        ),
        (
            json!({ "quant_method": "gptq", "group_size": -1, "checkpoint_format": "gptq_v2" }),
            GptqV2,
            None,
            false,
        ),
        (
            json!({ "quant_method": "awq", "group_size": 128, "version": "gemm", "zero_point": true,
                "modules_to_not_convert": null }),
            Awq,
            Some(128),
            false,
        ),
        (json!({ "quant_method": "awq", "q_group_size": 32, "version": "GEMM" }), Awq, Some(32), false),
    ];
    for (mut fields, layout, group_size, act_order) in cases {
        fields["bits"] = json!(4);
        let config = read(&with(qwen3(), json!({ "quantization_config": fields }))).unwrap();
        let expected = GroupQuantization { layout, group_size, act_order };
        assert_eq!(config.quantization, Some(expected), "{fields}");
    }
    let config = read(&with(qwen3(), json!({ "quantization_config": null }))).unwrap();
    assert_eq!(config.quantization, None);
}

#[test]
fn absurd_sizes_are_refused_by_name() {
    let cases: &[(Value, &[&str])] = &[
        (json!({ "hidden_size": null }), &["no `hidden_size`"]),
        (json!({ "hidden_size": 0 }), &["the hidden size is 0", "between 1 and"]),
        (json!({ "hidden_size": -1 }), &["-1"]),
        (json!({ "hidden_size": "64" }), &["invalid type"]),
        (json!({ "hidden_size": 1u64 << 60 }), &["the hidden size is 1152921504606846976"]),
        (json!({ "num_hidden_layers": 0 }), &["num_hidden_layers is 0"]),
        (json!({ "num_hidden_layers": 1_000_000_000 }), &["num_hidden_layers is 1000000000", "1024"]),
        (json!({ "num_attention_heads": 0 }), &["num_attention_heads is 0"]),
        (
            json!({ "num_attention_heads": 3 }),
            &["attention heads is 3", "a multiple of the 2 key-value heads"],
        ),
        (json!({ "num_key_value_heads": 0 }), &["key-value heads is 0"]),
        (json!({ "head_dim": 33 }), &["head dimension is 33", "even"]),
        (json!({ "head_dim": null, "hidden_size": 3 }), &["head dimension is 0"]),
        (json!({ "vocab_size": 1u64 << 40 }), &["vocabulary size is"]),
        (json!({ "max_position_embeddings": 0 }), &["context length is 0"]),
        (json!({ "rms_norm_eps": 0.0 }), &["rms_norm_eps is 0"]),
        (json!({ "rms_norm_eps": -1e-6 }), &["rms_norm_eps"]),
        (json!({ "rope_theta": 1 }), &["rope_theta is 1", "above 1"]),
        (json!({ "rope_scaling": { "type": "linear" } }), &["no `rope_scaling.factor`"]),
        (json!({ "rope_scaling": { "type": "linear", "factor": 0 } }), &["`factor` is 0", "above 0"]),
        (
            json!({ "rope_scaling": { "type": "yarn", "factor": 4, "original_max_position_embeddings": 0 } }),
            &["original_max_position_embeddings` is 0"],
        ),
        (
            json!({ "rope_scaling": { "type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4 } }),
            &["high_freq_factor` is 4", "above"],
        ),
        (
            json!({ "use_sliding_window": true, "sliding_window": 0, "max_window_layers": 0 }),
            &["window is 0"],
        ),
        (json!({ "layer_types": ["full_attention"] }), &["layer_types is 1", "4, the layers"]),
    ];
    for (changes, parts) in cases {
        assert_refused(&changes.to_string(), read(&with(qwen3(), changes.clone())), parts);
    }
    let experts: &[(Value, &[&str])] = &[
        (json!({ "num_experts": null }), &["no `num_experts`"]),
        (json!({ "num_experts": 0 }), &["number of experts is 0"]),
        (json!({ "num_experts": 100_000 }), &["number of experts is 100000", "4096"]),
        (json!({ "num_experts_per_tok": 9 }), &["used by a token is 9", "between 1 and 8"]),
        (json!({ "moe_intermediate_size": 0 }), &["experts' intermediate size is 0"]),
        (json!({ "decoder_sparse_step": 0 }), &["decoder_sparse_step is 0"]),
        (json!({ "num_experts": 4096, "num_hidden_layers": 1024 }), &["experts in all layers is 4194304"]),
    ];
    for (changes, parts) in experts {
        assert_refused(&changes.to_string(), read(&with(qwen3_moe(), changes.clone())), parts);
    }
}

#[test]
fn broken_json_is_refused_with_its_place() {
    for json in ["", "{", "[]", "null", "{\"hidden_size\": 1, \"hidden_size\": 2}", &"[".repeat(100_000)] {
        assert_refused(json, Config::from_json(json.as_bytes()), &["config.json", "line"]);
    }
}

fn parity(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity").join(path)
}

#[test]
fn a_gguf_file_says_what_the_same_models_config_json_says() {
    for (gguf, hf) in [
        ("gguf-qwen3/q8_0.gguf", "gguf-qwen3/hf/config.json"),
        ("gguf-qwen3-kquants/q4_k_m.gguf", "gguf-qwen3-kquants/hf/config.json"),
    ] {
        let found = Config::read(&Checkpoint::open(&parity(gguf)).unwrap()).unwrap();
        let expected = Config::from_json(&std::fs::read(parity(hf)).unwrap()).unwrap();
        assert_eq!(Config { dtype: expected.dtype, ..found }, expected, "{gguf}");
    }
}

#[test]
fn frequencies_follow_the_formulas() {
    let frequencies = |changes| {
        let config = read(&with(qwen3(), changes)).unwrap();
        config.rope.frequencies(config.head_dim)
    };
    let plain = frequencies(json!({}));
    assert_eq!((plain.inv_freq.len(), plain.inv_freq[0], plain.attention_factor), (16, 1.0, 1.0));
    let linear = frequencies(json!({ "rope_scaling": { "type": "linear", "factor": 4.0 } }));
    assert!(linear.inv_freq.iter().zip(&plain.inv_freq).all(|(l, p)| *l == p / 4.0));
    // With one turn as both bounds, pairs are either kept or divided.
    let yarn =
        json!({ "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "beta_fast": 1 });
    let yarn = frequencies(json!({ "rope_scaling": yarn }));
    let ratio: Vec<f32> = yarn.inv_freq.iter().zip(&plain.inv_freq).map(|(y, p)| p / y).collect();
    // 32 · ln(128 / 2π) / (2 · ln 1e6) = 3.49: kept up to 3, divided from 4 on.
    assert!(ratio[..4].iter().all(|r| (r - 1.0).abs() < 1e-6), "{ratio:?}");
    assert!(ratio[4..].iter().all(|r| (r - 4.0).abs() < 1e-5), "{ratio:?}");
    assert!((yarn.attention_factor - 1.138_629_4).abs() < 1e-6);
}
