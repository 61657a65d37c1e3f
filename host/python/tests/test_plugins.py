"""Plugins from files: loaded, probed by the program that came with the package, and refused."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import bitquilt as bq

CC = shutil.which("cc")
needs_cc = pytest.mark.skipif(CC is None or os.name != "posix", reason="there is no C compiler")

PLUGIN = r"""
#include <stdlib.h>
#include <string.h>
#include "bitquilt.h"

__attribute__((constructor)) static void begin(void) {
    const char *crash = CRASH;
    if (!strcmp(crash, "abort")) abort();
    if (!strcmp(crash, "segfault")) {
        volatile uintptr_t nowhere = 8;
        *(volatile int *)nowhere = 1;
    }
    if (!strcmp(crash, "exit")) exit(0);
}

static int32_t quantize(void *user, const float *values, size_t rows, size_t row_len, const float *importance, uint8_t *dst,
                        bitquilt_error *error) {
    (void)user, (void)importance, (void)error;
    memcpy(dst, values, rows * row_len * sizeof(float));
    return BITQUILT_OK;
}

static int32_t dequantize(void *user, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *error) {
    (void)user, (void)error;
    memcpy(dst, blocks, count * 16);
    return BITQUILT_OK;
}

static const bitquilt_encoding raw = {
    .size = sizeof(bitquilt_encoding), .name = "c.raw", .version = 1, .block_len = 4, .block_bytes = 16,
    .quantize = quantize, .dequantize = dequantize,
};

BITQUILT_EXPORT const bitquilt_plugin bitquilt_c_plugin = {
    .magic = BITQUILT_MAGIC, .api = BITQUILT_C_API, .size = sizeof(bitquilt_plugin), .name = NAME, .version = "1.0.0",
    .encoding_count = 1, .encodings = (const bitquilt_encoding *const[]){&raw},
};
"""


def build(directory, name, crash=""):
    """A plugin in C, which does what `crash` says as it is loaded."""
    directory.mkdir(exist_ok=True)
    library = directory / f"lib{name}{'.dylib' if sys.platform == 'darwin' else '.so'}"
    include = ROOT / "plugins/c-bridge/include"
    defines = [f'-DNAME="{name}"', f'-DCRASH="{crash}"']
    command = [CC, "-shared", "-fPIC", "-O1", f"-I{include}", *defines, "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=PLUGIN, text=True, check=True)
    return library


@needs_cc
def test_a_plugin_is_probed_and_loaded(tmp_path):
    build(tmp_path / "plugins", "good")
    session = bq.InferenceSession(plugin_dirs=[tmp_path / "plugins"])
    assert session.refusals == []
    assert ("good", "1.0.0") in [plugin[:2] for plugin in session.plugins]
    values = np.ones((2, 4), np.float32)
    assert (bq.dequantize(session.quantize("c.raw", values)) == values).all()
    # The child's verdict is kept.
    assert list(pathlib.Path(os.environ["XDG_CACHE_HOME"]).rglob("*"))


@needs_cc
@pytest.mark.parametrize(("crash", "sentence"), [("abort", "SIGABRT"), ("segfault", "SIGSEGV"), ("exit", "exited with status 0")])
def test_a_library_that_crashes_as_it_is_loaded_is_refused_with_a_sentence(tmp_path, crash, sentence):
    build(tmp_path / "plugins", "good")
    library = build(tmp_path / "plugins", crash, crash)
    session = bq.InferenceSession(plugin_dirs=[tmp_path / "plugins"])
    (refusal,) = session.refusals
    assert str(library) in refusal and "child process" in refusal and sentence in refusal
    # The others are loaded, and the session works.
    assert "c.raw" in session.encodings()
    (again,) = bq.InferenceSession(plugin_dirs=[tmp_path / "plugins"]).refusals
    assert "when it was probed last" in again


def test_what_is_no_library_is_refused(tmp_path):
    (tmp_path / ("x.dylib" if sys.platform == "darwin" else "x.so")).write_bytes(b"no library")
    (tmp_path / "bad.encoding.toml").write_text("name = 3")
    session = bq.InferenceSession(plugin_dirs=[tmp_path])
    assert len(session.refusals) == 2
    assert session.refusals[0].startswith(str(tmp_path / "bad.encoding.toml"))


def test_the_command_is_there():
    from bitquilt._helper import program

    def run(*arguments):
        return subprocess.run([program(), *arguments], capture_output=True, text=True, check=False)

    assert run("--version").stdout.startswith("bitquilt ")
    listed = run("plugin", "list")
    assert listed.returncode == 0 and "q4_k" in listed.stdout
    assert run("inspect", "/nowhere").returncode == 1
