//! The packed copy on disk.
//!
//! The matrices come first, then a record of what they are, then the record's length, its digest and a magic number.
//! The copy is trusted when it is whole and was made of the same content. As git does with its index, content is taken for unchanged while size, times and inode of the files are: changing a file, even
//! in place, changes its ctime, which nobody can set. If they differ (a copied directory), the files are hashed and
//! compared with the hash that the copy keeps. Whatever does not fit is made anew.

use super::Quantization;
use crate::checkpoint::FileError;
use kernels::packed::PackedType;
use memmap2::{Mmap, MmapMut};
use nn::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Last bytes of the file; the digit changes with the layout.
const MAGIC: &[u8; 8] = b"WENPACK2";
/// The record's length and digest, and the magic number.
const FOOTER_BYTES: usize = 8 + 32 + 8;
/// Bytes of a record: some 100 for each matrix.
const MAX_RECORD_BYTES: usize = 64 << 20;
/// A file that changed less than this before it was looked at may change again within its clock's tick.
const SETTLED: Duration = Duration::from_secs(2);
/// Bytes hashed at a time.
const HASH_CHUNK_BYTES: usize = 1 << 20;

/// What the matrices of a packed copy are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Header {
    /// In the model's order.
    pub matrices: Vec<Entry>,
}

/// One matrix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    rows: usize,
    cols: usize,
    /// The name of the packed type; absent when the matrix stays as the checkpoint has it.
    packed: Option<String>,
    /// Where its bytes begin.
    start: usize,
    bytes: usize,
}

impl Header {
    pub fn push(&mut self, rows: usize, cols: usize, packed: Option<(PackedType, usize)>, start: usize) {
        let (name, bytes) = packed.map_or((None, 0), |(p, bytes)| (Some(p.name().to_owned()), bytes));
        self.matrices.push(Entry { rows, cols, packed: name, start, bytes });
    }

    fn data_bytes(&self) -> usize {
        // what is no range lies nowhere, and fits nowhere
        self.matrices.iter().map(|m| m.start.saturating_add(m.bytes)).max().unwrap_or(0)
    }

    /// Whether the matrices have these shapes and lie within `data` bytes.
    fn fits(&self, shapes: &[(usize, usize)], data: usize) -> bool {
        let entry_fits = |(entry, shape): (&Entry, &(usize, usize))| {
            let known = match (&entry.packed, entry.packed_type()) {
                (None, _) => entry.bytes == 0,
                (Some(_), Some(packed)) => packed.matrix_bytes(entry.rows, entry.cols) == Some(entry.bytes),
                (Some(_), None) => false,
            };
            let end = entry.start.checked_add(entry.bytes);
            known && (entry.rows, entry.cols) == *shape && end.is_some_and(|end| end <= data)
        };
        self.matrices.len() == shapes.len() && self.matrices.iter().zip(shapes).all(entry_fits)
    }
}

impl Entry {
    pub fn packed_type(&self) -> Option<PackedType> {
        let name = self.packed.as_deref()?;
        PackedType::ALL.into_iter().find(|p| p.name() == name)
    }

    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.bytes
    }
}

/// What is written behind the matrices.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    quantization: Quantization,
    /// SHA-256 of the checkpoint's files.
    content: String,
    /// How the files looked; absent when they were too young to tell.
    identity: Option<Vec<Identity>>,
    header: Header,
}

/// How a file looks from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    bytes: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Where the copy may lie: beside the model, or in the user's cache.
fn places(model: &Path, quantization: Quantization) -> Vec<PathBuf> {
    let kind = match quantization {
        Quantization::Stored => "stored",
        Quantization::None => "none",
        Quantization::Int8 => "int8",
        Quantization::Int4 => "int4",
    };
    let absolute = std::fs::canonicalize(model).unwrap_or_else(|_| model.to_owned());
    let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = if absolute.is_dir() {
        absolute.join(".wen").join(format!("{kind}.packed"))
    } else {
        let parent = absolute.parent().unwrap_or(Path::new("/"));
        parent.join(".wen").join(format!("{name}.{kind}.packed"))
    };
    let mut places = vec![beside];
    if let Some(cache) = cache_dir() {
        let path = hex(&Sha256::digest(absolute.as_os_str().as_encoded_bytes()));
        places.push(cache.join("packed").join(format!("{}.{kind}.packed", &path[..32])));
    }
    places
}

/// Wen's directory for what can be made again (XDG Base Directory Specification), if the user has one.
pub fn cache_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("wen"))
}

/// The copy for `model`, if there is one that can be trusted. `files` are the checkpoint's, `shapes` the matrices'.
///
/// # Errors
/// When a file of the checkpoint cannot be read.
pub(super) fn open(
    model: &Path,
    files: &[&Path],
    quantization: Quantization,
    shapes: &[(usize, usize)],
) -> Result<Option<(Bytes, Header)>, FileError> {
    for path in places(model, quantization) {
        let Some((record, map)) = read(&path) else { continue };
        if record.quantization != quantization || !record.header.fits(shapes, record.header.data_bytes()) {
            tracing::info!("{} is of another model or version; it is made anew", path.display());
            continue;
        }
        let now = identity(files);
        if now.is_none() || record.identity != now {
            if content_hash(files)? != record.content {
                tracing::info!("{} is stale; it is made anew", path.display());
                continue;
            }
            // proven by content: the next start need not hash again
            let proven = Record { identity: now, ..record.clone() };
            let file = OpenOptions::new().write(true).open(&path);
            let _ = file.and_then(|mut file| append(&mut file, &proven));
        }
        return Ok(Some((Arc::new(map), record.header)));
    }
    Ok(None)
}

/// A file that looks like a whole copy.
fn read(path: &Path) -> Option<(Record, Mmap)> {
    let file = File::open(path).ok().filter(|f| f.metadata().is_ok_and(|m| m.is_file()))?;
    // SAFETY: the mapping is only read, as numbers that are valid whatever they are. Somebody who cuts the file while it
    // is mapped ends the process with a bus error, as with the checkpoint's own files.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) }.ok()?;
    let (rest, footer) = map.split_at_checked(map.len().checked_sub(FOOTER_BYTES)?)?;
    let len = usize::try_from(u64::from_le_bytes(*footer.first_chunk()?)).ok()?;
    if footer[40..] != *MAGIC || len > MAX_RECORD_BYTES {
        return None;
    }
    let (data, json) = rest.split_at_checked(rest.len().checked_sub(len)?)?;
    if Sha256::digest(json)[..] != footer[8..40] {
        return None;
    }
    let record: Record = serde_json::from_slice(json).ok()?;
    (record.header.data_bytes() == data.len()).then_some((record, map))
}

/// Writes `record` behind the matrices, in place of one that may be there.
fn append(file: &mut File, record: &Record) -> io::Result<()> {
    let json = serde_json::to_vec(record)?;
    let at = record.header.data_bytes() as u64;
    file.set_len(at)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&json)?;
    file.write_all(&(json.len() as u64).to_le_bytes())?;
    file.write_all(&Sha256::digest(&json))?;
    file.write_all(MAGIC)
}

/// How `files` look, unless one of them is too young to tell.
fn identity(files: &[&Path]) -> Option<Vec<Identity>> {
    let settled = SystemTime::now().checked_sub(SETTLED)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let look = |path: &&Path| {
        let m = std::fs::metadata(path).ok()?;
        let found = Identity {
            bytes: m.len(),
            inode: m.ino(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        };
        (u64::try_from(m.ctime()).ok()? < settled.as_secs()).then_some(found)
    };
    files.iter().map(look).collect()
}

/// SHA-256 of the files' sizes and bytes, in order. It reads them without mapping, so that they take no memory.
pub(super) fn content_hash(files: &[&Path]) -> Result<String, FileError> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0u8; HASH_CHUNK_BYTES];
    for path in files {
        let failed = |source| FileError::Io { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(failed)?;
        hash.update(file.metadata().map_err(failed)?.len().to_le_bytes());
        loop {
            match file.read(&mut chunk).map_err(failed)? {
                0 => break,
                n => hash.update(&chunk[..n]),
            }
        }
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Packed data that is being made: in a file, or in memory where none can be written.
pub(super) struct PackedFile {
    /// The file and where it goes when it is complete.
    target: Option<(tempfile::NamedTempFile, PathBuf)>,
    data: MmapMut,
}

impl PackedFile {
    /// Room for `bytes` bytes.
    pub fn create(model: &Path, quantization: Quantization, bytes: usize) -> PackedFile {
        for path in places(model, quantization) {
            match PackedFile::in_file(&path, bytes) {
                Ok(file) => return file,
                Err(error) => tracing::debug!("cannot keep packed weights in {}: {error}", path.display()),
            }
        }
        tracing::warn!("packed weights cannot be kept on disk; the next start packs again");
        let data = MmapMut::map_anon(bytes.max(1)).unwrap_or_else(|e| panic!("no memory for weights: {e}"));
        PackedFile { target: None, data }
    }

    fn in_file(path: &Path, bytes: usize) -> io::Result<PackedFile> {
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(dir)?;
        let file = tempfile::Builder::new().prefix(".packing-").tempfile_in(dir)?;
        allocate(file.as_file(), bytes)?;
        // SAFETY: the file was just made under a name that nobody else has; it is written through this map only.
        #[allow(unsafe_code)]
        let data = unsafe { MmapMut::map_mut(file.as_file()) }?;
        Ok(PackedFile { target: Some((file, path.to_owned())), data })
    }

    /// Where to write the matrices.
    pub fn data(&mut self) -> &mut MmapMut {
        &mut self.data
    }

    /// Writes the record behind the matrices and puts the file into its place. If that fails, what has been packed is
    /// used all the same, for this once.
    pub fn finish(
        self,
        header: &Header,
        files: &[&Path],
        content: String,
        quantization: Quantization,
    ) -> Bytes {
        let PackedFile { target, data } = self;
        let Some((file, path)) = target else { return Arc::new(data) };
        let record = Record { quantization, content, identity: identity(files), header: header.clone() };
        match keep(&record, &data, file, &path) {
            Ok(map) => Arc::new(map),
            Err(error) => {
                tracing::warn!("cannot keep packed weights in {}: {error}", path.display());
                Arc::new(data)
            }
        }
    }
}

fn keep(record: &Record, data: &MmapMut, mut file: tempfile::NamedTempFile, path: &Path) -> io::Result<Mmap> {
    data.flush()?;
    append(file.as_file_mut(), record)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    let (_, map) = read(path).ok_or(io::ErrorKind::InvalidData)?;
    Ok(map)
}

/// Takes the room on the disk, so that a full one is an error here and not a fault while writing.
fn allocate(file: &File, bytes: usize) -> io::Result<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes.max(1) as u64)?;
    Ok(())
}
