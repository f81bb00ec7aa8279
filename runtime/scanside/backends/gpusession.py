"""A model as an ONNX Runtime session on an NVIDIA GPU, proven to compute there.

Four checks, each of which has been the only one to notice something: the provider is in the
package, ONNX Runtime may not fall back to the CPU, the session lists the provider first, and the
profile of its first run has every node there.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scanside.backends.onnxsession import check_interface, library_version
from scanside.backends.placement import check_placement, read_profile
from scanside.errors import BackendError, BundleError
from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from scanside.backends.placement import Ran
    from scanside.contract import Precision, Role

__all__ = [
    "CUDA",
    "TENSORRT",
    "GpuSession",
    "open_gpu_session",
    "prepare_libraries",
    "start_session",
]

CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

_ERRORS_ONLY: Final = 3
_STRICT: Final = {"session.disable_cpu_ep_fallback": "1"}
"""Creating a session fails where a node would go to the CPU; known since ONNX Runtime 1.16."""

_TF32: Final = "NVIDIA_TF32_OVERRIDE"
"""Read by cuBLAS, cuDNN and TensorRT when they are loaded; 0: float32 is not cut to 10 bits.

References
----------
TensorRT Developer Guide, "TF32"; cuDNN and cuBLAS documentation, ``NVIDIA_TF32_OVERRIDE``.
"""

_REMEDY: Final = (
    "scanside doctor says what is missing; the providers need CUDA, cuDNN and, for ort-trt,"
    " TensorRT of the versions that this onnxruntime-gpu was built with (docs/devices.md)"
)


class GpuSession(NamedTuple):
    """A session that is ready and was run once.

    Attributes
    ----------
    session
        The ``onnxruntime.InferenceSession``.
    ran
        What ran where in its first run.
    """

    session: Any
    ran: Counter[Ran]


def prepare_libraries(*packages: str) -> None:
    """Load the libraries that pip has put where no loader looks.

    Parameters
    ----------
    *packages
        Packages whose import loads libraries of their own; one that is absent is passed over,
        since the system may have the libraries.
    """
    os.environ.setdefault(_TF32, "0")
    import onnxruntime

    # It prints what it does not find; the provider's own error says what that means.
    with contextlib.redirect_stdout(sys.stderr):
        if hasattr(onnxruntime, "preload_dlls"):  # since 1.21
            onnxruntime.preload_dlls()
        for package in packages:
            with contextlib.suppress(ImportError):
                import_module(package)


def open_gpu_session(
    content: bytes,
    role: Role,
    precision: Precision,
    providers: Sequence[tuple[str, Mapping[str, str]]],
) -> GpuSession:
    """Return a session for a model of a bundle whose every node computes on the GPU.

    Parameters
    ----------
    content
        The model, the very bytes that were verified.
    role, precision
        Which model it is.
    providers
        As for `start_session`, with its errors.

    Raises
    ------
    BundleError
        If the model's input and output are not those of its role.
    """
    return start_session(
        content,
        providers,
        {"image": np.zeros((1, SIDE, SIDE, len(CHANNELS)), np.uint8)},
        check=lambda session: check_interface(session, role, f"$.models.{role}.{precision}"),
    )


def start_session(
    content: bytes,
    providers: Sequence[tuple[str, Mapping[str, str]]],
    feed: Mapping[str, NDArray[Any]],
    check: Callable[[Any], None] = lambda _: None,
) -> GpuSession:
    """Return a session that was run once, every node of it where it should be.

    Parameters
    ----------
    content
        An ONNX file.
    providers
        Name and options; the first has to compute, the others may rearrange and copy for it.
    feed
        Inputs for the first run.
    check
        Refuses a session before it is run.

    Raises
    ------
    BackendError
        If a provider is missing or can't be started, or ONNX Runtime refuses the model, or
        puts a part of it elsewhere.
    """
    import onnxruntime

    names = [name for name, _ in providers]
    available = onnxruntime.get_available_providers()
    if absent := [name for name in names if name not in available]:
        raise BackendError(
            f"ONNX Runtime {library_version()} has no {', '.join(absent)}; it has"
            f" {', '.join(available)}",
            remedy=_REMEDY,
        )
    with tempfile.TemporaryDirectory(prefix="scanside-profile-") as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        for name, value in _STRICT.items():
            options.add_session_config_entry(name, value)
        try:
            session = onnxruntime.InferenceSession(
                content,
                options,
                providers=[(name, dict(held)) for name, held in providers],
                enable_fallback=0,
            )
            _check_first(session, names)
            check(session)
            session.run(None, dict(feed))
            ran = read_profile(Path(session.end_profiling()).read_bytes())
        except (BackendError, BundleError):
            raise
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise BackendError(
                f"ONNX Runtime {library_version()} can't compute on {names[0]}: {error}",
                remedy=_REMEDY,
            ) from error
    check_placement(ran, names[0], names[1:])
    return GpuSession(session, ran)


def _check_first(session: Any, names: list[str]) -> None:  # noqa: ANN401
    """Refuse a session without one of the providers: a missing library ends in the CPU's."""
    found = session.get_providers()
    if found[: len(names)] != names:
        raise BackendError(
            f"ONNX Runtime gave a session on {', '.join(found)}: a library of"
            f" {names[0]} can't be loaded",
            accepted=", ".join(names),
            remedy=_REMEDY,
        )
