"""The whole report, its exit code and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import CARD, COMPUTES, DRIVER, ORIN, ORT, THOR, X86
from scanside.doctor.examine import examine, exit_code
from scanside.doctor.findings import STATES, Finding, Report
from scanside.doctor.probe import Probe
from scanside.doctor.text import report_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.doctor.host import Host

WORKS = {"onnxruntime": ORT, "backend:cpu": COMPUTES}
OPENVINO = Probe({"version": "2026.4", "devices": "CPU"})
FAILED = Probe({}, "BackendError: refused")
CRASHED = Probe({}, "its process ended with SIGILL", crashed=True)


@pytest.mark.parametrize("files", [X86, {**X86, **CARD, **DRIVER}, ORIN, THOR, {}])
def test_every_machine_with_onnxruntime_runs(
    files: dict[str, str], machine: Callable[..., Host]
) -> None:
    report = examine(machine(files, probes=WORKS, versions={"onnxruntime": "1.32.0"}))
    assert (report.exit_code, report.usable) == (0, ("cpu",))
    for finding in report.findings:
        assert finding.found
        assert finding.remedy or finding.state in {"ok", "absent-by-design"}, finding
    text = "\n".join(report_lines(report))
    assert all(finding.remedy in text for finding in report.findings)
    assert text.endswith("scanside runs here: --backend auto takes cpu")


def test_without_any_backend_the_code_is_8(machine: Callable[..., Host]) -> None:
    report = examine(machine(X86))
    assert (report.exit_code, report.usable) == (8, ())
    assert "can't run here" in report_lines(report)[-1]


def test_a_backend_that_cannot_compute_is_not_usable(machine: Callable[..., Host]) -> None:
    assert examine(machine(X86, probes={**WORKS, "backend:cpu": FAILED})).exit_code == 8


def test_auto_passes_over_one_that_fails(machine: Callable[..., Host]) -> None:
    probes = {**WORKS, "openvino": OPENVINO, "backend:openvino": FAILED}
    report = examine(machine(X86, probes=probes))
    assert (report.exit_code, report.usable) == (0, ("cpu",))


def test_one_that_crashes_takes_auto_along(machine: Callable[..., Host]) -> None:
    report = examine(machine(X86, probes={**WORKS, "openvino": CRASHED}))
    assert (report.exit_code, report.usable) == (8, ("cpu",))
    assert report_lines(report)[-1].endswith("usable by name: cpu")


def test_a_damaged_bundle_is_4_and_nothing_is_computed(
    machine: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("scanside.bundle.DEFAULT_BUNDLE", tmp_path_factory.mktemp("empty"))
    assert examine(machine(X86, probes={"onnxruntime": ORT})).exit_code == 4
    assert examine(machine(X86)).exit_code == 8


PROBES = st.sampled_from([COMPUTES, FAILED, CRASHED])


@given(tries=st.dictionaries(st.sampled_from(["cpu", "openvino"]), PROBES), damaged=st.booleans())
def test_exit_codes(tries: dict[str, Probe], *, damaged: bool) -> None:
    code = exit_code(tries, damaged=damaged)
    fine = COMPUTES in tries.values() and CRASHED not in tries.values()
    assert code == (8 if not fine else 4 if damaged else 0)


def test_a_report_survives_json_and_refuses_what_it_does_not_know(
    machine: Callable[..., Host],
) -> None:
    report = examine(machine(ORIN, probes=WORKS))
    encoded = msgspec.json.encode(report)
    assert msgspec.json.decode(encoded, type=Report) == report
    assert msgspec.json.decode(encoded)["schema"] == "scanside.doctor/1"
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"name": "a", "state": "fine", "found": ""}', type=Finding)


def test_every_state_has_a_mark() -> None:
    findings = tuple(Finding(name=s, state=s, found="x", remedy="y") for s in STATES)
    report = Report(machine="m", usable=(), exit_code=8, findings=findings)
    lines = report_lines(report)
    assert sum(line.strip() == "-> y" for line in lines) == len(STATES)
    assert any(line.startswith("MISSING missing") for line in lines)
