"""What a node needs for its start, tried without a start: models, spool, ports, TLS files."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scanside.errors import OutputError, ScansideError
from scanside.listen.analyse import Analyst
from scanside.listen.folder import check_private
from scanside.listen.ports import opened
from scanside.listen.store import Store
from scanside.listen.tls import client_context, server_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.listen.config import ListenConfig

__all__ = ["node_problems"]


def node_problems(config: ListenConfig, *, made_up: bool = False) -> Iterator[ScansideError]:
    """Try what a start needs; nothing is received, sent or made in the spool.

    The models are loaded and give their golden outputs, ports are opened and closed. A destination
    is not called: it may be away, and the node waits for it.

    Parameters
    ----------
    config
        The configuration.
    made_up
        As for `scanside.listen.analyse.Analyst.open`.

    Yields
    ------
    ScansideError
        Each thing that a start would fail at.
    """
    for trial in (partial(_models, made_up=made_up), _spool, _ports, _tls):
        try:
            trial(config)
        except ScansideError as error:  # noqa: PERF203 - one problem must not hide the others
            yield error


def _models(config: ListenConfig, *, made_up: bool) -> None:
    with Analyst.open(config, made_up=made_up):
        return


def _spool(config: ListenConfig) -> None:
    """Open a spool that is there, as a start does; else see whether it could be made."""
    folder = Path(config.spool.folder)
    if (folder / "spool.sqlite").exists():
        Store(folder).close()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        if there == folder:
            check_private(folder)
        with tempfile.TemporaryFile(dir=there):
            return
    except OSError as error:
        raise OutputError(
            f"{there}: {error.strerror or error}",
            accepted=f"a folder that this user may write to, for {folder}",
            remedy="see spool.folder",
        ) from error


def _ports(config: ListenConfig) -> None:
    node, watched = config.node, config.monitoring.port
    with ExitStack() as stack:  # both at once, as the node has them
        stack.enter_context(opened(node.address, node.port, "node.address and node.port"))
        if watched:
            stack.enter_context(opened("127.0.0.1", watched, "monitoring.port"))


def _tls(config: ListenConfig) -> None:
    if config.node.tls is not None:
        server_context(config.node.tls)
    for destination in config.destinations:
        if destination.tls is not None:
            client_context(destination.tls)
