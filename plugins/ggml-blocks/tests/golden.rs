//! Every format against bytes and values that ggml wrote (`testdata/README.md`).

use bitquilt_ggml_blocks::{FORMATS, Format, Importance, Isa};
use safetensors::SafeTensors;

struct Golden<'a> {
    tensors: SafeTensors<'a>,
    input: Vec<f32>,
    row_len: usize,
}

impl<'a> Golden<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let tensors = SafeTensors::deserialize(bytes).expect("a safetensors file");
        let input = tensors.tensor("input").expect("the input");
        Self { row_len: input.shape()[1], input: floats(input.data()), tensors }
    }

    fn bytes(&self, format: &Format, part: &str) -> Option<&'a [u8]> {
        self.tensors.tensor(&format!("{}.{part}", format.name)).ok().map(|tensor| tensor.data())
    }

    fn quantize(&self, isa: Isa, format: &Format, importance: Option<&[f32]>) -> Vec<u8> {
        let rows = self.input.len() / self.row_len;
        let mut bytes = vec![0; rows * format.row_bytes(self.row_len).expect("whole blocks")];
        format.quantize_with(isa, &self.input, self.row_len, importance, &mut bytes);
        bytes
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn assert_same_rows(format: &Format, what: &str, ours: &[u8], golden: &[u8], row_bytes: usize) {
    assert_eq!(ours.len(), golden.len(), "{} {what}", format.name);
    for (row, (ours, golden)) in ours.chunks(row_bytes).zip(golden.chunks(row_bytes)).enumerate() {
        if let Some(at) = ours.iter().zip(golden).position(|(ours, golden)| ours != golden) {
            panic!(
                "{} {what}: row {row}, byte {at}: {:#x}, ggml has {:#x}",
                format.name, ours[at], golden[at]
            );
        }
    }
}

#[test]
fn bytes_and_values_are_ggmls() {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ggml.safetensors")).unwrap();
    let golden = Golden::new(&file);
    let importance = floats(golden.tensors.tensor("importance").unwrap().data());
    for (isa, format) in Isa::available().flat_map(|isa| FORMATS.iter().map(move |f| (isa, f))) {
        let row_bytes = format.row_bytes(golden.row_len).unwrap();
        let plain = golden.bytes(format, "bytes");
        let weighted = golden.bytes(format, "importance_bytes");
        assert_eq!(plain.is_none(), format.importance == Importance::Required, "{}", format.name);
        assert_eq!(weighted.is_none(), format.importance == Importance::Ignored, "{}", format.name);
        if let Some(plain) = plain {
            assert_same_rows(
                format,
                &format!("{isa:?} bytes"),
                &golden.quantize(isa, format, None),
                plain,
                row_bytes,
            );
        }
        if let Some(weighted) = weighted {
            let ours = golden.quantize(isa, format, Some(&importance));
            assert_same_rows(format, &format!("{isa:?} importance bytes"), &ours, weighted, row_bytes);
        }

        let encoded = plain.or(weighted).unwrap();
        let mut decoded = vec![0.0f32; golden.input.len()];
        format.dequantize_with(isa, encoded, &mut decoded);
        let decoded: Vec<u8> = decoded.iter().flat_map(|x| x.to_le_bytes()).collect();
        let expected = golden.bytes(format, "decoded").unwrap();
        assert_same_rows(format, &format!("{isa:?} decoded"), &decoded, expected, 4 * golden.row_len);
    }
}
