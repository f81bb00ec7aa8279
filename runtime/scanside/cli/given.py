"""Which options were given, and those that do nothing without another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.core import ParameterSource

from scanside.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import click

__all__ = ["check_needs", "given_options"]


def given_options(context: click.Context) -> list[str]:
    """Return the options that the user gave, by name, also where they have the default value."""
    return [
        option.opts[0]
        for option in context.command.params
        if option.name is not None
        and option.param_type_name == "option"
        and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]


def check_needs(given: Collection[str], needs: Mapping[str, str]) -> None:
    """Refuse options that do nothing without another one.

    Parameters
    ----------
    given
        From `given_options`.
    needs
        Options, and the one that each needs.

    Raises
    ------
    UsageError
        If there is one.
    """
    for option, other in needs.items():
        if option in given and other not in given:
            raise UsageError(f"{option} needs {other}", remedy=f"give {other} too, or leave it out")
