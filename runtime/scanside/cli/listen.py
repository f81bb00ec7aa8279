"""``scanside listen``: the DICOM node."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from scanside.cli.say import say, tell
from scanside.errors import ExtraNotInstalledError, worst_exit_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.listen.config import ListenConfig

__all__ = ["listen"]

_NEEDS: Final = ("pydicom", "pynetdicom", "highdicom", "prometheus_client")

_config_option = click.option(
    "--config",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The TOML file; every key is in docs/listen.md.",
)


@click.group(invoke_without_command=True)
@click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The TOML file; every key is in docs/listen.md.",
)
@click.option("--check", is_flag=True, help="Try all that a start needs, and end.")
@click.option("--made-up-results", is_flag=True, hidden=True, help="For measuring the node alone.")
@click.pass_context
def listen(context: click.Context, *, file: Path | None, check: bool, made_up_results: bool) -> int:
    """Receive DICOM studies, analyse them, and send the results on.

    A node for a scanner or a PACS: C-ECHO and C-STORE in, a structured report and a segmentation
    out. An object is acknowledged when it is safely on disk, and each study gets exactly one
    current result. SIGTERM finishes what is under way and ends.
    """
    if context.invoked_subcommand is not None:
        if file is not None:
            raise click.UsageError("--config goes behind the name of the command")
        if check:
            raise click.UsageError(f"--check and {context.invoked_subcommand}: give one of them")
        return 0
    if file is None:
        raise click.UsageError("--config FILE is needed")
    config = _read(file)
    for package in _NEEDS:
        if find_spec(package) is None:
            raise ExtraNotInstalledError("scanside listen", package=package, extra="dicom")
    if check:
        return _check(file, config, made_up=made_up_results)
    _run(config, made_up=made_up_results)
    return 0


@listen.command()
@_config_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def status(*, file: Path, form: str) -> None:
    """Say what a node has to do, has done, and could not do; it may be running or not."""
    import msgspec

    from scanside.listen.show import status_text
    from scanside.listen.status import read_status
    from scanside.listen.store import read_only

    with read_only(Path(_read(file).spool.folder)) as read:
        found = read_status(read)
    click.echo(msgspec.json.encode(found).decode() if form == "json" else status_text(found))


@listen.command()
@_config_option
def retry(*, file: Path) -> None:
    """Send again what was refused for good, and look again at studies that failed."""
    import time

    from scanside.listen.store import revive

    config = _read(file)
    objects, studies = revive(Path(config.spool.folder), time.time())
    say(f"{objects} objects and {studies} studies are tried again")


def _read(file: Path) -> ListenConfig:
    from scanside.listen.config import read_listen_config

    return read_listen_config(file)


def _check(file: Path, config: ListenConfig, *, made_up: bool) -> int:
    """Say what a start would fail at, all of it, and return the exit code."""
    from scanside.listen.check import node_problems

    codes = [tell(problem) for problem in node_problems(config, made_up=made_up)]
    if not codes:
        say(f"{file} is in order, and a node of it would start")
    return worst_exit_code(*codes)


def _run(config: ListenConfig, *, made_up: bool) -> None:
    from scanside.listen.analyse import Analyst
    from scanside.listen.memory import give_back_memory
    from scanside.listen.node import Node, favour_answers, silence_libraries

    give_back_memory()
    silence_libraries()
    # The port is open before `run` is called: who finds it open may end the node at once.
    early: list[None] = []
    _on_signals(lambda: early.append(None))
    with Analyst.open(config, made_up=made_up) as analyst:
        node = Node(config, analyst)
        _on_signals(node.stop)
        if early:
            node.stop()
        say(f"{config.node.ae_title} listens on {config.node.address}:{node.port}, {analyst.label}")
        favour_answers()
        node.run()


def _on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _, __: stop())
