//! A model's tensors on their way into a file.
//!
//! Each is read from the model's file, put into the order of its heads that the new file has, changed by adapters, and stored
//! in its new type; what changes nothing of this is copied.

use super::{ExportError, Fallback, Options};
use crate::adapter::Adapter;
use crate::causal_lm::TensorMut;
use crate::checkpoint::FileError;
use crate::checkpoint::quantize::{OutOfRange, encode_row, is_encoded};
use crate::config::Config;
use kernels::Pool;
use nn::ops::{Lora, RopeLayout};
use nn::{DType, Weight, WeightFormat};
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Values that are decoded and encoded at once, and those of a thread's share: 16 MB and 256 kB in float32.
const CHUNK_VALUES: usize = 1 << 22;
const SHARE_VALUES: usize = 1 << 16;

/// How matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the type that each has, where the file can hold that; in bfloat16 what it can't.
    Same,
    /// In this type. In GGUF files the routers of experts stay float32, and the vocabulary's matrices have 8 bits at least:
    /// both are small beside what they decide.
    In(DType),
}

/// What a file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Gguf,
    Safetensors,
}

/// A tensor that is to be written.
pub(super) struct Outgoing<'a> {
    /// As Hugging Face calls it.
    pub(super) name: String,
    /// How it is stored.
    pub(super) dtype: DType,
    tensor: TensorMut<'a>,
    /// The order of a head's rows in the model and in the file; `None` where none has to move.
    order: Option<Order>,
    /// What is added to it.
    adapters: Vec<&'a Lora>,
}

/// How rows of queries and keys move from one order within a head to the other.
#[derive(Clone, Copy)]
struct Order {
    from: RopeLayout,
    to: RopeLayout,
    head_dim: usize,
}

impl Order {
    /// Which row of the model is row `row` of the file. Row `j` of the first half of a head and row `j` of its second half
    /// are rotated together; the other order has both beside each other.
    fn source(self, row: usize) -> usize {
        let (head, at, half) = (row - row % self.head_dim, row % self.head_dim, self.head_dim / 2);
        match (self.from, self.to) {
            (RopeLayout::Half, RopeLayout::Interleaved) => head + at % 2 * half + at / 2,
            (RopeLayout::Interleaved, RopeLayout::Half) => head + at % half * 2 + at / half,
            _ => row,
        }
    }

    /// To the order of adapters and checkpoints.
    fn to_half(self) -> Order {
        Order { to: RopeLayout::Half, ..self }
    }

    /// On from there.
    fn onward(self) -> Order {
        Order { from: RopeLayout::Half, ..self }
    }
}

/// Whether a tensor is a projection of queries or keys, or its bias.
fn is_rotated(name: &str) -> bool {
    ["self_attn.q_proj.", "self_attn.k_proj."].iter().any(|part| name.contains(part))
}

/// Whether a matrix is a row for each token.
fn is_vocabulary(name: &str) -> bool {
    matches!(name, "model.embed_tokens.weight" | "lm_head.weight")
}

/// The tensors of a model in the order of its computation, with the types that they get, and those of them that the wanted
/// type can't hold.
pub(super) fn plan<'a>(
    tensors: Vec<(String, TensorMut<'a>)>,
    config: &Config,
    container: Container,
    storage: Storage,
    adapters: &'a [Adapter],
) -> (Vec<Outgoing<'a>>, Vec<Fallback>) {
    let from = config.rope.layout;
    // llama.cpp rotates pairs that stand beside each other in this architecture alone
    let to = match container {
        Container::Gguf if config.architecture == "llama" => RopeLayout::Interleaved,
        _ => RopeLayout::Half,
    };
    let order = Order { from, to, head_dim: config.head_dim };
    let mut fallbacks = Vec::new();
    let planned = tensors.into_iter().map(|(name, tensor)| {
        let layer = name.strip_suffix(".weight").unwrap_or_default();
        let adapters: Vec<&Lora> = adapters.iter().filter_map(|adapter| adapter.layers.get(layer)).collect();
        let dtype = match &tensor {
            TensorMut::Vector(values) => vector_type(values, config, container, storage),
            TensorMut::Matrix(weight) => {
                let kept = stored_type(weight).filter(|dtype| adapters.is_empty() || is_encoded(*dtype));
                let wanted = wanted_type(&name, kept, container, storage);
                let dtype = held_type(weight, wanted, kept);
                if dtype != wanted {
                    let (name, cols) = (name.clone(), weight.cols());
                    fallbacks.push(Fallback { name, cols, wanted, stored: dtype });
                }
                dtype
            }
        };
        // adapters are for the order of checkpoints, whatever that of the files
        let moves = from != to || !adapters.is_empty() && from != RopeLayout::Half;
        let order = (is_rotated(&name) && moves).then_some(order);
        Outgoing { name, dtype, tensor, order, adapters }
    });
    let planned = planned.collect();
    (planned, fallbacks)
}

/// The type that a matrix has in its file; `None` for one that a file holds in a form of its own.
fn stored_type(weight: &Weight) -> Option<DType> {
    match weight.format() {
        WeightFormat::Rows(dtype) if weight.source().is_none() => Some(dtype),
        _ => None,
    }
}

fn is_float(dtype: DType) -> bool {
    dtype.block_len() == 1
}

/// The type that a matrix should get. `kept` is the one that it could keep.
fn wanted_type(name: &str, kept: Option<DType>, container: Container, storage: Storage) -> DType {
    match (container, storage) {
        (Container::Gguf, _) if name.ends_with(".mlp.gate.weight") => DType::F32,
        (Container::Gguf, Storage::In(dtype))
            if is_vocabulary(name) && dtype.block_bytes() < dtype.block_len() =>
        {
            DType::Q8_0
        }
        (_, Storage::In(dtype)) => dtype,
        (Container::Gguf, Storage::Same) => kept.unwrap_or(DType::BF16),
        (Container::Safetensors, Storage::Same) => kept.filter(|d| is_float(*d)).unwrap_or(DType::BF16),
    }
}

/// The wanted type if rows are whole blocks of it, else the nearest with smaller ones or none.
fn held_type(weight: &Weight, wanted: DType, kept: Option<DType>) -> DType {
    let holds = |dtype: DType| weight.cols().is_multiple_of(dtype.block_len());
    let float = kept.filter(|dtype| *dtype == DType::BF16).unwrap_or(DType::F16);
    [wanted, DType::Q8_0].into_iter().find(|dtype| holds(*dtype)).unwrap_or(float)
}

/// The type of a norm's weight or a bias. In GGUF files they are float32, by which alone llama.cpp multiplies.
fn vector_type(values: &[f32], config: &Config, container: Container, storage: Storage) -> DType {
    match (container, storage) {
        (Container::Gguf, _) => DType::F32,
        (Container::Safetensors, Storage::In(dtype)) => dtype,
        (Container::Safetensors, Storage::Same) => {
            let main = if is_float(config.dtype) { config.dtype } else { DType::BF16 };
            let mut bytes = Vec::new();
            let mut back = vec![0.0; values.len()];
            let exact = encode_row(main, values, &mut bytes).is_ok() && {
                kernels::matmul::decode_row(main, &bytes, &mut back);
                back.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits())
            };
            if exact { main } else { DType::F32 }
        }
    }
}

impl Outgoing<'_> {
    /// Outermost dimension first.
    pub(super) fn shape(&self) -> Vec<usize> {
        self.tensor.shape()
    }

    /// Bytes in the file.
    pub(super) fn bytes(&self) -> u64 {
        let shape = self.shape();
        let (cols, rows) = match shape[..] {
            [rows, cols] => (cols, rows),
            _ => (shape.iter().product(), 1),
        };
        // the type was chosen by the row's length
        self.dtype.row_bytes(cols).map_or(0, |row| row as u64 * rows as u64)
    }

    /// Whether it is a matrix.
    pub(super) fn is_matrix(&self) -> bool {
        matches!(self.tensor, TensorMut::Matrix(_))
    }

    /// Writes its values.
    pub(super) fn write(&self, pool: &Pool, sink: &mut Sink<'_>) -> Result<(), ExportError> {
        match &self.tensor {
            TensorMut::Vector(vector) => {
                // a bias goes the way of its layer's rows
                let row = |row| self.order.map_or(row, |order| order.source(row));
                let values: Vec<f32> = (0..vector.len()).map(|at| vector[row(at)]).collect();
                sink.put(&self.encoded(&values)?)
            }
            TensorMut::Matrix(weight) if self.adapters.is_empty() => {
                self.write_rows(weight, self.order, pool, sink)
            }
            TensorMut::Matrix(weight) => {
                let (rows, cols) = (weight.rows(), weight.cols());
                let mut merged = match self.order.map(Order::to_half) {
                    Some(order) if order.from != RopeLayout::Half => {
                        let mut values = vec![0.0; rows * cols];
                        for (row, out) in values.chunks_exact_mut(cols).enumerate() {
                            let source = order.source(row);
                            weight.decode_rows(source..source + 1, out);
                        }
                        Weight::from_f32(values, rows, cols)
                    }
                    _ => (*weight).clone(),
                };
                for lora in &self.adapters {
                    merged = Weight::from_f32(lora.merged(pool, &merged), rows, cols);
                }
                self.write_rows(&merged, self.order.map(Order::onward), pool, sink)
            }
        }
    }

    fn write_rows(
        &self,
        weight: &Weight,
        order: Option<Order>,
        pool: &Pool,
        sink: &mut Sink<'_>,
    ) -> Result<(), ExportError> {
        let (rows, cols) = (weight.rows(), weight.cols());
        let source = |row| order.map_or(row, |order| order.source(row));
        if stored_type(weight) == Some(self.dtype) {
            let bytes = weight.bytes();
            let row_bytes = bytes.len() / rows.max(1);
            return match order {
                None => bytes.chunks(CHUNK_VALUES).try_for_each(|bytes| sink.put(bytes)),
                Some(_) => {
                    (0..rows).try_for_each(|row| sink.put(&bytes[source(row) * row_bytes..][..row_bytes]))
                }
            };
        }
        let at_once = (CHUNK_VALUES / cols.max(1)).max(1);
        for from in (0..rows).step_by(at_once) {
            for bytes in self.encoded_rows(weight, from..(from + at_once).min(rows), &source, pool) {
                sink.put(&bytes?)?;
            }
        }
        Ok(())
    }

    /// Rows of the file from `rows` of it, in parts that follow each other.
    fn encoded_rows(
        &self,
        weight: &Weight,
        rows: Range<usize>,
        source: &(dyn Fn(usize) -> usize + Sync),
        pool: &Pool,
    ) -> Vec<Result<Vec<u8>, ExportError>> {
        let cols = weight.cols();
        let share = (SHARE_VALUES / cols.max(1)).max(1);
        let parts: Vec<Mutex<Result<Vec<u8>, ExportError>>> =
            (0..rows.len().div_ceil(share)).map(|_| Mutex::new(Ok(Vec::new()))).collect();
        pool.run(parts.len(), &|part| {
            let from = rows.start + part * share;
            let mut values = vec![0.0; cols];
            let mut bytes = Vec::new();
            let encoded = (from..(from + share).min(rows.end)).try_for_each(|row| {
                let row = source(row);
                weight.decode_rows(row..row + 1, &mut values);
                encode_row(self.dtype, &values, &mut bytes)
            });
            let encoded = encoded.map(|()| bytes).map_err(|error| self.out_of_range(error));
            *parts[part].lock().unwrap_or_else(PoisonError::into_inner) = encoded;
        });
        parts.into_iter().map(|part| part.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    fn encoded(&self, values: &[f32]) -> Result<Vec<u8>, ExportError> {
        let mut bytes = Vec::new();
        encode_row(self.dtype, values, &mut bytes).map_err(|error| self.out_of_range(error))?;
        Ok(bytes)
    }

    fn out_of_range(&self, OutOfRange(value): OutOfRange) -> ExportError {
        ExportError::Value { name: self.name.clone(), value, dtype: self.dtype }
    }
}

/// Where bytes go, and who hears how many.
pub(super) struct Sink<'a> {
    pub(super) out: &'a mut dyn Write,
    /// For messages.
    pub(super) path: &'a Path,
    pub(super) steps: &'a mut Steps,
    pub(super) progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

/// How far it is.
pub(super) struct Steps {
    pub(super) done: u64,
    pub(super) total: u64,
}

impl Sink<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let failed = |source| FileError::Write { path: self.path.to_owned(), source };
        self.out.write_all(bytes).map_err(failed)?;
        self.steps.done += bytes.len() as u64;
        match (self.progress)(self.steps.done, self.steps.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExportError::Stopped),
        }
    }
}

/// How many matrices have which type.
pub(super) fn count(types: impl Iterator<Item = DType>) -> Vec<(DType, usize)> {
    let mut counts: Vec<(DType, usize)> = Vec::new();
    for dtype in types {
        match counts.iter_mut().find(|(known, _)| *known == dtype) {
            Some((_, count)) => *count += 1,
            None => counts.push((dtype, 1)),
        }
    }
    counts
}

/// Checks that the adapters go with the model.
pub(super) fn check_adapters(lm: &crate::CausalLm, options: &Options<'_>) -> Result<(), ExportError> {
    options.adapters.iter().try_for_each(|adapter| Ok(adapter.check(lm)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `reshape(heads, 2, half).swapaxes(1, 2)`, as llama.cpp's converter does it.
    #[test]
    fn rows_of_two_heads_move_as_llama_cpp_wants_them() {
        let to = Order { from: RopeLayout::Half, to: RopeLayout::Interleaved, head_dim: 6 };
        let moved: Vec<usize> = (0..12).map(|row| to.source(row)).collect();
        assert_eq!(moved, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        let back = Order { from: RopeLayout::Interleaved, to: RopeLayout::Half, head_dim: 6 };
        assert_eq!((0..12).map(|row| to.source(back.source(row))).collect::<Vec<_>>(), Vec::from_iter(0..12));
    }
}
