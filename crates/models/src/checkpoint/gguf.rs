//! The GGUF container, versions 2 and 3: header, metadata, tensor directory, aligned data.
//!
//! Layout after <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. All numbers are little-endian. A
//! length in the file is believed only after it was compared with a bound and with what is left of the file.

use super::metadata::{ElementType, GgufMetadata, Value};
use super::{StoredTensor, check_overlap};
use crate::limits;
use nn::{Bytes, DType};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Why bytes are not a GGUF file that can be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// Another kind of file.
    #[error("this is not a GGUF file: it does not begin with `GGUF`")]
    Magic,
    /// A version that is not read.
    #[error(
        "GGUF version {0} is not supported (2 and 3 are); convert the model again with a current llama.cpp"
    )]
    Version(u32),
    /// Written for big-endian machines.
    #[error("this is a big-endian GGUF file; convert the model again for little-endian machines")]
    BigEndian,
    /// The file is shorter than it says.
    #[error(
        "the file is cut off: {what} needs {needed} bytes from byte {at}, but the file has {len}; fetch it again"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it begins.
        at: u64,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes in the file.
        len: u64,
    },
    /// A declared number is over its bound.
    #[error("{what} is {found}, more than the limit of {limit}")]
    TooLarge {
        /// What is counted.
        what: String,
        /// The declared number.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// A name or key that is not UTF-8.
    #[error("{what} at byte {at} is not valid UTF-8")]
    Utf8 {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// A key or tensor that is there twice.
    #[error("{what} `{name}` is there twice")]
    Duplicate {
        /// Key or tensor.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A type number that GGUF does not define, or an array of arrays.
    #[error("metadata `{key}` has the unknown type {found}")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        found: u32,
    },
    /// A truth value that is neither 0 nor 1.
    #[error("metadata `{key}` is a bool, but its byte is {found}")]
    Bool {
        /// The key.
        key: String,
        /// The byte.
        found: u8,
    },
    /// The alignment is not a power of two.
    #[error(
        "`general.alignment` must be a power of two of at most {}, but is {found}",
        limits::MAX_GGUF_ALIGNMENT
    )]
    Alignment {
        /// What is there.
        found: String,
    },
    /// One part of a model that was split over several files.
    #[error("this is one of {0} parts of a model; join them with `llama-gguf-split --merge` first")]
    Split(u64),
    /// A tensor in a format that is not computed with.
    #[error("tensor `{name}` is stored as {found}, which is not supported; supported are {}", supported())]
    TensorType {
        /// The tensor.
        name: String,
        /// Its type's name, or its number when unknown.
        found: String,
    },
    /// A tensor whose shape cannot be.
    #[error("tensor `{name}` has the impossible shape {shape:?} for {}", .dtype.name())]
    Shape {
        /// The tensor.
        name: String,
        /// Outermost dimension first.
        shape: Vec<u64>,
        /// The storage type.
        dtype: DType,
    },
    /// A tensor that does not begin where the alignment allows.
    #[error("tensor `{name}` begins at offset {offset}, which is no multiple of the alignment {alignment}")]
    Unaligned {
        /// The tensor.
        name: String,
        /// Its offset in the data.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Two tensors that share bytes.
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The one that begins inside it.
        second: String,
    },
}

fn supported() -> String {
    DType::ALL.map(DType::name).join(", ")
}

/// A GGUF file's directory.
pub struct GgufFile {
    /// The key-value pairs.
    pub metadata: GgufMetadata,
    /// The tensors under the names of the file, in its order. Each lies inside the file and none overlap.
    pub tensors: Vec<(String, StoredTensor)>,
}

/// Reads the directory of the GGUF file that `bytes` holds. The tensors' values are not touched.
pub fn parse(bytes: &Bytes) -> Result<GgufFile, GgufError> {
    let mut reader = Reader { bytes: (**bytes).as_ref(), at: 0 };
    if reader.take(4, "the magic number").is_ok_and(|magic| magic != b"GGUF") || reader.at == 0 {
        return Err(GgufError::Magic);
    }
    match reader.u32("the version")? {
        2 | 3 => {}
        version if matches!(version.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian),
        version => return Err(GgufError::Version(version)),
    }
    let tensor_count = reader.count("the number of tensors", limits::MAX_TENSORS)?;
    let entry_count = reader.count("the number of metadata entries", limits::MAX_METADATA_ENTRIES)?;

    let (mut entries, mut places) = (HashMap::new(), HashMap::new());
    for _ in 0..entry_count {
        let key = reader.name("a metadata key")?;
        let start = reader.at;
        let value = reader.value(key)?;
        places.insert(key.to_owned(), start..reader.at);
        if entries.insert(key.to_owned(), value).is_some() {
            return Err(GgufError::Duplicate { what: "metadata", name: key.to_owned() });
        }
    }
    let metadata = GgufMetadata::new(bytes.clone(), entries, places);
    let alignment = alignment(&metadata)?;
    if let Ok(Some(parts @ 2..)) = metadata.u64("split.count") {
        return Err(GgufError::Split(parts));
    }

    let mut infos = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..tensor_count {
        let info = reader.tensor_info()?;
        if !names.insert(info.name) {
            return Err(GgufError::Duplicate { what: "tensor", name: info.name.to_owned() });
        }
        infos.push(info);
    }
    // The position is inside a file that is mapped, so adding the alignment cannot overflow.
    let data = (reader.at as u64).next_multiple_of(alignment);
    let file = (**bytes).as_ref().len() as u64;
    let tensors =
        infos.into_iter().map(|info| info.place(data, alignment, file)).collect::<Result<Vec<_>, _>>()?;
    check_overlap(&tensors).map_err(|(first, second)| GgufError::Overlap { first, second })?;
    Ok(GgufFile { metadata, tensors })
}

fn alignment(metadata: &GgufMetadata) -> Result<u64, GgufError> {
    match metadata.u64("general.alignment") {
        Ok(None) => Ok(32),
        Ok(Some(n)) if n.is_power_of_two() && n <= limits::MAX_GGUF_ALIGNMENT => Ok(n),
        Ok(Some(n)) => Err(GgufError::Alignment { found: n.to_string() }),
        Err(e) => Err(GgufError::Alignment { found: e.to_string() }),
    }
}

/// An entry of the tensor directory, not yet compared with the file's size.
struct TensorInfo<'a> {
    name: &'a str,
    /// Outermost dimension first.
    shape: Vec<u64>,
    dtype: DType,
    offset: u64,
}

impl TensorInfo<'_> {
    fn place(self, data: u64, alignment: u64, file: u64) -> Result<(String, StoredTensor), GgufError> {
        let TensorInfo { name, shape, dtype, offset } = self;
        let name = name.to_owned();
        let Some((dims, needed)) = byte_size(&shape, dtype) else {
            return Err(GgufError::Shape { name, shape, dtype });
        };
        if offset % alignment != 0 {
            return Err(GgufError::Unaligned { name, offset, alignment });
        }
        let begin = data.checked_add(offset);
        let end = begin.and_then(|begin| begin.checked_add(needed));
        match (begin, end) {
            (Some(begin), Some(end)) if end <= file => {
                // Both are inside the mapped file and so fit in usize.
                let range = begin as usize..end as usize;
                Ok((name, StoredTensor { type_name: dtype.name(), dtype: Some(dtype), shape: dims, range }))
            }
            _ => Err(GgufError::Truncated {
                what: format!("tensor `{name}`"),
                at: begin.unwrap_or(u64::MAX),
                needed,
                len: file,
            }),
        }
    }
}

/// The shape as usize, and its bytes; `None` for zero dimensions, overflow, and rows that are no whole blocks.
fn byte_size(shape: &[u64], dtype: DType) -> Option<(Vec<usize>, u64)> {
    let dims: Vec<usize> =
        shape.iter().map(|&d| usize::try_from(d).ok().filter(|&d| d > 0)).collect::<Option<_>>()?;
    let (&cols, outer) = dims.split_last()?;
    let bytes = outer.iter().try_fold(dtype.row_bytes(cols)?, |n, &d| n.checked_mul(d))?;
    // The number of values must fit as well: block formats take less than a byte for each.
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    Some((dims, bytes as u64))
}

/// Reads from the front and never past the end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8], GgufError> {
        match self.at.checked_add(n).and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(GgufError::Truncated {
                what: what.to_owned(),
                at: self.at as u64,
                needed: n as u64,
                len: self.bytes.len() as u64,
            }),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A declared number of things, no more than `limit`.
    fn count(&mut self, what: &str, limit: usize) -> Result<usize, GgufError> {
        let found = self.u64(what)?;
        match usize::try_from(found) {
            Ok(n) if n <= limit => Ok(n),
            _ => Err(GgufError::TooLarge { what: what.to_owned(), found, limit: limit as u64 }),
        }
    }

    /// A key or a tensor's name.
    fn name(&mut self, what: &'static str) -> Result<&'a str, GgufError> {
        let n = self.count(what, limits::MAX_NAME_BYTES)?;
        let at = self.at as u64;
        std::str::from_utf8(self.take(n, what)?).map_err(|_| GgufError::Utf8 { what, at })
    }

    /// A string's place; its bytes are looked at when it is asked for.
    fn string(&mut self, key: &str) -> Result<Range<usize>, GgufError> {
        let found = self.u64(key)?;
        if found > limits::MAX_STRING_BYTES as u64 {
            let what = format!("the length of a string in metadata `{key}`");
            return Err(GgufError::TooLarge { what, found, limit: limits::MAX_STRING_BYTES as u64 });
        }
        let start = self.at;
        self.take(found as usize, key)?;
        Ok(start..self.at)
    }

    fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let kind = self.u32(key)?;
        match kind {
            8 => Ok(Value::String(self.string(key)?)),
            9 => self.value_array(key),
            _ => {
                let element = ElementType::of(kind)
                    .ok_or_else(|| GgufError::ValueType { key: key.to_owned(), found: kind })?;
                let value = element.decode(self.take(element.size(), key)?);
                value.ok_or_else(|| GgufError::Bool { key: key.to_owned(), found: self.bytes[self.at - 1] })
            }
        }
    }

    fn value_array(&mut self, key: &str) -> Result<Value, GgufError> {
        let kind = self.u32(key)?;
        let len = self.count(&format!("the length of the array `{key}`"), limits::MAX_ARRAY_LEN)?;
        let start = self.at;
        if kind == 8 {
            for _ in 0..len {
                self.string(key)?;
            }
            return Ok(Value::Strings { len, range: start..self.at });
        }
        let element =
            ElementType::of(kind).ok_or_else(|| GgufError::ValueType { key: key.to_owned(), found: kind })?;
        // At most 2 million elements of 8 bytes.
        self.take(len * element.size(), key)?;
        Ok(Value::Scalars { element, range: start..self.at })
    }

    fn tensor_info(&mut self) -> Result<TensorInfo<'a>, GgufError> {
        let name = self.name("a tensor's name")?;
        let dims = self.u32(name)?;
        if dims as usize > limits::MAX_GGUF_DIMS {
            let what = format!("the number of dimensions of tensor `{name}`");
            return Err(GgufError::TooLarge {
                what,
                found: dims.into(),
                limit: limits::MAX_GGUF_DIMS as u64,
            });
        }
        let mut shape = (0..dims).map(|_| self.u64(name)).collect::<Result<Vec<u64>, _>>()?;
        shape.reverse();
        let kind = self.u32(name)?;
        let Some(dtype) = dtype(kind) else {
            let found = other_type(kind).map_or_else(|| format!("type {kind}"), str::to_owned);
            return Err(GgufError::TensorType { name: name.to_owned(), found });
        };
        Ok(TensorInfo { name, shape, dtype, offset: self.u64(name)? })
    }
}

/// The storage types by their `ggml_type` number.
fn dtype(kind: u32) -> Option<DType> {
    Some(match kind {
        0 => DType::F32,
        1 => DType::F16,
        2 => DType::Q4_0,
        3 => DType::Q4_1,
        6 => DType::Q5_0,
        7 => DType::Q5_1,
        8 => DType::Q8_0,
        12 => DType::Q4_K,
        13 => DType::Q5_K,
        14 => DType::Q6_K,
        30 => DType::BF16,
        _ => return None,
    })
}

/// Names of types that exist but are not read, for the message.
fn other_type(kind: u32) -> Option<&'static str> {
    Some(match kind {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return None,
    })
}
