"""Bytes and values are ggml's, by bitquilt's names and by those of `gguf`."""

import numpy as np
import pytest

import bitquilt as bq

gguf = pytest.importorskip("gguf", reason="gguf is not installed")

NAMES = [name for name in bq.gguf.TYPES.values() if name != "f32"]

pytestmark = pytest.mark.filterwarnings("ignore::bitquilt.QuantizeWarning")


def blocks_of(golden, name, part):
    key = f"{name}.{part}"
    return golden[key].numpy().ravel() if key in golden else None


def test_every_encoding_of_ggml_is_there():
    ggml = {name for name, encoding in bq.encodings().items() if encoding.plugin == "ggml"}
    assert ggml - {"f32"} == set(NAMES) and len(NAMES) == 27


@pytest.mark.parametrize("name", NAMES)
def test_bytes_and_values_are_ggmls(golden, name):
    values, weights = golden["input"].numpy(), golden["importance"].numpy()
    plain, weighted = blocks_of(golden, name, "bytes"), blocks_of(golden, name, "importance_bytes")
    encoding = bq.encodings()[name]
    assert (plain is None) == (encoding.importance == "required")
    assert (weighted is None) == (encoding.importance == "ignored")
    for expected, importance in ((plain, None), (weighted, weights)):
        if expected is None:
            continue
        tensor = bq.quantize(name, values, importance)
        assert (tensor.bytes.ravel() == expected).all()
        assert tensor.bytes.shape == (values.shape[0], values.shape[1] // encoding.block_len * encoding.block_bytes)
    decoded = golden[f"{name}.decoded"].numpy().reshape(values.shape)
    blocks = plain if plain is not None else weighted
    found = bq.dequantize(bq.encoded(name, values.shape, blocks))
    assert found.dtype == np.float32 and found.flags.writeable
    assert (found.view(np.uint32) == decoded.view(np.uint32)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_gguf_give_the_same(golden, name):
    values, weights = golden["input"].numpy(), golden["importance"].numpy()
    (number,) = (number for number, known in bq.gguf.TYPES.items() if known == name)
    qtype = number
    # A type that is younger than the package is its number.
    if name.upper() in gguf.GGMLQuantizationType.__members__:
        qtype = gguf.GGMLQuantizationType[name.upper()]
        assert qtype == number
        block_len, block_bytes = gguf.GGML_QUANT_SIZES[qtype]
        assert (block_len, block_bytes) == (bq.encodings()[name].block_len, bq.encodings()[name].block_bytes)
    plain, weighted = blocks_of(golden, name, "bytes"), blocks_of(golden, name, "importance_bytes")
    for expected, importance in ((plain, None), (weighted, weights)):
        if expected is None:
            continue
        for spelled in (qtype, number, name.upper()):
            found = bq.gguf.quantize(values, spelled, importance=importance)
            assert (found.view(np.uint8).ravel() == expected).all()
        found = bq.gguf.dequantize(expected.reshape(values.shape[0], -1), qtype)
        assert found.dtype == np.float32 and found.shape == values.shape


def ours_and_theirs(call, *arguments):
    try:
        return call(*arguments)
    except NotImplementedError:
        return None


@pytest.mark.parametrize("qtype", [t for t in gguf.GGMLQuantizationType if t in bq.gguf.TYPES], ids=lambda t: t.name)
@pytest.mark.parametrize("shape", [(8, 512), (2, 3, 256)])
def test_what_the_package_gguf_does_is_done_alike(qtype, shape, rng):
    values = rng.standard_normal(shape).astype(np.float32)
    theirs = ours_and_theirs(gguf.quantize, values, qtype)
    if theirs is None:
        needs = bq.encodings()[bq.gguf.TYPES[qtype]].importance == "required"
        weights = np.ones(shape[-1], np.float32) if needs else None
        blocks = bq.gguf.quantize(values, qtype, importance=weights)
    else:
        blocks = bq.gguf.quantize(values, qtype)
        assert blocks.dtype == theirs.dtype and blocks.shape == theirs.shape
        assert blocks.tobytes() == theirs.tobytes()
    decoded = ours_and_theirs(gguf.dequantize, np.array(blocks), qtype)
    if decoded is not None:
        found = bq.gguf.dequantize(blocks, qtype)
        assert found.dtype == decoded.dtype and found.shape == decoded.shape
        assert (found.view(np.uint32) == decoded.view(np.uint32)).all()


def test_every_half_is_decoded_as_numpy_does():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(16, -1)
    expected = halves.astype(np.float32)
    for given in (halves, halves.view(np.uint8), np.asfortranarray(halves)):
        found = bq.gguf.dequantize(given, "F16")
        assert found.shape == halves.shape
        assert np.array_equal(found, expected, equal_nan=True)
        assert (np.signbit(found) == np.signbit(expected)).all()


def test_what_is_no_type_is_refused():
    for qtype in (9, 15, 24, 77, "Q9_Z", None, 2.0):
        with pytest.raises(bq.QuantizeError, match="no type that is quantized; there are F32, F16, Q4_0"):
            bq.gguf.quantize(np.ones((1, 256)), qtype)
    with pytest.raises(bq.TensorError, match="no whole number of `q4_k` blocks of 144 bytes"):
        bq.gguf.dequantize(np.zeros((2, 100), np.uint8), "Q4_K")


def test_importance_is_checked():
    rows = np.ones((2, 256), np.float32)
    with pytest.raises(bq.QuantizeError, match="needs an importance vector: one weight for each of the 256 columns"):
        bq.quantize("iq2_xxs", rows)
    for wrong, error, sentence in [
        (np.ones(255, np.float32), bq.QuantizeError, "has 255 weights"),
        (np.full(256, -1, np.float32), bq.QuantizeError, "has -1 at column 0"),
        (np.ones(256, np.float64), bq.TensorError, "`importance` is f64"),
        (np.ones((1, 256), np.float32), bq.TensorError, "of one dimension"),
        ([1.0] * 256, bq.TensorError, "an array was expected"),
    ]:
        with pytest.raises(error, match=sentence):
            bq.quantize("q4_k", rows, wrong)


def test_lost_rows_are_a_warning():
    rows = np.vstack([np.ones((1, 32), np.float32), np.full((1, 32), 1e-30, np.float32)])
    with pytest.warns(bq.QuantizeWarning, match="row"):
        bq.quantize("q4_0", rows)
