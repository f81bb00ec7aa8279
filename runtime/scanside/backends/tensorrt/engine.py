"""An engine, its stream and its contexts: one model on the device."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from scanside.backends.onnxsession import OUTPUTS
from scanside.backends.tensorrt.library import has
from scanside.backends.tensorrt.told import make_layer_profiler, make_logger, make_recorder
from scanside.enginematch import VERSION_COMPATIBLE
from scanside.errors import BackendError, EngineError
from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    from scanside.backends.tensorrt.buffers import Buffer
    from scanside.backends.tensorrt.device import Device
    from scanside.backends.tensorrt.graph import Graph, Graphs
    from scanside.contract import Role
    from scanside.engines import Sidecar

__all__ = ["IMAGE", "Loader", "Model", "Run"]

IMAGE: Final = (SIDE, SIDE, len(CHANNELS))
"""Shape of an image; its tensor is called ``image``."""

_INPUT: Final = "image"
_REBUILD: Final = "build it again on this device: scanside build --rebuild"


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
                _REBUILD,
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
        self.largest = int(engine.get_tensor_profile_shape(_INPUT, 0)[-1][0])
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

    def refused(self, what: str) -> Exception:
        """Return the error for a call that the library has refused."""
        error: Exception = self.recorder.error(
            f"the {self.role}'s engine {what}", BackendError, _REBUILD
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
            _INPUT: (mode.INPUT, dtype.UINT8, IMAGE),
            self.output: (mode.OUTPUT, dtype.FLOAT, self.shape),
        }
        if found != wanted:
            raise EngineError(
                f"the {self.role}'s engine has the tensors {_named(found)}",
                accepted=_named(wanted),
                remedy=_REBUILD,
            )


def _named(tensors: dict[str, tuple[Any, Any, tuple[int, ...]]]) -> str:
    return ", ".join(
        f"{name} ({str(mode).rpartition('.')[2]} {str(dtype).rpartition('.')[2]}"
        f" [N, {', '.join(map(str, shape))}])"
        for name, (mode, dtype, shape) in tensors.items()
    )


class Run:
    """A model on a pair of buffers: a context, a graph, and the event of its end.

    Owner thread only, but for `output` and `wait`.

    Parameters
    ----------
    model
        The model.
    image, output
        What it reads and writes.
    done
        Recorded after every launch.
    graphs
        Makes the graph.
    """

    def __init__(
        self,
        model: Model,
        image: Buffer,
        output: Buffer,
        done: Any,  # noqa: ANN401 - PyCUDA
        graphs: Graphs,
    ) -> None:
        self.model = model
        self.output = output
        self._done = done
        self._image = image
        self._graphs = graphs
        self._context = self._addressed(model.context())
        self._count = 0
        self._computed = False
        self._graph: Graph | None = None

    def start(self, count: int, *, upload: bool) -> None:
        """Launch the model on the first images of the buffer.

        Parameters
        ----------
        count
            Number of images.
        upload
            Whether the device has not seen them yet.

        Raises
        ------
        BackendError
            If the library or the driver refuses.
        """
        if count != self._count:
            self._shape(self._context, count)
            self._drop_graph()
            self._count, self._computed = count, False
        stream = self.model.stream
        if upload:
            self._image.upload(count, stream)
        # TensorRT settles in the first call after a change of shape; what is captured comes after.
        if self._graph is None and self._computed and self._graphs.why_not is None:
            self._graph = self._captured()
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch(stream)
        self._computed = True
        self._done.record(stream)

    def wait(self) -> None:
        """Wait for the last launch, in any thread in which the context is current."""
        self._done.synchronize()

    def profiled(self, count: int, runs: int) -> dict[str, list[float]]:
        """Return the milliseconds of each layer; waits for the device.

        Parameters
        ----------
        count
            Number of images at the start of the buffer.
        runs
            How often to compute them.
        """
        profiler = make_layer_profiler(self.model.trt)
        # A context of its own: layers are timed where they are launched one by one.
        context = self._addressed(self.model.context())
        self._shape(context, count)
        context.profiler = profiler
        self._image.upload(count, self.model.stream)
        for _ in range(runs):
            self._execute(context)
            self.model.stream.synchronize()
        layers: dict[str, list[float]] = profiler.layers
        return layers

    def free(self) -> None:
        """Free the context and the graph."""
        self._drop_graph()
        self._context = self._done = None

    def _addressed(self, context: Any) -> Any:  # noqa: ANN401
        for name, buffer in ((_INPUT, self._image), (self.model.output, self.output)):
            if not context.set_tensor_address(name, buffer.address):
                raise self.model.refused(f"refuses an address for {name}")
        return context

    def _shape(self, context: Any, count: int) -> None:  # noqa: ANN401
        if not context.set_input_shape(_INPUT, (count, *IMAGE)):
            raise self.model.refused(f"refuses {count} images at once")
        if missing := context.infer_shapes():
            raise self.model.refused(f"has no shape for {', '.join(missing)}")
        found = tuple(context.get_tensor_shape(self.model.output))
        if found != (count, *self.model.shape):
            raise BackendError(
                f"the {self.model.role}'s engine gives {list(found)} for {count} images",
                accepted=f"{[count, *self.model.shape]}",
                remedy=_REBUILD,
            )

    def _captured(self) -> Graph | None:
        stream = self.model.stream
        asked = getattr(self._context, "is_stream_capturable", None)  # TensorRT-RTX has it
        if asked is not None and not asked(stream.handle):
            self._graphs.refuse(f"the library can't capture the {self.model.role}")
            return None
        return self._graphs.capture(stream, self._enqueue)

    def _enqueue(self) -> None:
        self._execute(self._context)
        self.output.download(self._count, self.model.stream)

    def _execute(self, context: Any) -> None:  # noqa: ANN401
        if not context.execute_async_v3(self.model.stream.handle):
            raise self.model.refused("failed")

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.free()
            self._graph = None
