"""Mutated DICOM files and NIfTI headers through the readers: read, or refused; nothing else.

``python tests/campaigns/fuzz_studies.py --dicom 100000 --nifti 20000`` (``make fuzz-dicom``)

Every case runs in a worker process, which goes on to the next one: no process is started for it.
A case fails if it raises anything but `InputError` (exit code 3), takes over 2 seconds of processor
time, or leaves its worker dead, waiting for a minute, or larger than 512 MB. What decodes JPEG-LS
and JPEG Lossless in a helper process may take 1.5 s there. JPEG Lossless, whose decoder aborts and
must be started again, has a share of a few hundred cases.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

import mutate
import studies
from scanside.assembly.candidates import DicomCandidate, NiftiCandidate
from scanside.assembly.choose import place
from scanside.assembly.rules import load_rules
from scanside.errors import InputError
from scanside.readers.dicom.header import read_header
from scanside.readers.dicom.series import group_series
from scanside.readers.nifti import read_nifti
from scanside.study.volume import choose_window, eight_bits
from workers import run_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.assembly.candidates import Candidate
    from workers import Done, Task

SECONDS: Final = 2.0
MEGABYTES: Final = 512
_LOSSLESS_SHARE: Final = 0.003


class Memory(NamedTuple):
    """A file that is in memory, with the face of a `Blob`."""

    source: str
    data: bytes

    def read(self) -> bytes:
        """Return it."""
        return self.data


def bases() -> dict[str, list[bytes]]:
    """Return the files that cases are made of: small, one of each kind."""
    return {"dicom": _dicom_bases(), "nifti": _nifti_bases(), "lossless": _lossless_bases()}


def _dicom_bases() -> list[bytes]:
    import pydicom

    from scanside_training.dicom.datasets import classic, enhanced

    made = []
    for syntax in (None, "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"):
        (_, flair, _) = studies.plans(studies.slices(2, side=32))
        for dataset in (classic(flair)[0], enhanced(flair)[0]):
            if syntax is not None:
                dataset.compress(syntax)
            made.append(_saved(dataset))
    implicit = classic(studies.plans(studies.slices(1, side=32))[0])[0]
    implicit.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    made.append(_saved(implicit))
    return made


def _saved(dataset: Any) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _lossless_bases() -> list[bytes]:
    encoder = shutil.which("dcmcjpeg")
    if encoder is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dcm"
        path.write_bytes(_dicom_bases()[0])
        subprocess.run([encoder, "+e1", path, path], check=True, capture_output=True)
        return [path.read_bytes()]


def _nifti_bases() -> list[bytes]:
    import nibabel

    values = np.random.default_rng(0).integers(0, 900, (32, 30, 5))
    affine = np.diag([0.9, 0.8, 5.0, 1.0])
    made = []
    for kind, header in (
        (nibabel.Nifti1Image, None), (nibabel.Nifti2Image, None),
        (nibabel.Nifti1Image, nibabel.Nifti1Header(endianness=">")),
    ):  # fmt: skip
        made += [kind(values.astype(dtype), affine, header).to_bytes()
                 for dtype in (np.int16, np.float32)]  # fmt: skip
    return made


def attempt(kind: str, data: bytes) -> str:
    """Read a file as far as its pixels; return ``read``, or the start of the refusal."""
    try:
        candidate: Candidate
        if kind == "nifti":
            candidate = NiftiCandidate(read_nifti(Memory("case", data)))  # type: ignore[arg-type]
        else:
            series, _ = group_series([read_header(Memory("case", data))])  # type: ignore[arg-type]
            candidate = DicomCandidate(series[0])
        refusal = candidate.refusal()
        if refusal is not None:
            raise refusal
        _RULES.judge(candidate.attributes)
        placed = place(candidate)
        volume = candidate.read(placed.stack)
        eight_bits(volume, choose_window(volume))
    except InputError as error:
        return error.given.removeprefix("case: ").partition(":")[0][:40]
    return "read"


_RULES: Final = load_rules()


def _case(kind: str, number: int, files: dict[str, list[bytes]]) -> bytes:
    chosen = files[kind][number % len(files[kind])]
    return (mutate.nifti if kind == "nifti" else mutate.dicom)(chosen, number)


def campaign(counts: dict[str, int], *, workers: int, seed: int = 0) -> dict[str, Any]:
    """Run a campaign.

    Parameters
    ----------
    counts
        How many cases of ``dicom`` and ``nifti``.
    workers
        How many processes.
    seed
        The first case's number.

    Returns
    -------
    dict
        ``outcomes`` by kind, ``failures``, and the ``slowest_s`` and ``largest_mb``.
    """
    files = bases()
    outcomes: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    slowest = largest = 0.0

    def run(task: Task) -> str:
        return attempt(task[0], _case(*task, files))

    for done in run_all(_tasks(counts, seed, lossless=bool(files["lossless"])), run, workers):
        kind = done.task[0]
        slowest = max(slowest, done.seconds)
        largest = max(largest, done.megabytes)
        why = done.failed or _beyond(done)
        if why:
            failures.append({"case": done.task, "why": why})
        else:
            outcomes[f"{kind}: {'read' if done.outcome == 'read' else 'refused'}"] += 1
    return {"outcomes": dict(sorted(outcomes.items())), "failures": failures,
            "slowest_s": round(slowest, 3), "largest_mb": round(largest)}  # fmt: skip


def _beyond(done: Done) -> str:
    if done.seconds > SECONDS:
        return f"{done.seconds:.1f} s"
    return f"{done.megabytes:.0f} MB" if done.megabytes > MEGABYTES else ""


def _tasks(counts: dict[str, int], seed: int, *, lossless: bool) -> Iterator[Task]:
    for kind, count in counts.items():
        few = int(count * _LOSSLESS_SHARE) if kind == "dicom" and lossless else 0
        yield from (("lossless", seed + number) for number in range(few))
        yield from ((kind, seed + number) for number in range(count - few))


def main() -> None:
    """Run the campaign and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dicom", type=int, default=100_000)
    parser.add_argument("--nifti", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    counts = {"dicom": options.dicom, "nifti": options.nifti}
    found = campaign(counts, workers=options.workers, seed=options.seed)
    print(json.dumps(found, indent=2))
    sys.exit(bool(found["failures"]))


if __name__ == "__main__":
    main()
