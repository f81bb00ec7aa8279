"""``scanside build`` without its options: a bundle's engines, each built, checked and kept."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from scanside.contract import ROLES
from scanside.enginematch import AMPERE_PLUS, ANY_GPU
from scanside.engines import EngineKey, Sidecar, plan_file, read_engine, write_engine
from scanside.errors import EngineError, InternalError, OutputError, UsageError
from scanside_export.engine.declared import meant_int8
from scanside_export.engine.exchange import Built, Calibration, Found, Request
from scanside_export.engine.layers import problems, summary
from scanside_export.engine.process import run_child, worker_command
from scanside_export.engine.timing import calibration_cache, timings
from scanside_export.engine.typed import DERIVATION, with_half

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from scanside.bundle import Bundle
    from scanside.contract import Precision, Role
    from scanside_export.engine.exchange import Layer, Settings
    from scanside_export.engine.implicit import Implicit
    from scanside_export.engine.process import Limits, Outcome

__all__ = ["Engine", "Job", "build_engines"]

_TURING: Final = "7.5"
"""TensorRT-RTX 1.7 compiles all capabilities of an engine as the least of them can, and has no
INT8 convolutions for this one (seen in the kernels that it lists)."""

_STEPS: Final = 100
"""Of a build's progress."""


class Engine(NamedTuple):
    """An engine that is there now.

    Attributes
    ----------
    role
        Of its model.
    path
        Its plan.
    sidecar
        What is known of it.
    layers, memory, log
        What the builder told; empty where the engine was there already.
    peak
        Bytes of memory that the build held.
    strongly_typed
        Whether types came from the graph; none where the engine was there already.
    """

    role: Role
    path: Path
    sidecar: Sidecar
    layers: tuple[Layer, ...] = ()
    memory: dict[str, int] | None = None
    log: tuple[str, ...] = ()
    peak: int = 0
    strongly_typed: bool | None = None


class Job(NamedTuple):
    """What to do besides the settings.

    Attributes
    ----------
    folder
        Where engines are kept.
    rebuild
        Build though there is an engine that fits.
    limits
        What a build may take.
    command
        For the sidecar.
    say
        Takes a line for the user.
    stage
        Shows progress: takes a number of steps and what they are of.
    implicit
        Slices from which the library shall choose INT8 ranges; none to take the bundle's.
    """

    folder: Path
    rebuild: bool
    limits: Limits
    command: str
    say: Callable[[str], None]
    stage: Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
    implicit: Implicit | None = None


class _Model(NamedTuple):
    role: Role
    content: bytes
    bundle: str
    profile: tuple[int, int, int]


def build_engines(bundle: Bundle, settings: Settings, job: Job) -> list[Engine]:
    """Build the engines of a bundle's models.

    Parameters
    ----------
    bundle
        The opened bundle.
    settings
        How to build.
    job
        Where, and with which limits.

    Returns
    -------
    list of Engine
        The classifier's and the segmenter's; those that were there and fit are not built again.

    Raises
    ------
    UsageError
        If the settings don't go together.
    BackendError
        If the library or the device is not there, refuses a setting, crashes, or the build takes
        more than it may.
    BundleError
        If the bundle has no such precision, or the library refuses a model.
    OutputError
        If an engine can't be written.
    """
    _check(settings, job.implicit)
    # Implicit INT8 starts from the models that it is chosen for.
    read: Precision = settings.precision if job.implicit is None else "fp32"
    contents = {role: bundle.read_model(role, read) for role in ROLES}
    command = worker_command(settings.target)
    probed = run_child(command, b"", job.limits, lambda _: None).result
    if not isinstance(probed, Found):
        raise InternalError(f"the child process answered with {type(probed).__name__}")
    settings = settings.capped(probed.device)
    job.say(_introduced(probed, settings))
    profile = bundle.manifest.batch.profile
    if settings.profile != profile:
        job.say(
            f"batches of {_shown(settings.profile)} (--batch) in place of the bundle's"
            f" {_shown(profile)}"
        )
    made = []
    for role, content in contents.items():
        key = _key(hashlib.sha256(content).hexdigest(), settings, probed, job.implicit)
        if (kept := _kept(job, role, key)) is not None:
            made.append(kept)
            continue
        model = _Model(role, content, bundle.label, profile)
        made.append(_build(model, key, settings, job))
    return made


def _check(settings: Settings, implicit: Implicit | None) -> None:
    if implicit is not None and (settings.target, settings.precision) != ("trt", "int8"):
        raise UsageError(
            f"--implicit-int8 with --target {settings.target} --precision {settings.precision}",
            accepted="--implicit-int8 with --target trt --precision int8",
        )
    low, best, high = settings.profile
    if not low <= best <= high:
        raise UsageError(
            f"--batch {low},{best},{high}", accepted="smallest, best and largest batch, in order"
        )
    if _TURING in settings.capabilities and len(settings.capabilities) > 1:
        raise UsageError(
            f"--compute-capability {' and '.join(settings.capabilities)}",
            accepted=f"{_TURING} by itself: with it, no kernel computes in INT8 for the others",
        )
    rtx = settings.target == "rtx"
    wrong = {
        "--hardware-compatibility": rtx and settings.hardware != "none",
        "--version-compatible": rtx and settings.version_compatible,
        "--tactic-dram": rtx and settings.tactic_dram is not None,
        "--compute-capability": not rtx and bool(settings.capabilities),
    }
    if named := [option for option, is_wrong in wrong.items() if is_wrong]:
        raise UsageError(
            f"{' and '.join(named)} with --target {settings.target}",
            accepted=f"{' and '.join(named)} with --target {'trt' if rtx else 'rtx'}",
        )


def _introduced(found: Found, settings: Settings) -> str:
    if found.device is None:
        targets = ", ".join(settings.capabilities)
        return (
            f"TensorRT-RTX {found.version}, ahead of time for compute capabilities {targets};"
            " the engines are compiled here, not run"
        )
    device = found.device
    kind = "integrated" if device.integrated else "discrete"
    said = (
        f"TensorRT {found.version} on {device.name} ({kind}, compute capability"
        f" {device.capability}, {device.memory / (1 << 30):.1f} GiB)"
    )
    if not device.integrated:
        return said
    return (
        f"{said}, which shares its memory: at most {settings.workspace:,} MiB for kernels"
        f" (--workspace) and {settings.tactic_dram:,} MiB to try them (--tactic-dram)"
    )


def _shown(profile: tuple[int, int, int]) -> str:
    return ",".join(map(str, profile))


def _key(
    model_sha256: str, settings: Settings, found: Found, implicit: Implicit | None
) -> EngineKey:
    if found.device is None:
        gpu, capability = ANY_GPU, ",".join(settings.capabilities)
    else:
        gpu, capability = found.device.name, found.device.capability
        if settings.hardware != "none":
            gpu = ANY_GPU
        if settings.hardware == "ampere+":
            capability = AMPERE_PLUS
    derived = {"derivation": DERIVATION} if settings.precision == "int8" else {}
    if implicit is not None:
        derived = implicit.facts
    return EngineKey(
        model_sha256=model_sha256,
        runtime="tensorrt_rtx" if settings.target == "rtx" else "tensorrt",
        runtime_version=found.version,
        gpu_name=gpu,
        compute_capability=capability,
        precision=settings.precision,
        profile=settings.profile,
        settings=settings.as_text() | derived,
    )


def _kept(job: Job, role: Role, key: EngineKey) -> Engine | None:
    """Return the engine that is there already; a damaged one is built again, and that is said."""
    path = plan_file(job.folder, key)
    if job.rebuild or not (path.exists() or path.with_suffix(".json").exists()):
        return None
    try:
        _, sidecar = read_engine(job.folder, key)
    except EngineError as error:
        job.say(f"{role}: built again: {error.given}")
        return None
    job.say(f"{role}: there already, built {sidecar.built} (--rebuild builds it again)")
    return Engine(role, path, sidecar)


def _build(model: _Model, key: EngineKey, settings: Settings, job: Job) -> Engine:
    """Build one engine in a scratch folder and keep it."""
    role, content, label, _ = model
    int8 = settings.precision == "int8"
    typed = content
    if int8 and settings.rest == "fp16" and job.implicit is None:
        typed = with_half(content, scale_after=settings.target == "rtx")
    timing, ranges = timings(key), calibration_cache(key)
    try:
        with tempfile.TemporaryDirectory(dir=job.folder, prefix=".building.") as scratch:
            files = {name: Path(scratch) / name for name in ("typed", "flagged", "plan", "timing")}
            files["typed"].write_bytes(typed)
            files["flagged"].write_bytes(content)
            timing.give(files["timing"])
            cache, calibration = Path(scratch) / "ranges", None
            if job.implicit is not None:
                ranges.give(cache)
                calibration = Calibration(images=str(job.implicit.images), cache=str(cache))
            request = Request(
                settings=settings,
                calibration=calibration,
                **{name: str(file) for name, file in files.items()},
            )
            outcome = _run(role, request, settings, job)
            built = outcome.result
            if not isinstance(built, Built):
                raise InternalError(f"the child process answered with {type(built).__name__}")
            timing.take(files["timing"])
            ranges.take(cache)
            plan = files["plan"].read_bytes()
    except OSError as error:
        raise OutputError(
            f"{job.folder}: {error.strerror or error}",
            remedy="free space, or name another --output",
        ) from error
    meant = meant_int8(content, implicit=job.implicit is not None) if int8 else ()
    half = int8 and settings.rest == "fp16" and built.strongly_typed
    sidecar = Sidecar(
        key=key,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        size=len(plan),
        built=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        command=job.command,
        seconds=round(built.seconds, 3),
        warnings=(*built.notes, *problems(built.layers, meant, no_float=half)),
        layers=summary(built.layers),
        model=f"{role} of {label}",
        bundle_profile=None if settings.profile == model.profile else model.profile,
    )
    path = write_engine(job.folder, key, plan, sidecar)
    return Engine(
        role, path, sidecar, built.layers, built.memory, outcome.log, outcome.peak,
        built.strongly_typed,
    )  # fmt: skip


def _run(role: Role, request: Request, settings: Settings, job: Job) -> Outcome:
    command = worker_command(settings.target)
    with job.stage(_STEPS, f"steps of the {role}'s engine") as update:
        return run_child(
            command,
            msgspec.json.encode(request),
            job.limits,
            lambda share: update(int(share * _STEPS)),
        )
