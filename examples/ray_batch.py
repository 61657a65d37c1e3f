#!/usr/bin/env python3
"""Embeds sentences with a quantized MiniLM on actors of Ray, which share the mapped weights.

    examples/ray_batch.py [--sentences FILE] [--output FILE.npy] [--actors N] [--alone] [--kill]

The weights are quantized by examples/minilm/recipe.toml, into a file that each actor maps: the system holds one copy of it for all of
them. With --alone one process does it all, without Ray; the bytes are the same. With --kill an actor is killed in the middle of a batch,
which another then does again. Needs `bitquilt`, `tokenizers` and `ray[data]`, and the model that tests/fetch_models.sh fetches.
"""

import argparse
import json
import os
import pathlib
import signal
import tempfile

import numpy as np

import bitquilt as bq

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "all-MiniLM-L6-v2"
SENTENCES = [
    "The cat sits on the warm windowsill.",
    "A kitten is lying in the sun by the window.",
    "Interest rates were raised by half a percent.",
    "She solved the equation in her head, which surprised nobody who knew her.",
]


class Encoder:
    """A BERT sentence encoder (Devlin et al., 2019; Reimers and Gurevych, 2019) as a graph over the weights of a file.

    The inputs are `tokens` and `positions`, i32 [seq]; the output is `embedding`, f32 [width], the mean of the last layer's rows, of
    length 1.
    """

    def __init__(self, weights, config):
        self.weights = bq.checkpoint.load(weights)
        self.width, self.heads = config["hidden_size"], config["num_attention_heads"]
        self.epsilon = config["layer_norm_eps"]
        session = bq.InferenceSession(threads=1)
        indices = bq.TensorType("i32", ["seq"])
        with bq.Graph("minilm", {"tokens": indices, "positions": indices}, session) as graph:
            words = self.rows("embeddings.word_embeddings.weight", graph["tokens"])
            places = self.rows("embeddings.position_embeddings.weight", graph["positions"])
            # A single sentence is of type 0 throughout.
            kind = self.weights["embeddings.token_type_embeddings.weight"].numpy()[0]
            x = self.norm(words + places + np.array(kind), "embeddings.LayerNorm")
            for layer in range(config["num_hidden_layers"]):
                x = self.layer(x, f"encoder.layer.{layer}")
            mean = bq.ops.mean(x, axis=0)
            graph.output(mean / bq.ops.sqrt(bq.ops.sum(mean * mean, axis=0)), "embedding")
        self.model = session.load(graph)

    def rows(self, name, indices):
        table = self.weights[name]
        return bq.ops.gather(table, indices, axis=0) if table.encoding is None else bq.ops.qgather(table, indices)

    def linear(self, x, name):
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        product = x @ weight.numpy().T.copy() if weight.encoding is None else bq.ops.qmatmul(x, weight)
        return product + bias

    def norm(self, x, name):
        bias = x.graph.constant(self.weights[f"{name}.bias"])
        return bq.ops.layer_norm(x, self.weights[f"{name}.weight"], bias=bias, eps=self.epsilon)

    def layer(self, x, name):
        split = ["seq", self.heads, self.width // self.heads]
        q, k, v = (
            bq.ops.reshape(self.linear(x, f"{name}.attention.self.{part}"), shape=split) for part in ("query", "key", "value")
        )
        attended = bq.ops.reshape(bq.ops.attention(q, k, v), shape=["seq", self.width])
        x = self.norm(x + self.linear(attended, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        hidden = bq.ops.gelu(self.linear(x, f"{name}.intermediate.dense"))
        return self.norm(x + self.linear(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm")


class Embedder:
    """Embeds batches of sentences: what an actor holds. `mark` is a file: who makes it, in its second batch, is killed."""

    def __init__(self, weights, config, tokenizer, mark=None):
        from tokenizers import Tokenizer

        self.encoder = Encoder(weights, json.loads(pathlib.Path(config).read_text()))
        self.tokenizer = Tokenizer.from_file(tokenizer)
        self.tokenizer.no_padding()
        self.mark, self.batches = mark, 0

    def __call__(self, batch):
        self.batches += 1
        embeddings = [self.embed(str(sentence)) for sentence in batch["sentence"]]
        if self.mark and self.batches == 2:
            try:
                os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return {"index": batch["index"], "embedding": np.stack(embeddings)}

    def embed(self, sentence):
        tokens = np.array(self.tokenizer.encode(sentence).ids, np.int32)
        return self.encoder.model(tokens=tokens, positions=np.arange(len(tokens), dtype=np.int32))["embedding"]


def with_ray(sentences, arguments, actors, batch):
    """The embeddings, f32 [sentences, width], by actors of Ray."""
    import ray

    ray.init(num_cpus=actors, include_dashboard=False, log_to_driver=False)
    try:
        items = [{"index": index, "sentence": sentence} for index, sentence in enumerate(sentences)]
        data = ray.data.from_items(items, override_num_blocks=max(1, len(items) // batch))
        pool = ray.data.ActorPoolStrategy(size=actors)
        done = data.map_batches(Embedder, fn_constructor_args=arguments, batch_size=batch, compute=pool, num_cpus=1)
        rows = sorted(done.take_all(), key=lambda row: row["index"])
    finally:
        ray.shutdown()
    return np.stack([row["embedding"] for row in rows])


def alone(sentences, arguments):
    """The same by this process."""
    batch = {"index": np.arange(len(sentences)), "sentence": np.array(sentences)}
    return Embedder(*arguments)(batch)["embedding"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=pathlib.Path, help="a text file, a sentence a line")
    parser.add_argument("--output", type=pathlib.Path, help="where the embeddings go, as a NumPy array")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="sentences of a batch")
    parser.add_argument("--alone", action="store_true", help="without Ray")
    parser.add_argument("--kill", action="store_true", help="kills an actor in its second batch")
    options = parser.parse_args()
    sentences = options.sentences.read_text().splitlines() if options.sentences else SENTENCES
    with tempfile.TemporaryDirectory() as directory:
        weights = os.path.join(directory, "minilm.safetensors")
        print(bq.quantize_file(f"{MODEL}.safetensors", weights, recipe=ROOT / "examples/minilm/recipe.toml"))
        mark = os.path.join(directory, "killed") if options.kill else None
        arguments = (weights, f"{MODEL}.config.json", f"{MODEL}.tokenizer.json", mark)
        if options.alone:
            embeddings = alone(sentences, arguments)
        else:
            embeddings = with_ray(sentences, arguments, options.actors, options.batch)
        if mark:
            print("an actor was killed" if os.path.exists(mark) else "no actor had a second batch: give more sentences")
    if options.output:
        np.save(options.output, embeddings)
    print(f"{len(sentences)} sentences, {embeddings.shape[1]} values each; the first with the others: {embeddings[1:5] @ embeddings[0]}")


if __name__ == "__main__":
    main()
