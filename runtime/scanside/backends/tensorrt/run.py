"""A model on a pair of buffers: the execution context, and its launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scanside.backends.tensorrt.engine import IMAGE, INPUT, REBUILD
from scanside.backends.tensorrt.told import make_layer_profiler
from scanside.errors import BackendError

if TYPE_CHECKING:
    from scanside.backends.tensorrt.buffers import Buffer
    from scanside.backends.tensorrt.engine import Model
    from scanside.backends.tensorrt.graph import Graph, Graphs

__all__ = ["Run"]


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
            self._drop_graph()
            self._count, self._computed = 0, False  # what the context holds if this fails
            self._shape(self._context, count)
            self._count = count
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
        for name, buffer in ((INPUT, self._image), (self.model.output, self.output)):
            if not context.set_tensor_address(name, buffer.address):
                raise self.model.refused(f"refuses an address for {name}")
        return context

    def _shape(self, context: Any, count: int) -> None:  # noqa: ANN401
        if not context.set_input_shape(INPUT, (count, *IMAGE)):
            raise self.model.refused(f"refuses {count} images at once")
        if missing := context.infer_shapes():
            raise self.model.refused(f"has no shape for {', '.join(missing)}")
        found = tuple(context.get_tensor_shape(self.model.output))
        if found != (count, *self.model.shape):
            raise BackendError(
                f"the {self.model.role}'s engine gives {list(found)} for {count} images",
                accepted=f"{[count, *self.model.shape]}",
                remedy=REBUILD,
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
            raise self.model.refused("failed", "if it comes again, build the engine again")

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.free()
            self._graph = None
