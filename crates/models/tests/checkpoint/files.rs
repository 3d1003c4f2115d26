//! Builders of small checkpoint files, sound or not.

use std::path::PathBuf;

/// A safetensors file with `header` and `data`.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

/// A sound safetensors file of zeros: name, type, bytes of an element, shape.
pub fn safetensors_of(tensors: &[(&str, &str, usize, &[usize])]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, dtype, size, shape) in tensors {
        let begin = end;
        end += size * shape.iter().product::<usize>();
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
        header.insert((*name).to_owned(), entry);
    }
    safetensors(&serde_json::Value::Object(header).to_string(), &vec![0; end])
}

/// A GGUF file, written piece by piece.
pub struct Gguf {
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub entry_count: Option<u64>,
    pub alignment: usize,
    pub entries: Vec<Vec<u8>>,
    pub infos: Vec<Vec<u8>>,
    pub data: Vec<u8>,
}

impl Default for Gguf {
    fn default() -> Gguf {
        Gguf {
            version: 3,
            tensor_count: None,
            entry_count: None,
            alignment: 32,
            entries: Vec::new(),
            infos: Vec::new(),
            data: Vec::new(),
        }
    }
}

/// A string as GGUF writes it.
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

impl Gguf {
    /// A key and the bytes of its value, of the type with number `kind`.
    pub fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Gguf {
        self.entries.push([&string(key), &kind.to_le_bytes()[..], value].concat());
        self
    }

    pub fn text(self, key: &str, value: &str) -> Gguf {
        self.entry(key, 8, &string(value))
    }

    pub fn u32(self, key: &str, value: u32) -> Gguf {
        self.entry(key, 4, &value.to_le_bytes())
    }

    pub fn f32(self, key: &str, value: f32) -> Gguf {
        self.entry(key, 6, &value.to_le_bytes())
    }

    pub fn strings(self, key: &str, values: &[&str]) -> Gguf {
        let mut bytes = [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        values.iter().for_each(|value| bytes.extend(string(value)));
        self.entry(key, 9, &bytes)
    }

    /// An entry of the tensor directory as given; `ne` is the row length first.
    pub fn info(mut self, name: &str, ne: &[u64], kind: u32, offset: u64) -> Gguf {
        let mut bytes = string(name);
        bytes.extend((ne.len() as u32).to_le_bytes());
        ne.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        self.infos.push(bytes);
        self
    }

    /// A sound float32 tensor of `shape`, outermost dimension first, whose values count up from 0.
    pub fn tensor(self, name: &str, shape: &[usize]) -> Gguf {
        let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
        self.tensor_of(name, shape, &values)
    }

    /// A sound float32 tensor of `shape`, outermost dimension first.
    pub fn tensor_of(mut self, name: &str, shape: &[usize], values: &[f32]) -> Gguf {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
        let offset = self.data.len() as u64;
        self.data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let ne: Vec<u64> = shape.iter().rev().map(|&n| n as u64).collect();
        self.info(name, &ne, 0, offset)
    }

    /// Bytes of data behind what the tensors filled.
    pub fn data(mut self, len: usize) -> Gguf {
        self.data.resize(self.data.len() + len, 0);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.infos.len() as u64).to_le_bytes());
        file.extend(self.entry_count.unwrap_or(self.entries.len() as u64).to_le_bytes());
        self.entries.iter().chain(&self.infos).for_each(|bytes| file.extend(bytes));
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        file.extend(&self.data);
        file
    }
}

/// A file of the committed parity data.
pub fn parity(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity").join(path)
}
