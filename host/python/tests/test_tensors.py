"""Tensors and arrays: what is shared, by address, and what is refused."""

import gc
import weakref

import numpy as np
import pytest
from conftest import ROOT, address

import bitquilt as bq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")

DTYPES = [
    ("f32", np.float32), ("f64", np.float64), ("f16", np.float16), ("i8", np.int8), ("i16", np.int16), ("i32", np.int32),
    ("i64", np.int64), ("u8", np.uint8), ("u16", np.uint16), ("u32", np.uint32), ("u64", np.uint64), ("bool", np.bool_),
    ("bf16", ml_dtypes.bfloat16), ("f8_e4m3", ml_dtypes.float8_e4m3fn), ("f8_e5m2", ml_dtypes.float8_e5m2),
]  # fmt: skip


@pytest.mark.parametrize(("element", "dtype"), DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4), (2, 0, 3), (1, 2, 3, 4)])
def test_an_array_comes_back_as_it_was(element, dtype, shape):
    array = (np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape).astype(dtype)
    tensor = bq.Tensor(array)
    assert (tensor.element, tensor.shape, tensor.dtype, tensor.encoding) == (element, shape, np.dtype(dtype), None)
    assert (tensor.size, tensor.nbytes, tensor.ndim) == (array.size, array.nbytes, array.ndim)
    assert tensor.type == bq.TensorType(element, shape)
    for back in (tensor.numpy(), np.asarray(tensor)):
        assert back.dtype == array.dtype and back.shape == shape and not back.flags.writeable
        assert back.tobytes() == array.tobytes()
    assert tensor.bytes.tobytes() == array.tobytes()
    assert tensor == bq.Tensor(array) and tensor != bq.Tensor(np.ones(7, np.float32))


def test_memory_is_shared_where_nobody_writes():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert address(bq.Tensor(array).numpy()) != address(array)
    array.flags.writeable = False
    tensor = bq.Tensor(array)
    for view in (tensor.numpy(), np.asarray(tensor), np.from_dlpack(tensor), np.asarray(memoryview(tensor)), tensor.bytes):
        assert address(view) == address(array)
    # Values that index memory are copied.
    index = np.arange(3)
    index.flags.writeable = False
    assert address(bq.Tensor(index).numpy()) != address(index)
    halves = np.ones(4, ml_dtypes.bfloat16)
    halves.flags.writeable = False
    assert address(bq.Tensor(halves).numpy()) == address(halves)


def test_a_tensor_holds_the_array_and_an_array_the_tensor():
    array = np.arange(1000, dtype=np.float32)
    array.flags.writeable = False
    dead = weakref.ref(array)
    tensor = bq.Tensor(array)
    del array
    gc.collect()
    assert dead() is not None
    view = tensor.numpy()
    del tensor
    gc.collect()
    assert view[999] == 999
    del view
    gc.collect()
    assert dead() is None


def test_a_mapped_tensor_is_a_read_only_array_over_the_file(tmp_path):
    path = tmp_path / "model.gguf"
    values = np.arange(4096, dtype=np.float32).reshape(64, 64)
    bq.checkpoint.save({"w": values, "q": bq.quantize("q8_0", values)}, path)
    first, second = bq.checkpoint.load(path)["w"], bq.checkpoint.load(path)["w"]
    view = np.asarray(first)
    assert (view == values).all() and not view.flags.writeable
    assert address(view) == address(first.numpy()) == address(first.bytes)
    assert address(view) != address(second.numpy())
    with open("/proc/self/maps") as maps:
        held = [line.split() for line in maps if str(path) in line]
    ranges = [[int(end, 16) for end in line[0].split("-")] for line in held]
    assert any(begin <= address(view) < end for begin, end in ranges)
    blocks = bq.checkpoint.load(path)["q"].bytes
    assert blocks.shape == (64, 68) and not blocks.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    with pytest.raises(ValueError):
        view.flags.writeable = True


def test_dlpack_goes_both_ways():
    class Foreign:
        """An array that lends its memory by DLPack alone."""

        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert (bq.Tensor(Foreign(array)).numpy() == array).all()
    quantized = bq.quantize("q8_0", Foreign(np.ones((2, 32), np.float32)))
    assert quantized == bq.quantize("q8_0", np.ones((2, 32), np.float32))
    back = np.from_dlpack(bq.Tensor(array))
    assert (back == array).all() and not back.flags.writeable
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    halves = bq.Tensor(array.astype(ml_dtypes.bfloat16))
    with pytest.raises(BufferError, match="does not lend bf16 by DLPack; take `t.bytes`"):
        np.from_dlpack(halves)
    assert (np.from_dlpack(halves.bytes).view(ml_dtypes.bfloat16) == array).all()


def test_an_encoded_tensor_is_no_array_of_numbers():
    tensor = bq.quantize("q4_0", np.ones((2, 64), np.float32))
    assert (tensor.encoding, tensor.element, tensor.dtype, tensor.shape) == ("q4_0", "q4_0", None, (2, 64))
    assert tensor.type == bq.TensorType("q4_0", [2, 64], True)
    assert tensor.bytes.shape == (2, 36) and tensor.nbytes == 72
    for use in (np.asarray, lambda it: it.numpy(), np.from_dlpack):
        with pytest.raises(bq.TensorError, match="decode it with `bq.dequantize"):
            use(tensor)
    with pytest.raises(BufferError, match="decode it"):
        memoryview(tensor)
    assert repr(tensor) == "Tensor(q4_0 [2, 64], 72 bytes)"


def test_blocks_become_a_tensor_by_their_encoding_alone():
    tensor = bq.quantize("q6_k", np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256))
    for blocks in (tensor.bytes, tensor.bytes.copy(), tensor.bytes.tobytes(), bytearray(tensor.bytes.tobytes())):
        assert bq.encoded("q6_k", (2, 256), blocks) == tensor
    assert address(bq.encoded("q6_k", (2, 256), tensor.bytes).bytes) == address(tensor.bytes)
    with pytest.raises(bq.TensorError, match="needs 420 bytes, 419 were given"):
        bq.encoded("q6_k", (2, 256), tensor.bytes.tobytes()[1:])
    with pytest.raises(bq.TensorError, match="blocks are u8"):
        bq.encoded("q6_k", (2, 256), np.zeros(105, np.float32))


REFUSED = [
    (np.ones((4, 64), np.float32).T, bq.TensorError, "not contiguous in C order"),
    (np.ones((4, 128), np.float32)[:, ::2], bq.TensorError, "not contiguous in C order"),
    (np.ones((4, 64), ">f4"), bq.TensorError, "big-endian"),
    (np.ones((4, 64), np.complex64), bq.TensorError, "no dtype"),
    (np.array([["a"]]), bq.TensorError, "no dtype|does not lend"),
    (np.array([object()]), bq.TensorError, "no dtype|does not lend"),
    (np.array(["2020-01-01"], "M8[D]"), bq.TensorError, "no dtype|does not lend"),
    (np.ones(4, [("a", "f4")]), bq.TensorError, "no dtype"),
    ([1.0, 2.0], bq.TensorError, "`list`; an array was expected"),
    (None, bq.TensorError, "`NoneType`; an array was expected"),
    (3.5, bq.TensorError, "`float`; an array was expected"),
    (np.ones((4, 64), np.int32), bq.QuantizeError, "only f32, f16 and bf16"),
    (np.ones((4, 64), np.float64), bq.QuantizeError, "only f32, f16 and bf16"),
    (np.ones((4, 63), np.float32), bq.TensorError, "63 values long, no multiple of the 32"),
    (np.float32(1), bq.TensorError, "1 values long"),
    (np.full((4, 64), np.nan, np.float32), bq.QuantizeError, "row 0, column 0 is NaN"),
]


@pytest.mark.parametrize(("array", "error", "sentence"), REFUSED)
def test_what_cannot_be_quantized_is_refused_with_a_sentence(array, error, sentence):
    with pytest.raises(error, match=sentence):
        bq.quantize("q4_0", array)


def test_arrays_in_odd_places_are_read():
    memory = np.zeros(4 * 64 * 4 + 1, np.uint8)
    unaligned = memory[1:].view(np.float32).reshape(4, 64)
    unaligned[:] = np.linspace(-1, 1, 256, dtype=np.float32).reshape(4, 64)
    assert not unaligned.flags.aligned
    assert bq.quantize("q8_0", unaligned) == bq.quantize("q8_0", unaligned.copy())
    assert bq.quantize("q8_0", np.zeros((0, 64), np.float32)).bytes.shape == (0, 68)
    assert bq.quantize("q8_0", memoryview(unaligned.copy())).shape == (4, 64)


def test_small_floats_are_quantized_and_decoded(rng):
    values = rng.standard_normal((4, 64)).astype(np.float32)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        small = values.astype(dtype)
        assert bq.quantize("q8_0", small) == bq.quantize("q8_0", small.astype(np.float32))
        assert (bq.dequantize(bq.Tensor(small)) == small.astype(np.float32)).all()
    model = bq.checkpoint.load(ROOT / "plugins/ggml-blocks/testdata/ggml.safetensors")
    assert bq.dequantize(model["input"]).dtype == np.float32
