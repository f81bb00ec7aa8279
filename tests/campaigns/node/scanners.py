"""Well-behaved scanners, each in a process of its own, so that none waits for another's Python.

They speak DICOM by hand: pynetdicom's requestor polls, and now and then another thread of it takes
the answer that is waited for (see `scanside.listen.requestor`).

::

    python -m node.scanners --spool FOLDER --port PORT --dicom FOLDER --answers FILE.npy \
        --first 0 --studies 250

sends studies 0 to 249, waits until the node has nothing left to do, and writes the seconds from
each request to its answer.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset, dcmread

from node.pdus import ACCEPT, RELEASE, association_request, store_request
from node.place import wait_idle

if TYPE_CHECKING:
    from io import RawIOBase

    from numpy.typing import NDArray

__all__ = ["send"]

_SUCCESS = b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"
"""The element Status (0000,0900) of a command set, with 0000."""

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


def main() -> int:
    """Send the studies; exit code 1 if an object was not accepted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dicom", type=Path, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--studies", type=int, required=True)
    parser.add_argument("--senders", type=int, default=2)
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    end = options.first + options.studies
    shares = [
        (
            options.port,
            options.dicom,
            range(options.first + n, end, options.senders),
            options.spool if options.one_by_one else None,
        )
        for n in range(options.senders)
    ]
    with multiprocessing.get_context("spawn").Pool(options.senders) as pool:
        answers = np.concatenate(pool.starmap(send, shares))
    wait_idle(options.spool, 3600)
    np.save(options.answers, answers)
    return int(np.isnan(answers).any())


def send(port: int, dicom: Path, numbers: range, wait: Path | None) -> NDArray[np.float64]:
    """Send studies over an association each.

    Parameters
    ----------
    port
        The node's.
    dicom
        A folder of studies; each that is sent is one of them under UIDs of its own.
    numbers
        Of the studies.
    wait
        The node's spool, to begin a study when the one before is done; none to go on.

    Returns
    -------
    ndarray
        Seconds from the first byte of each request to the last of its answer, NaN for one that was
        not accepted: float64 ``[N]``.
    """
    patterns = [
        [dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]
        for folder in sorted(dicom.iterdir())
        if folder.is_dir()
    ]
    found = []
    for number in numbers:
        requests = [
            store_request(_renamed(dataset, number)) for dataset in patterns[number % len(patterns)]
        ]
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(association_request())
            assert _answer(connection)[0] == ACCEPT
            for request in requests:
                started = time.perf_counter()
                connection.sendall(request)
                accepted = _SUCCESS in _answer(connection)
                found.append(time.perf_counter() - started if accepted else np.nan)
            connection.sendall(RELEASE)
            _answer(connection)
        if wait is not None:
            wait_idle(wait, 300)
    return np.array(found)


def _answer(connection: socket.socket) -> bytes:
    """Return the next PDU."""
    with connection.makefile("rb", buffering=0) as stream:
        head = _exactly(stream, 6)
        return head + _exactly(stream, int.from_bytes(head[2:], "big"))


def _exactly(stream: RawIOBase, size: int) -> bytes:
    content = b""
    while len(content) < size:
        more = stream.read(size - len(content))
        if not more:
            raise ConnectionError("the node ended the association")
        content += more
    return content


def _renamed(dataset: Dataset, number: int) -> Dataset:
    """Return the object as one of a study of its own."""
    renamed = deepcopy(dataset)
    for keyword in _UIDS:
        if keyword in renamed:
            setattr(renamed, keyword, f"{getattr(dataset, keyword)[:55]}.{number}")
    renamed.file_meta.MediaStorageSOPInstanceUID = renamed.SOPInstanceUID
    return renamed


if __name__ == "__main__":
    sys.exit(main())
