//! Low-rank adapters (LoRA, arXiv:2106.09685) as PEFT directories: `adapter_config.json` and `adapter_model.safetensors`.

use crate::checkpoint::mapped_file::read_json;
use crate::checkpoint::writer::{NewTensor, create_dir, read_values, write_file, write_safetensors};
use crate::checkpoint::{CheckpointError, FileError, NameList};
use crate::{CausalLm, limits};
use kernels::Pool;
use nn::ops::Lora;
use nn::{Vector, Weight};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The configuration's file in an adapter's directory.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The weights' file.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// What PEFT puts before the names of the base model's layers.
const PREFIX: &str = "base_model.model.";

/// An adapter: what it is made of, and its matrices by the linear layer that they stand beside.
pub struct Adapter {
    /// How it was made.
    pub config: AdapterConfig,
    /// By the layer's name (`model.layers.0.self_attn.q_proj`).
    pub layers: BTreeMap<String, Lora>,
}

/// The fields of `adapter_config.json` that count here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// `LORA`.
    pub peft_type: String,
    /// `CAUSAL_LM`.
    #[serde(default)]
    pub task_type: Option<String>,
    /// The model that it belongs to, as whoever made it named it.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// SHA-256 of that model's weight files, in hexadecimal digits; empty where nobody has written them down, as by PEFT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_model_sha256: Vec<String>,
    /// Rows of `lora_A`.
    pub r: usize,
    /// The scale is `lora_alpha / r`.
    pub lora_alpha: f64,
    /// The scale is `lora_alpha / sqrt(r)`.
    #[serde(default)]
    pub use_rslora: bool,
    /// Whether each output's length is learned apart from its direction (DoRA).
    #[serde(default)]
    pub use_dora: bool,
    /// Share of inputs that training leaves out.
    #[serde(default)]
    pub lora_dropout: f32,
    /// Suffixes of the layers' names. Where they are read the weights' names count.
    #[serde(default)]
    pub target_modules: Value,
    /// `none`: which biases of the base were trained as well.
    #[serde(default = "no_bias")]
    pub bias: String,
    /// Whatever else there is.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

fn no_bias() -> String {
    "none".to_owned()
}

/// Why an adapter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Broken weights.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// A directory without the configuration.
    #[error("{} has no {CONFIG_FILE}: it is no adapter as PEFT writes them", .0.display())]
    NoConfig(std::path::PathBuf),
    /// A kind of adapter that is not computed with.
    #[error("the adapter has {field} = {found}, which is not supported; supported is {known}")]
    Unsupported {
        /// The field of the configuration.
        field: String,
        /// Its value.
        found: String,
        /// What it has to be.
        known: &'static str,
    },
    /// A tensor whose name says nothing.
    #[error(
        "tensor `{0}` of the adapter is neither a lora_A, a lora_B nor a lora_magnitude_vector of a linear layer"
    )]
    UnknownTensor(String),
    /// One matrix of a pair.
    #[error(
        "the adapter has only one of lora_A and lora_B for `{0}`; write it again with PEFT's save_pretrained"
    )]
    Half(String),
    /// Lengths that are not there, or not as many as the layer has outputs.
    #[error(
        "the adapter has use_dora, but for `{layer}` a lora_magnitude_vector of {found:?} values and {outputs} outputs; write it \
         again with PEFT's save_pretrained"
    )]
    Magnitude {
        /// The layer.
        layer: String,
        /// Values that are there; `None` when there is no such tensor.
        found: Option<usize>,
        /// Rows of `lora_B`.
        outputs: usize,
    },
    /// Matrices that do not go together, or not with the configuration.
    #[error(
        "`{layer}`: lora_A is {a:?} and lora_B {b:?}, but r is {rank}: they must be [r, in] and [out, r]"
    )]
    Rank {
        /// The layer.
        layer: String,
        /// Shape of `lora_A`.
        a: Vec<usize>,
        /// Shape of `lora_B`.
        b: Vec<usize>,
        /// By the configuration.
        rank: usize,
    },
    /// An adapter of nothing.
    #[error("{} holds no matrices: the adapter's target_modules matched no layer when it was made", .0.display())]
    Empty(std::path::PathBuf),
    /// An adapter whose configuration names other files than the model's.
    #[error(
        "the adapter was made for {base}, whose weights are others than this model's; use it beside that model, or delete \
         base_model_sha256 from its {CONFIG_FILE} if you know that they go together"
    )]
    OtherBase {
        /// The model that it names.
        base: String,
    },
    /// Layers that the model does not have.
    #[error(
        "the adapter is for layers that the model does not have: {unknown}; it belongs to another model. This one has \
         model.layers.0 to {last} with {names}"
    )]
    NoLayer {
        /// The layers that it names.
        unknown: NameList,
        /// The number of the model's last layer.
        last: usize,
        /// The linear layers within a layer of the model.
        names: NameList,
    },
    /// A value that would spoil every answer.
    #[error(
        "`{0}` of the adapter has values that are no numbers; its training went wrong, so take an earlier checkpoint"
    )]
    NotFinite(String),
    /// A GGUF file of Llama, whose queries and keys stand in an order of their own.
    #[error(
        "this model's file holds queries and keys in another order than PEFT's adapters are for; serve the model's \
         safetensors instead of the GGUF file"
    )]
    Permuted,
    /// An adapter that changes more than it adds, which rows of one batch can't share a base with.
    #[error(
        "this adapter has use_dora, which changes all of the base's weights, so it can't be served beside it; merge it \
         (method.merge = true in its recipe, or PEFT's merge_and_unload) and serve the result"
    )]
    Dora,
    /// A layer of another size.
    #[error(
        "`{layer}` of the model is [{rows}, {cols}], but the adapter is for [{adapter_rows}, {adapter_cols}]: it belongs to \
         another model"
    )]
    Shape {
        /// The layer.
        layer: String,
        /// Outputs of the model's layer.
        rows: usize,
        /// Its inputs.
        cols: usize,
        /// Outputs of the adapter's.
        adapter_rows: usize,
        /// Its inputs.
        adapter_cols: usize,
    },
}

impl AdapterConfig {
    /// The configuration of a new adapter.
    pub fn new(
        r: usize,
        lora_alpha: f64,
        use_rslora: bool,
        lora_dropout: f32,
        targets: &[String],
    ) -> AdapterConfig {
        AdapterConfig {
            peft_type: "LORA".to_owned(),
            task_type: Some("CAUSAL_LM".to_owned()),
            base_model_name_or_path: None,
            base_model_sha256: Vec::new(),
            r,
            lora_alpha,
            use_rslora,
            use_dora: false,
            lora_dropout,
            target_modules: targets.into(),
            bias: no_bias(),
            other: BTreeMap::new(),
        }
    }

    /// Factor of what the adapter adds.
    pub fn scale(&self) -> f32 {
        let rank = self.r as f64;
        (self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }) as f32
    }

    /// Refuses what would change the result and is not computed.
    fn validate(&self) -> Result<(), AdapterError> {
        let unsupported = |field: &str, found: String, known| {
            Err(AdapterError::Unsupported { field: field.to_owned(), found, known })
        };
        if self.peft_type != "LORA" {
            return unsupported("peft_type", self.peft_type.clone(), "LORA");
        }
        if !(1..=limits::MAX_ADAPTER_RANK).contains(&self.r) {
            return unsupported("r", self.r.to_string(), "1 to 4096");
        }
        if self.bias != "none" {
            return unsupported("bias", self.bias.clone(), "none");
        }
        for (field, value) in &self.other {
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(values) => values.is_empty(),
                Value::Object(values) => values.is_empty(),
                _ => false,
            };
            if !off && CHANGES_RESULT.contains(&field.as_str()) {
                return unsupported(field, value.to_string(), "leaving it out");
            }
        }
        Ok(())
    }
}

/// Fields of PEFT's LoRA that change what is computed and are not known here.
const CHANGES_RESULT: [&str; 13] = [
    "lora_bias",
    "modules_to_save",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
];

impl Adapter {
    /// Reads a PEFT directory.
    ///
    /// # Errors
    /// When a file is missing or broken, or the adapter is of a kind that isn't computed.
    pub fn read(dir: &Path) -> Result<Adapter, AdapterError> {
        Adapter::read_limited(dir, limits::MAX_ADAPTER_BYTES)
    }

    /// [`Self::read`] of at most `bytes` bytes of weights.
    ///
    /// # Errors
    /// As for [`Self::read`], and when there are more.
    pub fn read_limited(dir: &Path, bytes: u64) -> Result<Adapter, AdapterError> {
        let config: AdapterConfig =
            read_json(&dir.join(CONFIG_FILE))?.ok_or_else(|| AdapterError::NoConfig(dir.to_owned()))?;
        config.validate()?;
        let file = dir.join(WEIGHTS_FILE);
        let values = read_values(&file, bytes.min(limits::MAX_ADAPTER_BYTES))?;
        if values.is_empty() {
            return Err(AdapterError::Empty(file));
        }
        let mut pairs = BTreeMap::<String, [Option<(Vec<usize>, Vec<f32>)>; 3]>::new();
        for (name, tensor) in values {
            // lengths are a plain vector, without the suffix that a layer's weight has
            let stem = name.strip_prefix(PREFIX).map(|name| name.strip_suffix(".weight").unwrap_or(name));
            let (layer, which) = match stem.and_then(|stem| stem.rsplit_once('.')) {
                Some((layer, "lora_A")) => (layer, 0),
                Some((layer, "lora_B")) => (layer, 1),
                Some((layer, "lora_magnitude_vector")) if config.use_dora => (layer, 2),
                _ => return Err(AdapterError::UnknownTensor(name)),
            };
            pairs.entry(layer.to_owned()).or_default()[which] = Some(tensor);
        }
        let layers = pairs.into_iter().map(|(layer, pair)| {
            let [Some(a), Some(b), lengths] = pair else { return Err(AdapterError::Half(layer)) };
            let lora = config.pair(&layer, a, b, lengths.map(|(_, values)| values))?;
            Ok((layer, lora))
        });
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Adapter { config, layers })
    }

    /// An adapter of rank `rank` beside all linear layers of `lm`, with values drawn from `seed` that change what it says:
    /// for measurements and tests.
    pub fn random(lm: &CausalLm, rank: usize, seed: u64) -> Adapter {
        let mut state = seed;
        // SplitMix64 (Steele, Lea, Flood 2014), in -1..1
        let mut random = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let config = AdapterConfig::new(rank, rank as f64, false, 0.0, &[]);
        let mut matrix = |rows: usize, cols: usize| {
            let size = (cols as f32).powf(-0.5);
            let values: Vec<f32> = (0..rows * cols).map(|_| random() * size).collect();
            Weight::from_f32(values, rows, cols)
        };
        let layers = lm.linears().into_iter().map(|(name, linear)| {
            let (a, b) = (matrix(rank, linear.weight.cols()), matrix(linear.weight.rows(), rank));
            (name, Lora { a, b, scale: config.scale(), dropout: 0.0, magnitude: None })
        });
        Adapter { layers: layers.collect(), config }
    }

    /// Writes a PEFT directory, creating it if need be; weights in float32. Each file is complete or as it was.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub fn write(&self, dir: &Path) -> Result<(), AdapterError> {
        create_dir(dir)?;
        let mut values: Vec<(String, Vec<usize>, Vec<f32>)> = self
            .layers
            .iter()
            .flat_map(|(layer, lora)| [(layer, "lora_A", &lora.a), (layer, "lora_B", &lora.b)])
            .map(|(layer, which, weight)| {
                let name = format!("{PREFIX}{layer}.{which}.weight");
                (name, vec![weight.rows(), weight.cols()], weight.to_f32())
            })
            .collect();
        for (layer, lora) in &self.layers {
            let lengths = lora.magnitude.iter();
            values.extend(lengths.map(|lengths| {
                (format!("{PREFIX}{layer}.lora_magnitude_vector"), vec![lengths.len()], lengths.to_vec())
            }));
        }
        let tensors =
            values.iter().map(|(name, shape, values)| NewTensor::f32(name, shape.clone(), values)).collect();
        write_file(&dir.join(WEIGHTS_FILE), |out| write_safetensors(out, tensors))?;
        write_file(&dir.join(CONFIG_FILE), |out| Ok(serde_json::to_writer_pretty(out, &self.config)?))?;
        Ok(())
    }

    /// Puts the adapter beside the layers of `lm`, in the place of any other.
    ///
    /// # Errors
    /// When the model lacks a layer or has it in another size; the model is then as it was.
    pub fn attach(&self, lm: &mut CausalLm) -> Result<(), AdapterError> {
        self.check(lm)?;
        for (name, linear) in lm.linears_mut() {
            linear.adapter = self.layers.get(&name).cloned();
        }
        Ok(())
    }

    /// The adapter that stands beside the layers of `lm`.
    pub fn of(lm: &mut CausalLm, config: AdapterConfig) -> Adapter {
        let layers = lm.linears_mut().into_iter();
        let layers = layers.filter_map(|(name, linear)| Some((name, linear.adapter.clone()?)));
        Adapter { config, layers: layers.collect() }
    }

    /// Adds what the adapter adds to the weights of `lm` themselves, which become float32: `W + scale · B · A`, whose rows get
    /// the lengths that the adapter has for them, if any.
    ///
    /// # Errors
    /// As for [`Self::attach`].
    pub fn merge(&self, lm: &mut CausalLm, pool: &Pool) -> Result<(), AdapterError> {
        self.check(lm)?;
        for (name, linear) in lm.linears_mut() {
            linear.adapter = None;
            let Some(lora) = self.layers.get(&name) else { continue };
            let (rows, cols) = (linear.weight.rows(), linear.weight.cols());
            let values = lora.merged(pool, &linear.weight);
            linear.weight = Weight::from_f32(values, rows, cols);
        }
        Ok(())
    }

    /// Checks that the model with these files, by their SHA-256, is the one that the adapter was made for, where its
    /// configuration tells that model's.
    ///
    /// # Errors
    /// When they are others.
    pub fn check_base(&self, sha256: impl FnOnce() -> Vec<String>) -> Result<(), AdapterError> {
        let AdapterConfig { base_model_name_or_path, base_model_sha256, .. } = &self.config;
        if base_model_sha256.is_empty() || *base_model_sha256 == sha256() {
            return Ok(());
        }
        let base = base_model_name_or_path.as_ref();
        let base = base.map_or("another model".to_owned(), |name| format!("`{name}`"));
        Err(AdapterError::OtherBase { base })
    }

    /// Checks that the adapter fits `lm`.
    ///
    /// # Errors
    /// When it does not, with what would.
    pub(crate) fn check(&self, lm: &CausalLm) -> Result<(), AdapterError> {
        let linears = lm.linears();
        let sizes: BTreeMap<&str, (usize, usize)> =
            linears.iter().map(|(name, l)| (name.as_str(), (l.weight.rows(), l.weight.cols()))).collect();
        let mut unknown = NameList::default();
        for (layer, lora) in &self.layers {
            let (adapter_rows, adapter_cols) = (lora.b.rows(), lora.a.cols());
            match sizes.get(layer.as_str()) {
                None => unknown.push(layer),
                Some(&(rows, cols)) if (rows, cols) != (adapter_rows, adapter_cols) => {
                    let layer = layer.clone();
                    return Err(AdapterError::Shape { layer, rows, cols, adapter_rows, adapter_cols });
                }
                Some(_) => {}
            }
            let bad = |values: &[f32]| values.iter().any(|v| !v.is_finite());
            if [&lora.a, &lora.b].iter().any(|m| bad(&m.to_f32())) || lora.magnitude.iter().any(|m| bad(m)) {
                return Err(AdapterError::NotFinite(layer.clone()));
            }
        }
        if unknown.count() == 0 {
            return Ok(());
        }
        let mut names = NameList::default();
        let first = linears.iter().filter_map(|(name, _)| name.strip_prefix("model.layers.0."));
        first.for_each(|name| names.push(name));
        Err(AdapterError::NoLayer { unknown, last: lm.config().layers.saturating_sub(1), names })
    }
}

impl AdapterConfig {
    /// The matrices of one layer, if they fit together.
    fn pair(
        &self,
        layer: &str,
        (a_shape, a): (Vec<usize>, Vec<f32>),
        (b_shape, b): (Vec<usize>, Vec<f32>),
        lengths: Option<Vec<f32>>,
    ) -> Result<Lora, AdapterError> {
        let found = lengths.as_ref().map(Vec::len);
        if let (true, Some(&outputs)) = (self.use_dora && found != b_shape.first().copied(), b_shape.first())
        {
            return Err(AdapterError::Magnitude { layer: layer.to_owned(), found, outputs });
        }
        match (&a_shape[..], &b_shape[..]) {
            (&[rank, inputs], &[outputs, of_b]) if rank == self.r && of_b == self.r => Ok(Lora {
                a: Weight::from_f32(a, rank, inputs),
                b: Weight::from_f32(b, outputs, rank),
                scale: self.scale(),
                dropout: self.lora_dropout,
                magnitude: lengths.map(Vector::new),
            }),
            _ => Err(AdapterError::Rank { layer: layer.to_owned(), a: a_shape, b: b_shape, rank: self.r }),
        }
    }
}
