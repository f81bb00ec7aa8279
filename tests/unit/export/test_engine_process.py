"""The child process: limits, crashes, kills, and what is said of each."""

from __future__ import annotations

import sys

import pytest

from scanside.errors import BackendError, BundleError, InternalError, ScansideError
from scanside_export.engine.exchange import Found
from scanside_export.engine.process import Limits, run_child

NO_LIMIT = Limits(60.0)


def a_child(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys, os, time\n{code}")


def ended(code: str, limits: Limits = NO_LIMIT) -> ScansideError:
    with pytest.raises(ScansideError) as error:
        run_child(a_child(code), b"", limits, lambda _: None)
    return error.value


def test_events_progress_and_the_log_arrive() -> None:
    code = """
assert sys.stdin.read() == "asked"
print('{"type":"Progress","done":0.5,"phase":"half"}', flush=True)
print('{"type":"Said","error":false,"text":"mind"}', flush=True)
print('{"type":"Found","version":"1.2"}', flush=True)
"""
    shares: list[float] = []
    outcome = run_child(a_child(code), b"asked", NO_LIMIT, shares.append)
    assert outcome.result == Found(version="1.2")
    assert outcome.log == ("mind",)
    assert shares == [0.5]
    assert outcome.peak > 0


def test_a_kill_from_outside_is_told_as_what_it_may_be() -> None:
    error = ended("os.kill(os.getpid(), 9)")
    assert isinstance(error, BackendError)
    assert "memory" in error.given
    assert "engines that were there are as they were" in error.remedy


def test_too_much_memory_ends_the_build() -> None:
    error = ended("held = b'x' * (300 << 20)\ntime.sleep(60)", Limits(60.0, 200 << 20))
    assert isinstance(error, BackendError)
    assert "more than 200 MiB" in error.given


def test_too_much_time_ends_the_build() -> None:
    error = ended("time.sleep(60)", Limits(0.5))
    assert isinstance(error, BackendError)
    assert "takes more than" in error.given


def test_a_crash_is_named_and_quoted() -> None:
    error = ended("print('assertion in the library', file=sys.stderr, flush=True)\nos.abort()")
    assert isinstance(error, BackendError)
    assert "SIGABRT" in error.given
    assert "assertion in the library" in error.given


@pytest.mark.parametrize(
    ("kind", "error"),
    [("missing", BackendError), ("backend", BackendError), ("model", BundleError)],
)
def test_errors_of_the_child_are_raised_here(kind: str, error: type[ScansideError]) -> None:
    found = ended(
        f'print(\'{{"type":"Failed","kind":"{kind}","given":"no","remedy":"do"}}\', flush=True)'
    )
    assert type(found) is error
    assert (found.given, found.remedy) == ("no", "do")


@pytest.mark.parametrize("code", ["raise ValueError('defect')", "print('nonsense')", "pass"])
def test_anything_else_is_a_defect(code: str) -> None:
    assert isinstance(ended(code), InternalError)


def test_a_result_before_a_crash_does_not_count() -> None:
    error = ended('print(\'{"type":"Found","version":"1"}\', flush=True)\nos.abort()')
    assert isinstance(error, BackendError)
