"""ONNX Runtime and OpenVINO: installed once, whole, and able to compute a slice here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside.doctor.findings import Finding
from scanside.doctor.probe import PROVIDER
from scanside.doctor.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from scanside.doctor.host import Host
    from scanside.doctor.platforms import Platform
    from scanside.doctor.probe import Probe

__all__ = ["REINSTALL", "TELEMETRY", "runtime_findings", "telemetry_finding"]

TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"
"""What ONNX Runtime 1.29 and later read before they report to their maker."""

_OFF: Final = {"1", "true", "yes", "on", "y"}
_OLDEST: Final = (1, 20)
"""Of ONNX Runtime: the least that the extra `cpu` takes."""

_PINNED: Final = "pip install --upgrade 'scanside[gpu]'"
_AGAIN: Final = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install --no-cache-dir"
REINSTALL: Final = f"{_AGAIN} 'scanside[cpu]'"


def runtime_findings(
    host: Host, platform: Platform, backends: Collection[str]
) -> Iterator[tuple[Finding, Probe | None]]:
    """Yield what there is to say of each library, with what became of importing it.

    Parameters
    ----------
    host
        The machine.
    platform
        Its kind.
    backends
        Names of the backends that this version of scanside has.

    Yields
    ------
    tuple
        A finding, and the probe of its library or provider, none where there was nothing to try.
    """
    tried = host.probe("onnxruntime") if host.located("onnxruntime") else None
    yield _onnxruntime(host, platform, tried), tried
    yield from _gpu_providers(host, platform, tried, backends)
    tried = host.probe("openvino") if host.located("openvino") else None
    yield _openvino(host, tried), tried


def telemetry_finding(host: Host) -> Finding:
    """Say whether ONNX Runtime reports to its maker; scanside turns that off when imported."""
    value = host.environment.get(TELEMETRY, "")
    if value.strip().lower() in _OFF:
        found = f"off: {TELEMETRY}={value}; OpenVINO's package for it is kept from being imported"
        return Finding(name="telemetry", state="ok", found=found)
    return Finding(
        name="telemetry",
        state="problem",
        found=f"ONNX Runtime's is on: {TELEMETRY} is {value!r} in this environment",
        remedy=f"unset {TELEMETRY} (scanside then sets it to 1), or export {TELEMETRY}=1",
    )


def _onnxruntime(host: Host, platform: Platform, tried: Probe | None) -> Finding:
    names = ("onnxruntime", "onnxruntime-gpu")
    installed = {name: held for name in names if (held := host.version(name)) is not None}
    gpu = platform.kind == "gpu" and "onnxruntime-gpu" in installed
    again = f"{_AGAIN} 'scanside[gpu]'" if gpu else REINSTALL
    listed = ", ".join(f"{name} {held}" for name, held in installed.items())
    if tried is None:
        if not installed:
            return Finding(
                name="onnxruntime",
                state="missing",
                found="not installed: the cpu backend needs it",
                remedy="pip install 'scanside[cpu]'",
            )
        found = f"pip knows of {listed}, and its files are gone"
        return Finding(name="onnxruntime", state="problem", found=found, remedy=again)
    if tried.error:
        found = f"{listed or 'installed'}, and can't be imported: {tried.error}"
        return Finding(name="onnxruntime", state="problem", found=found, remedy=again)
    if len(installed) > 1:
        found = f"{listed}: each writes over the other's files, and {tried.facts['version']} is"
        return Finding(
            name="onnxruntime",
            state="problem",
            found=f"{found} what is imported",
            remedy=again,
        )
    found = f"{tried.facts['version']}; providers {tried.facts['providers']}"
    if _version(tried.facts["version"]) < _OLDEST:
        accepted = ".".join(map(str, _OLDEST))
        return Finding(
            name="onnxruntime",
            state="problem",
            found=f"{found}; accepted: {accepted} and later",
            remedy="pip install --upgrade 'scanside[cpu]'",
        )
    return Finding(name="onnxruntime", state="ok", found=found)


def _gpu_providers(
    host: Host, platform: Platform, tried: Probe | None, backends: Collection[str]
) -> Iterator[tuple[Finding, Probe | None]]:
    """Yield what becomes of each provider on a GPU; each is given a sum to compute."""
    listed = [] if tried is None else tried.facts.get("providers", "").split(", ")
    wanted = {name: held for name, held in PROVIDERS.items() if name in backends}
    here = {name: held for name, held in wanted.items() if held in listed}
    if platform.kind == "cpu":
        found = f"{', '.join(here.values()) or 'none'}; no NVIDIA GPU: not needed"
        yield Finding(name="gpu providers", state="absent-by-design", found=found), None
        return
    for name, held in wanted.items():
        if name not in here:
            yield _absent_provider(name, held, host.architecture), None
            continue
        computed = host.probe(PROVIDER + name)
        if computed.error:
            yield (
                Finding(
                    name=f"provider {name}", state="problem", found=computed.error, remedy=_PINNED
                ),
                computed,
            )
            continue
        yield Finding(name=f"provider {name}", state="ok", found=f"{held} computes"), computed


def _absent_provider(name: str, provider: str, architecture: str) -> Finding:
    if name == "ort-trt" and architecture != "x86_64":
        found = f"{provider} is in no onnxruntime-gpu for this architecture: use tensorrt"
        return Finding(name=f"provider {name}", state="absent-by-design", found=found)
    return Finding(
        name=f"provider {name}",
        state="missing",
        found=f"the installed onnxruntime has no {provider}",
        remedy="in an environment of its own (onnxruntime and onnxruntime-gpu exclude each"
        " other): pip install 'scanside[gpu]'",
    )


def _openvino(host: Host, tried: Probe | None) -> Finding:
    version = host.version("openvino")
    if tried is None and version is None:
        found = "not installed: a second backend for the CPU, that nothing needs"
        if host.architecture != "x86_64":
            return Finding(name="openvino", state="absent-by-design", found=found)
        remedy = "to let --backend auto choose the faster: pip install 'scanside[openvino]'"
        return Finding(name="openvino", state="absent-by-design", found=found, remedy=remedy)
    if tried is not None and not tried.error:
        found = f"{tried.facts['version']}; devices {tried.facts['devices']}"
        return Finding(name="openvino", state="ok", found=found)
    why = "its files are gone" if tried is None else f"can't be imported: {tried.error}"
    return Finding(
        name="openvino",
        state="problem",
        found=f"{version or 'installed'}, and {why}",
        remedy="pip install --force-reinstall 'scanside[openvino]', or pip uninstall -y openvino",
    )


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())
