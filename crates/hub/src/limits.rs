//! Bounds on what comes from outside. Each is checked before anything is allocated or written for it.

/// Bytes of a repository's owner or name. Hugging Face's bound.
pub const MAX_NAME_BYTES: usize = 96;

/// Bytes of the name of a branch or tag. Git hosts allow some 250.
pub const MAX_REF_BYTES: usize = 200;

/// Bytes of a file's path inside a repository. Linux takes 4,096 for a whole path, of which the store's root is part.
pub const MAX_PATH_BYTES: usize = 1_024;

/// Bytes of one part of a path: what file systems take for a name.
pub const MAX_PATH_PART_BYTES: usize = 255;

/// Folders that a file may lie in, one inside the other.
pub const MAX_PATH_DEPTH: usize = 32;

/// Files of a commit. The largest models have some 200; datasets in shards have thousands, and Hugging Face advises
/// against more than 100,000.
pub const MAX_FILES: usize = 100_000;

/// Operations of one commit. Hugging Face's clients send 100 to 1,000 at a time, `upload_folder` all of a folder.
pub const MAX_OPERATIONS: usize = 100_000;

/// Bytes of one blob: the largest file that Hugging Face takes. GGUF files of 235B models have 250 GB.
pub const MAX_BLOB_BYTES: u64 = 500 << 30;

/// Bytes of a file that is kept as git keeps text, and whose git digest is computed: Hugging Face's bound, above which
/// a file has to be LFS.
pub const MAX_REGULAR_BYTES: u64 = 10 << 20;

/// Bytes of a commit's message, its description included.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Branches and tags of a repository. Published ones have a handful; training runs that tag every checkpoint have some
/// thousand.
pub const MAX_REFS: usize = 10_000;

/// Bytes of `repo.json`: [`MAX_REFS`] entries at their longest.
pub const MAX_REPO_JSON_BYTES: u64 = 8 << 20;

/// Bytes of a commit's file in the store: [`MAX_FILES`] entries of usual length.
pub const MAX_COMMIT_JSON_BYTES: u64 = 64 << 20;

/// Commits that one answer of a history holds.
pub const MAX_HISTORY: usize = 10_000;

/// Finished ranges of a download that is under way: a blob of the largest size in pieces of 8 MiB.
pub const MAX_RANGES: usize = 65_536;

/// Bytes of `settings.toml`.
pub const MAX_SETTINGS_BYTES: u64 = 1 << 20;

/// Aliases that lead to aliases before a name is refused, because it may lead to itself.
pub const MAX_ALIAS_STEPS: usize = 8;

/// Bytes of what a person writes for a model: a path, or a URL.
pub const MAX_SOURCE_BYTES: usize = 4_096;

/// Bytes of a `README.md` whose front matter is read. The longest model cards have some 100 kB.
pub const MAX_CARD_BYTES: u64 = 2 << 20;

/// Bytes of a JSON file that lineage is read from.
pub const MAX_RUN_CARD_BYTES: u64 = 4 << 20;

/// Ancestors that a family tree follows before it stops, because one may be its own.
pub const MAX_ANCESTORS: usize = 32;
