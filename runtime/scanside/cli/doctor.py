"""``scanside doctor``: what is here, what is missing, and the command that mends it."""

from __future__ import annotations

from typing import Literal

import click
import msgspec

from scanside.cli.say import say, show

__all__ = ["doctor"]


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="json: scanside.doctor/1.",
)
def doctor(*, form: Literal["text", "json"]) -> int:
    """Say what this device has for scanside and what it lacks.

    Every library is tried in a process of its own, and every backend of --backend auto computes
    a slice. Exit code 0: scanside runs here with its default backend; 8: no backend can be used;
    4: the default bundle is damaged.
    """
    from scanside.doctor.examine import examine
    from scanside.doctor.text import conclusion, report_lines

    report = examine()
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        show(report_lines(report))
    if report.exit_code:
        say(f"error: {conclusion(report)}")
    return report.exit_code
