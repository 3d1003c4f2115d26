//! Bounds on what foreign files may ask for. Each is checked before anything is allocated for it.

/// Bytes of a safetensors header. Qwen3-235B's largest shard has 0.3 MB; the reference allows 100 MB, which takes
/// minutes of parsing before it fails.
pub const MAX_SAFETENSORS_HEADER_BYTES: u64 = 16 << 20;

/// Tensors in a checkpoint, over all shards. Qwen3-235B-A22B has 36,945.
pub const MAX_TENSORS: usize = 65_536;

/// Key-value pairs in a GGUF file. Published files have 30 to 60.
pub const MAX_METADATA_ENTRIES: usize = 65_536;

/// Bytes of a tensor's name or a metadata key.
pub const MAX_NAME_BYTES: usize = 1_024;

/// Bytes of a string in GGUF metadata. The longest in use are chat templates, some 10 kB.
pub const MAX_STRING_BYTES: usize = 1 << 20;

/// Elements of an array in GGUF metadata. The longest in use are vocabularies and their merges, 152 thousand each.
pub const MAX_ARRAY_LEN: usize = 2_000_000;

/// Dimensions of a GGUF tensor, fixed by the format.
pub const MAX_GGUF_DIMS: usize = 4;

/// Dimensions of a safetensors tensor. Vision towers have convolutions with five.
pub const MAX_SAFETENSORS_DIMS: usize = 8;

/// Alignment of a GGUF file's tensors. All published files have 32.
pub const MAX_GGUF_ALIGNMENT: u64 = 1 << 20;

/// Shard files of a checkpoint. The largest published have some 200.
pub const MAX_SHARDS: usize = 1_024;

/// Bytes of `model.safetensors.index.json`.
pub const MAX_INDEX_BYTES: u64 = 16 << 20;

/// Bytes of a configuration file (`config.json`, `generation_config.json`, `modules.json`, ...).
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Missing tensors that a message names; it counts the rest.
pub const MAX_NAMES_IN_MESSAGE: usize = 16;

/// Layers of a model. Qwen3-235B has 94.
pub const MAX_LAYERS: usize = 1_024;

/// Experts of a layer. Qwen3-MoE has 128.
pub const MAX_EXPERTS: usize = 4_096;

/// Any other size in a configuration (hidden and intermediate sizes, heads, vocabulary, context), so that
/// products of two of them cannot overflow. Qwen3 with YaRN has a context of 2^20 in some releases.
pub const MAX_SIZE: usize = 1 << 26;

/// Bytes of `tokenizer_config.json`, which may hold templates and every added token.
pub const MAX_TOKENIZER_CONFIG_BYTES: u64 = 8 << 20;

/// Bytes of `chat_template.jinja`. The longest in use have some 20 kB.
pub const MAX_CHAT_TEMPLATE_BYTES: u64 = 1 << 20;

/// End tokens of a model. Published files have one to five.
pub const MAX_EOS_TOKENS: usize = 64;

/// Bytes of an adapter's weights. Rank 256 on all layers of a 32B model, in float32, takes 4 GB.
pub const MAX_ADAPTER_BYTES: u64 = 8 << 30;

/// Rank of an adapter. Those in use have 4 to 256.
pub const MAX_ADAPTER_RANK: usize = 4_096;
