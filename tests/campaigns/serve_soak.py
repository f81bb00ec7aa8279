"""Many requests through `scanside serve` while clients and server are killed at random.

::

    python tests/campaigns/serve_soak.py --backend null --requests 2000000
    python tests/campaigns/serve_soak.py --backend auto --requests 20000 --data FOLDER

Several clients, each a process, keep up to eight requests in flight on a Unix socket; half of them
use shared memory, half have their answers in order. In the first half of the requests the server is
killed (or told to end) again and again and started anew; clients are killed throughout, or break
off. Every request is answered, refused or reported lost exactly once, with the answer of its own
frame, or its client was killed. In the second half the server stays, and its memory must too.
Exit code 1 if anything of it does not hold.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scanside import Pipeline, open_bundle
from scanside.errors import BackendError
from scanside.readers.discover import discover
from scanside.readers.image import read_file
from scanside.serve.client import Client, LostError, RemoteError, connect
from scanside.serve.nullpipeline import NULL, NullPipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import SpawnProcess

    from numpy.typing import NDArray

_DEPTH: Final = 8
_FIELDS: Final = ("submitted", "answered", "refused", "lost", "given_up", "wrong")
_GROWTH_MB: Final = 16.0
"""From a tenth of the second half to its end: an arena more or less of the allocator."""

_FRAMES: Final = 32

_STAYS, _STEADY = 0.5, 0.55
"""Shares of the requests after which the server is left alone, and its memory is watched."""

_BREAKS_OFF: Final = 0.05
"""Share of connections that end without waiting for their answers."""


class Task(NamedTuple):
    """What every client does.

    Attributes
    ----------
    path
        The server's socket.
    board
        A file of counters, a row a client: they outlive it.
    frames, wanted
        What is sent, and tumor and area of each.
    share
        Requests of one client.
    """

    path: Path
    board: Path
    frames: list[NDArray[np.uint8]]
    wanted: list[tuple[bool | None, int | None]]
    share: int


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--data", type=Path, help="slices to send; without it golden ones")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = soak(
        options.backend,
        requests=options.requests,
        clients=options.clients,
        data=options.data,
        seed=options.seed,
    )
    print(json.dumps(found))
    return 0 if found["passed"] else 1


def soak(
    backend: str, *, requests: int, clients: int = 4, data: Path | None = None, seed: int = 0,
    kills_every: float = 6.0,
) -> dict[str, Any]:  # fmt: skip
    """Run a campaign of a given size; return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        board_file = Path(folder) / "board"
        board = np.memmap(board_file, np.int64, "w+", shape=(clients, len(_FIELDS)))
        frames = _frames(backend, data)
        task = Task(
            Path(folder) / "socket", board_file, frames, _wanted(backend, frames),
            -(-requests // clients),
        )  # fmt: skip
        rng = random.Random(seed)  # noqa: S311 - chance, not a secret
        campaign = _Campaign(task, board, backend, rng, kills_every)
        started = time.monotonic()
        try:
            campaign.run()
        finally:
            campaign.end()
        counts = {name: int(board[:, n].sum()) for n, name in enumerate(_FIELDS)}
    resolved = sum(counts[name] for name in ("answered", "refused", "lost", "given_up"))
    growth = campaign.growth_mb()
    every = max(1, len(campaign.steady_mb) // 8)
    return {
        "backend": backend,
        **counts,
        "server_kills": campaign.server_kills,
        "client_kills": campaign.client_kills,
        "steady_mb": [round(value, 1) for value in campaign.steady_mb[::every]],
        "growth_mb": round(growth, 1),
        "stats": campaign.stats,
        "seconds": round(time.monotonic() - started, 1),
        "passed": counts["wrong"] == 0 and resolved == counts["submitted"] and growth < _GROWTH_MB,
    }  # fmt: skip


class _Campaign:
    """The server, the clients, and whoever kills them."""

    def __init__(
        self, task: Task, board: NDArray[np.int64], backend: str, rng: random.Random, every: float
    ) -> None:
        self.server_kills = self.client_kills = 0
        self.steady_mb: list[float] = []
        self.stats: dict[str, int] = {}
        self._task, self._board, self._rng, self._every = task, board, rng, every
        streaming = () if backend == NULL else ("--streaming",)
        self._command = [sys.executable, "-m", "scanside", "serve", "--backend", backend,
                         *streaming, "--socket", str(task.path)]  # fmt: skip
        self._server = self._start_server()
        self._context = multiprocessing.get_context("spawn")
        self._clients = [self._start_client(n) for n in range(len(board))]

    def run(self) -> None:
        """Let everything run, and kill, until all requests have been made."""
        now = time.monotonic()
        next_client = now + self._pause()
        next_server = now + 2 * self._pause()
        while (done := self._board[:, 0].sum() / (self._task.share * len(self._board))) < 1:
            time.sleep(0.1)
            now = time.monotonic()
            if now > next_client:
                self._kill_client(self._rng.randrange(len(self._clients)))
                next_client = now + self._pause()
            if done < _STAYS and now > next_server:
                self._kill_server()
                next_server = now + 2 * self._pause()
            self._check_alive()
            if done >= _STEADY:
                self.steady_mb.append(_rss_mb(self._server.pid))
        for client in self._clients:
            client.join()
        with connect(self._task.path) as client:
            self.stats = client.stats()._asdict()

    def end(self) -> None:
        """Leave no process behind."""
        for client in self._clients:
            client.kill()
        self._server.terminate()
        self._server.wait()

    def growth_mb(self) -> float:
        """Return by how much the server's memory grew while it stayed."""
        tenth = len(self.steady_mb) // 10
        return self.steady_mb[-1] - self.steady_mb[tenth] if self.steady_mb else 0.0

    def _check_alive(self) -> None:
        if self._server.poll() is not None:
            raise BackendError(f"the server ended by itself with {self._server.returncode}")
        for number, client in enumerate(self._clients):
            if client.exitcode not in (None, 0, -signal.SIGKILL):
                raise BackendError(f"client {number} ended with {client.exitcode}")

    def _pause(self) -> float:
        return self._rng.expovariate(1 / self._every)

    def _start_server(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def _start_client(self, number: int) -> SpawnProcess:
        seed = self._rng.randrange(2**32)
        client = self._context.Process(target=_client, args=(self._task, number, seed))
        client.start()
        return client

    def _kill_server(self) -> None:
        self._server.send_signal(self._rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
        self._server.wait()
        self._server = self._start_server()
        self.server_kills += 1

    def _kill_client(self, number: int) -> None:
        client, row = self._clients[number], self._board[number]
        if not client.is_alive():
            return
        client.kill()
        client.join()
        left = int(row[0] - row[1:5].sum())
        # Between two counters it may be one more; never fewer than none.
        if not 0 <= left <= _DEPTH + 1:
            row[5] += 1
        row[4] += left
        self._clients[number] = self._start_client(number)
        self.client_kills += 1


def _client(task: Task, number: int, seed: int) -> None:
    """Live as a client: connections, each with some hundreds of requests."""
    rng = random.Random(seed)  # noqa: S311 - chance, not a secret
    board = np.memmap(task.board, np.int64, "r+").reshape(-1, len(_FIELDS))
    row = dict(zip(_FIELDS, range(len(_FIELDS)), strict=True))

    def count(field: str, by: int = 1) -> None:
        board[number, row[field]] += by

    while board[number, 0] < task.share:
        try:
            client = connect(
                task.path, ordered=bool(number % 2), slots=_DEPTH if number // 2 % 2 else 0
            )
        except (BackendError, RemoteError, TimeoutError):
            time.sleep(0.05)  # the next server is not there yet
            continue
        with client:
            _converse(client, task, rng, count, min(task.share - int(board[number, 0]), 500))


def _converse(
    client: Client, task: Task, rng: random.Random, count: Callable[..., None], requests: int
) -> None:
    """Make requests on one connection and hold every outcome to its request."""
    owed: dict[int, int] = {}
    breaks_off = rng.random() < _BREAKS_OFF
    for made in range(requests):
        if breaks_off and made == requests // 2:
            count("given_up", len(owed))
            return
        which = rng.randrange(len(task.frames))
        count("submitted")
        try:
            number = client.submit(task.frames[which], timeout=60)
        except TimeoutError:
            count("wrong")
            return
        owed[number] = which
        if len(owed) >= _DEPTH and not _settle(client, task, owed, count):
            break
        if client.draining:
            break
    while owed:
        _settle(client, task, owed, count)


def _settle(client: Client, task: Task, owed: dict[int, int], count: Callable[..., None]) -> bool:
    """Take one outcome; false once the server has gone."""
    try:
        answer = client.wait(timeout=60)
    except (LostError, RemoteError) as error:
        # One that is not owed would be a second outcome, or none's.
        known = owed.pop(error.number, None) is not None
        lost = isinstance(error, LostError)
        count(("lost" if lost else "refused") if known else "wrong")
        return not lost
    which = owed.pop(answer.number, None)
    right = which is not None and (answer.tumor, answer.area_px) == task.wanted[which]
    if which is not None:
        count("answered")
    if not right:
        count("wrong")
    return True


def _frames(backend: str, data: Path | None) -> list[NDArray[np.uint8]]:
    """Return frames that can be told apart by their answers."""
    if backend == NULL:
        return [np.zeros((64 + 4 * n, 64, 3), np.uint8) for n in range(_FRAMES)]
    if data is None:
        from scanside.golden import read_golden

        return list(read_golden(open_bundle()).images)
    files = discover([data]).files
    files = files[:: max(1, len(files) // _FRAMES)][:_FRAMES]
    return [np.ascontiguousarray(next(read_file(file)).pixels) for file in files]  # type: ignore[arg-type]


def _wanted(backend: str, frames: list[NDArray[np.uint8]]) -> list[tuple[bool | None, int | None]]:
    """Return tumor and area of each frame, from a pipeline of one's own."""
    bundle = open_bundle()
    manifest = bundle.manifest
    if backend == NULL:
        pipeline: Any = NullPipeline(manifest.default_precision, manifest.thresholds)
    else:
        pipeline = Pipeline.open(bundle, backend=backend)
    results = [pipeline.analyse(frame) for frame in frames]
    pipeline.close()
    return [(r.tumor, None if r.region is None else r.region.area) for r in results]


def _rss_mb(pid: int) -> float:
    with suppress(OSError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
