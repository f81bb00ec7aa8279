"""A server that keeps to the embedding protocol, or breaks it in one named way.

Run as ``scanside serve BEHAVIOUR`` is: the protocol on stdin and stdout, which are one socket.
The mask of a frame is where its first channel is 255; so an answer tells which frame it is for.

Hundreds of these are started by the tests, so that nothing heavy is imported: of scanside the
protocol's own modules alone, without the package around them.
"""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import signal
import socket
import sys
import time
import types
from pathlib import Path
from typing import Any, NamedTuple

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
if __name__ == "__main__":
    for name in ("scanside", "scanside.serve"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(RUNTIME / name.replace(".", "/"))]

from scanside.serve import codes, wire  # noqa: E402
from scanside.serve.codes import Kind  # noqa: E402
from scanside.serve.wire import BODIES  # noqa: E402

ONLY_255 = bytes(255) + b"\x01"


class GoneError(Exception):
    """The client has closed the connection."""


class Request(NamedTuple):
    """A frame as bytes, and what was asked of it."""

    id: int
    infer: wire.Infer
    frame: bytes

    def mask(self) -> bytes:
        """Where the first channel is 255, one byte a pixel."""
        if self.infer.dtype == codes.Dtype.U8:
            return self.frame[:: self.infer.channels].translate(ONLY_255)
        kind = {codes.Dtype.U16: "H", codes.Dtype.F32: "f"}[codes.Dtype(self.infer.dtype)]
        values = memoryview(self.frame).cast(kind).tolist()
        return bytes(value == 255 for value in values[:: self.infer.channels])

    def slot_of_mask(self, slot_bytes: int) -> int:
        """Where in the shared memory its mask belongs."""
        return self.infer.slot * slot_bytes + -(-len(self.frame) // 64) * 64


def box_of(mask: bytes, width: int) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of what is inside, ends excluded."""
    rows = [mask[n : n + width] for n in range(0, len(mask), width)]
    inside = [n for n, row in enumerate(rows) if 1 in row]
    left = min(rows[n].find(1) for n in inside)
    return inside[0], left, inside[-1] + 1, max(rows[n].rfind(1) for n in inside) + 1


class Server:
    """One connection."""

    def __init__(self) -> None:
        self.socket = socket.socket(fileno=0)
        self.memory: mmap.mmap | None = None
        self.slot_bytes = 0

    # --- bytes ---------------------------------------------------------------------------------

    def read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.socket.recv(size - len(parts))
            if not part:
                raise GoneError
            parts += part
        return bytes(parts)

    def message(self) -> tuple[wire.Header, bytes, bytes]:
        """The next message, with the descriptor of an ATTACH mapped."""
        descriptors = array.array("i")
        first, ancillary, _, _ = self.socket.recvmsg(wire.HEADER_BYTES, socket.CMSG_SPACE(4))
        if not first:
            raise GoneError
        for _level, _kind, data in ancillary:
            descriptors.frombytes(data)
        head = first + self.read(wire.HEADER_BYTES - len(first))
        header = wire.decode_header(head)
        body, payload = self.read(header.body), self.read(header.payload)
        if header.kind == Kind.ATTACH:
            attach = BODIES.attach.decode(body)
            self.slot_bytes = attach.slot_bytes
            self.memory = mmap.mmap(descriptors[0], attach.slots * attach.slot_bytes)
            os.close(descriptors[0])
        return header, body, payload

    def send(self, kind: int, number: int, body: bytes = b"", payload: bytes = b"") -> None:
        self.socket.sendall(wire.encode(Kind(kind), number, body, len(payload)) + payload)

    # --- a server that behaves -----------------------------------------------------------------

    def hello(self, **changed: Any) -> None:
        header, body, _ = self.message()
        assert header.kind == Kind.HELLO
        BODIES.client_hello.decode(body)
        said = wire.ServerHello(
            major=1, minor=0, flags=codes.HelloFlag.SHARED_MEMORY | codes.HelloFlag.NULL_BACKEND,
            max_in_flight=64, max_payload=1 << 26, max_bytes_in_flight=1 << 28,
            max_shared_bytes=1 << 28, max_slots=64, queue_depth=4, watchdog_ms=2000,
            message_timeout_ms=2000, min_side=32, max_side=4096, channels=3, dtypes=14,
            gate=0.25, decision=0.5, mask=0.5, pid=os.getpid(), restarts=0,
            bundle_sha256=bytes(range(32)), version=b"0.1.0", backend=b"fake", precision=b"fp32",
            bundle="fakeé 1".encode(), license=b"none",
        )._replace(**changed)  # fmt: skip
        self.send(Kind.HELLO, header.id, BODIES.server_hello.encode(said), b'{"fake": true}')

    def attached(self) -> None:
        header, body, _ = self.message()
        assert header.kind == Kind.ATTACH
        self.send(Kind.ATTACH, header.id, body)

    def request(self) -> Request:
        """The next INFER; questions on the way are answered."""
        while True:
            header, body, payload = self.message()
            if header.kind == Kind.INFER:
                infer = BODIES.infer.decode(body)
                return Request(header.id, infer, self.frame(infer, payload))
            if header.kind == Kind.ATTACH:
                self.send(Kind.ATTACH, header.id, body)
            elif header.kind == Kind.STATS:
                numbers = wire.Stats(*range(1, 13))
                self.send(Kind.STATS, header.id, BODIES.stats.encode(numbers))
            elif header.kind == Kind.DRAIN:
                self.send(Kind.DRAIN, header.id, BODIES.drain.encode(wire.Drain(0)))
                raise GoneError

    def frame(self, infer: wire.Infer, payload: bytes) -> bytes:
        if not infer.flags & codes.InferFlag.SLOT:
            return payload
        assert self.memory is not None
        pixel = infer.channels * {1: 1, 2: 2, 3: 4}[infer.dtype]
        start = infer.slot * self.slot_bytes
        return self.memory[start : start + infer.height * infer.width * pixel]

    def result(self, request: Request, **changed: Any) -> tuple[wire.Result, bytes]:
        """What there is to say of a frame, and its mask, with some fields changed."""
        mask = request.mask()
        area = mask.count(1)
        infer = request.infer
        wanted = infer.mask_form != codes.MaskForm.NONE
        in_slot = bool(infer.flags & codes.InferFlag.SLOT)
        flags = codes.ResultFlag.PROBABILITY | codes.ResultFlag.AREA | codes.ResultFlag.NULL_BACKEND
        box = (0, 0, 0, 0)
        if area:
            flags |= codes.ResultFlag.BOX
            box = box_of(mask, infer.width)
        area_mm2 = float("nan")
        if infer.flags & codes.InferFlag.SPACING:
            flags |= codes.ResultFlag.AREA_MM2
            area_mm2 = area * infer.spacing_row * infer.spacing_column
        result = wire.Result(
            status=0, tumor=int(area > 0), segmented=1,
            mask_form=codes.MaskForm.BYTES if wanted else codes.MaskForm.NONE,
            flags=flags | (codes.ResultFlag.SLOT if in_slot else 0), tumor_probability=0.75,
            area_px=area, components=int(area > 0), area_mm2=area_mm2,
            box_top=box[0], box_left=box[1], box_bottom=box[2], box_right=box[3],
            height=infer.height, width=infer.width, queue_us=1, preprocess_us=2, classify_us=3,
            segment_us=4, postprocess_us=5, total_us=15,
            mask_bytes=len(mask) if wanted else 0,
            mask_offset=request.slot_of_mask(0) if in_slot and wanted else 0,
            slot=infer.slot,
        )._replace(**changed)  # fmt: skip
        return result, mask if wanted else b""

    def place(self, request: Request, mask: bytes) -> bytes:
        """Put a mask into its slot; what is left for the payload."""
        if self.memory is None or not request.infer.flags & codes.InferFlag.SLOT:
            return mask
        start = request.slot_of_mask(self.slot_bytes)
        self.memory[start : start + len(mask)] = mask
        return b""

    def answer(self, request: Request, extra: bytes = b"", **changed: Any) -> None:
        result, mask = self.result(request, **changed)
        mask = self.place(request, mask[: result.mask_bytes])
        self.send(Kind.RESULT, request.id, BODIES.result.encode(result), mask + extra)

    def error(self, number: int, code: int, cause: int, flags: int, text: bytes) -> None:
        body = BODIES.error.encode(wire.Error(code, cause, flags))
        self.send(Kind.ERROR, number, body, text)

    def serve(self) -> None:
        while True:
            self.answer(self.request())


# --- behaviours, by name -----------------------------------------------------------------------


def good(server: Server) -> None:
    """Nothing is wrong."""
    server.hello()
    server.serve()


def no_hello_exit(_: Server) -> None:
    sys.stderr.write("cannot load the moon\n")
    sys.exit(4)


def no_hello_hang(_: Server) -> None:
    time.sleep(600)


def start_error(server: Server) -> None:
    header, _, _ = server.message()
    server.error(header.id, 4, codes.Cause.START, 1, b"the bundle is damaged")
    sys.exit(4)


def version_error(server: Server) -> None:
    header, _, _ = server.message()
    server.error(header.id, 2, codes.Cause.VERSION, 1, b"version 9 only")


def version_two(server: Server) -> None:
    server.hello(major=2)
    server.serve()


def no_shared_memory(server: Server) -> None:
    server.hello(flags=0)
    server.serve()


def refuses_memory(server: Server) -> None:
    server.hello()
    header, _, _ = server.message()
    server.error(header.id, 2, codes.Cause.SHARED_MEMORY, 0, b"the memory is not sealed")
    server.serve()


def few_limits(server: Server) -> None:
    server.hello(max_in_flight=2, max_shared_bytes=1 << 20, max_bytes_in_flight=1 << 20)
    server.serve()


def backwards(server: Server) -> None:
    """Answers by fours, the last first."""
    server.hello()
    while True:
        for request in reversed([server.request() for _ in range(4)]):
            server.answer(request)


def hangs(server: Server) -> None:
    """Reads every message and answers none but ATTACH."""
    server.hello()
    while True:
        header, body, _ = server.message()
        if header.kind == Kind.ATTACH:
            server.send(Kind.ATTACH, header.id, body)


def hangs_unread(server: Server) -> None:
    """Reads nothing after HELLO, and outlives SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server.hello()
    if "--pipe" not in sys.argv:
        server.attached()
    time.sleep(600)


def slow(server: Server) -> None:
    """Each answer takes a quarter of a second."""
    server.hello()
    while True:
        request = server.request()
        time.sleep(0.25)
        server.answer(request)


def dies(server: Server) -> None:
    """Answers two, then half of the third one, and is killed."""
    server.hello()
    requests = [server.request() for _ in range(3)]
    server.answer(requests[0])
    server.answer(requests[1])
    result, _ = server.result(requests[2])
    half = wire.encode(Kind.RESULT, requests[2].id, BODIES.result.encode(result))[:50]
    server.socket.sendall(half)
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def garbage(server: Server) -> None:
    server.hello()
    server.request()
    server.socket.sendall(bytes(n * n % 251 for n in range(4096)))
    time.sleep(600)


def drip(server: Server) -> None:
    """Answers byte by byte."""
    server.hello()
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    while True:
        request = server.request()
        result, mask = server.result(request)
        mask = server.place(request, mask)
        data = wire.encode(Kind.RESULT, request.id, BODIES.result.encode(result), len(mask)) + mask
        for n in range(200):
            server.socket.sendall(data[n : n + 1])
        server.socket.sendall(data[200:])


def errors(server: Server) -> None:
    """Each request gets another kind of bad news."""
    server.hello()
    requests = [server.request() for _ in range(4)]
    server.error(requests[0].id, 8, codes.Cause.HUNG, 0, b"the backend did not come back")
    nothing = {"mask_form": 0, "mask_bytes": 0, "mask_offset": 0}
    unknown = {"tumor": 2, **nothing}
    probability = codes.ResultFlag.PROBABILITY
    reason = "no window: Fenster fehlt é".encode()
    server.answer(requests[1], status=2, flags=_slot(requests[1]), extra=reason, **unknown)
    flags = _slot(requests[2]) | probability
    server.answer(requests[2], status=1, flags=flags, extra=b"the models disagree", **unknown)
    flags = _slot(requests[3]) | probability
    server.answer(requests[3], tumor=0, segmented=0, flags=flags, **nothing)
    server.serve()


def _slot(request: Request) -> int:
    in_slot = request.infer.flags & codes.InferFlag.SLOT
    return int(codes.ResultFlag.SLOT) if in_slot else 0


def then_an_error(server: Server) -> None:
    """Answers one, then says of one that it is no input."""
    server.hello()
    server.answer(server.request())
    server.error(server.request().id, 3, codes.Cause.REQUEST, 0, b"no input")
    server.serve()


def early(server: Server) -> None:
    """Refuses a frame of which it has read the header and little more, then reads on."""
    server.hello()
    while True:
        header = wire.decode_header(server.read(wire.HEADER_BYTES))
        if header.kind != Kind.INFER:
            server.read(header.body + header.payload)
            server.send(Kind.DRAIN, header.id, BODIES.drain.encode(wire.Drain(0)))
            raise GoneError
        server.read(header.body)
        server.error(header.id, 2, codes.Cause.REQUEST, 0, b"the window is not increasing")
        time.sleep(0.05)
        server.read(header.payload)


def noisy(server: Server) -> None:
    """Far more on stderr than a pipe holds, with a line that is too long, before each answer."""
    server.hello()
    while True:
        request = server.request()
        sys.stderr.write(("x" * 3000 + "\n") + "line\n" * 40_000)
        sys.stderr.flush()
        server.answer(request)


def going(server: Server) -> None:
    """Says that it ends, answers what it has, refuses the next one, and closes."""
    server.hello()
    first = server.request()
    server.send(Kind.DRAIN, 0, BODIES.drain.encode(wire.Drain(1)))
    server.answer(first)
    second = server.request()
    server.error(second.id, 8, codes.Cause.DRAINING, 0, b"the server is ending")


def later_version(server: Server) -> None:
    """Longer bodies and a kind of message that version 1.0 does not have."""
    server.hello()
    while True:
        request = server.request()
        server.socket.sendall(wire.HEADER.pack(wire.MAGIC, 99, 3, 5, 0) + b"abcdefgh")
        result, mask = server.result(request)
        mask = server.place(request, mask)
        body = BODIES.result.encode(result) + b"later fields"
        server.send(Kind.RESULT, request.id, body, mask)


def stays(server: Server) -> None:
    """Answers DRAIN and then does not end."""
    try:
        good(server)
    except GoneError:
        time.sleep(600)


LIES: dict[str, dict[str, Any]] = {
    "status": {"status": 3},
    "tumor": {"tumor": 3},
    "tumor against status": {"status": 1},
    "tumor against area": {"tumor": 0},
    "unknown though ok": {"tumor": 2},
    "height": {"height": 1},
    "width": {"width": 4_000_000},
    "another slot": {"slot": 1},
    "no such slot": {"slot": 99},
    "mask as runs": {"mask_form": 2},
    "mask form": {"mask_form": 9},
    "mask too long": {"mask_bytes": 1 << 31},
    "mask too short": {"mask_bytes": 5},
    "mask outside": {"mask_offset": 0xFFFFFFC0},
    "area": {"area_px": 0xFFFFFFFF},
    "area of another mask": {"area_px": 7},
    "probability": {"tumor_probability": 1.5},
    "probability nan": {"tumor_probability": float("nan")},
    "box": {"box_bottom": 0},
    "box outside": {"box_right": 100_000},
}
"""Fields of a RESULT that cannot be."""


def lies(server: Server) -> None:
    server.hello()
    server.answer(server.request(), **LIES[sys.argv[3]])
    server.serve()


def raw(server: Server) -> None:
    """Messages that no request asks for, by name."""
    server.hello()
    request = server.request()
    result = BODIES.result.encode(server.result(request)[0])
    sent = {
        "unknown id": wire.encode(Kind.RESULT, 4711, result),
        "short result": wire.encode(Kind.RESULT, request.id, result[:90]),
        "long body": wire.HEADER.pack(wire.MAGIC, 3, 2000, 0, request.id),
        "huge payload": wire.encode(Kind.RESULT, request.id, result, 0xFFFFFFFF),
        "magic": b"X" + wire.encode(Kind.RESULT, request.id, result)[1:],
        "twice": wire.encode(Kind.RESULT, request.id, result) * 2,
        "error for nobody": wire.encode(Kind.ERROR, 4711, BODIES.error.encode(wire.Error(8, 9, 0))),
        "error of success": wire.encode(
            Kind.ERROR, request.id, BODIES.error.encode(wire.Error(0, 0, 0))
        ),
        "long error": wire.encode(
            Kind.ERROR, request.id, BODIES.error.encode(wire.Error(8, 9, 0)), 5000
        ),
        "hello again": wire.encode(Kind.HELLO, 1, bytes(328)),
        "stats for nobody": wire.encode(Kind.STATS, 4711, bytes(96)),
        "drain of nothing": wire.encode(Kind.DRAIN, 0, bytes(8)),
        "fatal": wire.encode(Kind.ERROR, 0, BODIES.error.encode(wire.Error(8, 7, 1)), 4) + b"late",
    }[sys.argv[3]]
    server.socket.sendall(sent)
    time.sleep(600)


RAW = (
    "unknown id", "short result", "long body", "huge payload", "magic", "error for nobody",
    "error of success", "long error", "hello again", "stats for nobody", "drain of nothing",
    "fatal",
)  # fmt: skip


def main() -> None:
    behaviour = globals()[sys.argv[2]]
    with contextlib.suppress(GoneError, ConnectionError):
        behaviour(Server())


if __name__ == "__main__":
    main()
