"""How a server starts, hangs, ends and dies: nothing is left of it, nothing is lost silently."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import toy
from scanside.bundle import write_bundle
from scanside.contract import Thresholds
from scanside.serve import wire
from scanside.serve.client import LostError, RemoteError, connect, spawn
from scanside.serve.codes import Cause, HelloFlag, Kind
from serving import FRAME, SERVE, Raw, connected, frames, infer, is_running, listening, until

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMES = frames(4)
QUIET: dict[str, Any] = {"stderr": subprocess.DEVNULL, "timeout": 60.0}

HANGS = """
import os, sys, time
from scanside.cli.main import main
from scanside.serve.nullpipeline import NullPipeline
usual = NullPipeline.analyse

def analyse(self, pixels, **asked):
    if pixels[0, 0, 0] == 255:
        print("a library prints")
        os.write(1, b"and another one")
        time.sleep(3600)
    if pixels[0, 0, 0] == 254:
        time.sleep(0.3)
    if pixels[0, 0, 0] == 253:
        raise ZeroDivisionError("a defect")
    return usual(self, pixels, **asked)

NullPipeline.analyse = analyse
sys.argv = ["scanside", *sys.argv[1:]]
main()
"""
HANGING = (sys.executable, "-c", HANGS, "serve", "--backend", "null")


def marked(value: int) -> Any:
    frame = FRAMES[0].copy()
    frame[0, 0, 0] = value
    return frame


@pytest.mark.parametrize("pipes", [False, True])
def test_a_hung_backend_is_answered_for_and_the_server_goes_on(*, pipes: bool) -> None:
    with spawn("--watchdog", "0.3", command=HANGING, pipes=pipes, **QUIET) as client:
        assert client.infer(FRAMES[0]).made_up
        numbers = [client.submit(marked(255)), client.submit(FRAMES[1]), client.submit(FRAMES[2])]
        causes = []
        for number in numbers:
            with pytest.raises(RemoteError) as error:
                client.wait(number, timeout=30)
            causes.append((error.value.cause, error.value.code, error.value.fatal))
        assert causes == [(Cause.HUNG, 8, False)] * 3
        assert client.infer(FRAMES[3], timeout=30).tumor
        stats = client.stats()
        assert (stats.restarts, stats.accepted, stats.answered, stats.failed) == (1, 5, 2, 3)
        assert stats.in_flight == 0
        assert client.hello.pid == (client.process.pid if client.process else 0)
        client.drain()
        assert client.close() == 0


def test_a_backend_that_hangs_again_and_again_ends_the_server() -> None:
    with spawn("--watchdog", "0.3", command=HANGING, **QUIET) as client:
        for _ in range(4):
            with pytest.raises(RemoteError) as error:
                client.infer(marked(255), timeout=30)
            assert error.value.cause is Cause.HUNG
        assert client.process is not None
        assert client.process.wait(30) == 8


def test_several_clients_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    words = [*HANGING, "--socket", str(path), "--watchdog", "0.5"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        until(path.is_socket)
        with (
            connect(path, slots=2, timeout=60) as one,
            connect(path, ordered=True) as other,
            connected(path) as torn,
        ):
            torn.hello()
            torn.send(wire.encode(Kind.INFER, 2, infer(), len(FRAME)) + FRAME[:100])
            first = one.submit(marked(255))
            until(lambda: one.stats().accepted == 1)
            asked = first, other.submit(FRAMES[0])
            with pytest.raises(RemoteError, match="not come back"):
                one.wait(asked[0], timeout=30)
            # The other's was behind the one that hung.
            with pytest.raises(RemoteError, match="not come back"):
                other.wait(asked[1], timeout=30)
            assert torn.is_closed()  # within a message there is nothing to go on with
            for client in (one, other):
                assert client.infer(FRAMES[1], timeout=30).tumor
            assert one.stats().clients == 2
            with connect(path) as new:
                assert new.hello.restarts == 1
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert not path.exists()


@pytest.mark.parametrize("drains", [False, True])
def test_a_client_that_has_said_its_last_message_is_answered_in_a_restart(*, drains: bool) -> None:
    ours, theirs = socket.socketpair()
    words = [*HANGING, "--watchdog", "0.3"]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    theirs.close()
    try:
        with contextlib.closing(ours):
            raw = Raw(ours)
            raw.hello()
            raw.ask(Kind.INFER, 2, infer(), bytes([255]) * len(FRAME))
            if drains:
                raw.ask(Kind.DRAIN, 3)
            else:
                ours.shutdown(socket.SHUT_WR)
            answer = raw.take()
            assert (answer.kind, answer.number, answer.cause) == (Kind.ERROR, 2, Cause.HUNG)
            if drains:
                last = raw.take()
                assert (last.kind, last.number) == (Kind.DRAIN, 3)
            assert raw.is_closed()
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
    finally:
        process.kill()
        process.communicate()


def test_nothing_but_the_protocol_reaches_stdout() -> None:
    """The hanging backend prints, by Python and past it: the client's parser would refuse that."""
    with spawn("--watchdog", "0.3", command=HANGING, pipes=True, timeout=60,
               stderr=subprocess.PIPE) as client:  # fmt: skip
        with pytest.raises(RemoteError):
            client.infer(marked(255), timeout=30)
        assert client.infer(FRAMES[0], timeout=30).tumor
        client.drain()
        assert client.close() == 0
        assert client.process is not None
        assert client.process.stderr is not None
        printed = client.process.stderr.read()
        client.process.stderr.close()
    assert b"and another one" in printed


def test_a_defect_is_an_answer() -> None:
    with spawn(command=HANGING, **QUIET) as client:
        with pytest.raises(RemoteError, match="ZeroDivisionError: a defect") as error:
            client.infer(marked(253))
        assert (error.value.cause, error.value.code) == (Cause.INTERNAL, 70)
        assert client.infer(FRAMES[0]).tumor


def test_a_request_that_waits_too_long_is_given_up() -> None:
    with spawn(command=HANGING, **QUIET) as client:
        slow = client.submit(marked(254))
        late = client.submit(FRAMES[0], deadline_ms=50)
        patient = client.submit(FRAMES[0], deadline_ms=60_000)
        assert client.wait(slow).tumor
        with pytest.raises(RemoteError, match="waited") as error:
            client.wait(late)
        assert (error.value.cause, error.value.code) == (Cause.TIMEOUT, 8)
        assert client.wait(patient).timings_us["queue"] > 100_000
        with pytest.raises(TimeoutError):
            client.wait(client.submit(marked(254)), timeout=0.05)
        assert client.wait(timeout=10).tumor  # it was still in flight


def test_sigterm_drains() -> None:
    with spawn(command=HANGING, **QUIET) as client:
        slow = [client.submit(marked(254)) for _ in range(3)]
        until(lambda: client.stats().accepted == 3)
        assert client.process is not None
        client.process.terminate()
        assert [client.wait(number).number for number in slow] == slow
        assert client.process.wait(30) == 0
        assert client.draining
        client.submit(FRAMES[0])
        with pytest.raises(LostError):
            client.wait()


def test_what_comes_while_it_drains_is_refused() -> None:
    with spawn(command=HANGING, **QUIET) as client:
        slow = client.submit(marked(254))
        until(lambda: client.stats().accepted == 1)
        assert client.process is not None
        client.process.terminate()
        while not client.draining:
            client.ping()
        refused = client.submit(FRAMES[0])
        with pytest.raises(RemoteError) as error:
            client.wait(refused)
        assert (error.value.cause, error.value.code) == (Cause.DRAINING, 8)
        assert client.wait(slow).tumor


def test_a_killed_server_loses_each_request_once() -> None:
    with spawn(command=HANGING, **QUIET) as client:
        numbers = [client.submit(marked(254)) for _ in range(5)]
        assert client.process is not None
        client.process.kill()
        lost = []
        for number in numbers:
            with pytest.raises(LostError) as error:
                client.wait(number)
            lost.append(error.value.number)
        assert lost == numbers
        assert client.in_flight == []
        assert client.close() == -signal.SIGKILL


@pytest.mark.parametrize("pipes", [False, True])
def test_a_killed_client_leaves_no_server(*, pipes: bool) -> None:
    code = (
        "import subprocess, sys, time\n"
        "from scanside.serve.client import spawn\n"
        "import numpy as np\n"
        f"client = spawn(command={HANGING!r}, pipes={pipes}, stderr=subprocess.DEVNULL)\n"
        "frame = np.full((64, 64, 3), 254, np.uint8)\n"
        "for _ in range(8): client.submit(frame)\n"
        "print(client.hello.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert host.stdout is not None
    with host.stdout:
        server = int(host.stdout.readline())
    assert is_running(server)
    host.kill()
    host.wait()
    until(lambda: not is_running(server))


def test_an_orphan_ends_though_somebody_holds_the_stream() -> None:
    """A process that the host forked may have inherited its end; the host itself is gone."""
    code = (
        "import os, socket, subprocess, sys\n"
        "ours, theirs = socket.socketpair()\n"
        f"server = subprocess.Popen({[*SERVE, '--backend', 'null']!r}, stdin=theirs,\n"
        "    stdout=theirs, stderr=subprocess.DEVNULL)\n"
        "theirs.close()\n"
        "holder = os.fork()\n"
        "if holder == 0:\n"
        "    os.close(1)\n"
        "    os.execvp('sleep', ['sleep', '60']) if ours.set_inheritable(True) is None else 0\n"
        "ours.sendall(bytes.fromhex('53434e530100080000000000000000000100000000000000'\n"
        "    '0100000000000000'))\n"
        "ours.recv(24)\n"
        "print(server.pid, holder, flush=True)\n"
    )
    host = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    server, holder = map(int, host.stdout.split())
    try:
        until(lambda: not is_running(server))
        assert is_running(holder)
    finally:
        os.kill(holder, signal.SIGKILL)


def test_memory_goes_with_its_client(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    def mapped(pid: int) -> int:
        return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").count("scanside-slots")

    def descriptors(pid: int) -> int:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())

    with listening(path) as process:
        with connect(path, slots=0):
            before = descriptors(process.pid) - 1  # without the connection's own
        for _ in range(5):
            with connect(path, slots=4) as client:
                client.infer(FRAMES[0])
                assert mapped(process.pid) == 1
            until(lambda: mapped(process.pid) == 0)
            until(lambda: descriptors(process.pid) == before)


def test_the_socket_is_for_this_user_alone_and_does_not_stay(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(path) as process:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        second = subprocess.run([*SERVE, "--backend", "null", "--socket", str(path)], check=False,
                                capture_output=True, text=True)  # fmt: skip
        assert second.returncode == 2
        assert "in use" in second.stderr
        process.kill()
        process.wait()
    assert path.exists()  # it was killed; the next one takes its place
    with listening(path), connected(path) as raw:
        assert raw.hello().kind == Kind.HELLO
    assert not path.exists()
    path.write_text("something else", encoding="utf-8")
    third = subprocess.run([*SERVE, "--backend", "null", "--socket", str(path)], check=False,
                           capture_output=True, text=True)  # fmt: skip
    assert third.returncode == 2
    assert path.read_text(encoding="utf-8") == "something else"


def test_one_client_on_stdin_needs_no_limit_of_clients() -> None:
    done = subprocess.run([*SERVE, "--backend", "null", "--max-clients", "2"], check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2
    assert "--max-clients needs --socket" in done.stderr


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="nothing") as error:
        spawn("--bundle", str(tmp_path / "nothing"), **QUIET)
    assert (error.value.cause, error.value.code, error.value.fatal) == (Cause.START, 4, True)


def test_a_self_test_that_fails_ends_the_start(tmp_path: Path) -> None:
    manifest, files = toy.parts()
    other = Thresholds(gate=0.01, decision=0.02, mask=0.9, chosen="by mistake")
    changed = type(manifest)(**{
        name: other if name == "thresholds" else getattr(manifest, name)
        for name in manifest.__struct_fields__
    })  # fmt: skip
    write_bundle(tmp_path / "bundle", changed, files)
    options = ("--bundle", str(tmp_path / "bundle"), "--backend", "cpu")
    with pytest.raises(RemoteError, match="self-test failed") as error:
        spawn(*options, **QUIET)
    assert error.value.code == 5
    with spawn(*options, "--skip-self-test", **QUIET) as client:
        assert client.hello.flags & HelloFlag.SELF_TEST_SKIPPED
        assert not client.hello.flags & HelloFlag.SELF_TEST_PASSED


def test_the_null_backend_can_not_be_taken_for_another() -> None:
    with spawn("--backend", "null", **QUIET) as client:
        flags = HelloFlag(client.hello.flags)
        assert HelloFlag.NULL_BACKEND in flags
        assert HelloFlag.SELF_TEST_PASSED not in flags
        assert wire.text(client.hello.backend) == "null"
        assert client.infer(FRAMES[0]).made_up
    done = subprocess.run([sys.executable, "-m", "scanside", "verify", "--backend", "null"],
                          check=False, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2
    assert "no backend 'null'" in done.stderr


def test_the_log_is_json_lines_where_asked() -> None:
    with spawn("--backend", "null", "--log-format", "json", stderr=subprocess.PIPE) as client:
        client.drain()
        client.close()
        assert client.process is not None
        assert client.process.stderr is not None
        with client.process.stderr as stderr:
            lines = [json.loads(line) for line in stderr]
    assert {"time", "level", "message"} == set(lines[0])
    assert [line["level"] for line in lines].count("warning") == 1  # the null backend


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    reader, writer = os.pipe()
    process = subprocess.Popen([*SERVE, "--backend", "null", "--socket", path], stderr=writer)
    os.close(writer)
    try:
        until(path.is_socket)
        # Two lines each: more than the pipe takes and the server holds.
        for _ in range(1500):
            with connected(path) as raw:
                raw.send(b"x" * 24)
                assert raw.take().fatal
        with connect(path) as client:
            assert client.infer(FRAMES[0]).tumor
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def test_the_memory_of_the_process_can_be_limited() -> None:
    code = (
        "import resource, sys\n"
        "from scanside.serve.nullpipeline import NullPipeline\n"
        "from scanside.cli.main import main\n"
        "import numpy as np\n"
        "usual = NullPipeline.analyse\n"
        "def analyse(self, pixels, **asked):\n"
        "    if pixels[0, 0, 0] == 255: np.ones(2**30, np.uint8)\n"
        "    return usual(self, pixels, **asked)\n"
        "NullPipeline.analyse = analyse\n"
        "sys.argv = ['scanside', *sys.argv[1:]]\n"
        "main()\n"
    )
    command = (sys.executable, "-c", code, "serve", "--backend", "null", "--memory-limit", "600")
    with spawn(command=command, **QUIET) as client:
        with pytest.raises(RemoteError, match="there is not enough memory") as error:
            client.infer(marked(255))
        assert error.value.code == 70
        assert client.infer(FRAMES[0]).tumor
        assert client.process is not None
        assert resource.prlimit(client.process.pid, resource.RLIMIT_DATA)[0] == 600 * 2**20


def test_a_terminal_is_no_stream() -> None:
    master, slave = os.openpty()
    with contextlib.ExitStack() as stack:
        for end in (master, slave):
            stack.callback(os.close, end)
        done = subprocess.run([*SERVE, "--backend", "null"], stdin=slave, capture_output=True,
                              check=False, text=True)  # fmt: skip
    assert done.returncode == 2
    assert "terminal" in done.stderr
    assert done.stdout == ""


@pytest.fixture
def pair() -> Iterator[tuple[Raw, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Raw(ours), theirs


def test_a_client_may_stop_sending_and_read_on(pair: tuple[Raw, socket.socket]) -> None:
    raw, theirs = pair
    server = subprocess.Popen(HANGING, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
    theirs.close()
    raw.hello()
    slow = bytes([254]) * len(FRAME)
    for number in range(2, 5):
        raw.ask(Kind.INFER, number, infer(), slow)
    raw.end.shutdown(socket.SHUT_WR)
    assert [raw.take().number for _ in range(3)] == [2, 3, 4]
    assert raw.is_closed()
    assert server.wait(30) == 0
