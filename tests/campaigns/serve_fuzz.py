"""Hostile messages into the server's parser, in this process.

::

    python tests/campaigns/serve_fuzz.py --messages 1000000            # made by rules
    python tests/campaigns/serve_fuzz.py --atheris --runs 300000       # guided by coverage

A conversation is bytes that a client sends before it closes its sending side. What comes back must
be well-formed messages, and every request that was accepted accounted for. Rules make
conversations of sound messages that are cut, mixed, repeated and changed; atheris begins with
sound ones and keeps what reaches new code. Exit code 1 for a crash, a breach, or memory that grows.
"""

from __future__ import annotations

import argparse
import array
import fcntl
import json
import logging
import os
import random
import socket
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from scanside import open_bundle
from scanside.serve import wire
from scanside.serve.channel import Channel
from scanside.serve.codes import Dtype, HelloFlag, InferFlag, Kind, MaskForm
from scanside.serve.connection import Connection
from scanside.serve.counters import Counters, resident_bytes
from scanside.serve.limits import Limits
from scanside.serve.nullpipeline import NullPipeline
from scanside.serve.service import Service
from scanside.serve.wire import BODIES, HEADER_BYTES, NO_SLOT

if TYPE_CHECKING:
    from scanside.serve.lanes import Job

LIMITS: Final = Limits(max_in_flight=4, max_payload=2**16, max_slots=4, message_timeout_ms=2000)
SLOT: Final = 2**15
LONGEST: Final = 2**17
"""Bytes of a conversation; they must fit into the socket, which is read afterwards."""

_GROWTH_MB: Final = 24.0


class _BreachError(AssertionError):
    """The server said what the protocol does not allow."""


class Target:
    """A server without threads or models, for one conversation after the other."""

    def __init__(self) -> None:
        log = logging.getLogger("scanside.fuzz")
        log.disabled = True
        bundle = open_bundle()
        manifest = bundle.manifest
        pipeline = NullPipeline(manifest.default_precision, manifest.thresholds)
        self.service = Service(
            bundle, pipeline, LIMITS, counters=Counters(), log=log, streaming=False,
            self_test=False,
        )  # fmt: skip
        self._lanes = self.service.lanes
        self._held: list[Job] = []
        setattr(self.service, "lanes", self)  # noqa: B010 - jobs come to `put` here
        self._number = 0
        self._every = 1

    @property
    def queue_depth(self) -> int:
        """As `Lanes` has it."""
        return 3

    def put(self, job: Job) -> None:
        """Answer every few jobs, so that several are in flight between."""
        self._held.append(job)
        if len(self._held) >= self._every:
            self._answer()

    def converse(self, data: bytes) -> int:
        """Hold one conversation; return the number of messages that it began.

        Parameters
        ----------
        data
            Its first byte chooses what there is before: nothing, HELLO, ordered, memory.
        """
        choice, sent = data[:1], data[1:LONGEST]
        mode = choice[0] if choice else 0
        self._every = 1 + (mode >> 4) % 3
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
            requests = _prelude(ours, mode)
            ours.sendall(sent)
            ours.shutdown(socket.SHUT_WR)
            self._number += 1
            end = theirs.detach()
            connection = Connection(self._number, Channel(end, end), self.service)
            self.service._connections[self._number] = connection
            self.service.counters.add("clients")
            before = self.service.counters.snapshot()
            self._run(connection)
            said = _received(ours)
        messages = _check(said, sent, before, self.service.counters.snapshot())
        return messages + requests

    def _run(self, connection: Connection) -> None:
        ledger = connection._ledger
        usual = ledger.wait

        def wait() -> None:
            self._answer()
            usual()

        ledger.wait = wait  # type: ignore[method-assign]
        connection.run()
        self._held.clear()
        if connection.is_busy or self.service.connections:
            raise _BreachError("a connection has ended with requests in flight")

    def _answer(self) -> None:
        held, self._held = self._held, []
        for job in held:
            self._lanes._answer([job], 0)


def _prelude(ours: socket.socket, mode: int) -> int:
    """Send what goes before: nothing, HELLO, or HELLO and memory."""
    if mode % 4 == 0:
        return 0
    flags = HelloFlag.ORDERED if mode & 8 else 0
    hello = BODIES.client_hello.encode(wire.ClientHello(*wire.VERSION, flags))
    ours.sendall(wire.encode(Kind.HELLO, 1, hello))
    if mode % 4 < 3:
        return 1
    memory = os.memfd_create("fuzz", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, 2 * SLOT)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    attach = wire.encode(Kind.ATTACH, 2, BODIES.attach.encode(wire.Attach(2, SLOT)))
    rights = array.array("i", [memory])
    ours.sendmsg([attach], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    os.close(memory)
    return 2


def _received(ours: socket.socket) -> bytes:
    ours.settimeout(5)
    pieces = []
    try:
        while piece := ours.recv(2**20):
            pieces.append(piece)
    except ConnectionResetError:
        pass  # it closed with some of what was sent unread
    return b"".join(pieces)


def _check(said: bytes, sent: bytes, before: dict[str, int], after: dict[str, int]) -> int:
    """Hold what came back to the protocol; return how many messages the client began, about."""
    answers: Counter[int] = Counter()
    fatal = False
    while said:
        if fatal:
            raise _BreachError("something follows a fatal error")
        header = wire.decode_header(said[:HEADER_BYTES])
        end = HEADER_BYTES + header.body + header.payload
        if end > len(said):
            raise _BreachError("a message is cut")
        if header.kind in (Kind.RESULT, Kind.ERROR):
            answers[header.id] += 1
        if header.kind == Kind.ERROR:
            fatal = bool(BODIES.error.decode(said[HEADER_BYTES:end]).flags)
            if fatal != (header.id == 0):
                raise _BreachError("a fatal error has an id, or another one has none")
        said = said[end:]
    changed = {name: after[name] - before[name] for name in after}
    resolved = changed["answered"] + changed["failed"] + changed["dropped"]
    if changed["accepted"] != resolved:
        raise _BreachError(f"requests are not accounted for: {changed}")
    return max(1, sent.count(wire.MAGIC), sum(answers.values()))


def sound_messages(rng: random.Random) -> list[bytes]:
    """Return messages that a client may send, one after the other."""
    hello = BODIES.client_hello.encode(wire.ClientHello(*wire.VERSION, rng.randrange(2)))
    side = rng.choice((32, 48, 64))
    dtype = rng.choice(list(Dtype))
    size = side * side * 3 * {Dtype.U8: 1, Dtype.U16: 2, Dtype.F32: 4}[dtype]
    in_slot = rng.random() < 0.3
    infer = BODIES.infer.encode(
        wire.Infer(
            side, side, 3, dtype, InferFlag.SLOT if in_slot else rng.randrange(8),
            rng.choice(list(MaskForm)), rng.randrange(3) if in_slot else NO_SLOT,
            0.0, 1.0, 1.0, 1.0, rng.choice((0, 0, 1)),
        )
    )  # fmt: skip
    number = rng.randrange(1, 9)
    payload = b"" if in_slot else bytes(size)
    return [
        wire.encode(Kind.HELLO, 1, hello, 4) + b"fuzz",
        wire.encode(Kind.INFER, number, infer, len(payload)) + payload,
        wire.encode(Kind.INFER, number + 1, infer, len(payload)) + payload,
        wire.encode(rng.choice((Kind.STATS, Kind.PING)), number),
        wire.encode(Kind.ATTACH, number, BODIES.attach.encode(wire.Attach(1, 4096))),
        wire.encode(Kind.DRAIN, number),
    ]


def hostile(rng: random.Random) -> bytes:
    """Return a conversation in which something is wrong, as a rule."""
    pieces = [rng.choice(sound_messages(rng)) for _ in range(rng.randrange(1, 12))]
    for _ in range(rng.randrange(3)):
        which = rng.randrange(len(pieces))
        pieces[which] = rng.choice(_CHANGES)(rng, pieces[which])
    return bytes([rng.randrange(256)]) + b"".join(pieces)


def _cut(rng: random.Random, message: bytes) -> bytes:
    return message[: rng.randrange(len(message) + 1)]


def _flip(rng: random.Random, message: bytes) -> bytes:
    changed = bytearray(message or b"\0")
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(min(len(changed), 96))] = rng.randrange(256)
    return bytes(changed)


def _extreme(rng: random.Random, message: bytes) -> bytes:
    """Put a number into a field that is at the end of its range."""
    changed = bytearray(message.ljust(96, b"\0"))
    width = rng.choice((2, 4, 8))
    at = rng.randrange(0, 96 - width, 2)
    number = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1))
    changed[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(changed)


def _noise(rng: random.Random, _: bytes) -> bytes:
    return rng.randbytes(rng.randrange(200))


def _twice(_: random.Random, message: bytes) -> bytes:
    return message + message


_CHANGES: Final = (_cut, _flip, _extreme, _noise, _twice)


def by_rules(messages: int, seed: int = 0) -> dict[str, Any]:
    """Send so many messages in conversations made by rules; return the figures."""
    rng = random.Random(seed)  # noqa: S311 - chance, not a secret
    target, done, conversations = Target(), 0, 0
    started, memory = time.monotonic(), 0.0
    while done < messages:
        data = hostile(rng)
        try:
            done += target.converse(data)
        except BaseException:
            print(f"in conversation {conversations} of seed {seed}: {data[:400]!r}")
            raise
        conversations += 1
        if done > messages / 10 and not memory:
            memory = resident_bytes() / 2**20
    growth = resident_bytes() / 2**20 - memory
    return {
        "messages": done,
        "conversations": conversations,
        "counts": target.service.counters.snapshot(),
        "growth_mb": round(growth, 1),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - not a folder of files
        "seconds": round(time.monotonic() - started, 1),
        "passed": growth < _GROWTH_MB,
    }


def by_coverage(runs: int, corpus: str) -> None:
    """Let atheris look for conversations that reach new code; ends the process."""
    import atheris  # the only one of these scripts that needs it

    for module in ("channel", "connection", "ledger", "outbox", "requests", "shared", "wire",
                   "masks", "answers", "lanes"):  # fmt: skip
        for value in vars(sys.modules[f"scanside.serve.{module}"]).copy().values():
            if getattr(value, "__module__", "") == f"scanside.serve.{module}":
                _instrument(atheris, value)
    rng = random.Random(0)  # noqa: S311 - chance, not a secret
    os.makedirs(corpus, exist_ok=True)  # noqa: PTH103 - beside the next line
    for n in range(64):
        sound = b"".join(sound_messages(rng)[1:])
        with open(f"{corpus}/sound-{n}", "wb") as file:  # noqa: PTH123 - atheris wants names
            file.write(bytes([rng.randrange(256)]) + sound)
    target = Target()
    count = [0]

    def one(data: bytes) -> None:
        count[0] += target.converse(data)
        if count[0] // 100_000 != (count[0] - 12) // 100_000:
            print(f"{count[0]:,} messages, {resident_bytes() / 2**20:.0f} MB", flush=True)

    atheris.Setup([sys.argv[0], f"-atheris_runs={runs}", f"-max_len={LONGEST}", "-timeout=20",
                   "-rss_limit_mb=2048", corpus], one)  # fmt: skip
    atheris.Fuzz()


def _instrument(atheris: Any, value: Any) -> None:
    """Have a function, or each method of a class, report what it reaches."""
    if isinstance(value, type):
        for name, held in vars(value).copy().items():
            if callable(held) and hasattr(held, "__code__"):
                setattr(value, name, atheris.instrument_func(held))
    elif hasattr(value, "__code__"):
        atheris.instrument_func(value)


def main() -> int:
    """Run a campaign."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--runs", type=int, default=300_000)
    parser.add_argument("--corpus", default=".cache/fuzz-serve")
    options = parser.parse_args()
    if options.atheris:
        by_coverage(options.runs, options.corpus)
        return 0
    found = by_rules(options.messages, options.seed)
    print(json.dumps(found))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
