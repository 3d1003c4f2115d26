//! Writes files that are complete or absent, and safetensors into them.

use super::FileError;
use rustix::fs::{CWD, RenameFlags};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How the names of files begin that are not complete.
const UNFINISHED: &str = ".writing-";

/// A tensor to be written.
pub struct NewTensor<'a> {
    /// Its name.
    pub name: String,
    /// The element type as safetensors names it.
    pub type_name: &'static str,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Its values as stored.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> NewTensor<'a> {
    /// A float32 tensor of these values.
    pub fn f32(name: impl Into<String>, shape: Vec<usize>, values: &'a [f32]) -> NewTensor<'a> {
        let bytes = Cow::Borrowed(kernels::dtype::f32_bytes(values));
        NewTensor { name: name.into(), type_name: "F32", shape, bytes }
    }
}

/// A tensor whose values are written later.
#[derive(Clone, Debug)]
pub struct TensorHead {
    /// Its name.
    pub name: String,
    /// The element type by its name in the file's format.
    pub type_name: &'static str,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Bytes of its values.
    pub bytes: u64,
}

impl NewTensor<'_> {
    /// All but its values.
    pub fn head(&self) -> TensorHead {
        let (name, shape) = (self.name.clone(), self.shape.clone());
        TensorHead { name, type_name: self.type_name, shape, bytes: self.bytes.len() as u64 }
    }
}

/// Writes `tensors` as a safetensors file, in the order of their names.
///
/// # Errors
/// When writing fails.
pub fn write_safetensors(out: &mut dyn Write, mut tensors: Vec<NewTensor<'_>>) -> io::Result<()> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let heads: Vec<TensorHead> = tensors.iter().map(NewTensor::head).collect();
    out.write_all(&safetensors_header(&heads)?)?;
    tensors.iter().try_for_each(|tensor| out.write_all(&tensor.bytes))
}

/// What a safetensors file begins with. The values of `tensors` follow in this order, without gaps.
///
/// # Errors
/// When a name can't be written as JSON.
pub fn safetensors_header(tensors: &[TensorHead]) -> io::Result<Vec<u8>> {
    let mut header = serde_json::Map::new();
    // readers of PyTorch's refuse files without it
    header.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    let mut at = 0;
    for tensor in tensors {
        let end = at + tensor.bytes;
        header.insert(
            tensor.name.clone(),
            serde_json::json!({ "dtype": tensor.type_name, "shape": tensor.shape, "data_offsets": [at, end] }),
        );
        at = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    // the data begins at a multiple of 8, as the reference writes it
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header].concat())
}

/// Writes the file `path` so that it is complete or as it was before: what `write` writes goes to a temporary file beside
/// it, onto the disk, and then takes its name.
///
/// # Errors
/// When the directory can't be written or is full.
pub fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    write_file_or(path, |out| write(out).map_err(|source| FileError::Write { path: path.to_owned(), source }))
}

/// [`write_file`] where `write` fails for reasons of its own.
///
/// # Errors
/// As for [`write_file`], and with the error of `write`.
pub fn write_file_or<E: From<FileError>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let dir = directory_of(path);
    // whoever may read the directory may read the file, as if it had been created plainly
    let permissions = Permissions::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempfile_in(dir);
    let mut file = file.map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    write(&mut out)?;
    out.flush().map_err(failed)?;
    drop(out);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(())
}

/// Writes the directory `path` so that it is complete or as it was before: `write` fills a temporary one beside it, which then
/// takes its name. What was there is removed.
///
/// # Errors
/// When the directory above can't be written or is full, and with the error of `write`.
pub fn write_dir<T, E: From<FileError>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let above = directory_of(path);
    let permissions = Permissions::from_mode(0o777);
    let new = tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempdir_in(above);
    let new = new.map_err(failed)?;
    let written = write(new.path())?;
    let result = (|| {
        File::open(new.path())?.sync_all()?;
        if path.exists() {
            // in one step; what was there goes with the temporary directory
            rustix::fs::renameat_with(CWD, new.path(), CWD, path, RenameFlags::EXCHANGE)?;
            File::open(above)?.sync_all()?;
            new.close()
        } else {
            std::fs::rename(new.path(), path)?;
            File::open(above)?.sync_all()
        }
    })();
    result.map_err(failed)?;
    Ok(written)
}

/// Where `path` is.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Bytes that are free on the disk of the directory `dir`, for who has no special rights.
///
/// # Errors
/// When the directory is not there.
pub fn free_bytes(dir: &Path) -> Result<u64, FileError> {
    let disk = rustix::fs::statvfs(dir);
    let disk = disk.map_err(|error| FileError::Io { path: dir.to_owned(), source: error.into() })?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Creates the directory `dir` and those above it, if need be.
///
/// # Errors
/// When it can't be written.
pub fn create_dir(dir: &Path) -> Result<(), FileError> {
    std::fs::create_dir_all(dir).map_err(|source| FileError::Write { path: dir.to_owned(), source })
}

/// Removes what a process that was killed in [`write_file`] has left in `dir`. Nobody else may be writing there.
pub fn remove_unfinished(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            // what stays takes room, and does no other harm
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Tensors of a safetensors file by name, in float32, each with its shape.
pub type Values = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Reads a safetensors file of at most `limit` bytes whole, decoded to float32.
///
/// # Errors
/// When it can't be read, is larger, broken, or has tensors that are no floats.
pub fn read_values(path: &Path, limit: u64) -> Result<Values, super::CheckpointError> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let bytes = super::mapped_file::read_bounded(path, limit)?
        .ok_or_else(|| FileError::Io { path: path.to_owned(), source: missing() })?;
    let tensors = super::safetensors::parse(&bytes)
        .map_err(|source| super::CheckpointError::Safetensors { path: path.to_owned(), source })?;
    let decode = |(name, tensor): (String, super::StoredTensor)| {
        let Some(dtype) = tensor.dtype else {
            return Err(super::CheckpointError::Type { name, found: tensor.type_name });
        };
        let mut values = vec![0.0; tensor.len()];
        // the formats of safetensors have no blocks, so that a tensor is one row
        kernels::matmul::decode_row(dtype, &bytes[tensor.range.clone()], &mut values);
        Ok((name, (tensor.shape, values)))
    };
    tensors.into_iter().map(decode).collect()
}
