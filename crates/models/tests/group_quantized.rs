//! GPTQ and AWQ directories: their codes are read as what they mean, and computed with.

use half::{bf16, f16};
use kernels::Pool;
use models::checkpoint::safetensors;
use models::config::{GroupLayout, GroupQuantization};
use models::model::Summary;
use models::{Checkpoint, Config, Model, Quantization};
use nn::{Batch, Context, DType, KvCache, PackedType, Weight};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tensor of a safetensors file.
#[derive(Clone)]
struct Stored {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// How a test stores matrices.
#[derive(Clone, Copy, Debug)]
struct Way {
    layout: GroupLayout,
    group_size: Option<usize>,
    /// Whether inputs are dealt to the groups one by one.
    dealt: bool,
    scales: DType,
}

const WAY: Way = Way { layout: GroupLayout::Gptq, group_size: Some(32), dealt: false, scales: DType::F16 };

/// A matrix as codes, and the values that those mean.
struct Coded {
    codes: Vec<u8>,
    zeros: Vec<u8>,
    scales: Vec<f32>,
    values: Vec<f32>,
}

impl Way {
    fn group_of(self, input: usize, cols: usize) -> usize {
        let size = self.group_size.unwrap_or(cols);
        if self.dealt { input % cols.div_ceil(size) } else { input / size }
    }

    fn round(self, scale: f32) -> f32 {
        match self.scales {
            DType::F16 => f16::from_f32(scale).to_f32(),
            DType::BF16 => bf16::from_f32(scale).to_f32(),
            _ => scale,
        }
    }

    /// Rounds a matrix `[rows, cols]` to the nearest codes; codes and zeros are `[rows, ..]`.
    fn encode(self, values: &[f32], rows: usize, cols: usize) -> Coded {
        let groups = cols.div_ceil(self.group_size.unwrap_or(cols));
        let most: u8 = if self.layout == GroupLayout::Gptq { 16 } else { 15 };
        let mut coded =
            Coded { codes: Vec::new(), zeros: Vec::new(), scales: Vec::new(), values: Vec::new() };
        for row in 0..rows {
            let row_values = &values[row * cols..][..cols];
            for group in 0..groups {
                let inputs = (0..cols).filter(|i| self.group_of(*i, cols) == group);
                let (low, high) =
                    inputs.fold((0.0f32, 0.0f32), |(l, h), i| (l.min(row_values[i]), h.max(row_values[i])));
                let scale = self.round((high - low) / 15.0);
                coded.scales.push(scale);
                // the extremes of what can be stored are there, too
                let zero = if row == 3 { f32::from(most) } else { (-low / scale).round() };
                coded.zeros.push(zero.clamp(f32::from(most - 15), f32::from(most)) as u8);
            }
            for (input, value) in row_values.iter().enumerate() {
                let at = row * groups + self.group_of(input, cols);
                let (scale, zero) = (coded.scales[at], f32::from(coded.zeros[at]));
                let code = (value / scale + zero).round().clamp(0.0, 15.0);
                coded.codes.push(code as u8);
                coded.values.push(scale * (code - zero));
            }
        }
        coded
    }

    /// The tensors of the matrix `stem`.
    fn tensors(self, stem: &str, coded: &Coded, rows: usize, cols: usize) -> Vec<Stored> {
        let groups = coded.zeros.len() / rows;
        let awq = self.layout == GroupLayout::Awq;
        let order = if awq { [0, 2, 4, 6, 1, 3, 5, 7] } else { [0, 1, 2, 3, 4, 5, 6, 7] };
        // eight outputs of one group in a word
        let across = |lines: usize, code: &dyn Fn(usize, usize) -> u8| -> Vec<u8> {
            let words = (0..lines).flat_map(|line| (0..rows / 8).map(move |word| (line, word)));
            let word = |(line, word): (usize, usize)| {
                (0..8).fold(0u32, |all, i| all | u32::from(code(word * 8 + order[i], line)) << (4 * i))
            };
            words.map(word).flat_map(u32::to_le_bytes).collect()
        };
        let code = |output: usize, input: usize| coded.codes[output * cols + input];
        let (shape, bytes) = if awq {
            (vec![cols, rows / 8], across(cols, &code))
        } else {
            let words = (0..cols / 8).flat_map(|line| (0..rows).map(move |output| (line, output)));
            let word = |(line, output): (usize, usize)| {
                (0..8).fold(0u32, |all, i| all | u32::from(code(output, line * 8 + i)) << (4 * i))
            };
            (vec![cols / 8, rows], words.map(word).flat_map(u32::to_le_bytes).collect())
        };
        let less = u8::from(self.layout == GroupLayout::Gptq);
        let zeros = across(groups, &|output, group| coded.zeros[output * groups + group] - less);
        let scales = (0..groups).flat_map(|group| (0..rows).map(move |output| output * groups + group));
        let scales = scales.flat_map(|at| match self.scales {
            DType::F16 => f16::from_f32(coded.scales[at]).to_le_bytes().to_vec(),
            DType::BF16 => bf16::from_f32(coded.scales[at]).to_le_bytes().to_vec(),
            _ => coded.scales[at].to_le_bytes().to_vec(),
        });
        let named =
            |kind: &str, dtype, shape, bytes| Stored { name: format!("{stem}.{kind}"), dtype, shape, bytes };
        let mut tensors = vec![
            named("qweight", "I32", shape, bytes),
            named("qzeros", "I32", vec![groups, rows / 8], zeros),
            named("scales", self.scales.name(), vec![groups, rows], scales.collect()),
        ];
        if !awq {
            let order = (0..cols).flat_map(|input| (self.group_of(input, cols) as i32).to_le_bytes());
            tensors.push(named("g_idx", "I32", vec![cols], order.collect()));
        }
        tensors
    }

    fn config(self) -> Value {
        let group_size = self.group_size.map_or(-1, |size| size as i64);
        let mut config = json!({ "bits": 4, "group_size": group_size, "quant_method": "gptq" });
        match self.layout {
            GroupLayout::Awq => {
                config["quant_method"] = json!("awq");
                config["version"] = json!("gemm");
            }
            GroupLayout::Gptq => config["desc_act"] = json!(self.dealt),
            GroupLayout::GptqV2 => config["checkpoint_format"] = json!("gptq_v2"),
        }
        config
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity").join(name)
}

fn read_tensors(fixture: &Path) -> Vec<Stored> {
    let bytes = std::fs::read(fixture.join("model.safetensors")).unwrap();
    let tensors = safetensors::parse(&bytes).unwrap().into_iter();
    let stored = |(name, t): (String, models::checkpoint::StoredTensor)| Stored {
        name,
        dtype: t.type_name,
        shape: t.shape,
        bytes: bytes[t.range].to_vec(),
    };
    tensors.map(stored).collect()
}

/// Writes a model directory: these tensors, and the rest as the fixture has it.
fn write(dir: &Path, fixture: &Path, tensors: &[Stored], quantization: Option<Value>) {
    std::fs::create_dir_all(dir).unwrap();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for t in tensors {
        let begin = data.len();
        data.extend(&t.bytes);
        let entry = json!({ "dtype": t.dtype, "shape": t.shape, "data_offsets": [begin, data.len()] });
        header.insert(t.name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(dir.join("model.safetensors"), file).unwrap();
    std::fs::copy(fixture.join("tokenizer.json"), dir.join("tokenizer.json")).unwrap();
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(fixture.join("config.json")).unwrap()).unwrap();
    config["quantization_config"] = quantization.unwrap_or(Value::Null);
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

/// A fixture in both forms: its projections as codes, and as the values that these codes mean.
struct Pair {
    dir: tempfile::TempDir,
    coded: Vec<Stored>,
    plain: Vec<Stored>,
}

impl Pair {
    fn new(name: &str, way: Way) -> Pair {
        let (mut coded, mut plain) = (Vec::new(), Vec::new());
        for tensor in read_tensors(&fixture(name)) {
            let Some(stem) = tensor.name.strip_suffix(".weight").filter(|s| s.ends_with("_proj")) else {
                coded.push(tensor.clone());
                plain.push(tensor);
                continue;
            };
            let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
            let values = tensor.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            let found = way.encode(&values.collect::<Vec<f32>>(), rows, cols);
            coded.extend(way.tensors(stem, &found, rows, cols));
            plain.push(Stored {
                bytes: found.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                ..tensor.clone()
            });
        }
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("coded"), &fixture(name), &coded, Some(way.config()));
        write(&dir.path().join("plain"), &fixture(name), &plain, None);
        Pair { dir, coded, plain }
    }

    fn coded(&self) -> PathBuf {
        self.dir.path().join("coded")
    }

    fn plain(&self) -> PathBuf {
        self.dir.path().join("plain")
    }

    /// Every matrix that is stored as codes: its name, as it is read, and the values that it means.
    fn matrices(&self) -> Vec<(String, Weight, Vec<f32>)> {
        let checkpoint = Checkpoint::open(&self.coded()).unwrap();
        let config = Config::read(&checkpoint).unwrap();
        let projections = self.plain.iter().filter(|t| t.name.ends_with("_proj.weight"));
        let open = |t: &Stored| {
            assert!(checkpoint.has_codes(&t.name));
            let quantization: Option<&GroupQuantization> = config.quantization.as_ref();
            let weight = checkpoint.matrix(&t.name, quantization, t.shape[0], t.shape[1]).unwrap();
            let values = t.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            (t.name.clone(), weight, values.collect())
        };
        projections.map(open).collect()
    }
}

fn logits(dir: &Path, quantization: Quantization) -> Vec<f32> {
    let pool = Arc::new(Pool::new(2));
    let mut model = Model::open(dir).unwrap();
    model.pack(quantization, &pool, &mut |_, _| ()).unwrap();
    let mut cache = KvCache::new(model.lm.kv_cache_shape(DType::F32, 32, 1)).unwrap();
    let cx = Context::new(pool);
    let hidden = model.lm.forward(&cx, &Batch::single(&[5, 9, 200, 31, 7], 0, vec![0]), &mut cache);
    model.lm.logits(&cx, &hidden).values().to_vec()
}

/// Largest difference, relative to the largest value.
fn deviation(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(0.0f32, |a, v| a.max(v.abs()));
    found.iter().zip(expected).fold(0.0f32, |a, (f, e)| a.max((f - e).abs())) / largest
}

/// Fixtures and ways that [`PackedType::Int4Zero`] holds. Rows of qwen3-tied have 112 values: the last group is short.
fn packable() -> Vec<(&'static str, Way)> {
    use GroupLayout::{Awq, Gptq, GptqV2};
    vec![
        ("qwen2-tied", WAY),
        ("qwen2-tied", Way { group_size: Some(64), ..WAY }),
        ("qwen2-tied", Way { group_size: Some(128), scales: DType::BF16, ..WAY }),
        ("qwen2-tied", Way { group_size: None, layout: GptqV2, ..WAY }),
        ("qwen2-tied", Way { layout: Awq, ..WAY }),
        ("qwen2-tied", Way { layout: Awq, group_size: Some(64), ..WAY }),
        ("qwen3-tied", WAY),
        ("qwen3-tied", Way { layout: GptqV2, group_size: Some(64), ..WAY }),
        ("qwen3-tied", Way { layout: Awq, ..WAY }),
        ("qwen3-moe", Way { layout: Gptq, group_size: None, ..WAY }),
        ("qwen3-moe", Way { layout: Awq, ..WAY }),
    ]
}

#[test]
fn codes_are_decoded_and_packed_without_loss() {
    for (name, way) in packable() {
        for (matrix, weight, values) in Pair::new(name, way).matrices() {
            let what = format!("{name} {matrix} {way:?}");
            assert_eq!(weight.to_f32(), values, "{what}");
            let (rows, cols) = (weight.rows(), weight.cols());
            let mut row = vec![0.0; cols];
            weight.decode_row(rows - 3, &mut row);
            assert_eq!(row, values[(rows - 3) * cols..][..cols], "{what}: a single row");

            let source = weight.source().unwrap();
            assert_eq!(source.packed_type(), Some(PackedType::Int4Zero), "{what}");
            let mut bytes = vec![0; PackedType::Int4Zero.matrix_bytes(rows, cols).unwrap()];
            let tile_bytes = PackedType::Int4Zero.tile_bytes(cols).unwrap();
            for (tile, bytes) in bytes.chunks_exact_mut(tile_bytes).enumerate() {
                source.pack_rows(tile * 16..(tile * 16 + 16).min(rows), bytes);
            }
            let range = 0..bytes.len();
            let packed = Weight::packed(Arc::new(bytes), range, PackedType::Int4Zero, rows, cols).unwrap();
            assert_eq!(packed.to_f32(), values, "{what}: packed");
        }
    }
}

#[test]
fn a_model_of_codes_computes_what_its_values_compute() {
    for (name, way) in packable() {
        let pair = Pair::new(name, way);
        let expected = logits(&pair.plain(), Quantization::None);
        assert_eq!(logits(&pair.coded(), Quantization::None), expected, "{name} {way:?}");
        let packed = logits(&pair.coded(), Quantization::Stored);
        assert_ne!(packed, expected, "{name} {way:?}: rounding of activations shows");
        let off = deviation(&packed, &expected);
        // that rounding alone, which can choose other experts
        let most = if name == "qwen3-moe" { 0.1 } else { 0.03 };
        assert!(off < most, "{name} {way:?}: {off}");
        assert!(pair.coded().join(".wen/stored.packed").exists());
        assert_eq!(logits(&pair.coded(), Quantization::Stored), packed, "{name} {way:?}: from the copy");
    }
}

#[test]
fn what_no_packed_type_holds_is_decoded_exactly_and_packed_in_8_bits() {
    let dealt = Way { dealt: true, ..WAY };
    // 24 bits of a float32 scale are more than 16 have
    let fine = Way { scales: DType::F32, layout: GroupLayout::Awq, ..WAY };
    for way in [dealt, fine] {
        let pair = Pair::new("qwen2-tied", way);
        for (matrix, weight, values) in pair.matrices() {
            assert_eq!(weight.source().unwrap().packed_type(), None, "{matrix} {way:?}");
            assert_eq!(weight.to_f32(), values, "{matrix} {way:?}");
        }
        let expected = logits(&pair.plain(), Quantization::None);
        assert_eq!(logits(&pair.coded(), Quantization::None), expected, "{way:?}");
        for quantization in [Quantization::Stored, Quantization::Int8] {
            let packed = logits(&pair.coded(), quantization);
            // 0.034, with one scale for 128 activations
            let deviation = deviation(&packed, &expected);
            assert!(deviation < 0.04, "{way:?}: {deviation}");
        }
    }
}

#[test]
fn a_copy_is_made_anew_when_the_configuration_says_something_else() {
    let pair = Pair::new("qwen2-tied", WAY);
    let first = logits(&pair.coded(), Quantization::Stored);
    let second = Way { layout: GroupLayout::GptqV2, ..WAY };
    write(&pair.coded(), &fixture("qwen2-tied"), &pair.coded, Some(second.config()));
    let after = logits(&pair.coded(), Quantization::Stored);
    assert_ne!(first, after);
    std::fs::remove_file(pair.coded().join(".wen/stored.packed")).unwrap();
    assert_eq!(after, logits(&pair.coded(), Quantization::Stored));
}

#[test]
fn a_summary_names_the_way_and_counts_the_matrices_parameters() {
    let awq = Way { layout: GroupLayout::Awq, group_size: None, ..WAY };
    for (way, name) in [(WAY, "GPTQ, 4 bits, groups of 32"), (awq, "AWQ, 4 bits, whole rows")] {
        let pair = Pair::new("qwen2-tied", way);
        let summary = Summary::read(&pair.coded()).unwrap();
        assert_eq!(summary.quantization.unwrap().to_string(), name);
        assert_eq!(summary.parameters, Summary::read(&pair.plain()).unwrap().parameters);
        let (mut coded, plain) = (Model::open(&pair.coded()).unwrap(), Model::open(&pair.plain()).unwrap());
        assert_eq!(coded.parameters, plain.parameters);
        let before = coded.weight_bytes;
        coded.pack(Quantization::Stored, &Pool::new(1), &mut |_, _| ()).unwrap();
        let file: u64 = pair.coded.iter().map(|t| t.bytes.len() as u64).sum();
        assert_eq!(before, file);
        let (packed, plain) = (coded.weight_bytes, plain.weight_bytes);
        assert!(packed * 9 < plain * 5, "{packed} bytes of {plain}");
    }
}

/// What is wrong, how matrices are stored, the tensor of one that is changed or left out, and parts of the message.
type Broken = (&'static str, Way, &'static str, Option<fn(&mut Stored)>, &'static [&'static str]);

#[test]
fn broken_matrices_are_refused_by_name() {
    let awq = Way { layout: GroupLayout::Awq, ..WAY };
    let acts = Way { dealt: true, ..WAY };
    let q = "model.layers.1.self_attn.q_proj";
    let cases: &[Broken] = &[
        ("no zeros", WAY, "qzeros", None, &["lacks 1 tensor: `", ".q_proj.qzeros`"]),
        ("no scales", awq, "scales", None, &["stored as codes", "q_proj.scales`"]),
        ("no order", acts, "g_idx", None, &["q_proj.g_idx`"]),
        ("neither codes nor values", WAY, "qweight", None, &["lacks 1 tensor: `", "q_proj.weight`"]),
        (
            "float codes",
            WAY,
            "qweight",
            Some(|t| t.dtype = "F32"),
            &["qweight` is stored as F32", "must be I32"],
        ),
        (
            "float zeros",
            awq,
            "qzeros",
            Some(|t| t.dtype = "F32"),
            &["qzeros` is stored as F32", "must be I32"],
        ),
        (
            "whole scales",
            WAY,
            "scales",
            Some(|t| t.dtype = "I16"),
            &["scales` is stored as I16", "F16 or BF16 or F32"],
        ),
        ("a float order", WAY, "g_idx", Some(|t| t.dtype = "F32"), &["g_idx` is stored as F32"]),
        (
            "the other layout",
            WAY,
            "qweight",
            Some(|t| t.shape = vec![64, 8]),
            &["q_proj.qweight` should be [8, 64]", "but is [64, 8]"],
        ),
        (
            "8 bits",
            awq,
            "qweight",
            Some(|t| (t.shape, t.bytes) = (vec![64, 16], vec![0; 4096])),
            &["should be [64, 8]", "but is [64, 16]"],
        ),
        (
            "groups of another size",
            WAY,
            "scales",
            Some(|t| t.shape = vec![1, 128]),
            &["q_proj.scales` should be [2, 64]", "but is [1, 128]"],
        ),
        (
            "zeros of another size",
            WAY,
            "qzeros",
            Some(|t| t.shape = vec![16]),
            &["q_proj.qzeros` should be [2, 8]"],
        ),
        (
            "a group behind the last",
            WAY,
            "g_idx",
            Some(|t| t.bytes[5 * 4] = 2),
            &["q_proj.g_idx`", "input 5 into group 2", "there are 2 groups"],
        ),
        ("a negative group", WAY, "g_idx", Some(|t| t.bytes[12..16].fill(255)), &["input 3 into group -1"]),
        ("a short order", WAY, "g_idx", Some(|t| t.shape = vec![8, 8]), &["g_idx` should be [64]"]),
    ];
    for (what, way, kind, change, parts) in cases {
        let pair = Pair::new("qwen2-tied", *way);
        let name = format!("{q}.{kind}");
        let mut tensors = pair.coded.clone();
        let at = tensors.iter().position(|t| t.name == name).unwrap();
        match change {
            Some(change) => change(&mut tensors[at]),
            None => drop(tensors.remove(at)),
        }
        write(&pair.coded(), &fixture("qwen2-tied"), &tensors, Some(way.config()));
        let Err(error) = Model::open(&pair.coded()) else { panic!("{what}: was accepted") };
        let message = error.to_string();
        parts.iter().for_each(|part| assert!(message.contains(part), "{what}: {message} lacks {part}"));
    }
}

#[test]
fn sizes_that_do_not_fill_words_are_refused() {
    let pair = Pair::new("qwen2-tied", WAY);
    let checkpoint = Checkpoint::open(&pair.coded()).unwrap();
    let config = Config::read(&checkpoint).unwrap();
    let name = "model.layers.0.self_attn.q_proj.weight";
    let open = |rows, cols| checkpoint.matrix(name, config.quantization.as_ref(), rows, cols).err();
    for (rows, cols) in [(63, 64), (64, 63), (4, 64)] {
        let message = open(rows, cols).unwrap().to_string();
        assert!(message.contains("q_proj` [") && message.contains("multiple of 8"), "{message}");
    }
    assert!(open(64, 1 << 50).unwrap().to_string().contains("should be"));
    assert!(open(64, 64).is_none());
}
