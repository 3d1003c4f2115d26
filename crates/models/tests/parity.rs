//! The models compute what the reference implementations compute.
//!
//! The data under `tests/data/parity` always counts. The whole set is covered as well where `WEN_PARITY_DIR` names
//! it or it lies in `../shared/parity/fixtures` beside the repository.

use kernels::matmul::rounds_activations;
use models::checkpoint::{Checkpoint, StoredTensor, safetensors};
use models::{CausalLm, Config};
use nn::{Batch, Context, DType, KvCache, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest deviation of a logit, relative to the largest expected one: six times what rounding alone does.
const TOLERANCE: f32 = 2e-4;
/// Where activations are rounded to BF16 for BF16 weights, twice what that does. The references compute in float32.
const BF16_TOLERANCE: f32 = 2e-2;

const BLOCK_TOKENS: usize = 16;

/// The reference's tensors.
struct Expected {
    bytes: Vec<u8>,
    tensors: BTreeMap<String, StoredTensor>,
}

impl Expected {
    fn read(path: &Path) -> Option<Expected> {
        let bytes = std::fs::read(path).ok()?;
        let tensors =
            safetensors::parse(&bytes).expect("expected.safetensors is sound").into_iter().collect();
        Some(Expected { bytes, tensors })
    }

    fn f32(&self, name: &str) -> Tensor {
        let tensor = &self.tensors[name];
        let bytes = self.bytes[tensor.range.clone()].chunks_exact(4);
        let values: Vec<f32> = bytes.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let cols = *tensor.shape.last().unwrap();
        let rows = values.len() / cols;
        Tensor::from_vec(values, rows, cols)
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        let bytes = self.bytes[self.tensors[name].range.clone()].chunks_exact(8);
        bytes.map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
    }

    /// `prefix0.suffix`, `prefix1.suffix`, ... as far as they go.
    fn ids_of_each(&self, prefix: &str, suffix: &str) -> Vec<(String, Vec<u32>)> {
        let cases = (0..).map(|i| format!("{prefix}{i}"));
        let cases = cases.take_while(|case| self.tensors.contains_key(&format!("{case}.{suffix}")));
        cases.map(|case| (case.clone(), self.ids(&format!("{case}.{suffix}")))).collect()
    }
}

/// A model, its cache and one sequence in it.
struct Session {
    lm: CausalLm,
    cx: Context,
    cache: KvCache,
    past: usize,
}

impl Session {
    fn open(path: &Path) -> Session {
        Session::with_threads(path, 1)
    }

    fn with_threads(path: &Path, threads: usize) -> Session {
        let checkpoint = Checkpoint::open(path).unwrap_or_else(|e| panic!("{e}"));
        let config = Config::read(&checkpoint).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let lm = CausalLm::load(&checkpoint, config).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let cache = KvCache::new(lm.kv_cache_shape(DType::F32, BLOCK_TOKENS, 32)).unwrap();
        Session { lm, cx: Context::new(Arc::new(kernels::Pool::new(threads))), cache, past: 0 }
    }

    /// The final hidden states of the sequence's next `tokens`.
    fn forward(&mut self, tokens: &[u32]) -> Tensor {
        let batch = self.next(tokens);
        self.lm.forward(&self.cx, &batch, &mut self.cache)
    }

    /// Those of some of them.
    fn forward_rows(&mut self, tokens: &[u32], rows: &[usize]) -> Tensor {
        let batch = self.next(tokens);
        self.lm.forward_rows(&self.cx, &batch, rows, &mut self.cache)
    }

    fn next(&mut self, tokens: &[u32]) -> Batch {
        let blocks = (self.past + tokens.len()).div_ceil(BLOCK_TOKENS) as u32;
        // Not in order, so that the block table matters.
        let blocks = (0..blocks).map(|block| 31 - block).collect();
        let batch = Batch::single(tokens, self.past, blocks);
        self.past += tokens.len();
        batch
    }

    fn restart(&mut self) {
        self.past = 0;
    }

    /// How far it may be from the reference.
    fn tolerance(&self) -> f32 {
        if rounds_activations(self.lm.config().dtype) { BF16_TOLERANCE } else { TOLERANCE }
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.lm.logits(&self.cx, hidden)
    }

    /// Continues by the largest logit.
    fn greedy(&mut self, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut next = prompt.to_vec();
        while ids.len() < count {
            let hidden = self.forward(&next);
            let logits = self.logits(&last_rows(&hidden, 1));
            let row = logits.row(0);
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32;
            ids.push(best);
            next = vec![best];
        }
        ids
    }
}

fn last_rows(x: &Tensor, rows: usize) -> Tensor {
    let from = (x.rows() - rows) * x.cols();
    Tensor::from_vec(x.values()[from..].to_vec(), rows, x.cols())
}

#[track_caller]
fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!((found.rows(), found.cols()), (expected.rows(), expected.cols()), "{what}: shape");
    let largest = expected.values().iter().fold(1.0f32, |m, v| m.max(v.abs()));
    let pairs = found.values().iter().zip(expected.values());
    // Written so that NaN fails.
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0f32, |m, d| if d <= m { m } else { d });
    assert!(worst <= tolerance * largest, "{what}: off by {worst:e}, where the largest value is {largest}");
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity")
}

/// All fixture directories: the committed ones and those of the whole set.
fn fixtures() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/parity/fixtures");
    let whole = std::env::var_os("WEN_PARITY_DIR").map_or(beside, PathBuf::from);
    let roots = [committed(), whole];
    let mut found: Vec<PathBuf> = roots
        .iter()
        .flat_map(|root| std::fs::read_dir(root).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Fixtures of text decoders whose expected file holds `tensor`. Checks that the committed ones among them are
/// `at_least`, so that a fixture that is not recognised cannot pass unseen.
fn decoders_with(tensor: &str, at_least: &[&str]) -> Vec<(PathBuf, Expected)> {
    let mut found = Vec::new();
    for dir in fixtures() {
        let Some(expected) = Expected::read(&dir.join("expected.safetensors")) else { continue };
        let Ok(json) = std::fs::read(dir.join("config.json")) else { continue };
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let decoder = matches!(json["model_type"].as_str(), Some("qwen2" | "qwen3" | "qwen3_moe" | "llama"));
        if decoder && expected.tensors.contains_key(tensor) {
            found.push((dir, expected));
        }
    }
    let names: BTreeSet<String> = found.iter().map(|(dir, _)| name(dir)).collect();
    at_least.iter().for_each(|name| assert!(names.contains(*name), "fixture {name} is not covered"));
    found
}

const FAMILIES: [&str; 4] = ["qwen2-tied", "qwen3-tied", "qwen3-moe", "llama3-rope-tied"];

#[test]
fn hidden_states_and_logits_equal_the_reference() {
    for (dir, expected) in decoders_with("case0.logits", &FAMILIES) {
        let mut session = Session::open(&dir);
        for (case, ids) in expected.ids_of_each("case", "input_ids") {
            session.restart();
            let hidden = session.forward(&ids);
            let what = format!("{} {case}", name(&dir));
            let last_hidden_state = expected.f32(&format!("{case}.last_hidden_state"));
            assert_close(
                &format!("{what} last_hidden_state"),
                &hidden,
                &last_hidden_state,
                session.tolerance(),
            );
            let logits = expected.f32(&format!("{case}.logits"));
            let found = session.logits(&last_rows(&hidden, logits.rows()));
            assert_close(&format!("{what} logits"), &found, &logits, session.tolerance());
        }
    }
}

#[test]
fn greedy_decoding_through_the_cache_gives_the_same_ids() {
    for (dir, expected) in decoders_with("case0.greedy_ids", &FAMILIES) {
        let mut session = Session::open(&dir);
        for (case, prompt) in expected.ids_of_each("case", "input_ids") {
            session.restart();
            let ids = expected.ids(&format!("{case}.greedy_ids"));
            assert_eq!(session.greedy(&prompt, ids.len()), ids, "{} {case}", name(&dir));
        }
    }
}

#[test]
fn a_prompt_in_chunks_on_one_thread_gives_the_same_bits_as_in_one_piece_on_two() {
    for (dir, expected) in decoders_with("case0.logits", &FAMILIES) {
        let ids = expected.ids("case0.input_ids");
        let whole = Session::with_threads(&dir, 2).forward(&ids);
        let mut session = Session::open(&dir);
        for chunk in [1, 7, 16] {
            session.restart();
            let pieces: Vec<Tensor> = ids.chunks(chunk).map(|chunk| session.forward(chunk)).collect();
            let values: Vec<u32> = pieces.iter().flat_map(|piece| bits(piece.values())).collect();
            assert!(values == bits(whole.values()), "{}: chunks of {chunk}", name(&dir));
        }
    }
}

#[test]
fn some_rows_have_the_same_bits_as_among_all_and_leave_the_same_cache() {
    for (dir, expected) in decoders_with("case0.logits", &FAMILIES) {
        let ids = expected.ids("case0.input_ids");
        let (prompt, next) = ids.split_at(ids.len() - 2);
        let mut session = Session::open(&dir);
        let all = session.forward(prompt);
        let after = session.forward(next);
        for rows in [vec![], vec![prompt.len() - 1], vec![0, 3], vec![1, 2, 4], (0..prompt.len()).collect()] {
            let mut session = Session::open(&dir);
            let some = session.forward_rows(prompt, &rows);
            assert_eq!(some.rows(), rows.len());
            for (i, &row) in rows.iter().enumerate() {
                assert_eq!(bits(some.row(i)), bits(all.row(row)), "{}: row {row} of {rows:?}", name(&dir));
            }
            assert_eq!(bits(session.forward(next).values()), bits(after.values()), "{}", name(&dir));
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn rope_frequencies_equal_the_reference() {
    for (dir, expected) in decoders_with("rope.inv_freq", &FAMILIES) {
        let config = Config::read(&Checkpoint::open(&dir).unwrap()).unwrap();
        let found = config.rope.frequencies(config.head_dim).inv_freq;
        let expected = expected.f32("rope.inv_freq");
        for (i, (found, expected)) in found.iter().zip(expected.values()).enumerate() {
            let off = (found - expected).abs() / expected;
            assert!(off <= 2.0 * f32::EPSILON, "{} pair {i}: {found} for {expected}", name(&dir));
        }
    }
}

#[test]
fn embeddings_equal_the_reference() {
    for (dir, expected) in decoders_with("embeddings", &["qwen3-embedding"]) {
        let mut session = Session::open(&dir);
        let vectors = expected.f32("embeddings");
        for (i, (_, ids)) in expected.ids_of_each("text", "input_ids").into_iter().enumerate() {
            session.restart();
            let hidden = last_rows(&session.forward(&ids), 1);
            let length = hidden.values().iter().map(|v| v * v).sum::<f32>().sqrt();
            let vector: Vec<f32> = hidden.values().iter().map(|v| v / length).collect();
            let found = Tensor::from_vec(vector, 1, vectors.cols());
            let expected = Tensor::from_vec(vectors.row(i).to_vec(), 1, vectors.cols());
            assert_close(&format!("{} text{i}", name(&dir)), &found, &expected, session.tolerance());
        }
    }
}

#[test]
fn rerank_scores_equal_the_reference() {
    for (dir, expected) in decoders_with("no_yes_logits", &["qwen3-reranker"]) {
        let mut session = Session::open(&dir);
        let json = std::fs::read(dir.join("expected.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let [no, yes] = ["no_id", "yes_id"].map(|id| json[id].as_u64().unwrap() as usize);
        let mut scores = Vec::new();
        for (_, ids) in expected.ids_of_each("pair", "input_ids") {
            session.restart();
            let hidden = last_rows(&session.forward(&ids), 1);
            let logits = session.logits(&hidden);
            scores.push(1.0 / (1.0 + (logits.row(0)[no] - logits.row(0)[yes]).exp()));
        }
        let found = Tensor::from_vec(scores.clone(), 1, scores.len());
        assert_close(&name(&dir), &found, &expected.f32("scores"), session.tolerance());
    }
}
/// Every GGUF file of the fixtures with its reference, under the name that its tensors begin with.
fn gguf_files(at_least: &[&str]) -> Vec<(PathBuf, String, Expected)> {
    let mut found = Vec::new();
    for dir in fixtures() {
        for file in std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|e| e == "gguf") {
                let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
                let expected = Expected::read(&dir.join("expected.safetensors")).unwrap();
                found.push((file, stem, expected));
            }
        }
    }
    let names: BTreeSet<&str> = found.iter().map(|(_, stem, _)| stem.as_str()).collect();
    at_least.iter().for_each(|name| assert!(names.contains(name), "{name}.gguf is not covered"));
    found
}

#[test]
fn gguf_logits_and_greedy_ids_equal_the_reference() {
    for (file, stem, expected) in gguf_files(&["q8_0", "q4_0", "q4_k_m"]) {
        let mut session = Session::open(&file);
        let prompt = expected.ids("input_ids");
        let logits = expected.f32(&format!("{stem}.logits"));
        let hidden = session.forward(&prompt);
        let found = session.logits(&last_rows(&hidden, logits.rows()));
        assert_close(&file.display().to_string(), &found, &logits, session.tolerance());

        session.restart();
        let ids = expected.ids(&format!("{stem}.greedy_ids"));
        assert_eq!(session.greedy(&prompt, ids.len()), ids, "{}", file.display());
    }
}
