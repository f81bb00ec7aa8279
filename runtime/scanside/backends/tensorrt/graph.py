"""CUDA graphs, through the driver: PyCUDA does not wrap them.

A graph is what a stream was given between two calls, launched again with one call: a model of some
hundred kernels costs the host one launch. Addresses and shapes are part of it.

References
----------
CUDA Driver API, 6.24 "Graph Management" and 6.19 "Stream Management"; TensorRT Developer Guide,
"CUDA Graphs": enqueue once after a change of shape, then capture, on a stream of one's own.
"""

from __future__ import annotations

import ctypes
import logging
from typing import TYPE_CHECKING, Any, Final

from scanside.backends.tensorrt.library import Handle, driver_error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Graph", "Graphs"]

_LOG: Final = logging.getLogger(__name__)

_THREAD_LOCAL: Final = 1
"""``CU_STREAM_CAPTURE_MODE_THREAD_LOCAL``: other threads may wait for events meanwhile."""

_Flags = ctypes.c_ulonglong


class Graph:
    """A captured graph, ready to be launched; owner thread only.

    Parameters
    ----------
    driver
        The CUDA driver.
    handle
        Of the executable graph.
    """

    def __init__(self, driver: Any, handle: Handle) -> None:  # noqa: ANN401 - ctypes
        self._driver = driver
        self._handle = handle

    def launch(self, stream: Any) -> None:  # noqa: ANN401 - PyCUDA
        """Launch it.

        Raises
        ------
        BackendError
            If the driver refuses.
        """
        code = self._driver.cuGraphLaunch(self._handle, Handle(stream.handle))
        if code:
            raise driver_error(self._driver, "cuGraphLaunch", code)

    def free(self) -> None:
        """Free it."""
        self._driver.cuGraphExecDestroy(self._handle)


class Graphs:
    """Makes graphs, until one can't be made: from then on everything is launched by itself.

    Parameters
    ----------
    driver
        The CUDA driver.

    Attributes
    ----------
    why_not
        Why no more graphs are made; none while they are.
    """

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 - ctypes
        self._driver = driver
        self.why_not: str | None = None

    def capture(self, stream: Any, work: Callable[[], None]) -> Graph | None:  # noqa: ANN401
        """Make a graph of what is given to a stream; owner thread only.

        Parameters
        ----------
        stream
            PyCUDA's; not the default stream.
        work
            Gives it to the stream. It is captured, not computed.

        Returns
        -------
        Graph or None
            None if something in `work` can't be captured, or the driver makes no graph of it:
            nothing was computed then, and `why_not` says why.
        """
        try:
            return self._captured(Handle(stream.handle), work)
        except _NotCapturedError as error:
            self.refuse(str(error))
            return None

    def refuse(self, why: str) -> None:
        """Make no more graphs."""
        self.why_not = why
        _LOG.warning("scanside: without CUDA graphs, which is slower: %s", why)

    def _captured(self, stream: Handle, work: Callable[[], None]) -> Graph:
        graph, ready = Handle(), Handle()
        self._call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)
        try:
            work()
        except Exception as error:  # whatever failed, the stream has to leave capture mode
            self._driver.cuStreamEndCapture(stream, ctypes.byref(graph))
            self._destroy(graph)
            raise _NotCapturedError(str(error)) from error
        try:
            self._call("cuStreamEndCapture", stream, ctypes.byref(graph))
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, _Flags())
        finally:
            self._destroy(graph)
        return Graph(self._driver, ready)

    def _destroy(self, graph: Handle) -> None:
        if graph:
            self._driver.cuGraphDestroy(graph)

    def _call(self, function: str, *words: object) -> None:
        try:
            code = getattr(self._driver, function)(*words)
        except AttributeError:
            raise _NotCapturedError(f"this driver has no {function}") from None
        if code:
            raise _NotCapturedError(driver_error(self._driver, function, code).given)


class _NotCapturedError(Exception):
    """A capture that did not succeed."""
