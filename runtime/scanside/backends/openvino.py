"""The ``openvino`` backend: OpenVINO on the CPU."""

from __future__ import annotations

import hashlib
import io
import sys
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside.backends.cpufeatures import cpu_features
from scanside.backends.derivation import REWRITES_VERSION
from scanside.backends.onnxruntime import usable_cores
from scanside.backends.openvinograph import VERSION, enlarge_by_products, fuse_quantizers
from scanside.backends.processor import processor
from scanside.backends.rewrites import FOR_OPENVINO, derive
from scanside.cachefolder import cache_folder, entry_key, read_entry, write_entry
from scanside.errors import BackendError, BundleError, ExtraNotInstalledError
from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scanside.bundle import Bundle
    from scanside.contract import Precision, Role

__all__ = ["OpenVinoBackend", "load"]

_DEVICE: Final = "CPU"
_INPUT: Final = (SIDE, SIDE, len(CHANNELS))
_OUTPUTS: Final = {
    "classifier": ("tumor_probability", (1,)),
    "segmenter": ("mask_probability", (SIDE, SIDE)),
}
"""Name and shape without the batch axis of what each model gives."""

_ARITHMETIC: Final = "f32"
_TELEMETRY: Final = "openvino_telemetry"

_OPTIONS: Final = {
    # Without it OpenVINO computes in bfloat16 where the processor can, and says nothing.
    "INFERENCE_PRECISION_HINT": _ARITHMETIC,
    # Likewise: it would round activations to 8 bits wherever it meets 8-bit weights.
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
}
"""What every model is compiled with, besides lanes and threads."""


def load(bundle: Bundle, precision: Precision, *, lanes: int = 1) -> OpenVinoBackend:
    """Load both models of a bundle.

    Parameters
    ----------
    bundle
        The opened bundle.
    precision
        One of the bundle's precisions.
    lanes
        Number of threads whose calls are computed side by side, each on its share of the cores.

    Raises
    ------
    ExtraNotInstalledError
        If openvino is not installed.
    BackendError
        If OpenVINO can't be imported or refuses a model.
    BundleError
        If the bundle does not hold the precision, or a model is not that of its role.
    """
    return OpenVinoBackend(bundle, precision, lanes=lanes, threads=max(1, usable_cores() // lanes))


class OpenVinoBackend:
    """Both models compiled by OpenVINO for the CPU.

    Parameters
    ----------
    bundle
        The opened bundle.
    precision
        One of the bundle's precisions.
    lanes
        Number of threads whose calls are computed side by side.
    threads
        Threads that compute one call.
    """

    name: Final = "openvino"
    micro_batch: Final = 1

    def __init__(self, bundle: Bundle, precision: Precision, *, lanes: int, threads: int) -> None:
        self.precision: Final = precision
        self.lanes: Final = lanes
        self._threads = threads
        make = partial(_Model, bundle, precision=precision, lanes=lanes, threads=threads)
        self._classifier: _Model | None = make("classifier")
        self._segmenter: _Model | None = make("segmenter")

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the classifier: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 1]``."""
        return _opened(self._classifier).run(images)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the segmenter: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 256, 256]``."""
        return _opened(self._segmenter).run(images)

    def describe(self) -> dict[str, str]:
        """Return library version, device, arithmetic of what is not INT8, and threads."""
        return {
            "openvino": str(_openvino().get_version()),
            "device": _DEVICE,
            "inference_precision": _ARITHMETIC,
            "lanes": str(self.lanes),
            "threads": str(self._threads),
        }

    def close(self) -> None:
        """Free both models."""
        self._classifier = self._segmenter = None


class _Model:
    """One model: compiled for a single slice, and for any number once one is asked for."""

    def __init__(
        self, bundle: Bundle, role: Role, *, precision: Precision, lanes: int, threads: int
    ) -> None:
        self._bundle, self._role, self._precision = bundle, role, precision
        self._openvino = _openvino()
        self._lanes = lanes
        self._options: dict[str, Any] = {
            **_OPTIONS,
            "PERFORMANCE_HINT": "LATENCY" if lanes == 1 else "THROUGHPUT",
            "NUM_STREAMS": lanes,
            "INFERENCE_NUM_THREADS": lanes * threads,
        }
        # A fixed batch of one is faster than a dynamic one (by 5 to 20 %), and it is what the
        # pipeline runs; eight slices at once take three quarters of the time of eight by one.
        self._single = self._requests(1)
        self._any: SimpleQueue[Any] | None = None
        self._compiling = Lock()

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the model: uint8 ``[N, 256, 256, 3]``, C-contiguous, to float32 ``[N, ...]``."""
        name, shape = _OUTPUTS[self._role]
        if images.dtype != np.uint8 or images.shape[1:] != _INPUT or not len(images):
            raise BackendError(
                f"OpenVINO was given {images.dtype} {list(images.shape)}",
                accepted=f"uint8 {['N', *_INPUT]}, N at least 1",
            )
        # OpenVINO reads the images where they lie and writes into an array of this call alone,
        # which the next one doesn't touch. It shares writeable arrays only.
        source = np.require(images, requirements=["C", "W"])
        result = np.empty((len(images), *shape), np.float32)
        requests = self._single if len(images) == 1 else self._for_any()
        request = requests.get()
        try:
            request.set_input_tensor(self._openvino.Tensor(source, shared_memory=True))
            request.set_output_tensor(self._openvino.Tensor(result, shared_memory=True))
            request.infer()
        except Exception as error:  # OpenVINO's errors share no base class
            raise BackendError(f"OpenVINO failed on {name}: {error}") from error
        finally:
            requests.put(request)
        return result

    def _for_any(self) -> SimpleQueue[Any]:
        with self._compiling:
            if self._any is None:
                self._any = self._requests(None)
            return self._any

    def _requests(self, batch: int | None) -> SimpleQueue[Any]:
        """Return a request a lane, of the model for a batch size, none for any."""
        version = str(self._openvino.get_version())
        content = self._bundle.read_model(self._role, self._precision)
        features = cpu_features()
        about = {
            "model": hashlib.sha256(content).hexdigest(),
            "derived": f"{REWRITES_VERSION} {features}",
            "role": self._role,
            "openvino": version,
            "options": repr(sorted(self._options.items())),
            "batch": str(batch or "any"),
            "rewrite": VERSION,
            "processor": processor(),
        }
        folder, key = cache_folder("openvino"), entry_key(**about)
        kept = read_entry(folder, key)
        requests: SimpleQueue[Any] = SimpleQueue()
        try:
            core = _core()
            if kept is not None:
                compiled = core.import_model(io.BytesIO(kept), _DEVICE, self._options)
            else:
                derived = derive(content, features, FOR_OPENVINO).content
                compiled = _compile(core, derived, batch, self._options)
            _check_device(compiled)
            self._check_interface(compiled, batch)
            if kept is None and folder is not None:
                write_entry(folder, key, compiled.export_model().getvalue(), about)
            for _ in range(self._lanes):
                requests.put(compiled.create_infer_request())
        except (BackendError, BundleError):
            raise
        except Exception as error:  # OpenVINO's errors share no base class
            raise BackendError(
                f"OpenVINO {version} refuses the {self._precision} {self._role}: {error}",
                remedy="use --backend cpu, or export the bundle again",
            ) from error
        return requests

    def _check_interface(self, compiled: Any, batch: int | None) -> None:  # noqa: ANN401
        """Refuse a model whose input and output are not those of its role."""
        name, shape = _OUTPUTS[self._role]
        size = str(batch) if batch else "?"
        wanted = [
            ("image", "u8", f"[{','.join([size, *map(str, _INPUT)])}]"),
            (name, "f32", f"[{','.join([size, *map(str, shape)])}]"),
        ]
        found = [
            (port.any_name, port.element_type.to_string(), str(port.partial_shape))
            for port in (*compiled.inputs, *compiled.outputs)
        ]
        if found != wanted:
            raise BundleError(
                f"$.models.{self._role}.{self._precision}: the model has {found}",
                accepted=f"{wanted}",
                remedy="export the bundle again: the models may have been exchanged",
            )


def _compile(core: Any, content: bytes, batch: int | None, options: dict[str, Any]) -> Any:  # noqa: ANN401
    """Compile a model that was derived from the very bytes that were verified."""
    model = core.read_model(content)
    if batch is not None:
        # A model of another shape keeps it, and is refused by its interface.
        shape = model.input(0).partial_shape
        if len(model.inputs) == 1 and shape.rank.is_static and len(shape) > 1:
            shape[0] = batch
            model.reshape(shape)
    fuse_quantizers(model)
    enlarge_by_products(model)
    return core.compile_model(model, _DEVICE, options)


def _check_device(compiled: Any) -> None:  # noqa: ANN401
    """Refuse a model that OpenVINO has put elsewhere or computes otherwise than it was told."""
    devices = list(compiled.get_property("EXECUTION_DEVICES"))
    arithmetic = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if devices != [_DEVICE] or arithmetic != _ARITHMETIC:
        raise BackendError(
            f"OpenVINO computes in {arithmetic} on {devices}",
            accepted=f"{_ARITHMETIC} on {_DEVICE}",
        )


def _opened(model: _Model | None) -> _Model:
    if model is None:
        raise BackendError("the backend was closed", remedy="open another pipeline")
    return model


def _openvino() -> Any:  # noqa: ANN401
    """Import OpenVINO, on first use and without its telemetry."""
    try:
        with nullcontext() if sys.modules.get("openvino") else _without_telemetry():
            import openvino
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise _broken(error) from error
        raise ExtraNotInstalledError(
            "the openvino backend", package="openvino", extra="openvino"
        ) from None
    except ImportError as error:
        raise _broken(error) from error
    return openvino


@cache
def _core() -> Any:  # noqa: ANN401
    """Return the one core, which stays as long as the process.

    With the last core OpenVINO unloads its plugin, whose threads go on: the next signal that one
    of them is woken by finds no code there, and ends the process.
    """
    return _openvino().Core()


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Let the package that phones home be missing.

    Importing OpenVINO sends an event to its makers unasked, and writes to the home folder.
    Where the package that does it is not there OpenVINO does without.
    """
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = before


def _broken(error: ImportError) -> BackendError:
    return BackendError(
        f"openvino is installed and cannot be imported: {error}",
        remedy="install it again: pip install --force-reinstall 'scanside[openvino]'",
    )
