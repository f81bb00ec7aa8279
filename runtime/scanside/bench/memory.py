"""Peak memory of the process tree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scanside.bench.environment import ROOT, read_text
from scanside.bench.schema import Memory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Peaks", "descendants", "peak_bytes"]


class Peaks:
    """Collects the peaks of children while they live, since the system forgets them after.

    Parameters
    ----------
    root
        Root of the file system.
    process
        Whose tree it is; none for this process.
    """

    def __init__(self, root: Path = ROOT, process: int | None = None) -> None:
        self._root = root
        self._process = os.getpid() if process is None else process
        self._children: dict[int, int] = {}

    def look(self) -> None:
        """Look at the children that live now."""
        for child in descendants(self._process, self._root):
            peak = peak_bytes(child, self._root)
            self._children[child] = max(peak, self._children.get(child, 0))

    def memory(self) -> Memory:
        """Return the peaks so far."""
        self.look()
        own, children = peak_bytes(self._process, self._root), sum(self._children.values())
        return Memory(self_bytes=own, children_bytes=children, tree_bytes=own + children)


def peak_bytes(process: int, root: Path = ROOT) -> int:
    """Return the peak resident set of a process (VmHWM, proc(5)); 0 if it has ended."""
    for line in read_text(root / "proc" / str(process) / "status").splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    return 0


def descendants(process: int, root: Path = ROOT) -> list[int]:
    """Return the living children of a process, theirs, and so on (ppid, proc(5))."""
    parents: dict[int, int] = {}
    for stat in (root / "proc").glob("[0-9]*/stat"):
        _, _, fields = read_text(stat).rpartition(")")
        if len(words := fields.split()) > 1:
            parents[int(stat.parent.name)] = int(words[1])
    family, found = {process}, {process}
    while found:
        found = {child for child, parent in parents.items() if parent in family} - family
        family |= found
    return sorted(family - {process})
