"""Run cases: jobs for the scripts, command lines for scanside."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from peerbench.plan import Peer, Product, alternating
from peerbench.process import Finished, run_process
from peerbench.protocol import Job, parse_lines, write_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peerbench.prepared import Prepared

__all__ = ["Runner", "link_slices"]

_ROOT: Final = Path(__file__).resolve().parents[1]
_WARM_UP: Final = 5
"""Slices of each class."""

_FEW: Final = 25
"""Samples a class and round where a median is enough."""


class Runner:
    """Runs cases on prepared slices.

    Parameters
    ----------
    prepared
        Models and slices.
    scratch
        A folder whose content may be deleted.
    samples
        Samples a class and round where a 99th percentile is wanted.
    """

    def __init__(self, prepared: Prepared, scratch: Path, samples: int) -> None:
        self._prepared = prepared
        self._scratch = scratch
        self._samples = samples
        self._environment = {"PYTHONPATH": _search_path()}
        scratch.mkdir(parents=True, exist_ok=True)
        self.slices = link_slices(prepared.files, scratch / "slices")

    def peer(self, peer: Peer) -> dict[str, Any]:
        """Run a peer: first slice, stream and latency."""
        cores = str(self._prepared.facts["cores"])
        options = {
            name: cores if value == "cores" else value for name, value in peer.options.items()
        }
        samples = {"many": self._samples, "few": _FEW, "none": 0}[peer.latency]
        return self._script(peer.module, self._prepared.models[peer.models], options, samples)

    def latency(self, product: Product) -> dict[str, Any]:
        """Run scanside's latency path in a process."""
        samples = self._samples if product.precision == "int8" else _FEW
        return self._script("cases.scanside_latency", ("", ""), _options(product), samples)

    def floor(self, product: Product) -> dict[str, Any]:
        """Run the bare models in scanside's lanes."""
        return self._script("cases.scanside_floor", ("", ""), _options(product), 0)

    def usual(self) -> dict[str, Any]:
        """Run Keras on the models that the usual notebook has."""
        return self._script("cases.keras_usual", ("", ""), {"batch": "32"}, 0)

    def peak(self) -> dict[str, Any]:
        """Measure the machine's int8 and float32 peaks."""
        done = run_process([sys.executable, "-m", "cases.gemm_peak"], self._environment)
        return parse_lines(done.output)["peak"]

    def stream(self, product: Product, folder: Path | None = None) -> dict[str, Any]:
        """Run ``scanside run FOLDER --output DIR``."""
        output = self._fresh("out")
        done = self._scanside(product, [folder or self.slices, "--output", output])
        summary = _last_record((output / "results.jsonl").read_bytes())
        kept = ("slices", "seconds", "slices_per_second", "segmented", "positive", "rejected")
        return {
            "process": _process(done),
            "stream": {name: summary[name] for name in kept} | {"peak_mb": done.peak_mb},
            "backend": summary["backend"],
        }

    def cold(self, product: Product) -> dict[str, Any]:
        """Run ``scanside run`` on one slice, the whole process."""
        done = self._scanside(product, [self._prepared.files[self._prepared.segmented[0]]])
        return {"process": _process(done), "backend": _last_record(done.output)["backend"]}

    def _scanside(self, product: Product, arguments: Sequence[str | Path]) -> Finished:
        command: list[str | Path] = [sys.executable, "-m", "scanside", "run", *arguments]
        command += ["--bundle", product.bundle, "--backend", product.backend]
        command += ["--precision", product.precision, "--format", "jsonl"]
        return run_process(command, self._environment)

    def _script(
        self, module: str, models: tuple[str, str], options: dict[str, str], samples: int
    ) -> dict[str, Any]:
        ready = self._prepared
        latency = alternating(ready.segmented, ready.skipped, samples)
        job = Job(
            files=ready.files,
            output=str(self._fresh("out")),
            classifier=models[0],
            segmenter=models[1],
            gate=ready.gate,
            mask=ready.mask,
            warm_up=alternating(ready.segmented, ready.skipped, _WARM_UP),
            latency=latency,
            options=options,
        )
        file = self._scratch / "job.json"
        write_job(file, job)
        done = run_process([sys.executable, "-m", module, file], self._environment)
        return {"process": _process(done), **parse_lines(done.output)}

    def _fresh(self, name: str) -> Path:
        path = self._scratch / name
        if path.exists():
            shutil.rmtree(path)
        return path


def link_slices(files: Sequence[str], folder: Path) -> Path:
    """Make a folder of links to slices, in folders by patient, and return it."""
    if folder.exists():
        shutil.rmtree(folder)
    for name in files:
        source = Path(name)
        link = folder / source.parent.name / source.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)
    return folder


def _search_path() -> str:
    """Return where the cases' modules lie, and what was searched already."""
    return os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _options(product: Product) -> dict[str, str]:
    return {
        "bundle": product.bundle,
        "backend": product.backend,
        "precision": product.precision,
    }


def _process(done: Finished) -> dict[str, float]:
    return {
        "wall_seconds": done.wall_seconds,
        "cpu_seconds": done.cpu_seconds,
        "peak_mb": done.peak_mb,
    }


def _last_record(lines: bytes) -> dict[str, Any]:
    return msgspec.json.decode(lines.strip().splitlines()[-1], type=dict[str, Any])
