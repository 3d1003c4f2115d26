//! Writing safetensors files.

use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// A safetensors file of float32 tensors that is written from front to back, so that the tensors need not be in memory
/// at once.
pub struct TensorFile {
    out: BufWriter<File>,
    /// Bytes of values that are still to come.
    missing: u64,
}

impl TensorFile {
    /// Starts the file at `path` with the names and shapes of its tensors. Their values follow by [`Self::write`],
    /// in this order.
    pub fn create(path: &Path, tensors: &[(&str, [usize; 2])]) -> io::Result<TensorFile> {
        let mut header = Map::new();
        let mut end = 0u64;
        for (name, shape) in tensors {
            let start = end;
            end += (shape[0] * shape[1] * size_of::<f32>()) as u64;
            header.insert(
                (*name).to_owned(),
                json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]}),
            );
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // values begin at a multiple of 8
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        Ok(TensorFile { out, missing: end })
    }

    /// Writes the next values.
    pub fn write(&mut self, values: &[f32]) -> io::Result<()> {
        for value in values {
            self.out.write_all(&value.to_le_bytes())?;
        }
        self.missing = self.missing.saturating_sub(size_of_val(values) as u64);
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Panics
    /// When values are missing that the header promises.
    pub fn finish(mut self) -> io::Result<()> {
        assert_eq!(self.missing, 0, "bytes of values missing");
        self.out.flush()
    }
}
