//! GGUF files, right ones and wrong ones.

/// A file to be. The counts and offsets that it writes are the right ones, unless they are set.
#[derive(Clone)]
pub struct GgufFile {
    /// The version of the format.
    pub version: u32,
    /// What the offsets of tensors are multiples of.
    pub alignment: usize,
    /// The number of entries that the file names.
    pub entry_count: Option<u64>,
    /// The number of tensors that the file names.
    pub tensor_count: Option<u64>,
    /// The metadata.
    pub entries: Vec<(String, GgufValue)>,
    /// The tensors.
    pub tensors: Vec<GgufTensor>,
}

/// A value of the metadata: GGUF's number of its type, and its bytes.
#[derive(Clone)]
pub struct GgufValue {
    type_id: u32,
    bytes: Vec<u8>,
}

/// A tensor of a file.
#[derive(Clone)]
pub struct GgufTensor {
    /// The name.
    pub name: String,
    /// The dimensions, innermost first, as in the file.
    pub dims: Vec<u64>,
    /// ggml's number of the type.
    pub type_id: u32,
    /// The offset that the file names.
    pub offset: Option<u64>,
    /// The data.
    pub bytes: Vec<u8>,
}

impl GgufTensor {
    /// A tensor; `type_id` is ggml's number.
    pub fn new(name: &str, dims: impl Into<Vec<u64>>, type_id: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), dims: dims.into(), type_id, offset: None, bytes: bytes.into() }
    }

    /// A tensor of f32.
    pub fn f32(name: &str, dims: impl Into<Vec<u64>>, values: impl IntoIterator<Item = f32>) -> Self {
        Self::new(name, dims, 0, values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
    }
}

impl GgufValue {
    /// A value of the type that GGUF numbers so.
    pub fn new(type_id: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { type_id, bytes: bytes.into() }
    }

    /// An array of `len` values of the type that GGUF numbers so.
    pub fn array(type_id: u32, len: usize, values: impl AsRef<[u8]>) -> Self {
        Self::new(9, [&type_id.to_le_bytes()[..], &(len as u64).to_le_bytes(), values.as_ref()].concat())
    }
}

/// A text as GGUF has it, which need be no UTF-8.
pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

impl From<u32> for GgufValue {
    fn from(value: u32) -> Self {
        Self::new(4, value.to_le_bytes())
    }
}

impl From<f32> for GgufValue {
    fn from(value: f32) -> Self {
        Self::new(6, value.to_le_bytes())
    }
}

impl From<bool> for GgufValue {
    fn from(value: bool) -> Self {
        Self::new(7, [u8::from(value)])
    }
}

impl From<&str> for GgufValue {
    fn from(value: &str) -> Self {
        Self::new(8, text(value))
    }
}

impl<const N: usize> From<[i32; N]> for GgufValue {
    fn from(values: [i32; N]) -> Self {
        Self::array(5, N, values.map(i32::to_le_bytes).concat())
    }
}

impl<const N: usize> From<[f32; N]> for GgufValue {
    fn from(values: [f32; N]) -> Self {
        Self::array(6, N, values.map(f32::to_le_bytes).concat())
    }
}

impl<const N: usize> From<[&str; N]> for GgufValue {
    fn from(values: [&str; N]) -> Self {
        Self::array(8, N, values.map(text).concat())
    }
}

impl Default for GgufFile {
    fn default() -> Self {
        let (entries, tensors) = (Vec::new(), Vec::new());
        Self { version: 3, alignment: 32, entry_count: None, tensor_count: None, entries, tensors }
    }
}

impl GgufFile {
    /// With an entry of the metadata, in place of one of this key.
    pub fn set(mut self, key: &str, value: impl Into<GgufValue>) -> Self {
        self.entries.retain(|(known, _)| known != key);
        self.entries.push((key.to_owned(), value.into()));
        self
    }

    /// With a tensor, in place of one of this name.
    pub fn tensor(mut self, tensor: GgufTensor) -> Self {
        self.tensors.retain(|known| known.name != tensor.name);
        self.tensors.push(tensor);
        self
    }

    /// Without the entry or tensor of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.entries.retain(|(key, _)| key != name);
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    /// An importance matrix as llama.cpp writes it, of 7 chunks of 512 rows of the datasets, and of no weight yet.
    pub fn imatrix<const N: usize>(datasets: [&str; N]) -> Self {
        let file = Self::default().set("general.type", "imatrix").set("imatrix.datasets", datasets);
        file.set("imatrix.chunk_count", 7).set("imatrix.chunk_size", 512)
    }

    /// With the importance of a weight: the sums of the squares of its columns, and how many rows those of each of its matrices are of.
    pub fn importance(
        self,
        weight: &str,
        dims: impl Into<Vec<u64>>,
        sums: impl IntoIterator<Item = f32>,
        counts: &[f32],
    ) -> Self {
        let (dims, matrices) = (dims.into(), [1, counts.len() as u64]);
        self.tensor(GgufTensor::f32(&format!("{weight}.in_sum2"), dims, sums)).tensor(GgufTensor::f32(
            &format!("{weight}.counts"),
            matrices,
            counts.iter().copied(),
        ))
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.entry_count.unwrap_or(self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            file.extend(text(key));
            file.extend(value.type_id.to_le_bytes());
            file.extend(&value.bytes);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            file.extend(text(&tensor.name));
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
