"""What a client must not do: each is answered, and the server goes on."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from scanside.serve import wire
from scanside.serve.codes import Cause, HelloFlag, InferFlag, Kind, MaskForm
from scanside.serve.wire import BODIES
from serving import FRAME, Raw, connected, infer, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HELLO = BODIES.client_hello.encode(wire.ClientHello(*wire.VERSION, 0))
SLOT = 3 * 4096 + 4096


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server that stays for all of these tests."""
    where = tmp_path_factory.mktemp("socket") / "scanside"
    options = ("--max-frame", "1", "--message-timeout", "1", "--max-clients", "4")
    with listening(where, *options) as process:
        yield where
        assert process.poll() is None, "the server did not survive"


@pytest.fixture
def raw(path: Path) -> Iterator[Raw]:
    with connected(path) as client:
        yield client
    # It still serves, whatever was done to it.
    with connected(path) as other:
        other.hello()
        other.ask(Kind.INFER, 2, infer(), FRAME)
        assert other.take().kind == Kind.RESULT


def ends_with(raw: Raw, cause: Cause) -> None:
    """The next message is a fatal error, and the last one."""
    said = raw.take()
    assert (said.cause, said.fatal, said.number) == (cause, True, 0)
    assert raw.is_closed()


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"GET / HTTP/1.1\r\nHost: scanside\r\n", Cause.PROTOCOL),
        (wire.encode(Kind.PING, 1), Cause.PROTOCOL),
        (wire.encode(Kind.INFER, 1, infer(), 0), Cause.PROTOCOL),
        (wire.HEADER.pack(b"SCNS", Kind.HELLO, 1025, 0, 1), Cause.PROTOCOL),
        (wire.encode(Kind.HELLO, 0, HELLO), Cause.PROTOCOL),
        (wire.encode(Kind.HELLO, 1, HELLO[:4]), Cause.PROTOCOL),
        (wire.encode(Kind.HELLO, 1, HELLO, 4097), Cause.TOO_LARGE),
        (wire.encode(Kind.HELLO, 1, struct.pack("<HHI", 2, 0, 0)), Cause.VERSION),
        (wire.encode(Kind.HELLO, 1, struct.pack("<HHI", 1, 0, 6)), Cause.UNSUPPORTED),
        (wire.encode(Kind.HELLO, 1, struct.pack("<HHI", 1, 0, 128)), Cause.UNSUPPORTED),
        (wire.encode(Kind.HELLO, 1, HELLO)[:20], Cause.TIMEOUT),
        (b"", Cause.TIMEOUT),
    ],
    ids=["other protocol", "no hello", "no hello, infer", "long body", "id 0", "short body",
         "long name", "version", "flags", "other flags", "slow", "silent"],
)  # fmt: skip
def test_a_bad_beginning_ends_the_connection(raw: Raw, data: bytes, cause: Cause) -> None:
    raw.send(data)
    ends_with(raw, cause)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (wire.encode(Kind.HELLO, 2, HELLO), Cause.PROTOCOL),
        (wire.encode(Kind.INFER, 2, infer(), 2**20 + 1), Cause.TOO_LARGE),
        (wire.encode(Kind.INFER, 2, infer(), 2**32 - 1), Cause.TOO_LARGE),
        (wire.encode(Kind.INFER, 2, infer()[:-1], len(FRAME)), Cause.PROTOCOL),
        (wire.encode(Kind.INFER, 0, infer(), len(FRAME)), Cause.PROTOCOL),
        (wire.encode(Kind.PING, 2, b"", 2**31), Cause.TOO_LARGE),
        (wire.encode(Kind.INFER, 2, infer(), len(FRAME)) + FRAME[:-1], Cause.TIMEOUT),
        (wire.encode(Kind.ATTACH, 2, b""), Cause.PROTOCOL),
    ],
    ids=["two hellos", "large", "huge", "short body", "id 0", "long ping", "slow", "attach"],
)
def test_a_breach_later_ends_it_too(raw: Raw, data: bytes, cause: Cause) -> None:
    raw.hello()
    raw.send(data)
    ends_with(raw, cause)


@pytest.mark.parametrize(
    ("changed", "payload", "cause"),
    [
        ({"dtype": 0}, FRAME, Cause.UNSUPPORTED),
        ({"dtype": 4}, FRAME, Cause.UNSUPPORTED),
        ({"mask_form": 3}, FRAME, Cause.UNSUPPORTED),
        ({"flags": 16}, FRAME, Cause.UNSUPPORTED),
        ({"height": 0}, FRAME, Cause.REQUEST),
        ({"height": 65}, FRAME, Cause.REQUEST),
        ({"channels": 0}, FRAME, Cause.REQUEST),
        ({"channels": 65535}, FRAME, Cause.TOO_LARGE),
        ({"height": 2**32 - 1, "width": 2**32 - 1}, FRAME, Cause.TOO_LARGE),
        ({"flags": InferFlag.SLOT, "slot": 0}, b"", Cause.SHARED_MEMORY),
        ({"flags": InferFlag.SLOT, "slot": 0}, FRAME, Cause.REQUEST),
        ({"flags": InferFlag.SPACING, "spacing_row": float("nan")}, FRAME, Cause.REQUEST),
        ({"flags": InferFlag.SPACING, "spacing_row": -1.0}, FRAME, Cause.REQUEST),
    ],
)
def test_a_senseless_request_is_refused_and_the_connection_stays(
    raw: Raw, changed: dict[str, float], payload: bytes, cause: Cause
) -> None:
    raw.hello()
    raw.ask(Kind.INFER, 7, infer(**changed), payload)
    said = raw.take()
    assert (said.cause, said.fatal, said.number) == (cause, False, 7)
    raw.ask(Kind.INFER, 7, infer(), FRAME)
    assert raw.take()[:2] == (Kind.RESULT, 7)


@pytest.mark.parametrize("kind", [0, 9, Kind.BEGIN_STUDY, Kind.END_STUDY, Kind.RESULT, 65535])
def test_a_kind_that_is_not_known_is_skipped(raw: Raw, kind: int) -> None:
    raw.hello()
    raw.send(wire.HEADER.pack(b"SCNS", kind, 3, 5, 9) + b"bodypayl")
    assert (said := raw.take()).cause == Cause.UNSUPPORTED
    assert (said.number, said.fatal) == (9, False)
    raw.ask(Kind.PING, 10)
    assert raw.take() == (Kind.PING, 10, b"", b"")


def test_a_later_minor_version_may_say_more(raw: Raw) -> None:
    body = BODIES.client_hello.encode(wire.ClientHello(1, 7, 0)) + b"new field"
    raw.ask(Kind.HELLO, 1, body, b"tomorrow's client")
    hello = BODIES.server_hello.decode(raw.take().body)
    assert (hello.major, hello.minor) == wire.VERSION
    raw.ask(Kind.INFER, 2, infer() + bytes(8), FRAME)
    assert raw.take().kind == Kind.RESULT


def test_an_id_in_flight_can_not_be_used_again(raw: Raw) -> None:
    raw.hello(flags=HelloFlag.ORDERED)
    raw.send((wire.encode(Kind.INFER, 5, infer(), len(FRAME)) + FRAME) * 64)
    answers = 0
    while (said := raw.take()).number:  # it may be so fast that some are not in flight any more
        answers += 1
    assert (said.cause, said.fatal) == (Cause.PROTOCOL, True)
    assert answers < 64


def test_one_client_too_many_is_told_so(path: Path) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connected(path)).hello()
        ends_with(stack.enter_context(connected(path)), Cause.QUEUE_FULL)


def memfd(size: int = SLOT, seals: int = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW) -> int:
    made = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(made, size)
    fcntl.fcntl(made, fcntl.F_ADD_SEALS, seals)
    return made


def attach(raw: Raw, descriptors: list[int], *, slots: int = 1, slot_bytes: int = SLOT) -> None:
    body = BODIES.attach.encode(wire.Attach(slots, slot_bytes))
    raw.send(wire.encode(Kind.ATTACH, 2, body), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("make", "layout"),
    [
        (list, {}),
        (lambda: [memfd(), memfd()], {}),
        (lambda: [os.open(os.devnull, os.O_RDWR)], {}),
        (lambda: [memfd(seals=fcntl.F_SEAL_SHRINK)], {}),
        (lambda: [memfd(seals=fcntl.F_SEAL_GROW)], {}),
        (lambda: [memfd(seals=0xF)], {}),
        (lambda: [memfd(SLOT - 1)], {}),
        (lambda: [memfd()], {"slots": 2}),
        (lambda: [memfd()], {"slots": 0}),
        (lambda: [memfd()], {"slots": 2**32 - 1}),
        (lambda: [memfd()], {"slot_bytes": 2**64 - 4096}),
        (lambda: [memfd(SLOT - 64)], {"slot_bytes": SLOT - 64}),
    ],
    ids=["none", "two", "no memfd", "may grow", "may shrink", "no writing", "short", "slots",
         "no slots", "many slots", "wide slots", "odd slots"],
)  # fmt: skip
def test_memory_that_is_not_as_agreed_is_refused(
    raw: Raw, make: Callable[[], list[int]], layout: dict[str, int]
) -> None:
    raw.hello()
    attach(raw, make(), **layout)
    assert (said := raw.take()).cause == Cause.SHARED_MEMORY
    assert not said.fatal
    attach(raw, [memfd()])
    assert raw.take().kind == Kind.ATTACH


def test_a_slot_is_the_servers_while_its_request_is_in_flight(raw: Raw) -> None:
    hello = BODIES.server_hello.decode(raw.hello().body)
    assert hello.flags & HelloFlag.SHARED_MEMORY
    attach(raw, [memfd()])
    assert raw.take().kind == Kind.ATTACH
    in_slot = {"flags": InferFlag.SLOT, "mask_form": MaskForm.BYTES}
    raw.send(b"".join(wire.encode(Kind.INFER, n, infer(slot=0, **in_slot)) for n in range(10, 200)))
    said = [raw.take() for _ in range(190)]
    refused = [each for each in said if each.kind == Kind.ERROR]
    assert {each.cause for each in refused} <= {Cause.SHARED_MEMORY, Cause.QUEUE_FULL}
    assert refused
    assert {each.number for each in said} == set(range(10, 200))
    raw.ask(Kind.INFER, 300, infer(slot=1, **in_slot))
    assert raw.take().cause == Cause.SHARED_MEMORY
    raw.ask(Kind.INFER, 301, infer(slot=0, height=65, **in_slot))
    assert raw.take().cause == Cause.SHARED_MEMORY  # frame and mask are larger than the slot


def test_descriptors_with_another_message_are_a_breach_and_are_closed(raw: Raw) -> None:
    raw.hello()
    reader, writer = os.pipe()
    raw.send(wire.encode(Kind.PING, 2), [writer])
    os.close(writer)
    ends_with(raw, Cause.PROTOCOL)
    assert os.read(reader, 1) == b""  # nobody holds the other end
    os.close(reader)


def test_answers_that_nobody_reads_do_not_fill_the_memory(raw: Raw) -> None:
    """A client that asks without end and never reads is not read either, after a while."""
    raw.hello()
    raw.end.settimeout(0)
    asked = wire.encode(Kind.INFER, 3, infer(dtype=9), 4) + b"1234"
    sent, still = 0, time.monotonic()
    while time.monotonic() - still < 0.5 and sent < 2**27:
        with suppress(BlockingIOError):
            sent += raw.end.send(asked * 100)
            still = time.monotonic()
    assert sent < 2**27, "the server read on and on"
