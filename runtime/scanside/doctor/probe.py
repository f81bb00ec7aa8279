"""Trying a library in a process of its own: a crash there is an answer, not an end.

The child is told apart by one word. It prints one line of JSON on what was its standard output;
everything that libraries print goes to its standard error, of which the last line is told if the
child dies. It works in an empty folder, which is also its cache, so that nothing is left behind
and no file of the current folder is taken for a library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BACKEND", "PROVIDER", "Probe", "main", "probe"]

BACKEND: Final = "backend:"
"""Before a backend's name: the default bundle is loaded into it and computes a slice."""

PROVIDER: Final = "provider:"
"""Before the name of a backend on a GPU: its provider of ONNX Runtime computes a sum."""

_KEEPS: Final = (f"{BACKEND}tensorrt",)
"""What reads engines from the cache folder, where `scanside build` has put them."""

_SECONDS: Final = 120.0
"""Far beyond what any library takes to start on a slow device; one that hangs is told."""

_CHILD: Final = "from scanside.doctor.probe import main; main()"

_SIGNALS: Final = {
    signal.SIGILL: "the library was built for instructions that this processor does not have",
    signal.SIGKILL: "usually for want of memory: see the kernel's log (sudo dmesg)",
    signal.SIGSEGV: "libraries that don't belong together, or a damaged one",
}
"""What usually is behind a signal."""


class Probe(NamedTuple):
    """What became of a try.

    Attributes
    ----------
    facts
        What the library says of itself; empty where it failed.
    error
        Why it failed; empty where it did not.
    crashed
        Whether it took its process along: importing it anywhere would.
    """

    facts: dict[str, str]
    error: str = ""
    crashed: bool = False


def probe(what: str, *, seconds: float = _SECONDS) -> Probe:
    """Try a library or a backend in a process of its own.

    Parameters
    ----------
    what
        ``onnxruntime``, ``openvino``, ``tensorrt``, ``pycuda``, or `BACKEND` or `PROVIDER` and a
        backend's name.
    seconds
        How long to wait for an answer.
    """
    with tempfile.TemporaryDirectory(prefix="scanside-doctor-") as scratch:
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter, with constants
                [sys.executable, "-c", _CHILD, what],
                capture_output=True,
                timeout=seconds,
                check=False,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **_cache(what, scratch), "PYTHONSAFEPATH": "1"},
            )
        except subprocess.TimeoutExpired:
            return Probe({}, f"no answer within {seconds:g} s", crashed=True)
        except OSError as error:
            return Probe({}, f"no process could be started: {error}")
    return read_answer(done.returncode, done.stdout, done.stderr)


def _cache(what: str, scratch: str) -> dict[str, str]:
    """Return what lets a try leave nothing behind; who reads what is kept has to see it.

    A cache named relative to the current folder is not where the child works.
    """
    if what not in _KEEPS:
        return {"SCANSIDE_CACHE": scratch}
    named = os.environ.get("SCANSIDE_CACHE")
    return {"SCANSIDE_CACHE": str(Path(named).absolute())} if named else {}


def read_answer(code: int, out: bytes, err: bytes) -> Probe:
    """Return what a child's end says.

    Parameters
    ----------
    code
        Its exit code; negative for a signal.
    out, err
        What it wrote.
    """
    if code == 0:
        try:
            return msgspec.json.decode(out, type=Probe)
        except msgspec.DecodeError as error:
            return Probe({}, f"an answer that can't be read: {error}", crashed=True)
    lines = err.decode("utf-8", errors="replace").strip().splitlines()
    last = f" (last line: {lines[-1].strip()[:300]})" if lines else ""
    return Probe({}, f"its process ended with {_ending(code)}{last}", crashed=True)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        which = signal.Signals(-code)
    except ValueError:
        return f"signal {-code}"
    hint = _SIGNALS.get(which)
    return f"{which.name}: {hint}" if hint else which.name


def main() -> None:
    """Answer as the child: one line of JSON."""
    answer = os.dup(1)
    os.dup2(2, 1)
    what = sys.argv[1]
    try:
        if what.startswith(BACKEND):
            result = Probe(_backend(what.removeprefix(BACKEND)))
        elif what.startswith(PROVIDER):
            result = Probe(_provider(what.removeprefix(PROVIDER)))
        else:
            result = Probe(_LIBRARIES[what]())
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
        result = Probe({}, f"{type(error).__name__}: {error}")
    os.write(answer, msgspec.json.encode(result))
    # A library that crashes when it is unloaded has answered.
    os._exit(0)


def _onnxruntime() -> dict[str, str]:
    import onnxruntime

    return {
        "version": str(onnxruntime.__version__),
        "providers": ", ".join(onnxruntime.get_available_providers()),
    }


def _openvino() -> dict[str, str]:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # it phones home
    import openvino

    return {
        "version": str(openvino.get_version()),
        "devices": ", ".join(openvino.Core().available_devices),
    }


def _tensorrt() -> dict[str, str]:
    tensorrt = import_module("tensorrt")
    # A logger is the first thing that every use makes, and it is the library's.
    tensorrt.Logger(tensorrt.Logger.ERROR)
    return {"version": str(tensorrt.__version__)}


def _pycuda() -> dict[str, str]:
    pycuda, cuda = import_module("pycuda"), import_module("pycuda.driver")
    cuda.init()
    devices = [cuda.Device(number) for number in range(cuda.Device.count())]
    shown = [
        f"{device.name()} (compute capability {'.'.join(map(str, device.compute_capability()))},"
        f" {device.total_memory() / 2**30:.1f} GiB)"
        for device in devices
    ]
    driver = cuda.get_driver_version()
    return {
        "version": str(pycuda.VERSION_TEXT),
        "driver": f"{driver // 1000}.{driver % 1000 // 10}",
        "devices": "; ".join(shown),
    }


_LIBRARIES: Final[dict[str, Callable[[], dict[str, str]]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "pycuda": _pycuda,
    "tensorrt": _tensorrt,
}


def _provider(backend: str) -> dict[str, str]:
    from scanside.doctor.providers import try_provider

    return try_provider(backend)


def _backend(name: str) -> dict[str, str]:
    """Load the default bundle into a backend and send one golden slice through both models."""
    import numpy as np

    from scanside.backends import load
    from scanside.bundle import open_bundle
    from scanside.errors import BackendError
    from scanside.golden import read_golden

    bundle = open_bundle()
    backend: Any = load(name, bundle).backend
    image = read_golden(bundle).images[:1]
    outputs = {"classifier": backend.classify(image), "segmenter": backend.segment(image)}
    for role, output in outputs.items():
        if not np.isfinite(output).all():
            raise BackendError(f"the {role} gives values that are not finite")
    return {"precision": str(backend.precision), **backend.describe()}
