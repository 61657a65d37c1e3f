"""Files: tensors and what is said of them, whole files, comparisons."""

import numpy as np
import pytest

import bitquilt as bq


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(3)
    tensors = bq.TensorDict(
        {
            "blk.0.up": rng.standard_normal((8, 256)).astype(np.float32),
            "blk.0.down": rng.standard_normal((256, 32)).astype(np.float32),
            "norm": np.ones(32, np.float32),
        },
        {"general.architecture": "test", "test.block_count": np.uint32(1)},
    )
    path = tmp_path / "model.gguf"
    bq.checkpoint.save(tensors, path)
    return path


def test_metadata_keeps_its_types(tmp_path):
    values = {
        "text": "two words", "flag": True, "int": -5, "large": 2**63, "float": 0.1, "u32": np.uint32(7), "f32": np.float32(0.1),
        "texts": ["a", "b"], "ints": [1, 2, 3], "floats": [1.5, 2], "flags": [True, False], "u16s": np.array([1, 2], np.uint16),
    }  # fmt: skip
    for name in ("m.gguf", "m.safetensors"):
        bq.checkpoint.save(bq.TensorDict({"x": np.zeros(4, np.float32)}, values), tmp_path / name)
        found = bq.checkpoint.load(tmp_path / name)
        again = tmp_path / f"again.{name}"
        bq.checkpoint.save(found, again)
        assert again.read_bytes() == (tmp_path / name).read_bytes()
        metadata = found.metadata
        assert set(values) <= set(metadata)
        assert metadata["u16s"] == [1, 2] and metadata["f32"] == float(np.float32(0.1)) and metadata["large"] == 2**63
        for key in ("text", "flag", "int", "float", "texts", "ints", "floats", "flags"):
            assert metadata[key] == values[key] and type(metadata[key]) is type(values[key])
    with pytest.raises(bq.CheckpointError, match="the metadata `x` cannot be of type `dict`"):
        bq.TensorDict().metadata["x"] = {}
    with pytest.raises(KeyError):
        bq.TensorDict().metadata["x"]
    del metadata["text"]
    assert "text" not in metadata and len(metadata) >= len(values) - 1


def test_what_llama_cpp_reads_is_there(model):
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(model)
    assert reader.fields["test.block_count"].types == [gguf.GGUFValueType.UINT32]
    assert {tensor.name: tuple(tensor.data.shape) for tensor in reader.tensors} == {
        "blk.0.down": (256, 32), "blk.0.up": (8, 256), "norm": (32,),
    }  # fmt: skip


def test_a_dictionary_of_tensors(tmp_path):
    tensors = bq.TensorDict({"b": np.ones(2, np.float32)})
    tensors["a"] = bq.quantize("q8_0", np.ones((1, 32), np.float32))
    assert list(tensors) == ["a", "b"] and "a" in tensors and len(tensors) == 2
    assert tensors.get("c") is None and tensors.pop("b").shape == (2,)
    for lookup in (KeyError, bq.CheckpointError):
        with pytest.raises(lookup, match="there is no tensor `aa`; none of the 1"):
            tensors["aa"]
    for wrong in ({"x": "text"}, {"x": [1, 2]}):
        with pytest.raises(bq.TensorError, match="an array was expected"):
            bq.TensorDict(wrong)
    with pytest.raises(bq.CheckpointError, match="the name of a tensor"):
        tensors[1] = np.ones(1, np.float32)
    bq.checkpoint.save({"x": np.arange(3.0, dtype=np.float32)}, tmp_path / "x.npz")
    assert np.load(tmp_path / "x.npz")["x"].tolist() == [0, 1, 2]


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "text").write_text("no checkpoint")
    for path, error in [(tmp_path / "none", bq.FileError), (tmp_path, bq.FileError), (tmp_path / "text", bq.CheckpointError)]:
        with pytest.raises(error, match=str(path)):
            bq.checkpoint.load(path)
        with pytest.raises(bq.Error, match=str(path)):
            bq.quantize_file(path, tmp_path / "out", "q8_0")
    with pytest.raises(OSError):
        bq.checkpoint.load(tmp_path / "none")
    with pytest.raises(bq.CheckpointError, match="u16|dtype"):
        bq.checkpoint.save({"x": np.ones(2, np.uint16)}, tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_a_file_is_quantized(model, tmp_path):
    out = tmp_path / "out.gguf"
    report = bq.quantize_file(model, out, {"*": "q4_k", "*.down": "q8_0"})
    assert {weight.name: (weight.before, weight.after) for weight in report.weights} == {
        "blk.0.down": ("f32", "q8_0"), "blk.0.up": ("f32", "q4_k"),
    }  # fmt: skip
    assert 0 < report.weights[0].error < 0.02 and report.other_tensors == 1
    assert "q4_k" in str(report) and report._repr_html_().startswith("<table>")
    before, after = bq.checkpoint.load(model), bq.checkpoint.load(out)
    assert after["blk.0.up"] == bq.quantize("q4_k", before["blk.0.up"])
    assert after["norm"] == before["norm"]
    assert dict(after.metadata) == {**before.metadata, "general.quantization_version": 2}
    back = bq.convert(out, tmp_path / "back.safetensors", "f32")
    assert all(weight.after == "f32" for weight in back.weights)
    assert (bq.checkpoint.load(tmp_path / "back.safetensors")["blk.0.up"].numpy() == bq.dequantize(after["blk.0.up"])).all()


def test_recipes_fallbacks_and_importance(model, tmp_path):
    out = tmp_path / "out.safetensors"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('fallback = "q8_0"\n[[rule]]\nweights = "*"\nencoding = "q4_k"\n')
    report = bq.quantize_file(model, out, recipe=recipe)
    assert [(weight.after, weight.instead_of) for weight in report.weights] == [("q8_0", "q4_k"), ("q4_k", None)]
    report = bq.quantize_file(model, tmp_path / "dry", "q8_0", only="*.up", dry_run=True)
    assert [weight.after for weight in report.weights] == ["f32", "q8_0"] and not (tmp_path / "dry").exists()
    weights = np.linspace(0.1, 1, 256, dtype=np.float32)
    bq.quantize_file(model, out, "iq2_xxs", only="*.up", importance={"blk.0.up": weights})
    values = bq.checkpoint.load(model)["blk.0.up"]
    assert bq.checkpoint.load(out)["blk.0.up"] == bq.quantize("iq2_xxs", values, weights)
    bq.checkpoint.save({"blk.0.up": weights}, tmp_path / "importance.safetensors")
    bq.quantize_file(model, tmp_path / "same", "iq2_xxs", only="*.up", importance=tmp_path / "importance.safetensors")
    assert bq.checkpoint.load(tmp_path / "same")["blk.0.up"] == bq.checkpoint.load(out)["blk.0.up"]
    for arguments, error, sentence in [
        ({"encoding": "q4_k"}, bq.RecipeError, "no multiple of the 256 in a block of `q4_k`"),
        ({"encoding": "q9"}, bq.UnknownEncodingError, "no encoding `q9`"),
        ({}, bq.RecipeError, "give an `encoding` or a `recipe`"),
        ({"only": "*", "recipe": recipe}, bq.RecipeError, "needs one encoding"),
        ({"encoding": {"blk.9.*": "q8_0"}}, bq.RecipeError, "decides for no weight"),
        ({"encoding": "q8_0", "exclude": "norm"}, bq.RecipeError, "list of globs"),
        ({"encoding": "q8_0", "exclude": ["[a"]}, bq.RecipeError, "a"),
        ({"encoding": "iq2_xxs", "only": "*.up"}, bq.QuantizeError, "needs an importance vector"),
        ({"encoding": "iq2_xxs", "only": "*.up", "importance": {"other": weights}}, bq.ImportanceError, "none for a weight of the model"),
        ({"encoding": "q8_0", "format": "zip"}, bq.RewriteError, "no format `zip`"),
        ({"encoding": "q8_0", "split": 0}, bq.RewriteError, "0 bytes"),
    ]:
        with pytest.raises(error, match=sentence):
            bq.quantize_file(model, tmp_path / "never", **arguments)
        assert not (tmp_path / "never").exists()
    with pytest.raises(bq.RewriteError, match="is the file that is read"):
        bq.quantize_file(model, model, "q8_0")
    with pytest.raises(bq.RewriteError, match="cast to f32, f16 or bf16, not to `q8_0`"):
        bq.convert(model, tmp_path / "never", "q8_0")


def test_what_was_lost(model, tmp_path):
    found = bq.compare(model, encodings=["q8_0", "q4_0"])
    assert list(found) == ["q8_0", "q4_0"]
    assert found["q8_0"].total.rel_rms < found["q4_0"].total.rel_rms < 0.2
    assert found["q4_0"].bits == 4.5 and [it.name for it in found["q8_0"].weights] and found["q8_0"].unlike is None
    assert "rel RMS" in str(found["q8_0"]) and found["q8_0"]._repr_html_().startswith("<table>")
    assert bq.compare(model, encodings=["q4_k"])["q4_k"].unfit == ["blk.0.down"]
    out = tmp_path / "out.gguf"
    bq.quantize_file(model, out, "q4_0")
    (against,) = bq.compare(model, out).values()
    norm = next(weight for weight in against.weights if weight.name == "norm")
    assert (norm.difference.rel_rms, norm.difference.snr_db, norm.difference.cosine) == (0, None, 1)
    for arguments, error, sentence in [
        ((model,), bq.CompareError, "either another file or"),
        ((model, out, "q"), TypeError, "positional"),
    ]:
        with pytest.raises(error, match=sentence):
            bq.compare(*arguments)
    with pytest.raises(bq.CompareError, match="list of names"):
        bq.compare(model, encodings="q8_0")
    with pytest.raises(bq.CompareError, match="nothing\\*"):
        bq.compare(model, encodings=["q8_0"], only="nothing*")
