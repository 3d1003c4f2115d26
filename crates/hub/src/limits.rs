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

/// Bytes of one answer that is not a file: a listing with [`MAX_FILES`] entries of usual length.
pub const MAX_REPLY_BYTES: usize = 64 << 20;

/// Bytes of an error's text that are read; hubs say what they have to say in less.
pub const MAX_ERROR_BYTES: usize = 64 << 10;

/// Characters of a hub's own words that a message quotes.
pub const MAX_QUOTED_CHARS: usize = 300;

/// Files at which Hugging Face's hub may cut a listing short.
pub const MAX_LISTED_FILES: usize = 50_000;

/// Redirects that one request follows. Hugging Face's hub sends one, and another where a repository was renamed.
pub const MAX_REDIRECTS: usize = 5;

/// How long connecting may take.
pub const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// How long a hub may be silent, and over what time it has to send [`MIN_WINDOW_BYTES`], before a request is given up.
pub const STALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Bytes that a hub has to send in [`STALL_TIMEOUT`]: some 0.5 kB/s, below which no model ever arrives.
pub const MIN_WINDOW_BYTES: u64 = 16 << 10;

/// Tries of a request that fails in a way that may pass.
pub const MAX_TRIES: u32 = 6;

/// Bytes after which a download that breaks off again counts as having got on, and all tries are before it again.
pub const TRY_BYTES: u64 = 1 << 20;

/// Before the second try; each later one waits twice as long.
pub const FIRST_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

/// The longest wait before another try, also where a hub asks for more.
pub const MAX_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// Downloads at once, unless the person says otherwise.
pub const CONNECTIONS: usize = 8;

/// Downloads at once, whatever the person says: more only divide the same line.
pub const MAX_CONNECTIONS: usize = 64;

/// Bytes that one request asks for. Large enough that the request costs little; what eight of them have under way when a
/// process dies is little to ask for again.
pub const PART_BYTES: u64 = 16 << 20;

/// Bytes of a part after which what has come is written: each time costs a change of threads.
pub const WRITE_BYTES: u64 = 1 << 20;

/// Bytes of a part after which what has come is recorded.
pub const RECORD_BYTES: u64 = 4 << 20;

/// Files of one request to a hub that names files: what Hugging Face's own client sends.
pub const FILES_PER_REQUEST: usize = 256;

/// Bytes of the small files that one commit carries, which are sent with it and not with LFS.
pub const MAX_COMMIT_BYTES: u64 = 64 << 20;

/// Parts of a file that is uploaded in parts: S3's bound.
pub const MAX_UPLOAD_PARTS: u64 = 10_000;

/// Values in the front matter of a model card. The largest, those of benchmarks with many languages, have some 30,000.
pub const MAX_FRONT_MATTER_NODES: usize = 100_000;

/// Lists and mappings in front matter, one inside the other. A `model-index` has seven.
pub const MAX_FRONT_MATTER_DEPTH: usize = 32;
