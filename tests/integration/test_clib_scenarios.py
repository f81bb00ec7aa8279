"""The C library in hosts of every kind, against servers of every kind, under sanitizers.

Each scenario is a function of ``runtime/c/tests``; the server is ``tests/support/fake_server.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import clibrary
from fake_server import LIES, RAW

if TYPE_CHECKING:
    from pathlib import Path

EVERYWHERE = (
    ("answers", "good"),
    ("leaves_nothing", "good"),
    ("pipelined", "good"),
    ("pipelined", "backwards"),
    ("pipelined", "drip"),
    ("any_answer", "good"),
    ("any_answer", "backwards"),
    ("threads_share", "good"),
    ("formats", "good"),
    ("large_frames", "good"),
    ("nonsense", "good"),
    ("answers", "later_version"),
    ("dies_midway", "dies"),
    ("last_words", "dies"),
    ("killed_and_restarted", "good"),
    ("threads_restart", "good"),
    ("time_outs", "hangs"),
    ("time_outs", "hangs_unread"),
    ("killed_by_the_host", "hangs"),
    ("late_answers", "slow"),
    ("bad_news", "errors"),
    ("nothing_stale", "then_an_error"),
    ("server_ends", "going"),
    ("log_lines", "noisy"),
)
"""Scenarios, and servers, for shared memory and for the pipe."""

HOSTS = (
    "ignores_signals", "reaps_all", "default_signals", "without_standard_descriptors", "forks",
    "close_on_exec",
)  # fmt: skip

THREADED = (
    ("threads_share", "good"),
    ("threads_restart", "good"),
    ("killed_by_the_host", "hangs"),
    ("reaps_all", "good"),
)

NOT_STARTING = {
    "no_hello_exit": ("SCANSIDE_ERROR_START", "exited with 4"),
    "no_hello_hang": ("SCANSIDE_ERROR_TIMEOUT", "start_timeout_ms"),
    "start_error": ("SCANSIDE_ERROR_BUNDLE", "the bundle is damaged"),
    "version_error": ("SCANSIDE_ERROR_VERSION", "version 9 only"),
    "version_two": ("SCANSIDE_ERROR_VERSION", "install the scanside that belongs"),
    "no_shared_memory": ("SCANSIDE_ERROR_START", "SCANSIDE_NO_SHARED_MEMORY"),
    "refuses_memory": ("SCANSIDE_ERROR_USAGE", "the memory is not sealed"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clibrary.fake_server(tmp_path_factory.mktemp("fake"))


def held(kind: str, *words: object) -> str:
    """Run a scenario; what it printed, if everything held."""
    done = clibrary.run(clibrary.build("scenarios", kind), *words, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Sanitizer" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("transport", ["memory", "pipe"])
@pytest.mark.parametrize(("scenario", "behaviour"), EVERYWHERE)
def test_scenario(server: Path, scenario: str, behaviour: str, transport: str) -> None:
    held("asan", *(["--pipe"] if transport == "pipe" else []), scenario, server, behaviour)


@pytest.mark.parametrize("scenario", HOSTS)
def test_host(server: Path, scenario: str) -> None:
    held("asan", scenario, server, "good")


@pytest.mark.parametrize(("scenario", "behaviour"), THREADED)
def test_threads_do_not_race(server: Path, scenario: str, behaviour: str) -> None:
    held("tsan", scenario, server, behaviour)


@pytest.mark.parametrize("behaviour", NOT_STARTING)
def test_a_server_that_does_not_start_leaves_nothing(server: Path, behaviour: str) -> None:
    code, why = NOT_STARTING[behaviour]
    said = held("asan", "does_not_start", server, behaviour)
    assert said.startswith(f"{code}: ")
    assert why in said


@pytest.mark.parametrize("lie", LIES)
def test_a_result_that_cannot_be_is_no_result(server: Path, lie: str) -> None:
    said = held("asan", "breaks_protocol", server, "lies", lie)
    assert "a RESULT" in said or "the mask is not the one that the server measured" in said


@pytest.mark.parametrize("what", RAW)
def test_bytes_that_answer_nothing_end_the_connection(server: Path, what: str) -> None:
    held("asan", "breaks_protocol", server, "raw", what)


def test_garbage_ends_the_connection(server: Path) -> None:
    assert "not of this protocol" in held("asan", "breaks_protocol", server, "garbage")


def test_a_frame_that_is_not_taken_is_not_accepted(server: Path) -> None:
    held("asan", "--pipe", "not_taken", server, "hangs_unread")


def test_a_refusal_may_come_before_the_frame_has_left(server: Path) -> None:
    held("asan", "--pipe", "refused_early", server, "early")


@pytest.mark.parametrize("behaviour", ["good", "hangs"])
def test_the_server_goes_with_its_host(server: Path, behaviour: str) -> None:
    clibrary.kill_the_host(server, behaviour)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "behaviour"),
    [("pipelined", "good"), ("formats", "good"), ("dies_midway", "dies"), ("bad_news", "errors")],
)
def test_valgrind_finds_nothing(server: Path, scenario: str, behaviour: str) -> None:
    done = clibrary.run(
        clibrary.tool("valgrind"), "--quiet", "--error-exitcode=9", "--leak-check=full",
        "--show-leak-kinds=all", "--child-silent-after-fork=yes",
        clibrary.build("scenarios", "plain"), scenario, server, behaviour,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
