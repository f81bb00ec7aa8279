"""An engine and its stream: one model on the device."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from scanside.backends.onnxsession import OUTPUTS
from scanside.backends.tensorrt.library import has
from scanside.backends.tensorrt.told import make_logger, make_recorder
from scanside.enginematch import VERSION_COMPATIBLE
from scanside.errors import BackendError, EngineError
from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    from scanside.backends.tensorrt.device import Device
    from scanside.contract import Role
    from scanside.engines import Sidecar

__all__ = ["IMAGE", "INPUT", "REBUILD", "Loader", "Model"]

IMAGE: Final = (SIDE, SIDE, len(CHANNELS))
"""Shape of an image; its tensor is called ``image``."""

INPUT: Final = "image"
REBUILD: Final = "build it again on this device: scanside build --rebuild"


class Loader:
    """Deserialises engines; owner thread only.

    Parameters
    ----------
    trt
        The library, of any version.
    device
        The device.
    """

    def __init__(self, trt: Any, device: Device) -> None:  # noqa: ANN401
        self.trt = trt
        self.device = device
        self.recorder = make_recorder(trt)
        self._logger = make_logger(trt)
        self._runtime = trt.Runtime(self._logger)
        self._runtime.error_recorder = self.recorder

    def load(self, role: Role, plan: bytes, sidecar: Sidecar) -> Model:
        """Make a model of a plan whose hash was checked.

        Parameters
        ----------
        role
            Of the model.
        plan, sidecar
            From `scanside.engines.read_engine`.

        Raises
        ------
        EngineError
            If the library refuses the plan, or it is not of the contract.
        BackendError
            If there is too little memory.
        """
        if has(self._runtime, "engine_host_code_allowed"):
            # Such engines carry a part of the library. The hash says who made them: this user.
            allowed = sidecar.key.settings.get(VERSION_COMPATIBLE) == "yes"
            self._runtime.engine_host_code_allowed = allowed
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self.recorder.error(
                f"the {role}'s engine is refused by {self.trt.__name__} {self.trt.__version__}",
                EngineError,
                REBUILD,
            )
        with ExitStack() as owner:
            model = Model(self, role, engine, owner)
            self.device.own(owner.pop_all())
        return model


class Model:
    """An engine with the stream that all its computations pass through, one after the other.

    Its contexts therefore share one block of working memory, allocated here: several of them, one
    for each buffer, never compute at once.

    Parameters
    ----------
    loader
        Where it comes from.
    role
        Of the model.
    engine
        The library's.
    owner
        Whose closing frees it all.

    Attributes
    ----------
    role
        Of the model.
    stream
        Its stream.
    largest
        Images that it takes at once.
    shape
        Of what it computes for one image.
    """

    def __init__(self, loader: Loader, role: Role, engine: Any, owner: ExitStack) -> None:  # noqa: ANN401
        owner.callback(self._free)
        self.role = role
        self.output, _, shape = OUTPUTS[role]
        self.shape: tuple[int, ...] = tuple(shape)
        self.recorder = loader.recorder
        self.trt = loader.trt
        self._engine = engine
        self._check()
        self.largest = int(engine.get_tensor_profile_shape(INPUT, 0)[-1][0])
        self.stream = loader.device.stream()
        # Of the engine as a whole: enough for any batch of its profile.
        sized = (
            "device_memory_size_v2"
            if has(engine, "device_memory_size_v2")
            else ("device_memory_size")
        )
        self._size = int(getattr(engine, sized))
        self._memory = loader.device.allocate(self._size, owner) if self._size else 0

    def context(self) -> Any:  # noqa: ANN401
        """Return an execution context that works in this model's memory; owner thread only.

        Raises
        ------
        BackendError
            If the library makes none.
        """
        strategies = "ExecutionContextAllocationStrategy"
        if has(self.trt, strategies):
            strategy = getattr(self.trt, strategies).USER_MANAGED
            context = self._engine.create_execution_context(strategy)
        else:
            context = self._engine.create_execution_context_without_device_memory()
        if context is None:
            raise self.refused("gives no execution context")
        context.error_recorder = self.recorder
        if self._memory:
            if has(context, "set_device_memory"):
                context.set_device_memory(self._memory, self._size)
            else:
                context.device_memory = self._memory
        return context

    def refused(self, what: str, remedy: str = REBUILD) -> Exception:
        """Return the error for a call that the library has refused."""
        error: Exception = self.recorder.error(
            f"the {self.role}'s engine {what}", BackendError, remedy
        )
        return error

    def _free(self) -> None:
        self._engine = self.stream = None

    def _check(self) -> None:
        """Refuse an engine that is not of the contract."""
        engine, trt = self._engine, self.trt
        names = [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
        found = {
            name: (
                engine.get_tensor_mode(name),
                engine.get_tensor_dtype(name),
                tuple(engine.get_tensor_shape(name))[1:],
            )
            for name in names
        }
        mode, dtype = trt.TensorIOMode, trt.DataType
        wanted = {
            INPUT: (mode.INPUT, dtype.UINT8, IMAGE),
            self.output: (mode.OUTPUT, dtype.FLOAT, self.shape),
        }
        if found != wanted:
            raise EngineError(
                f"the {self.role}'s engine has the tensors {_named(found)}",
                accepted=_named(wanted),
                remedy=REBUILD,
            )


def _named(tensors: dict[str, tuple[Any, Any, tuple[int, ...]]]) -> str:
    return ", ".join(
        f"{name} ({str(mode).rpartition('.')[2]} {str(dtype).rpartition('.')[2]}"
        f" [N, {', '.join(map(str, shape))}])"
        for name, (mode, dtype, shape) in tensors.items()
    )
