"""Arguments of any kind: an exception with a sentence or an answer, and never a crash. `BITQUILT_FUZZ_SECONDS` is how long."""

import os
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import bitquilt as bq

SECONDS = float(os.environ.get("BITQUILT_FUZZ_SECONDS", "20"))
NAMES = [*bq.encodings(), "q9_9", "", "\x1b[31m", "f32", "é" * 300]
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=200),
    st.lists(st.floats(width=32), max_size=5), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
DTYPES = st.one_of(
    hnp.floating_dtypes(endianness="?"), hnp.integer_dtypes(endianness="?"), hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.boolean_dtypes(), hnp.complex_number_dtypes(), hnp.datetime64_dtypes(), hnp.byte_string_dtypes(), st.just(np.dtype(object)),
)  # fmt: skip
SHAPES = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 31, 32, 64, 256, 512])),
)


@st.composite
def arrays(draw):
    """Arrays of every dtype, some of them views that are not contiguous, read-only, or at an odd address."""
    shape = draw(SHAPES)
    if draw(st.booleans()):
        elements = st.floats(width=32) if draw(st.booleans()) else st.floats(-10, 10, width=32)
        array = draw(hnp.arrays(np.float32, shape, elements=elements, fill=st.just(np.float32(0.5))))
    else:
        dtype = draw(DTYPES)
        array = np.zeros(shape, dtype)
    view = draw(st.sampled_from(["as it is", "transposed", "reversed", "every other", "read-only", "unaligned"]))
    if view == "transposed":
        array = array.T
    elif view == "reversed" and array.ndim:
        array = array[::-1]
    elif view == "every other" and array.ndim:
        array = array[..., ::2]
    elif view == "read-only":
        array.flags.writeable = False
    elif view == "unaligned" and array.dtype != object and array.dtype.itemsize:
        memory = np.zeros(array.nbytes + 1, np.uint8)
        memory[1:] = np.frombuffer(array.tobytes(), np.uint8)
        array = memory[1:].view(array.dtype).reshape(array.shape) if array.nbytes else array
    return array


ANY = st.one_of(arrays(), ODD)
SESSION = bq.InferenceSession(threads=2)
EXPECTED = (bq.Error, TypeError, OverflowError, BufferError)


def model():
    graph = bq.Graph("fuzz", {"x": bq.TensorType("f32", ["n", 32]), "i": bq.TensorType("i64", ["m"])}, SESSION)
    weight = graph.quantize("q8_0", np.ones((8, 32), np.float32))
    graph.output(bq.ops.qmatmul(graph["x"], weight), "y")
    graph.output(bq.ops.qgather(weight, graph["i"]), "rows")
    return SESSION.load(graph)


MODEL = model()


def attempt(call):
    """Calls; what it raises is of the package, with a sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except EXPECTED as error:
            assert str(error), type(error)
            assert "\x1b" not in str(error)
            return None


def one(data):
    what = data.draw(st.integers(0, 9))
    any_array, name = data.draw(ANY), data.draw(st.sampled_from(NAMES))
    if what == 0:
        importance = data.draw(st.one_of(st.none(), ANY))
        tensor = attempt(lambda: bq.quantize(name, any_array, importance))
        if tensor is not None:
            assert tensor.shape == np.shape(any_array)
            assert np.isfinite(bq.dequantize(tensor)).all()
    elif what == 1:
        shape = data.draw(st.one_of(hnp.array_shapes(min_dims=0), st.lists(st.integers(-3, 2**63), max_size=4).map(tuple)))
        tensor = attempt(lambda: bq.encoded(name, shape, any_array))
        if tensor is not None:
            attempt(lambda: bq.dequantize(tensor))
    elif what == 2:
        tensor = attempt(lambda: bq.Tensor(any_array))
        if tensor is not None:
            attempt(lambda: (tensor.numpy(), tensor.bytes, repr(tensor), tensor == any_array, np.asarray(tensor), tensor.dequantize()))
    elif what == 3:
        attempt(lambda: MODEL(any_array, data.draw(ANY)))
    elif what == 4:
        attempt(lambda: MODEL(x=np.ones((2, 32), np.float32), i=any_array))
    elif what == 5:
        graph = bq.Graph("fuzz", (), SESSION)
        element = data.draw(st.sampled_from(["f32", "bool", "i64", "bf16", *NAMES]))
        dims = data.draw(st.lists(st.one_of(st.integers(-(2**70), 2**70), st.text(max_size=8), ODD), max_size=5))
        value = attempt(lambda: graph.input(data.draw(st.text(max_size=5)), bq.TensorType(element, dims)))
        constant = attempt(lambda: graph.constant(any_array))
        values = [it for it in (value, constant) if it is not None]
        op = data.draw(st.sampled_from([*SESSION.ops(), "none"]))
        attributes = data.draw(st.dictionaries(st.sampled_from(["axis", "shape", "axes", "k", "dtype", "eps", "start"]), ODD, max_size=2))
        if values:
            yielded = attempt(lambda: graph.op(op, *values[: data.draw(st.integers(0, 3))], **attributes))
            for output in yielded if isinstance(yielded, tuple) else [yielded] if yielded is not None else []:
                attempt(lambda output=output: graph.output(output))
            loaded = attempt(lambda: SESSION.load(graph))
            if loaded is not None:
                attempt(lambda: loaded(*[any_array] * len(loaded.inputs)))
    elif what == 6:
        qtype = data.draw(st.one_of(st.integers(-1, 50), st.sampled_from(["Q4_K", "f16", ""])))
        attempt(lambda: bq.gguf.quantize(np.asarray(any_array, np.float32), qtype)) if isinstance(any_array, np.ndarray) and any_array.dtype.kind in "fiub" else None
    elif what == 7:
        arguments = data.draw(st.fixed_dictionaries({}, optional={
            "values": st.lists(st.floats(), max_size=20), "offset": st.integers(-1, 300), "signed": st.booleans(), "scale": st.text(max_size=4),
            "min": st.sampled_from(["f16", "f32", "x"]), "groups": st.integers(-1, 70), "unused": st.floats(), "version": st.integers(-1, 3),
        }))  # fmt: skip
        bits = data.draw(st.one_of(st.integers(-1, 40), st.sampled_from(["f8_e4m3", "f4_e2m1", "x"])))
        attempt(lambda: bq.encoding(data.draw(st.text(max_size=8)), data.draw(st.integers(-1, 2**40)), bits, **arguments))
    elif what == 8:
        tensors = attempt(lambda: bq.TensorDict({data.draw(st.text(max_size=5)): any_array}))
        if tensors is not None:
            attempt(lambda: tensors.metadata.update({data.draw(st.text(max_size=5)): data.draw(ANY)}))
    else:
        subject = type("Fuzzed", (), {"name": name, "block_len": data.draw(ODD), "block_bytes": data.draw(ODD), "quantize": None, "dequantize": None})
        attempt(lambda: bq.InferenceSession(threads=1).register(subject()))


def test_any_arguments_are_taken_or_refused():
    end = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < end:

        @seed(rounds)
        @settings(max_examples=200, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def fuzz(data):
            one(data)

        fuzz()
        rounds += 1
