//! A slice is a slice: the product with rows `a..b` of a weight has the bits of columns `a..b` of the product with all its rows.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use bitquilt::{Graph, InferenceSession, Model, Tensor, TensorType, dim};
use bitquilt_kernels::Isa;
use bitquilt_tests::random::Random;

/// Rows of the weight: a number that no instruction set's lanes divide.
const ROWS: usize = 37;
/// Values in a row: a multiple of every encoding's block.
const COLUMNS: usize = 512;
/// Rows at, beside and across the borders of groups of 4, 8 and 16.
const SLICES: [Range<usize>; 8] = [0..1, 0..16, 1..2, 3..20, 7..9, 15..33, 16..32, 5..37];

fn values(random: &mut Random, shape: [usize; 2]) -> Tensor {
    let value = |_| random.below(20_001) as f32 / 10_000.0 - 1.0;
    Tensor::new(shape, (0..shape[0] * shape[1]).map(value).collect::<Vec<_>>()).unwrap()
}

/// Rows of an encoded matrix.
fn rows_of(weight: &Tensor, rows: Range<usize>) -> Tensor {
    let row_bytes = weight.bytes().len() / ROWS;
    let bytes = &weight.bytes()[rows.start * row_bytes..rows.end * row_bytes];
    Tensor::from_encoded(weight.encoding().unwrap(), [rows.len(), COLUMNS], bytes).unwrap()
}

/// Multiplies `x` with the whole weight, and with each slice of it.
fn model(session: &InferenceSession, weight: &Tensor, precision: &str) -> Model {
    let mut graph = Graph::new(session.registry(), []).unwrap();
    let x = graph.add_input("x", TensorType::f32([dim("m"), dim(COLUMNS)])).unwrap();
    let slices = SLICES.map(|rows| (format!("{rows:?}"), rows_of(weight, rows)));
    for (name, weight) in [("whole".to_owned(), weight.clone())].into_iter().chain(slices) {
        let weight = graph.constant(&weight).unwrap();
        let product = graph.node("qmatmul", [x, weight]).attribute("precision", precision).value().unwrap();
        graph.output_named(&name, product).unwrap();
    }
    session.load(&graph).unwrap()
}

/// Whether the products of every slice are those columns of the whole.
fn check(model: &Model, x: &Tensor, about: &str) {
    let results = model.execute([("x", x)]).unwrap();
    let whole = results.get::<f32>("whole").unwrap();
    for rows in SLICES {
        let part = results.get::<f32>(&format!("{rows:?}")).unwrap();
        for (m, (part, whole)) in part.chunks(rows.len()).zip(whole.chunks(ROWS)).enumerate() {
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(part), bits(&whole[rows.clone()]), "{about}, rows {rows:?}, row {m} of x");
        }
    }
}

#[test]
fn a_slice_of_a_weight_multiplies_as_it_does_in_the_whole() {
    let mut random = Random::new(7);
    let inputs = [1, 3, 8, 40].map(|m| values(&mut random, [m, COLUMNS]));
    let dense = values(&mut random, [ROWS, COLUMNS]);
    let importance = vec![1.0; COLUMNS];
    for isa in Isa::available() {
        let session = InferenceSession::builder().threads(2).option("isa", isa.name()).build().unwrap();
        for encoding in session.registry().encodings() {
            let weight = encoding.quantize_with_importance(&dense, &importance).unwrap().tensor;
            for precision in ["fast", "exact"] {
                let model = model(&session, &weight, precision);
                let about = format!("{}, {precision}, {}", encoding.spec().name, isa.name());
                inputs.iter().for_each(|x| check(&model, x, &about));
            }
        }
    }
}
