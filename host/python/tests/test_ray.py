"""Batch work on Ray: the example, as it is run."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("tokenizers", reason="tokenizers is not installed")
pytestmark = pytest.mark.skipif(
    not (ROOT / "models/all-MiniLM-L6-v2.safetensors").exists(), reason="the model is not there; tests/fetch_models.sh fetches it"
)


def embed(tmp_path, name, *options):
    output = tmp_path / f"{name}.npy"
    command = [sys.executable, ROOT / "examples/ray_batch.py", "--sentences", tmp_path / "sentences", "--output", output, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return np.load(output), done.stdout


def test_actors_give_the_bytes_of_one_process_also_where_one_is_killed(tmp_path):
    sentences = [f"Sentence number {index} says that {'very ' * (index % 5)}little happens." for index in range(60)]
    (tmp_path / "sentences").write_text("\n".join(sentences))
    alone, _ = embed(tmp_path, "alone", "--alone")
    assert alone.shape == (60, 384)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, rtol=1e-5)
    killed, said = embed(tmp_path, "killed", "--batch", "5", "--kill")
    assert "an actor was killed" in said
    assert killed.tobytes() == alone.tobytes()
