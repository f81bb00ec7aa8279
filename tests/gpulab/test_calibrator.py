"""The legacy calibrator through the real bindings: called from C++ as TensorRT calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# What TensorRT does during a build, by the interface's table of virtual functions: the order is
# that of their declaration in NvInfer.h's documentation; from 10 on two of `IVersionedInterface`
# and a pair of destructors come first.
CALLER = """
import ctypes as C, json, pathlib, sys
from contextlib import contextmanager
from types import SimpleNamespace
import numpy as np
import tensorrt_bindings as trt
from scanside_calibration.implicit import open_calibrator

folder = pathlib.Path(sys.argv[1])
np.save(folder / "slices.npy", np.zeros((3, 8, 8, 3), np.uint8))
P = C.c_void_p

@contextmanager
def memory(size):
    taken = []
    yield SimpleNamespace(upload=lambda image: taken.append(image) or 4096 * len(taken))

def functions(calibrator):
    this = C.cast(id(calibrator) + 2 * C.sizeof(P), C.POINTER(P))[0]  # pybind11: after the head
    table = C.cast(C.cast(this, C.POINTER(P))[0], C.POINTER(P))
    first = 0 if trt.__version__.startswith("8.") else 4
    kinds = [
        C.CFUNCTYPE(C.c_int, P),
        C.CFUNCTYPE(C.c_bool, P, C.POINTER(P), C.POINTER(C.c_char_p), C.c_int),
        C.CFUNCTYPE(P, P, C.POINTER(C.c_size_t)),
        C.CFUNCTYPE(None, P, C.c_char_p, C.c_size_t),
    ]
    return [this, *(kind(table[first + n]) for n, kind in enumerate(kinds))]

def calibrate(name):
    told = {}
    with open_calibrator(trt, folder / "slices.npy", folder / "ranges", memory) as (held, finish):
        this, size, batch, read, write = functions(held)
        length, given, names = C.c_size_t(), (P * 1)(), (C.c_char_p * 1)(name)
        told["size"] = size(this)
        kept = read(this, C.byref(length))
        told["kept"] = C.string_at(kept, length.value).decode() if kept else None
        told["given"] = []
        while kept is None and batch(this, given, names, 1):
            told["given"].append(given[0])
        if told["given"]:
            write(this, b"TRT-ranges", 10)
        try:
            told["end"] = finish()
        except Exception as error:
            told["end"] = str(error)
    return told

first = calibrate(b"image")
again = calibrate(b"image")
(folder / "ranges").unlink()
print(json.dumps([trt.__version__, first, again, calibrate(b"other")]))
"""


@pytest.mark.parametrize("version", ["8.6.1", "10.0.1", "10.3.0", "10.13.3.9", "10.16.1.11"])
def test_called_from_cpp_it_gives_slices_and_keeps_failures(
    version: str, gpulab: Path, tmp_path: Path
) -> None:
    bindings = gpulab / "trt" / version
    if not (bindings / "tensorrt_bindings").is_dir() or sys.version_info[:2] != (3, 11):
        pytest.skip(f"no bindings of TensorRT {version} for this Python in {gpulab}")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CALLER, tmp_path],
        capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(bindings), os.environ.get("PYTHONPATH", "")]),
            "LD_LIBRARY_PATH": str(gpulab / "stub" / version.partition(".")[0]),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    named, first, again, wrong = json.loads(done.stdout)
    assert named == version
    assert first == {
        "size": 1, "kept": None, "given": [4096, 8192, 12288],
        "end": "ranges chosen by IInt8EntropyCalibrator2 from 3 slices",
    }  # fmt: skip
    assert (again["kept"], again["given"]) == ("TRT-ranges", [])
    assert "from the cache" in again["end"]
    assert wrong["given"] == []
    assert "the inputs ['other']" in wrong["end"]
