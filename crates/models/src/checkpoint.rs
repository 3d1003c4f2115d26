//! Model files: tensors by name, mapped into memory.
//!
//! A [`Checkpoint`] knows its tensors by the names of Hugging Face's full causal models
//! (`model.layers.0.self_attn.q_proj.weight`), whatever the file calls them, so that a model is written once.

pub mod gguf;
pub mod gguf_writer;
mod group_quantized;
mod index;
pub mod mapped_file;
pub mod metadata;
pub(crate) mod names;
pub mod quantize;
pub mod safetensors;
pub mod writer;

pub use gguf::GgufError;
pub use mapped_file::FileError;
pub use metadata::{GgufMetadata, MetadataError};
pub use safetensors::SafetensorsError;

use crate::limits;
use mapped_file::MappedFile;
use nn::{Bytes, DType, Weight, WeightError};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// The element type as the file names it.
    pub type_name: &'static str,
    /// The storage type, when it is one that is computed with.
    pub dtype: Option<DType>,
    /// Outermost dimension first; empty for a scalar. No dimension is zero.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

impl StoredTensor {
    /// Number of values. The parsers have checked that it does not overflow.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no values; the parsers let none through.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The matrices of a stack `[matrices, rows, cols]`; `None` when it has other dimensions.
    fn unstack(&self) -> Option<impl Iterator<Item = StoredTensor>> {
        let [matrices, rows, cols] = *self.shape else { return None };
        let bytes = self.range.len() / matrices;
        Some((0..matrices).map(move |i| {
            let start = self.range.start + i * bytes;
            StoredTensor { shape: vec![rows, cols], range: start..start + bytes, ..*self }
        }))
    }
}

/// Finds two tensors that share bytes, and names them.
fn check_overlap(tensors: &[(String, StoredTensor)]) -> Result<(), (String, String)> {
    let mut order: Vec<&(String, StoredTensor)> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| (tensor.range.start, tensor.range.end));
    for pair in order.windows(2) {
        if pair[1].1.range.start < pair[0].1.range.end {
            return Err((pair[0].0.clone(), pair[1].0.clone()));
        }
    }
    Ok(())
}

/// Why a checkpoint cannot be opened, or a tensor of it not used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A broken safetensors file.
    #[error("{}: {source}", .path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SafetensorsError,
    },
    /// A broken GGUF file.
    #[error("{}: {source}", .path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GgufError,
    },
    /// A broken shard index.
    #[error("{}: the index is broken: {reason}", .path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory without weights that can be read.
    #[error(
        "{} holds no weights: expected `model.safetensors`, `model.safetensors.index.json` with its shards, \
         or the path of a GGUF file", .0.display()
    )]
    NoWeights(PathBuf),
    /// A directory with a GGUF file in it.
    #[error("{} is a directory with a GGUF file; give the file's path: {}", .0.display(), .1.display())]
    GgufInside(PathBuf, PathBuf),
    /// A safetensors file where its directory is wanted.
    #[error("{} is one file of a model; give the path of its directory, which holds `config.json` as well", .0.display())]
    ShardAlone(PathBuf),
    /// Python pickles run code when they are read.
    #[error(
        "{} is a PyTorch pickle, which can run code and is never loaded; convert it to safetensors first, \
         for example with transformers' `save_pretrained(..., safe_serialization=True)`", .0.display()
    )]
    Pickle(PathBuf),
    /// A tensor that two files (or two names) give.
    #[error("tensor `{name}` is there twice, the second time in {}", .path.display())]
    Duplicate {
        /// The tensor.
        name: String,
        /// The file with the second one.
        path: PathBuf,
    },
    /// More tensors than the bound, over all shards.
    #[error("there are more tensors than the limit of {}", limits::MAX_TENSORS)]
    TooManyTensors,
    /// Tensors that the model needs and the checkpoint lacks.
    #[error("the checkpoint lacks {0}")]
    Missing(NameList),
    /// A tensor of another shape than the configuration says.
    #[error("tensor `{name}` should be {expected:?} by the configuration, but is {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// By the configuration.
        expected: Vec<usize>,
        /// By the file.
        found: Vec<usize>,
    },
    /// A tensor of a type that is not computed with.
    #[error(
        "tensor `{name}` is stored as {found}, which is not supported; supported are {}",
        DType::ALL.map(DType::name).join(", ")
    )]
    Type {
        /// The tensor.
        name: String,
        /// As the file names it.
        found: &'static str,
    },
    /// A matrix whose codes do not fill words.
    #[error(
        "`{name}` [{rows}, {cols}] cannot be stored as {layout}, whose words hold 8 codes: {in_words} must be a \
         multiple of 8"
    )]
    WordSize {
        /// The matrix.
        name: String,
        /// The layout's name.
        layout: &'static str,
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
        /// Which of the sizes.
        in_words: &'static str,
    },
    /// A matrix stored as codes of which a tensor is missing.
    #[error("a matrix is stored as codes, but the checkpoint lacks {0}")]
    Incomplete(NameList),
    /// A tensor that belongs to codes, of another type than its place says.
    #[error("tensor `{name}` is stored as {found}, but must be {}", .expected.join(" or "))]
    PartType {
        /// The tensor.
        name: String,
        /// Types that it may have.
        expected: &'static [&'static str],
        /// As the file names it.
        found: &'static str,
    },
    /// An input in a group that is not there.
    #[error("tensor `{name}.g_idx` puts input {input} into group {found}, but there are {groups} groups")]
    GroupIndex {
        /// The matrix.
        name: String,
        /// The input.
        input: usize,
        /// Its group by the file.
        found: i32,
        /// Groups of the matrix.
        groups: usize,
    },
    /// A tensor whose bytes are not a weight.
    #[error("tensor `{name}`: {source}")]
    Weight {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        source: WeightError,
    },
}

/// Names for a message: the first few, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameList {
    first: Vec<String>,
    count: usize,
}

impl NameList {
    /// Adds a name; beyond [`limits::MAX_NAMES_IN_MESSAGE`] it is only counted.
    pub fn push(&mut self, name: &str) {
        if self.first.len() < limits::MAX_NAMES_IN_MESSAGE {
            self.first.push(name.to_owned());
        }
        self.count += 1;
    }

    /// How many names there are in all.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first of them.
    pub fn first(&self) -> &[String] {
        &self.first
    }
}

impl fmt::Display for NameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} tensor{plural}: `{}`", self.count, self.first.join("`, `"))?;
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// An open checkpoint: a Hugging Face directory or a GGUF file. Its files stay mapped as long as it or a weight
/// of it lives; they must not be changed or cut in that time.
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Located>,
    metadata: Option<GgufMetadata>,
}

/// A tensor and the file that it is in.
struct Located {
    file: usize,
    tensor: StoredTensor,
}

/// How much of a checkpoint has one element type.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TypeCount {
    /// The element type as the file names it.
    pub type_name: &'static str,
    /// Tensors.
    pub tensors: usize,
    /// Values; those of a quantized matrix count with its codes.
    pub parameters: u64,
    /// Bytes as stored.
    pub bytes: u64,
}

impl Checkpoint {
    /// Opens the Hugging Face directory or the GGUF file at `path`. Reads the directories of its files, not their
    /// tensors.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        if path.is_dir() { Checkpoint::open_directory(path) } else { Checkpoint::open_gguf(path) }
    }

    fn empty(path: &Path) -> Checkpoint {
        Checkpoint { path: path.to_owned(), files: Vec::new(), tensors: BTreeMap::new(), metadata: None }
    }

    fn open_directory(dir: &Path) -> Result<Checkpoint, CheckpointError> {
        let mut checkpoint = Checkpoint::empty(dir);
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        if single.exists() {
            checkpoint.add_safetensors(&single)?;
        } else if index.exists() {
            let weight_map = index::read(&index)?;
            let mut shards = BTreeMap::<&str, usize>::new();
            for shard in weight_map.values() {
                if !shards.contains_key(shard.as_str()) {
                    shards.insert(shard, checkpoint.files.len());
                    checkpoint.add_safetensors(&dir.join(shard))?;
                }
            }
            for (name, shard) in &weight_map {
                if checkpoint.tensors.get(name).map(|t| t.file) != shards.get(shard.as_str()).copied() {
                    let reason = format!("it places tensor `{name}` in `{shard}`, which does not hold it");
                    return Err(CheckpointError::Index { path: index, reason });
                }
            }
        } else {
            return Err(no_weights(dir));
        }
        names::complete(&mut checkpoint.tensors);
        Ok(checkpoint)
    }

    fn add_safetensors(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let file = MappedFile::open(path)?;
        let tensors = safetensors::parse(file.bytes())
            .map_err(|source| CheckpointError::Safetensors { path: path.to_owned(), source })?;
        let at = self.files.len();
        self.files.push(file);
        tensors.into_iter().try_for_each(|(name, tensor)| self.add(name, at, tensor))
    }

    fn open_gguf(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let file = MappedFile::open(path)?;
        if path.extension().is_some_and(|e| e == "safetensors") {
            return Err(CheckpointError::ShardAlone(path.to_owned()));
        }
        if is_pickle(file.bytes()) {
            return Err(CheckpointError::Pickle(path.to_owned()));
        }
        let parsed = gguf::parse(&file.shared())
            .map_err(|source| CheckpointError::Gguf { path: path.to_owned(), source })?;
        let mut checkpoint = Checkpoint::empty(path);
        checkpoint.files.push(file);
        for (name, tensor) in parsed.tensors {
            if let Some(mut experts) = names::experts_from_gguf(&name, &tensor) {
                experts.try_for_each(|(name, tensor)| checkpoint.add(name, 0, tensor))?;
            } else {
                checkpoint.add(names::from_gguf(&name).unwrap_or(name), 0, tensor)?;
            }
        }
        checkpoint.metadata = Some(parsed.metadata);
        Ok(checkpoint)
    }

    fn add(&mut self, name: String, file: usize, tensor: StoredTensor) -> Result<(), CheckpointError> {
        if self.tensors.len() == limits::MAX_TENSORS {
            return Err(CheckpointError::TooManyTensors);
        }
        if self.tensors.contains_key(&name) {
            return Err(CheckpointError::Duplicate { name, path: self.files[file].path().to_owned() });
        }
        self.tensors.insert(name, Located { file, tensor });
        Ok(())
    }

    /// The directory or file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key-value pairs of a GGUF file; `None` for a Hugging Face directory.
    pub fn gguf(&self) -> Option<&GgufMetadata> {
        self.metadata.as_ref()
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// All tensors by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, located)| (name.as_str(), &located.tensor))
    }

    /// The matrix `name` `[rows, cols]`, pointing into its file.
    pub fn weight(&self, name: &str, rows: usize, cols: usize) -> Result<Weight, CheckpointError> {
        self.checked(name, &[rows, cols], rows, cols)
    }

    /// The vector `name` `[len]`, decoded to float32.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, CheckpointError> {
        Ok(self.checked(name, &[len], 1, len)?.to_f32())
    }

    fn checked(
        &self,
        name: &str,
        shape: &[usize],
        rows: usize,
        cols: usize,
    ) -> Result<Weight, CheckpointError> {
        let Some(Located { file, tensor }) = self.tensors.get(name) else {
            let mut missing = NameList::default();
            missing.push(name);
            return Err(CheckpointError::Missing(missing));
        };
        let name = || name.to_owned();
        if tensor.shape != shape {
            let (expected, found) = (shape.to_vec(), tensor.shape.clone());
            return Err(CheckpointError::Shape { name: name(), expected, found });
        }
        let Some(dtype) = tensor.dtype else {
            return Err(CheckpointError::Type { name: name(), found: tensor.type_name });
        };
        let bytes: Bytes = self.files[*file].shared();
        Weight::new(bytes, tensor.range.clone(), dtype, rows, cols)
            .map_err(|source| CheckpointError::Weight { name: name(), source })
    }

    /// How much there is of each element type, the largest first.
    pub fn types(&self) -> Vec<TypeCount> {
        let mut types: Vec<TypeCount> = Vec::new();
        for (name, tensor) in self.tensors() {
            let at = types.iter().position(|t| t.type_name == tensor.type_name).unwrap_or_else(|| {
                let type_name = tensor.type_name;
                types.push(TypeCount { type_name, tensors: 0, parameters: 0, bytes: 0 });
                types.len() - 1
            });
            types[at].tensors += 1;
            types[at].parameters += group_quantized::parameters(&self.tensors, name, tensor);
            types[at].bytes += tensor.range.len() as u64;
        }
        types.sort_by_key(|t| std::cmp::Reverse(t.bytes));
        types
    }

    /// The storage type of most of the bytes that can be computed with.
    pub fn main_dtype(&self) -> Option<DType> {
        let main = self.types().into_iter().map(|t| t.type_name);
        main.filter_map(|name| DType::ALL.into_iter().find(|dtype| dtype.name() == name)).next()
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> Vec<&Path> {
        self.files.iter().map(MappedFile::path).collect()
    }

    /// SHA-256 of each file in hexadecimal digits, as `sha256sum` prints it. It reads all of them.
    pub fn sha256(&self) -> Vec<String> {
        let hash =
            |file: &MappedFile| Sha256::digest(file.bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let all = self.files.iter().map(hash).collect();
        self.forget_pages();
        all
    }

    /// Gives back the memory of the pages that were read; they are read again when they are needed.
    pub fn forget_pages(&self) {
        self.files.iter().for_each(MappedFile::forget_pages);
    }

    /// Reads all files into memory, so that the first request does not wait for the disk. `progress` hears of
    /// the bytes that are in memory and of those in all, some hundred times.
    pub fn warm_up(&self, mut progress: impl FnMut(u64, u64)) {
        let total = self.files.iter().map(|f| f.bytes().len() as u64).sum();
        let mut done = 0;
        for file in &self.files {
            file.warm_up(|bytes| {
                done += bytes;
                progress(done, total);
            });
        }
    }
}

/// Says why a directory has no weights, by what lies in it instead.
fn no_weights(dir: &Path) -> CheckpointError {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries {
        match path.extension().and_then(|e| e.to_str()) {
            Some("gguf") => return CheckpointError::GgufInside(dir.to_owned(), path),
            Some("bin" | "pt" | "pth" | "ckpt" | "pkl") if is_pickle_file(&path) => {
                return CheckpointError::Pickle(path);
            }
            _ => {}
        }
    }
    CheckpointError::NoWeights(dir.to_owned())
}

fn is_pickle_file(path: &Path) -> bool {
    MappedFile::open(path).is_ok_and(|file| is_pickle(file.bytes()))
}

/// Whether `bytes` begin as PyTorch's files do: a zip archive, or a pickle of protocol 2 and later.
fn is_pickle(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..])
}
