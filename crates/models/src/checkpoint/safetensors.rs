//! The safetensors container: a JSON header and the tensors' bytes.
//!
//! Layout after <https://github.com/huggingface/safetensors#format>: the header's length (u64, little-endian),
//! the header, the data. As in the reference, the tensors' ranges cover the data without gaps or overlaps.

use super::{StoredTensor, check_overlap};
use crate::limits;
use nn::DType;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Why bytes are not a safetensors file that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    /// Shorter than the header's length field.
    #[error("the file has {0} bytes, too few for a safetensors header; fetch it again")]
    TooShort(u64),
    /// The header is over its bound.
    #[error(
        "the header says it has {found} bytes, more than the limit of {}; this is no safetensors file",
        limits::MAX_SAFETENSORS_HEADER_BYTES
    )]
    HeaderTooLarge {
        /// The declared length.
        found: u64,
    },
    /// The header is longer than the file.
    #[error("the file is cut off: its header says {needed} bytes, but {len} follow; fetch it again")]
    HeaderTruncated {
        /// The declared length.
        needed: u64,
        /// Bytes behind the length field.
        len: u64,
    },
    /// The header is not the JSON that it should be, or goes over a bound.
    #[error("the header is broken: {0}")]
    Header(#[source] serde_json::Error),
    /// A number type that the format does not have.
    #[error("tensor `{name}` has the unknown type `{found}`")]
    UnknownType {
        /// The tensor.
        name: String,
        /// The type as written.
        found: String,
    },
    /// A shape with a zero, or whose size overflows.
    #[error("tensor `{name}` has the impossible shape {shape:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// As written.
        shape: Vec<u64>,
    },
    /// The byte range is not what the shape needs.
    #[error("tensor `{name}` {shape:?} needs {needed} bytes, but its offsets are {begin} to {end}")]
    Size {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes that the shape needs.
        needed: u64,
        /// First byte in the data.
        begin: u64,
        /// Behind the last byte.
        end: u64,
    },
    /// The byte range ends behind the file.
    #[error(
        "the file is cut off: tensor `{name}` ends at byte {end} of the data, which has {len}; fetch it again"
    )]
    Truncated {
        /// The tensor.
        name: String,
        /// Behind its last byte.
        end: u64,
        /// Bytes of data in the file.
        len: u64,
    },
    /// Two tensors that share bytes.
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The one that begins inside it.
        second: String,
    },
    /// Bytes that belong to no tensor.
    #[error("the tensors take {used} bytes, but the file has {len} bytes of data")]
    Gap {
        /// Bytes of all tensors.
        used: u64,
        /// Bytes of data in the file.
        len: u64,
    },
}

/// The element types of the format: name, bytes, and the storage type if it is computed with.
const TYPES: [(&str, u64, Option<DType>); 16] = [
    ("F32", 4, Some(DType::F32)),
    ("F16", 2, Some(DType::F16)),
    ("BF16", 2, Some(DType::BF16)),
    ("F64", 8, None),
    ("F8_E4M3", 1, None),
    ("F8_E5M2", 1, None),
    ("F8_E8M0", 1, None),
    ("I64", 8, None),
    ("I32", 4, None),
    ("I16", 2, None),
    ("I8", 1, None),
    ("U64", 8, None),
    ("U32", 4, None),
    ("U16", 2, None),
    ("U8", 1, None),
    ("BOOL", 1, None),
];

/// Reads the directory of the safetensors file `bytes`: tensors by name, in the header's order. Each lies inside
/// the file and none overlap. Their values are not touched.
pub fn parse(bytes: &[u8]) -> Result<Vec<(String, StoredTensor)>, SafetensorsError> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(SafetensorsError::TooShort(bytes.len() as u64));
    };
    let length = u64::from_le_bytes(*length);
    if length > limits::MAX_SAFETENSORS_HEADER_BYTES {
        return Err(SafetensorsError::HeaderTooLarge { found: length });
    }
    let Some((header, data)) = rest.split_at_checked(length as usize) else {
        return Err(SafetensorsError::HeaderTruncated { needed: length, len: rest.len() as u64 });
    };
    let mut json = serde_json::Deserializer::from_slice(header);
    let entries = HeaderSeed.deserialize(&mut json).map_err(SafetensorsError::Header)?;
    json.end().map_err(SafetensorsError::Header)?;

    let data_begin = bytes.len() - data.len();
    let tensors = entries
        .into_iter()
        .map(|entry| entry.place(data_begin, data.len() as u64))
        .collect::<Result<Vec<_>, _>>()?;
    check_overlap(&tensors).map_err(|(first, second)| SafetensorsError::Overlap { first, second })?;
    let used: u64 = tensors.iter().map(|(_, tensor)| tensor.range.len() as u64).sum();
    if used != data.len() as u64 {
        return Err(SafetensorsError::Gap { used, len: data.len() as u64 });
    }
    Ok(tensors)
}

/// An entry of the header as written.
struct Entry {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    begin: u64,
    end: u64,
}

impl Entry {
    fn place(self, data_begin: usize, data_len: u64) -> Result<(String, StoredTensor), SafetensorsError> {
        let Entry { name, dtype, shape, begin, end } = self;
        let Some(&(type_name, size, dtype)) = TYPES.iter().find(|(known, ..)| *known == dtype) else {
            return Err(SafetensorsError::UnknownType { name, found: dtype });
        };
        let dims: Option<Vec<usize>> =
            shape.iter().map(|&d| usize::try_from(d).ok().filter(|&d| d > 0)).collect();
        let needed = shape.iter().try_fold(size, |n, &d| n.checked_mul(d));
        let (Some(dims), Some(needed)) = (dims, needed) else {
            return Err(SafetensorsError::Shape { name, shape });
        };
        if end.checked_sub(begin) != Some(needed) {
            return Err(SafetensorsError::Size { name, shape: dims, needed, begin, end });
        }
        if end > data_len {
            return Err(SafetensorsError::Truncated { name, end, len: data_len });
        }
        // Both are inside the mapped file and so fit in usize.
        let range = data_begin + begin as usize..data_begin + end as usize;
        Ok((name, StoredTensor { type_name, dtype, shape: dims, range }))
    }
}

/// Reads the header object entry by entry, so that a hostile one is left at the first excess.
struct HeaderSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed {
    type Value = Vec<Entry>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if name.len() > limits::MAX_NAME_BYTES {
                return Err(de::Error::custom(format_args!(
                    "a tensor's name has {} bytes, more than the limit of {}",
                    name.len(),
                    limits::MAX_NAME_BYTES
                )));
            }
            if entries.len() == limits::MAX_TENSORS {
                return Err(de::Error::custom(format_args!(
                    "there are more tensors than the limit of {}",
                    limits::MAX_TENSORS
                )));
            }
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format_args!("tensor `{name}` is there twice")));
            }
            entries.push(map.next_value_seed(EntrySeed { name })?);
        }
        Ok(entries)
    }
}

struct EntrySeed {
    name: String,
}

impl<'de> DeserializeSeed<'de> for EntrySeed {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entry, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntrySeed {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dtype, shape and data_offsets of tensor `{}`", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(field) = map.next_key::<Field>()? {
            let repeated = match field {
                Field::Dtype => dtype.replace(map.next_value::<String>()?).is_some(),
                Field::Shape => shape.replace(map.next_value::<Dims>()?).is_some(),
                Field::DataOffsets => offsets.replace(map.next_value::<[u64; 2]>()?).is_some(),
            };
            if repeated {
                return Err(de::Error::custom(format_args!("tensor `{}` has a field twice", self.name)));
            }
        }
        match (dtype, shape, offsets) {
            (Some(dtype), Some(Dims(shape)), Some([begin, end])) => {
                Ok(Entry { name: self.name, dtype, shape, begin, end })
            }
            _ => Err(de::Error::custom(format_args!(
                "tensor `{}` lacks one of dtype, shape and data_offsets",
                self.name
            ))),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Field {
    Dtype,
    Shape,
    DataOffsets,
}

/// A shape of bounded length.
struct Dims(Vec<u64>);

impl<'de> serde::Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Dims, D::Error> {
        struct DimsVisitor;
        impl<'de> Visitor<'de> for DimsVisitor {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {} dimensions", limits::MAX_SAFETENSORS_DIMS)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dims, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    if dims.len() == limits::MAX_SAFETENSORS_DIMS {
                        return Err(de::Error::invalid_length(dims.len() + 1, &self));
                    }
                    dims.push(dim);
                }
                Ok(Dims(dims))
            }
        }
        deserializer.deserialize_seq(DimsVisitor)
    }
}
