//! Makes GGUF files for tests: right ones, and wrong ones.

/// A file to be. The counts and offsets that it writes are the right ones, unless they are set.
pub(super) struct GgufWriter {
    pub(super) version: u32,
    pub(super) alignment: usize,
    pub(super) entry_count: Option<u64>,
    pub(super) tensor_count: Option<u64>,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) tensors: Vec<GgufTensor>,
}

pub(super) struct GgufTensor {
    pub(super) name: &'static str,
    /// Innermost first, as in the file.
    pub(super) dims: Vec<u64>,
    pub(super) type_id: u32,
    pub(super) offset: Option<u64>,
    pub(super) bytes: Vec<u8>,
}

impl GgufTensor {
    pub(super) fn new(name: &'static str, dims: impl Into<Vec<u64>>, type_id: u32, bytes: &[u8]) -> Self {
        Self { name, dims: dims.into(), type_id, offset: None, bytes: bytes.to_vec() }
    }
}

impl Default for GgufWriter {
    fn default() -> Self {
        let (entries, tensors) = (Vec::new(), Vec::new());
        Self { version: 3, alignment: 32, entry_count: None, tensor_count: None, entries, tensors }
    }
}

impl GgufWriter {
    /// A metadata entry: its type, and the bytes of its value.
    pub(super) fn entry(mut self, key: &str, type_id: u32, value: impl AsRef<[u8]>) -> Self {
        self.entries.push([text(key), type_id.to_le_bytes().to_vec(), value.as_ref().to_vec()].concat());
        self
    }

    /// A metadata entry that is an array.
    pub(super) fn array(self, key: &str, type_id: u32, len: u64, values: &[u8]) -> Self {
        self.entry(key, 9, [&type_id.to_le_bytes()[..], &len.to_le_bytes(), values].concat())
    }

    pub(super) fn tensor(mut self, tensor: GgufTensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.entry_count.unwrap_or(self.entries.len() as u64).to_le_bytes());
        file.extend(self.entries.concat());
        let mut offset = 0;
        for tensor in &self.tensors {
            file.extend(text(tensor.name));
            file.extend((tensor.dims.len() as u32).to_le_bytes());
            file.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            file.extend(tensor.type_id.to_le_bytes());
            file.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset = (offset + tensor.bytes.len() as u64).next_multiple_of(self.alignment as u64);
        }
        for tensor in &self.tensors {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
            file.extend(&tensor.bytes);
        }
        file
    }
}

/// A text as GGUF has it.
pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
