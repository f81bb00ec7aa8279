"""Hostile associations: does a node live, hold still, and serve the others meanwhile.

::

    python tests/campaigns/node_hostile.py --output FOLDER [--connections 200000]

Some threads connect and send association requests, data PDUs and aborts that were mutated: bits,
lengths, truncations, repetitions, other PDUs, another AE title, nothing. Others send a byte now and
then. One well-behaved sender stores and echoes all the while: each of its requests must be answered
with 0000. At the end the node must live, its memory and descriptors be as they were. Exit code 1 if
not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_context

from node.pdus import ABORT, RELEASE, association_request, data_pdus
from node.place import NodeProcess, make_studies, rss_and_descriptors

_INTRUDER: Final = "127.0.0.2"
"""Where the hostile connections come from; the well-behaved sender is at 127.0.0.1."""

_INTRUDERS: Final = 4
_WAITS: Final = 0.1
"""Share of the hostile connections that wait for an answer; the others are gone at once."""

_COUNTING: Final = threading.Lock()

_GROWTH: Final = 60.0
"""MB of resident memory that the node may have more at the end than after its first thousand
connections: what an allocator keeps of many short threads."""


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = hostile(options.output, connections=options.connections, seed=options.seed)
    print(json.dumps(found))
    return 0 if found["passed"] else 1


def hostile(output: Path, *, connections: int, seed: int, backend: str = "null") -> dict[str, Any]:
    """Run a campaign of a given size; return its counts."""
    shutil.rmtree(output / "node", ignore_errors=True)
    study = make_studies(output, 1, 4)[0]
    node = NodeProcess(
        output / "node", pacs=None, backend=backend, limits="pdu_seconds = 2\nidle_seconds = 4"
    )
    node.start()
    stop = threading.Event()
    counts = {"connections": 0, "good": 0, "disturbed": 0, "slow": 0}
    threads = [
        threading.Thread(target=_good, args=(node.port, study, stop, counts)),
        threading.Thread(target=_slow, args=(node.port, stop, counts)),
    ]
    for thread in threads:
        thread.start()
    try:
        before = _attack(node, study, connections, seed, counts)
        stop.set()
        for thread in threads:
            thread.join()
        time.sleep(5)  # what is left ends by its time-outs
        assert node.process is not None
        alive = node.process.poll() is None
        after = rss_and_descriptors(node.process.pid) if alive else (0.0, 0)
        code = node.stop()
    finally:
        stop.set()
        node.kill()
    held = after[0] - before[0] < _GROWTH and after[1] <= before[1] + 4
    passed = alive and held and code == 0 and not counts["disturbed"] and counts["good"] > 0
    return {**counts, "before": before, "after": after, "exit_code": code, "passed": passed}


def _attack(
    node: NodeProcess, study: Path, connections: int, seed: int, counts: dict[str, int]
) -> tuple[float, int]:
    """Make so many hostile connections; return memory and descriptors after the first of them."""
    templates = _templates(study)
    assert node.process is not None
    first = min(1000, connections // 2)
    before = (0.0, 0)
    for share in (first, connections - first):
        intruders = [
            threading.Thread(
                target=_intrude,
                args=(node.port, templates, share // _INTRUDERS, f"{seed} {share} {n}", counts),
            )
            for n in range(_INTRUDERS)
        ]
        for intruder in intruders:
            intruder.start()
        for intruder in intruders:
            intruder.join()
        if share == first:
            before = rss_and_descriptors(node.process.pid)
    return before


def _intrude(
    port: int,
    templates: tuple[bytes, list[bytes]],
    connections: int,
    seed: str,
    counts: dict[str, int],
) -> None:
    chance = random.Random(seed)  # noqa: S311
    for _ in range(connections):
        with contextlib.suppress(OSError):
            _connect(port, _conversation(templates, chance), chance)
        with _COUNTING:
            counts["connections"] += 1


def _connect(port: int, content: bytes, chance: random.Random) -> None:
    with socket.create_connection(
        ("127.0.0.1", port), timeout=5, source_address=(_INTRUDER, 0)
    ) as connection:
        connection.sendall(content)
        if chance.random() < _WAITS:
            connection.settimeout(0.1)
            connection.recv(4096)


def _templates(study: Path) -> tuple[bytes, list[bytes]]:
    """Return a good association request, and the data PDUs of a good C-STORE."""
    dataset = dcmread(next(path for path in study.rglob("*") if path.is_file()))
    content = b"\x08\x00\x18\x00UI\x04\x001.2\x00" + b"\x00" * 500
    data = data_pdus(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), content, 16384)
    return association_request(), data


def _conversation(templates: tuple[bytes, list[bytes]], chance: random.Random) -> bytes:
    """Make what one hostile connection sends."""
    request, data = templates
    kind = chance.randrange(6)
    if kind == 0:
        return _mutated(request, chance)
    if kind == 1:
        return request + b"".join(_mutated(pdu, chance) for pdu in data)
    if kind == 2:
        return request[: chance.randrange(len(request))]
    if kind == 3:
        return request.replace(b"SCANNER", b"INTRUDE") + RELEASE
    if kind == 4:
        return b"".join(chance.choice([request, *data, RELEASE, ABORT]) for _ in range(5))
    return chance.randbytes(chance.randrange(200))


def _mutated(content: bytes, chance: random.Random) -> bytes:
    """Change some bits, a length, or the extent of a PDU."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        if not changed:
            break
        place = chance.randrange(len(changed))
        kind = chance.randrange(5)
        if kind == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place : place + 4] = chance.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\xff\xff"]
            )
        elif kind == 2:
            del changed[place:]
        elif kind == 3:
            changed[place:place] = changed[: chance.randrange(64)]
        else:
            changed[place] = chance.randrange(256)
    return bytes(changed)


def _good(port: int, study: Path, stop: threading.Event, counts: dict[str, int]) -> None:
    """Store and echo, one association after the other; count what is not answered with 0000."""
    datasets = [dcmread(path) for path in sorted(study.rglob("*")) if path.is_file()]
    contexts = [
        build_context(MRImageStorage, [ExplicitVRLittleEndian]),
        build_context("1.2.840.10008.1.1"),
    ]
    while not stop.is_set():
        association = AE("SCANNER").associate(
            "127.0.0.1", port, contexts=contexts, ae_title="SCANSIDE"
        )
        if not association.is_established:
            counts["disturbed"] += 1
            time.sleep(0.2)
            continue
        for dataset in datasets:
            for ask in (partial(association.send_c_store, dataset), association.send_c_echo):
                answer = ask() if association.is_established else Dataset()
                right = "Status" in answer and answer.Status == 0
                counts["good" if right else "disturbed"] += 1
        association.release()


def _slow(port: int, stop: threading.Event, counts: dict[str, int]) -> None:
    """Send a byte now and then."""
    while not stop.is_set():
        with (
            contextlib.suppress(OSError),
            socket.create_connection(
                ("127.0.0.1", port), timeout=5, source_address=(_INTRUDER, 0)
            ) as connection,
        ):
            counts["slow"] += 1
            for byte in b"\x01\x00\x00\x00\x01\x00" + bytes(60):
                connection.sendall(bytes([byte]))
                if stop.wait(0.2):
                    break


if __name__ == "__main__":
    sys.exit(main())
