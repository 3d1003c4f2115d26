//! Writes files that are complete or absent, and safetensors into them.

use super::FileError;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
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

/// Writes `tensors` as a safetensors file, in the order of their names.
///
/// # Errors
/// When writing fails.
pub fn write_safetensors(out: &mut dyn Write, mut tensors: Vec<NewTensor<'_>>) -> io::Result<()> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = serde_json::Map::new();
    // readers of PyTorch's refuse files without it
    header.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    let mut at = 0;
    for tensor in &tensors {
        let end = at + tensor.bytes.len();
        header.insert(
            tensor.name.clone(),
            serde_json::json!({ "dtype": tensor.type_name, "shape": tensor.shape, "data_offsets": [at, end] }),
        );
        at = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    // the data begins at a multiple of 8, as the reference writes it
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors.iter().try_for_each(|tensor| out.write_all(&tensor.bytes))
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
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let result = (|| {
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)?;
        let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
        write(&mut out)?;
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        File::open(dir)?.sync_all()
    })();
    result.map_err(|source| FileError::Write { path: path.to_owned(), source })
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
