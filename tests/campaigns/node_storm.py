"""Scanners in a resend loop, a node that is killed, a PACS that is away: is anything lost.

::

    python tests/campaigns/node_storm.py --output FOLDER [--studies 50] [--kills 20]

Each of the associations sends its studies with DCMTK's ``storescu`` until each study was accepted
whole, as scanners do. Meanwhile the node is killed (SIGKILL) at random moments and started again,
and Orthanc is down for a third of the time. At the end, for every study, the objects that were
acknowledged must all be named by exactly one report in Orthanc that no other report supersedes, and
the spool must be without work. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pydicom import dcmread

from node.place import NodeProcess, Orthanc, make_studies


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--slices", type=int, default=9)
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = storm(
        options.output,
        studies=options.studies,
        slices=options.slices,
        associations=options.associations,
        kills=options.kills,
        backend=options.backend,
        seed=options.seed,
    )
    print(json.dumps(found))
    return 0 if found["lost"] == found["twice"] == 0 else 1


def storm(
    output: Path,
    *,
    studies: int,
    slices: int,
    associations: int,
    kills: int,
    backend: str,
    seed: int,
) -> dict[str, Any]:
    """Run a campaign of a given size; return its counts."""
    for name in ("node", "orthanc"):
        shutil.rmtree(output / name, ignore_errors=True)
    folders = make_studies(output, studies, slices)
    orthanc = Orthanc(output / "orthanc")
    node = NodeProcess(output / "node", pacs=orthanc.port, backend=backend)
    orthanc.start()
    node.start()
    try:
        sent = [0] * associations
        scanners = [
            threading.Thread(target=_scan, args=(node.port, folders[n::associations], sent, n))
            for n in range(associations)
        ]
        for scanner in scanners:
            scanner.start()
        killed = _disturb(node, orthanc, kills, random.Random(seed))  # noqa: S311
        for scanner in scanners:
            scanner.join()
        status = node.wait_idle(900)
        code = node.stop()
        judged = _judge(orthanc, folders)
    finally:
        node.kill()
        orthanc.stop()
    return {**judged, "kills": killed, "sendings": sum(sent), "exit_code": code, "status": status}


def dcmtk_storescu() -> str | None:
    """Return DCMTK's program; pynetdicom brings another one of this name into its environment."""
    return shutil.which("storescu", path="/usr/bin:/usr/local/bin")


def _scan(port: int, folders: list[Path], sent: list[int], number: int) -> None:
    """Send each study until the node has accepted all of it."""
    storescu = dcmtk_storescu()
    if storescu is None:
        raise RuntimeError("storescu is not installed: apt-get install dcmtk")
    for folder in folders:
        while True:
            sent[number] += 1
            ended = subprocess.run(
                [storescu, "-aet", "SCANNER", "-aec", "SCANSIDE", "-to", "10", "-td", "30",
                 "+sd", "+r", "127.0.0.1", str(port), folder],
                check=False, capture_output=True,
            )  # fmt: skip
            # storescu ends with 0 only if every object got a status of success or warning.
            if ended.returncode == 0 and b"Status" not in ended.stderr:
                break
            time.sleep(0.2)


def _disturb(node: NodeProcess, orthanc: Orthanc, kills: int, chance: random.Random) -> int:
    """Kill and start the node again and again; Orthanc is away in the middle third."""
    for number in range(kills):
        if number == kills // 3:
            orthanc.stop()
        if number == 2 * kills // 3:
            orthanc.start()
        time.sleep(chance.uniform(0.2, 5.0))
        node.kill()
        time.sleep(chance.uniform(0.0, 0.5))
        node.start()
    return kills


def _judge(orthanc: Orthanc, folders: list[Path]) -> dict[str, Any]:
    """Compare what was sent with what Orthanc has."""
    reports = [
        dcmread(io.BytesIO(orthanc.get(f"/instances/{instance}/file")))
        for instance in orthanc.get("/instances")
        if orthanc.get(f"/instances/{instance}/simplified-tags").get("Modality") == "SR"
    ]
    superseded = {
        str(item.ReferencedSOPInstanceUID)
        for report in reports
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    current: dict[str, list[set[str]]] = {}
    for report in reports:
        if str(report.SOPInstanceUID) not in superseded:
            named = {
                str(item.ReferencedSOPInstanceUID)
                for keyword in (
                    "CurrentRequestedProcedureEvidenceSequence",
                    "PertinentOtherEvidenceSequence",
                )
                for study in report.get(keyword, [])
                for series in study.ReferencedSeriesSequence
                for item in series.ReferencedSOPSequence
            }
            current.setdefault(str(report.StudyInstanceUID), []).append(named)
    lost = twice = 0
    for folder in folders:
        files = [path for path in folder.rglob("*") if path.is_file()]
        heads = [dcmread(path, stop_before_pixels=True) for path in files]
        results = current.get(str(heads[0].StudyInstanceUID), [])
        twice += max(0, len(results) - 1)
        uids = {str(head.SOPInstanceUID) for head in heads}
        lost += len(uids if len(results) != 1 else uids - results[0])
    return {
        "studies": len(folders),
        "reports": len(reports),
        "superseded": len(superseded),
        "lost": lost,
        "twice": twice,
    }


if __name__ == "__main__":
    sys.exit(main())
