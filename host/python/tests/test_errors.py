"""A class for each kind of error, with the library's sentence."""

import numpy as np
import pytest

import bitquilt as bq

ROWS = np.ones((2, 32), np.float32)

CASES = [
    (bq.UnknownEncodingError, LookupError, lambda: bq.quantize("q4_00", ROWS), "no encoding `q4_00` is registered; did you mean `q4_0`? there are "),
    (bq.TensorError, ValueError, lambda: bq.encoded("q4_0", (2, 32), b""), "q4_0 [2, 32] needs 36 bytes, 0 were given"),
    (bq.QuantizeError, ValueError, lambda: bq.quantize("q4_0", ROWS * np.inf), "the value at row 0, column 0 is inf; `q4_0` encodes finite values only"),
    (bq.FileError, OSError, lambda: bq.checkpoint.load("/nowhere/x"), "cannot read /nowhere/x: No such file or directory (os error 2)"),
    (bq.SessionError, RuntimeError, lambda: bq.InferenceSession(threads=9999), "9999 threads were asked for; a session has at most 1024"),
    (bq.GraphError, ValueError, lambda: bq.Graph("g", ()).op("none"), "node `none.0` (none): no op of this name is registered; there are "),
    (bq.LoadError, RuntimeError, lambda: bq.InferenceSession().load(bq.Graph("g", ())), "the graph has no outputs; name what it is to compute with"),
    (bq.DeclarationError, ValueError, lambda: bq.Declaration.parse("x"), "line 1: "),
    (bq.RecipeError, ValueError, lambda: bq.quantize_file("a", "b"), "nothing was said of any weight"),
    (bq.CompareError, ValueError, lambda: bq.compare("a"), "either another file or `encodings`"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "builtin", "call", "sentence"), CASES, ids=lambda it: getattr(it, "__name__", None))
def test_each_kind_has_its_class_and_sentence(error, builtin, call, sentence):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value).startswith(sentence)
    assert type(raised.value) is error
    assert isinstance(raised.value, bq.Error) and isinstance(raised.value, builtin)


def test_classes_are_found_by_their_names_and_pickled():
    import pickle

    for name in bq.__all__:
        subject = getattr(bq, name)
        if isinstance(subject, type) and issubclass(subject, bq.Error):
            error = pickle.loads(pickle.dumps(subject("a sentence")))
            assert type(error) is subject and str(error) == "a sentence" and subject.__doc__


TYPES = {"x": bq.TensorType("f32", [2])}
OF_A_SESSION = [
    lambda it: bq.quantize("q4_0", ROWS, session=it),
    lambda it: bq.dequantize(bq.quantize("q4_0", ROWS), session=it),
    lambda it: bq.encoded("q4_0", (2, 32), bytes(36), session=it),
    lambda it: bq.encodings(session=it),
    lambda it: bq.Graph("g", TYPES, it),
    lambda it: bq.Graph.load("g", it),
    lambda it: bq.checkpoint.load("g", session=it),
    lambda it: bq.quantize_file("a", "b", "q4_0", session=it),
    lambda it: bq.compare("a", encodings=["q4_0"], session=it),
    lambda it: bq.plan("a", target_bpw=4.0, session=it),
    lambda it: bq.plan(bq.Graph("g", TYPES), target_bpw=4.0, session=it),
]


@pytest.mark.parametrize("call", OF_A_SESSION)
@pytest.mark.parametrize(("session", "said"), [(0, "0"), ("mine", "'mine'"), ({}, "of type `dict`")])
def test_what_is_no_session_is_said(call, session, said):
    with pytest.raises(bq.SessionError) as raised:
        call(session)
    assert str(raised.value) == f"`session` is {said}; an `InferenceSession` was expected"


def test_what_is_no_tensor_is_said():
    with pytest.raises(bq.TensorError, match="`tensor` is of type `ndarray`; a `Tensor` was expected"):
        bq.dequantize(ROWS)
