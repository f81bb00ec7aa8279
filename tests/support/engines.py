"""Engines of a bundle that the fakes can compute, kept as `scanside build` keeps them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fake_engine import make_plan
from scanside.contract import ROLES
from scanside.engines import EngineKey, Sidecar, write_engine

if TYPE_CHECKING:
    from pathlib import Path

    from fake_engine import Profile
    from scanside.bundle import Bundle
    from scanside.contract import Role
    from scanside.enginematch import Runtime


def keep_engines(
    bundle: Bundle,
    folder: Path,
    version: str,
    *,
    gpu: str = "Fake GPU",
    profile: Profile = (1, 1, 4),
    plans: dict[Role, bytes] | None = None,
    settings: dict[str, str] | None = None,
    runtime: Runtime = "tensorrt",
) -> dict[Role, Path]:
    """Write the engines of the bundle's default precision; return their plans."""
    precision = bundle.manifest.default_precision
    paths = {}
    for role in ROLES:
        model = bundle.read_model(role, precision)
        plan = (plans or {}).get(role) or make_plan(model, version, profile)
        key = EngineKey(
            model_sha256=hashlib.sha256(model).hexdigest(), runtime=runtime,
            runtime_version=version, gpu_name=gpu, compute_capability="8.7",
            precision=precision, profile=profile, settings=settings or {},
        )  # fmt: skip
        sidecar = Sidecar(
            key=key, plan_sha256=hashlib.sha256(plan).hexdigest(), size=len(plan),
            built="2026-01-01T00:00:00Z", command="tests", seconds=0.0, model=role,
        )  # fmt: skip
        paths[role] = write_engine(folder, key, plan, sidecar)
    return paths
