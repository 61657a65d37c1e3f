//! What a binding to another language relies on: memory that it owns, on both sides, and work that it can stop.

#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::sync::Arc;

use bitquilt::interrupt::Interrupt;
use bitquilt::{DType, EncodingSpec, Graph, InferenceSession, QuantizeError, Tensor, TensorType};

/// Some bytes of values that are counted.
struct Owner(Arc<[f32]>, Range<usize>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &bitquilt::plugin_api::bytemuck::cast_slice(&self.0)[self.1.clone()]
    }
}

#[test]
fn what_another_owns_is_read_where_it_lies() {
    let values: Arc<[f32]> = Arc::from([1f32, 2.0, 3.0]);
    let lent = |range| Tensor::from_owner(DType::F32, [2], Owner(Arc::clone(&values), range));
    let tensor = lent(4..12).unwrap();
    assert_eq!(tensor.bytes().as_ptr(), values[1..].as_ptr().cast());
    assert_eq!(tensor.values::<f32>().unwrap(), [2.0, 3.0]);
    let clone = tensor.clone();
    drop(tensor);
    assert_eq!((clone.values::<f32>().unwrap()[1], Arc::strong_count(&values)), (3.0, 2));
    drop(clone);
    assert_eq!(Arc::strong_count(&values), 1);

    let unaligned = lent(2..10).unwrap();
    assert_ne!(unaligned.bytes().as_ptr(), values.as_ptr().cast::<u8>().wrapping_add(2));
    assert_eq!(lent(0..4).unwrap_err().to_string(), "f32 [2] needs 8 bytes, 4 were given");
    let blocks = EncodingSpec::new("q", 4, 4);
    let blocks = Tensor::from_encoded_owner(&blocks, [3, 4], Owner(Arc::clone(&values), 0..12)).unwrap();
    assert_eq!(blocks.bytes().as_ptr(), values.as_ptr().cast());
}

#[test]
fn a_graph_and_its_model_hold_what_another_owns() {
    let values: Arc<[f32]> = Arc::from([1f32, 2.0, 3.0]);
    let session = InferenceSession::builder().threads(1).build().unwrap();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([3])]).unwrap();
    let owner = Owner(Arc::clone(&values), 0..12);
    let constant = graph.constant(&Tensor::from_owner(DType::F32, [3], owner).unwrap()).unwrap();
    let sum = graph.add(graph.input(0), constant).unwrap();
    graph.output(sum).unwrap();
    let model = session.load(&graph).unwrap();
    drop(graph);
    let results = model.execute([("input0", &Tensor::full([3], 1f32))]).unwrap();
    assert_eq!(results.get::<f32>("output0").unwrap(), [2.0, 3.0, 4.0]);
    drop((model, results));
    assert_eq!(Arc::strong_count(&values), 1);
}

#[test]
fn values_are_decoded_into_the_memory_that_is_given() {
    let session = InferenceSession::builder().threads(1).build().unwrap();
    let encoding = session.registry().require_encoding("q8_0").unwrap();
    for rows in [3, 3000] {
        let values: Vec<f32> = (0..rows * 32).map(|index| (index % 100) as f32 / 8.0).collect();
        let tensor = encoding.quantize(&Tensor::new([rows, 32], values).unwrap()).unwrap().tensor;
        let mut into = vec![0f32; rows * 32];
        encoding.dequantize_into(&tensor, &mut into).unwrap();
        assert_eq!(into, encoding.dequantize(&tensor).unwrap().values::<f32>().unwrap());
        let error = encoding.dequantize_into(&tensor, &mut into[1..]).unwrap_err().to_string();
        let bytes = rows * 128;
        assert_eq!(error, format!("f32 [{rows}, 32] needs {bytes} bytes, {} were given", bytes - 4));
    }
}

#[test]
fn what_is_interrupted_says_so_and_a_scope_ends_with_its_work() {
    let session = InferenceSession::builder().threads(1).build().unwrap();
    let encoding = session.registry().require_encoding("q8_0").unwrap();
    let (outer, inner) = (Interrupt::new(), Interrupt::new());
    inner.request();
    assert!(inner.is_requested() && !outer.is_requested());
    for rows in [1, 4096] {
        let tensor = Tensor::full([rows, 64], 1f32);
        let encoded = outer.scope(|| encoding.quantize(&tensor)).unwrap().tensor;
        outer.scope(|| {
            let errors =
                inner.scope(|| (encoding.quantize(&tensor).err(), encoding.dequantize(&encoded).err()));
            assert_eq!(
                errors,
                (Some(QuantizeError::Interrupted), Some(QuantizeError::Interrupted)),
                "{rows}"
            );
            let panicked = std::panic::catch_unwind(|| inner.scope(|| panic!("the work fails")));
            assert!(panicked.is_err());
            assert!(encoding.quantize(&tensor).is_ok(), "{rows}");
        });
    }
}

#[test]
fn the_ports_of_a_graph_are_listed_with_their_types() {
    let session = InferenceSession::builder().threads(1).build().unwrap();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([2])]).unwrap();
    let other = graph.add_input("x", TensorType::f32([2])).unwrap();
    let sum = graph.add(graph.input(0), other).unwrap();
    graph.output_named("sum", sum).unwrap();
    let inputs: Vec<_> = graph.inputs().collect();
    assert_eq!(inputs, [("input0", graph.input(0)), ("x", other)]);
    assert_eq!(graph.outputs().collect::<Vec<_>>(), [("sum", sum)]);
    assert_eq!(graph.type_of(sum), Some(&TensorType::f32([2])));
    let foreign = Graph::new(session.registry(), [TensorType::f32([2])]).unwrap();
    assert_eq!(graph.type_of(foreign.input(0)), None);
}
