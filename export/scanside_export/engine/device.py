"""The first CUDA device, asked through the driver alone: PyCUDA is not needed to build."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from scanside_export.engine.exchange import Device, Failed
from scanside_export.engine.library import ChildError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["first_device"]

_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18
"""``CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR``, ``..._MINOR`` and ``..._INTEGRATED``.

References
----------
CUDA Driver API, 6.1 "Data types used by CUDA driver", ``CUdevice_attribute``.
"""

_LIBRARY: Final = "libcuda.so.1"
_NAME_LENGTH: Final = 256
_REMEDY: Final = (
    "build on the device that runs the engine; `scanside doctor` says what is missing there."
    " For TensorRT-RTX engines no GPU is needed: --target rtx"
)


def first_device() -> Device:
    """Return what the driver says of the first device.

    Raises
    ------
    ChildError
        If there is no driver, or no device.
    """
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise _absent(f"there is no NVIDIA driver here ({error})") from None
    _call(driver, "cuInit", 0)
    number = _integer(driver, "cuDeviceGetCount")
    if number < 1:
        raise _absent("the driver knows of no GPU")
    handle = _integer(driver, "cuDeviceGet", 0)
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    _call(driver, "cuDeviceGetName", name, _NAME_LENGTH, handle)
    memory = ctypes.c_size_t()
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), handle)

    def ask(attribute: int) -> int:
        return _integer(driver, "cuDeviceGetAttribute", attribute, handle)

    return Device(
        name=name.value.decode("utf-8", "replace"),
        capability=f"{ask(_MAJOR)}.{ask(_MINOR)}",
        memory=memory.value,
        integrated=bool(ask(_INTEGRATED)),
    )


def _integer(driver: ctypes.CDLL, function: str, *words: int) -> int:
    value = ctypes.c_int()
    _call(driver, function, ctypes.byref(value), *words)
    return value.value


def _call(driver: ctypes.CDLL, function: str, *words: object) -> None:
    called: Callable[..., int] = getattr(driver, function)
    if (code := called(*words)) != 0:
        raise _absent(f"{function} failed with CUDA error {code}")


def _absent(given: str) -> ChildError:
    return ChildError(Failed(kind="backend", given=given, remedy=_REMEDY))
