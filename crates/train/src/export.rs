//! A trained model as a plain checkpoint.

pub mod embedding;

use half::{bf16, f16};
use models::CausalLm;
use models::checkpoint::FileError;
use models::checkpoint::writer::{NewTensor, create_dir, write_file, write_safetensors};
use nn::DType;
use std::borrow::Cow;
use std::io;
use std::path::Path;

/// Writes the weights of `lm` into `dir`, with the other files of its base beside them. They are stored in the type that
/// most of the base's are, rounded to nearest, and in float32 where that type has blocks.
///
/// # Errors
/// When the directory can't be written.
pub fn write_model(base: &Path, lm: &mut CausalLm, dir: &Path) -> Result<(), FileError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| FileError::Io { path, source }
    };
    create_dir(dir)?;
    for entry in std::fs::read_dir(base).map_err(failed(base))?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let kept = matches!(path.extension().and_then(|e| e.to_str()), Some("json" | "txt" | "jinja"));
        if kept && path.is_file() && name != "model.safetensors.index.json" {
            let to = dir.join(name);
            std::fs::copy(&path, &to).map_err(|source| FileError::Write { path: to, source })?;
        }
    }
    let dtype = lm.config().dtype;
    let tensors = lm.with_tensors(|tensors| {
        let tensors = tensors.into_iter();
        tensors.map(|(name, tensor)| encode(name, tensor.shape(), &tensor.to_f32(), dtype)).collect()
    });
    write_file(&dir.join("model.safetensors"), |out| write_safetensors(out, tensors))
}

fn encode(name: String, shape: Vec<usize>, values: &[f32], dtype: DType) -> NewTensor<'static> {
    let (type_name, bytes) = match dtype {
        DType::BF16 => ("BF16", values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect()),
        DType::F16 => ("F16", values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()),
        _ => ("F32", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    NewTensor { name, type_name, shape, bytes: Cow::Owned(bytes) }
}
