//! Work that takes long stops when it is asked to.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bitquilt::interrupt::Interrupt;
use bitquilt::{Graph, InferenceSession, LoadError, RunError, Tensor, TensorType};

#[test]
fn loading_and_running_stop() {
    let session = InferenceSession::builder().threads(1).build().unwrap();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([2])]).unwrap();
    let sum = graph.add(graph.input(0), graph.input(0)).unwrap();
    graph.output(sum).unwrap();
    let (model, inputs) = (session.load(&graph).unwrap(), Tensor::full([2], 1f32));
    let mut state = model.new_state().unwrap();
    let interrupt = Interrupt::new();
    interrupt.scope(|| {
        assert!(state.run([("input0", &inputs)]).is_ok());
        interrupt.request();
        assert_eq!(session.load(&graph).map(drop), Err(LoadError::Interrupted));
        assert_eq!(state.run([("input0", &inputs)]).map(drop), Err(RunError::Interrupted));
        // An inner scope has a request of its own.
        assert!(Interrupt::new().scope(|| state.run([("input0", &inputs)]).is_ok()));
    });
    assert!(state.run([("input0", &inputs)]).is_ok());
}
