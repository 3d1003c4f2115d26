//! A trained model as a plain checkpoint.

pub mod embedding;

use kernels::Pool;
use models::CausalLm;
use models::export::{ExportError, Options, Origin, Storage, directory, unheard};
use nn::DType;
use std::path::Path;

/// Writes the weights of `lm` into `dir`, with the other files of its base beside them. They are stored in the type that
/// most of the base's are, rounded to nearest, and in float32 where that type has blocks.
///
/// # Errors
/// When the directory can't be written, or a weight has grown beyond that type.
pub fn write_model(base: &Path, lm: &mut CausalLm, dir: &Path) -> Result<(), ExportError> {
    let dtype = match lm.config().dtype {
        dtype @ (DType::BF16 | DType::F16) => dtype,
        _ => DType::F32,
    };
    let pool = Pool::new(Pool::default_threads());
    let storage = Storage::In(dtype);
    let options = Options { storage, adapters: &[], provenance: None, pool: &pool, progress: &mut unheard };
    // in one file, whatever its size, so that what was there before is replaced
    directory::write(lm, Origin::Directory(base), dir, u64::MAX, options)?;
    Ok(())
}
