//! The key-value pairs of a GGUF file.

use nn::Bytes;
use std::collections::HashMap;
use std::ops::Range;

/// Key-value pairs of a GGUF file, read by key and type. Strings and arrays stay in the mapped file.
#[derive(Clone)]
pub struct GgufMetadata {
    bytes: Bytes,
    entries: HashMap<String, Value>,
    /// Where each value stands in the file, its type included.
    places: HashMap<String, Range<usize>>,
}

/// Why a metadata value cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetadataError {
    /// The value has another type.
    #[error("GGUF metadata `{key}` should be {expected}, but is {found}")]
    Type {
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// An integer that does not fit.
    #[error("GGUF metadata `{key}` is {value}, which is out of range for {expected}")]
    Range {
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
        /// What is there.
        value: String,
    },
    /// Text that is not UTF-8.
    #[error("GGUF metadata `{key}` holds text that is not valid UTF-8 (element {index})")]
    Utf8 {
        /// The key.
        key: String,
        /// Which element of an array; 0 for a single string.
        index: usize,
    },
    /// A value that the model cannot do without.
    #[error("GGUF metadata `{0}` is missing")]
    Missing(String),
}

/// One value. Ranges are byte ranges of the file; the parser has checked that they lie in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(Range<usize>),
    /// Strings one after the other, each a length (u64) and its bytes.
    Strings {
        len: usize,
        range: Range<usize>,
    },
    /// Numbers or bools one after the other.
    Scalars {
        element: ElementType,
        range: Range<usize>,
    },
}

impl Value {
    fn type_name(&self) -> &'static str {
        match self {
            Value::Unsigned(_) | Value::Signed(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a bool",
            Value::String(_) => "a string",
            Value::Strings { .. } => "an array of strings",
            Value::Scalars { element, .. } => match element {
                ElementType::F32 | ElementType::F64 => "an array of floats",
                ElementType::Bool => "an array of bools",
                _ => "an array of integers",
            },
        }
    }
}

/// The types of fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

impl ElementType {
    /// By the number in the file.
    pub(super) fn of(kind: u32) -> Option<ElementType> {
        Some(match kind {
            0 => ElementType::U8,
            1 => ElementType::I8,
            2 => ElementType::U16,
            3 => ElementType::I16,
            4 => ElementType::U32,
            5 => ElementType::I32,
            6 => ElementType::F32,
            7 => ElementType::Bool,
            10 => ElementType::U64,
            11 => ElementType::I64,
            12 => ElementType::F64,
            _ => return None,
        })
    }

    pub(super) fn size(self) -> usize {
        match self {
            ElementType::U8 | ElementType::I8 | ElementType::Bool => 1,
            ElementType::U16 | ElementType::I16 => 2,
            ElementType::U32 | ElementType::I32 | ElementType::F32 => 4,
            ElementType::U64 | ElementType::I64 | ElementType::F64 => 8,
        }
    }

    /// The value of `bytes`, which are [`Self::size`] many; `None` for a bool that is neither 0 nor 1.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Value> {
        let mut wide = [0u8; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        Some(match self {
            ElementType::U8 | ElementType::U16 | ElementType::U32 | ElementType::U64 => Value::Unsigned(bits),
            ElementType::I8 => Value::Signed((bits as i8).into()),
            ElementType::I16 => Value::Signed((bits as i16).into()),
            ElementType::I32 => Value::Signed((bits as i32).into()),
            ElementType::I64 => Value::Signed(bits as i64),
            ElementType::F32 => Value::Float(f32::from_bits(bits as u32).into()),
            ElementType::F64 => Value::Float(f64::from_bits(bits)),
            ElementType::Bool if bits <= 1 => Value::Bool(bits == 1),
            ElementType::Bool => return None,
        })
    }
}

impl GgufMetadata {
    pub(super) fn new(
        bytes: Bytes,
        entries: HashMap<String, Value>,
        places: HashMap<String, Range<usize>>,
    ) -> GgufMetadata {
        GgufMetadata { bytes, entries, places }
    }

    /// The value at `key` as the file has it, its type included.
    pub(crate) fn encoded(&self, key: &str) -> Option<&[u8]> {
        self.places.get(key).map(|place| self.slice(place.clone()))
    }

    /// Whether `key` is there, whatever its type.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// All keys, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The integer at `key`, whatever its width; `None` when the key is missing.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, MetadataError> {
        const EXPECTED: &str = "an unsigned integer";
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(n)) => Ok(Some(*n)),
            Some(Value::Signed(n)) => u64::try_from(*n).map(Some).map_err(|_| MetadataError::Range {
                key: key.to_owned(),
                expected: EXPECTED,
                value: n.to_string(),
            }),
            Some(other) => Err(wrong_type(key, EXPECTED, other)),
        }
    }

    /// The integer at `key` as a token id.
    pub fn token_id(&self, key: &str) -> Result<Option<u32>, MetadataError> {
        let Some(id) = self.u64(key)? else { return Ok(None) };
        u32::try_from(id).map(Some).map_err(|_| MetadataError::Range {
            key: key.to_owned(),
            expected: "a token id",
            value: id.to_string(),
        })
    }

    /// The float at `key`; `None` when the key is missing.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, MetadataError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x as f32)),
            Some(other) => Err(wrong_type(key, "a float", other)),
        }
    }

    /// The bool at `key`; `None` when the key is missing.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(other) => Err(wrong_type(key, "a bool", other)),
        }
    }

    /// The string at `key`; `None` when the key is missing.
    pub fn str(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::String(range)) => match std::str::from_utf8(self.slice(range.clone())) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(MetadataError::Utf8 { key: key.to_owned(), index: 0 }),
            },
            Some(other) => Err(wrong_type(key, "a string", other)),
        }
    }

    /// The array of strings at `key`; `None` when the key is missing.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&str>>, MetadataError> {
        let (len, range) = match self.entries.get(key) {
            None => return Ok(None),
            Some(Value::Strings { len, range }) => (*len, range.clone()),
            // gguf-py writes an empty list without regard to its type.
            Some(Value::Scalars { range, .. }) if range.is_empty() => (0, range.clone()),
            Some(other) => return Err(wrong_type(key, "an array of strings", other)),
        };
        let mut strings = Vec::with_capacity(len);
        let mut rest = self.slice(range);
        while let Some((length, tail)) = rest.split_first_chunk::<8>() {
            // The parser walked the same lengths, so the text is there.
            let length = (u64::from_le_bytes(*length) as usize).min(tail.len());
            let (text, tail) = tail.split_at(length);
            let index = strings.len();
            strings.push(
                std::str::from_utf8(text).map_err(|_| MetadataError::Utf8 { key: key.to_owned(), index })?,
            );
            rest = tail;
        }
        Ok(Some(strings))
    }

    /// The array of integers at `key`, whatever their width; `None` when the key is missing.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, MetadataError> {
        const EXPECTED: &str = "an array of integers";
        self.scalars(key, EXPECTED, |value| match value {
            Value::Unsigned(n) => i64::try_from(n).ok(),
            Value::Signed(n) => Some(n),
            _ => None,
        })
    }

    /// The array of floats at `key`; `None` when the key is missing.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, MetadataError> {
        self.scalars(key, "an array of floats", |value| match value {
            Value::Float(x) => Some(x as f32),
            _ => None,
        })
    }

    fn scalars<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, MetadataError> {
        let (element, range) = match self.entries.get(key) {
            None => return Ok(None),
            Some(Value::Scalars { element, range }) => (*element, range.clone()),
            Some(other) => return Err(wrong_type(key, expected, other)),
        };
        let values = self.slice(range).chunks_exact(element.size());
        let converted: Option<Vec<T>> = values.map(|b| element.decode(b).and_then(&convert)).collect();
        match (converted, self.entries.get(key)) {
            (None, Some(other)) => Err(wrong_type(key, expected, other)),
            (converted, _) => Ok(converted),
        }
    }

    /// The bytes of a range that the parser has checked.
    fn slice(&self, range: Range<usize>) -> &[u8] {
        &(*self.bytes).as_ref()[range]
    }
}

impl std::fmt::Debug for GgufMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GgufMetadata").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> MetadataError {
    MetadataError::Type { key: key.to_owned(), expected, found: found.type_name() }
}
