"""scanside beside its peers, in one run: throughput, latency, memory, cold start and the floor.

Every case is a process of its own on the same slices, with the same decoding and the same files
written; rounds of all cases follow each other, so that whatever disturbs the machine disturbs
neighbours alike. See README.md for the method.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from peerbench.conclusions import conclude
from peerbench.execute import Runner, link_slices
from peerbench.plan import BACKENDS, PEERS, USUAL, Product, products
from peerbench.prepared import Prepared, Request
from peerbench.process import run_process
from peerbench.report import markdown
from peerbench.results import Results

if TYPE_CHECKING:
    from collections.abc import Sequence

_HERE: Final = Path(__file__).resolve().parent


def main() -> None:
    """Prepare, run the rounds, and write ``cases.jsonl``, ``peers.json`` and ``peers.md``."""
    given = _arguments()
    output: Path = given.output
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    _say("preparing models and slices")
    prepared = _prepare(given, output)
    _say(f"prepared in {time.monotonic() - started:.0f} s; {len(prepared.files)} slices")
    results = Results(output / "cases.jsonl")
    runner = Runner(prepared, output / "scratch", -(-given.samples // given.rounds))
    ours = products(prepared.bundle, prepared.float_bundle, _absent(prepared))
    auto = Product(precision="int8", backend="auto", bundle=prepared.bundle)
    runner.cold(auto)  # `auto` measures its candidates once and keeps the choice
    for turn in range(given.rounds):
        _say(f"round {turn + 1} of {given.rounds}")
        _round(turn, runner, results, ours, auto)
    _say("memory on all slices, and the int8 peak")
    everything = link_slices(prepared.everything[: given.most], output / "scratch" / "everything")
    for product in ours:
        if product.precision == "int8":
            results.add(0, f"{product.name}-all", **runner.stream(product, everything))
    results.add(0, "peak", **runner.peak())
    final = conclude(results, prepared, ours)
    final["run"] = {
        "command": " ".join(sys.argv),
        "rounds": given.rounds,
        "seconds": round(time.monotonic() - started),
        "machine": _machine(),
    }
    (output / "peers.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(final), indent=2) + b"\n"
    )
    page = markdown(final)
    (output / "peers.md").write_text(page)
    print(msgspec.json.encode(final["table"]).decode())
    print(page)
    if final["invalid"]:
        raise SystemExit("INVALID: " + "; ".join(final["invalid"]))


def _round(
    turn: int, runner: Runner, results: Results, ours: Sequence[Product], auto: Product
) -> None:
    for peer in PEERS:
        results.add(turn, peer.name, **runner.peer(peer))
    results.add(turn, USUAL, **runner.usual())
    for product in ours:
        results.add(turn, product.name, **runner.stream(product))
        results.add(turn, f"{product.name}-latency", **runner.latency(product))
        if product.precision == "int8":
            results.add(turn, f"{product.name}-floor", **runner.floor(product))
        results.add(turn, f"{product.name}-cold", **runner.cold(product))
    results.add(turn, "auto-cold", **runner.cold(auto))


def _prepare(given: argparse.Namespace, output: Path) -> Prepared:
    folder = output / "models"
    folder.mkdir(exist_ok=True)
    request = folder / "request.json"
    request.write_bytes(
        msgspec.json.encode(
            Request(
                data=str(given.data),
                folder=str(folder),
                bundle=None if given.bundle is None else str(given.bundle),
                split=None if given.split is None else str(given.split),
                slices=given.slices,
            )
        )
    )
    path = os.pathsep.join([str(_HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    run_process(
        [sys.executable, "-m", "peerbench.prepare", request],
        {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return msgspec.json.decode((folder / "prepared.json").read_bytes(), type=Prepared)


def _absent(prepared: Prepared) -> list[str]:
    return [
        name
        for name in BACKENDS
        if "absent" in prepared.guard.get(f"scanside INT8, {name}", {"absent": ""})
    ]


def _machine() -> dict[str, object]:
    """Say where this ran, and what else was running."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    loads = [float(part) for part in Path("/proc/loadavg").read_text().split()[:3]]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load of the last 1, 5 and 15 minutes, this run's own included": loads,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled slices")
    parser.add_argument("--output", type=Path, required=True, help="folder for all that is written")
    parser.add_argument("--bundle", type=Path, help="another bundle than the default one")
    parser.add_argument(
        "--split", type=Path, help="split file; calibration and guard use its parts"
    )
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")
    parser.add_argument(
        "--slices", type=int, default=300, help="at least, whole patients [default: 300]"
    )
    parser.add_argument(
        "--samples", type=int, default=1000, help="single slices a class [default: 1000]"
    )
    parser.add_argument(
        "--most", type=int, default=3000, help="slices of the memory run [default: 3000]"
    )
    return parser.parse_args()


def _say(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
