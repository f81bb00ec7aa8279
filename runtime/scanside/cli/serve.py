"""``scanside serve``: frames from another program in, results and masks out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scanside.cli.given import check_needs, given_options
from scanside.cli.options import backend_options, bundle_option, pin_option
from scanside.serve.limits import MIB, Limits
from scanside.serve.logs import FORMATS, logging_to_stderr

if TYPE_CHECKING:
    from scanside.contract import Precision

__all__ = ["serve"]

_DEFAULT = Limits()


@click.command()
@bundle_option
@pin_option
@backend_options
@click.option(
    "--streaming",
    is_flag=True,
    help="Make the most slices a second; otherwise the least time for one.",
)
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help="Serve several clients on a Unix socket (mode 0600), not one on stdin and stdout.",
)
@click.option(
    "--skip-self-test", is_flag=True, help="Don't run golden slices first; HELLO says so."
)
@click.option(
    "--max-frame",
    type=click.IntRange(1, 1024),
    default=_DEFAULT.max_payload // MIB,
    show_default=True,
    metavar="MIB",
    help="Largest frame; a client may have four of them in flight.",
)
@click.option(
    "--max-in-flight",
    type=click.IntRange(1, 1024),
    default=_DEFAULT.max_in_flight,
    show_default=True,
    metavar="N",
    help="Requests of a client without an answer.",
)
@click.option(
    "--max-clients",
    type=click.IntRange(1, 256),
    default=_DEFAULT.max_clients,
    show_default=True,
    metavar="N",
    help="Clients of --socket at once.",
)
@click.option(
    "--watchdog",
    type=click.FloatRange(0.1, 3600),
    default=_DEFAULT.watchdog_ms / 1e3,
    show_default=True,
    metavar="SECONDS",
    help="Longest computation of one slice: after it the server restarts itself.",
)
@click.option(
    "--message-timeout",
    type=click.FloatRange(0.1, 3600),
    default=_DEFAULT.message_timeout_ms / 1e3,
    show_default=True,
    metavar="SECONDS",
    help="Longest time from a message's first byte to its last.",
)
@click.option(
    "--memory-limit",
    type=click.IntRange(64),
    metavar="MIB",
    help="Memory that the server may have of its own (RLIMIT_DATA).  [default: no limit]",
)
@click.option(
    "--log-format", type=click.Choice(FORMATS), default="text", show_default=True,
    help="Lines of the log on stderr.",
)  # fmt: skip
def serve(  # noqa: PLR0913 - one parameter an option
    *,
    bundle: Path | None,
    bundle_sha256: str | None,
    backend: str,
    precision: Precision | None,
    streaming: bool,
    path: Path | None,
    skip_self_test: bool,
    max_frame: int,
    max_in_flight: int,
    max_clients: int,
    watchdog: float,
    message_timeout: float,
    memory_limit: int | None,
    log_format: str,
) -> int:
    """Serve another program: frames in, results and masks out, within milliseconds.

    Without --socket, stdin and stdout carry the protocol (docs/protocol.md) and nothing else.
    SIGTERM ends the server after what is in flight; so does the end of its input.
    """
    from scanside.serve.start import Settings, serve

    check_needs(given_options(click.get_current_context()), {"--max-clients": "--socket"})
    settings = Settings(
        bundle=bundle,
        bundle_sha256=bundle_sha256,
        backend=backend,
        precision=precision,
        streaming=streaming,
        socket=path,
        self_test=not skip_self_test,
        limits=Limits(
            max_in_flight=max_in_flight,
            max_payload=max_frame * MIB,
            max_clients=max_clients,
            watchdog_ms=round(watchdog * 1e3),
            message_timeout_ms=round(message_timeout * 1e3),
        ),
        memory_limit=memory_limit,
    )
    with logging_to_stderr(log_format) as log:
        return serve(settings, log)
