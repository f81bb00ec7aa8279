"""Optimised graphs, kept between runs: the library need not optimise the same model again.

ONNX Runtime's optimised graph holds for one model, one set of rewrites, one version of the
library, one processor (it picks layouts and kernels by its features) and one set of options:
all of them are in the key. A graph that is handed out is byte for byte the one that was kept.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from scanside.backends.derivation import REWRITES_VERSION
from scanside.backends.processor import processor
from scanside.cachefolder import cache_folder, entry_key, read_entry, write_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KeptGraph", "graph_key", "keep_while", "kept_graph"]

_FOLDER: Final = "graphs"
_APPLIED: Final = "-applied"
_LOG: Final = logging.getLogger(__name__)


class KeptGraph(NamedTuple):
    """A graph from the cache.

    Attributes
    ----------
    content
        The optimised model in ONNX Runtime's own format.
    applied
        Labels of the rewrites that made the model it was optimised from.
    """

    content: bytes
    applied: tuple[str, ...]


def graph_key(model_sha256: str, library: str, options: Mapping[str, str]) -> str:
    """Return the key of a model's optimised graph on this machine.

    Parameters
    ----------
    model_sha256
        Hash of the bundle's file.
    library
        ONNX Runtime's version.
    options
        The session's options that the graph depends on.
    """
    return entry_key(
        model=model_sha256,
        rewrites=REWRITES_VERSION,
        library=library,
        processor=processor(),
        **{f"option {name}": value for name, value in options.items()},
    )


def kept_graph(key: str) -> KeptGraph | None:
    """Return the graph that was kept with this key; none if there is none, or a damaged one."""
    folder = cache_folder(_FOLDER)
    listed = read_entry(folder, key + _APPLIED)
    content = None if listed is None else read_entry(folder, key)
    if listed is None or content is None:
        return None
    try:
        return KeptGraph(content, msgspec.json.decode(listed, type=tuple[str, ...]))
    except msgspec.DecodeError:
        return None


def keep_while(
    key: str, applied: tuple[str, ...], optimise: Callable[[Path | None], object]
) -> None:
    """Optimise a model and keep the graph where caching is on.

    Parameters
    ----------
    key
        From `graph_key`.
    applied
        Labels of the rewrites that were applied.
    optimise
        Makes the session; is called once, with the file it shall write the graph to, or with
        none where caching is off.
    """
    folder = cache_folder(_FOLDER)
    if folder is None:
        optimise(None)
        return
    try:
        scratch = tempfile.TemporaryDirectory(dir=folder, prefix=".making.")
    except OSError as error:
        _LOG.debug("scanside: %s: %s", folder, error)
        optimise(None)
        return
    with scratch:
        file = Path(scratch.name) / "graph.ort"
        optimise(file)
        try:
            content = file.read_bytes()
        except OSError as error:
            _LOG.debug("scanside: ONNX Runtime kept no graph: %s", error)
            return
    if write_entry(
        folder, key, content, {"what": "optimised graph", "rewrites": "; ".join(applied)}
    ):
        write_entry(folder, key + _APPLIED, msgspec.json.encode(applied))
