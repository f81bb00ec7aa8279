"""MLPerf LoadGen in a process of its own.

LoadGen can't be stopped: a test ends when its queries have been answered, and a Python process
that exits before aborts in LoadGen's threads. In a process of its own it can be ended at any
time, and its threads take no turn of the interpreter that runs the pipeline.

A query travels as one message of uint64: the clock in nanoseconds at which LoadGen issued it,
then number and slice of each sample by turns. An answer holds the samples' numbers. An empty
message says that the test is over.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

__all__ = ["serve"]


def serve(
    connection: Connection, scenario: str, settings: dict[str, float], samples: int, folder: str
) -> None:
    """Run one LoadGen test; the whole life of the process.

    Parameters
    ----------
    connection
        Queries go out, answers come in.
    scenario
        LoadGen's name, for instance ``SingleStream``.
    settings
        Fields of ``mlperf_loadgen.TestSettings``.
    samples
        Length of the query sample library.
    folder
        Where LoadGen writes its logs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    import mlperf_loadgen as loadgen

    test = loadgen.TestSettings()
    test.scenario = getattr(loadgen.TestScenario, scenario)
    test.mode = loadgen.TestMode.PerformanceOnly
    for name, value in settings.items():
        setattr(test, name, value)
    output = loadgen.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    log = loadgen.LogSettings()
    log.log_output = output
    log.enable_trace = False

    threading.Thread(target=_answers, args=(connection, loadgen), daemon=True).start()
    # Poisson arrivals must not wait for a full pipe; elsewhere LoadGen waits for answers anyway.
    send = _behind(connection) if scenario == "Server" else connection.send_bytes
    system = loadgen.ConstructSUT(lambda query: send(_message(query)), lambda: None)
    library = loadgen.ConstructQSL(samples, samples, lambda _: None, lambda _: None)
    # An audit configuration would change the settings: the empty name means that none is read.
    loadgen.StartTestWithLogSettings(system, library, test, log, "")
    connection.send_bytes(b"")
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(system)


def _message(query: Any) -> bytes:  # noqa: ANN401 - LoadGen has no types
    numbers = [time.perf_counter_ns()]
    for sample in query:
        numbers += (sample.id, sample.index)
    return np.array(numbers, np.uint64).tobytes()


def _answers(connection: Connection, loadgen: Any) -> None:  # noqa: ANN401
    while True:
        try:
            numbers = np.frombuffer(connection.recv_bytes(), np.uint64).tolist()
        except (EOFError, OSError):
            os._exit(1)  # nobody is there any more
        loadgen.QuerySamplesComplete(
            [loadgen.QuerySampleResponse(number, 0, 0) for number in numbers]
        )


def _behind(connection: Connection) -> Callable[[bytes], None]:
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def forward() -> None:
        while True:
            connection.send_bytes(waiting.get())

    threading.Thread(target=forward, daemon=True).start()
    return waiting.put
