"""The command line, called in this process as a user calls it in a shell."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from documents import check_documents, found_in
from scanside.cli.main import main

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

SCRIPT = (sys.executable, "-m", "scanside")
"""The command line as a process of its own."""


def interrupted(number: signal.Signals, *words: object) -> list[dict[str, Any]]:
    """Run `scanside run`, send a signal behind its first record, and return its records."""
    running = subprocess.Popen(
        [*SCRIPT, "run", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    first = running.stdout.readline()
    running.send_signal(number)
    rest, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    return [json.loads(line) for line in [first, *rest.splitlines()]]


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def slices(self) -> list[dict[str, Any]]:
        """The slice records on stdout."""
        return [record for record in self.records if record["type"] == "slice"]


def caller(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Return a function that runs `scanside` with the given words."""

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["scanside", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        sys.stdout.flush()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        check_documents(out)
        if out.startswith("{"):
            assert list(found_in(out)), "JSON on stdout has a schema"
        return Done(ended.value.code, out, err)

    return call
