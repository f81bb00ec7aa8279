"""Where ONNX Runtime really computes: which provider ran each node of a session.

ONNX Runtime moves what a provider can't do, or all of it where a library is missing, to the CPU
and says nothing that a program would see. So a session is asked what it did, not what it was
told: the profile of its first run names the provider of every kernel.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from scanside.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["LIGHT", "Ran", "check_placement", "read_profile", "shown"]

LIGHT: Final = frozenset({
    "Cast", "Flatten", "Identity", "MemcpyFromHost", "MemcpyToHost", "Reshape", "Squeeze",
    "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that rearrange or copy: no arithmetic of weight."""


class Ran(NamedTuple):
    """A kind of node that was run.

    Attributes
    ----------
    operator
        As in ONNX, or a fused one's name: an engine of TensorRT's is ``TRTKernel_...``.
    provider
        Of the kernel.
    """

    operator: str
    provider: str


def read_profile(content: bytes) -> Counter[Ran]:
    """Return what was run, and how often, from a profile of ONNX Runtime's.

    Parameters
    ----------
    content
        The file that ``end_profiling`` names: JSON in Chrome's trace format.

    Raises
    ------
    BackendError
        If it is none, or tells of no node: then nothing is known.
    """
    try:
        events = msgspec.json.decode(content, type=list[dict[str, Any]])
    except msgspec.DecodeError as error:
        raise BackendError(f"ONNX Runtime's profile can't be read: {error}") from error
    ran = Counter(
        Ran(str(known["op_name"]), str(known["provider"]))
        for event in events
        if event.get("cat") == "Node" and {"op_name", "provider"} <= (known := event["args"]).keys()
    )
    if not ran:
        raise BackendError("ONNX Runtime's profile tells of no node: where it computes is unknown")
    return ran


def check_placement(ran: Collection[Ran], provider: str, helpers: Iterable[str] = ()) -> None:
    """Refuse a session that computed elsewhere than it was told.

    Parameters
    ----------
    ran
        What was run.
    provider
        The provider that has to compute.
    helpers
        Providers that may do what is `LIGHT`.

    Raises
    ------
    BackendError
        If anything was run by another provider, or what has weight by a helper.
    """
    allowed = {*helpers}
    wrong = sorted(
        node
        for node in ran
        if node.provider != provider and not (node.provider in allowed and node.operator in LIGHT)
    )
    if wrong:
        listed = ", ".join(f"{operator} on {where}" for operator, where in wrong)
        raise BackendError(
            f"ONNX Runtime put a part of the model elsewhere: {listed}",
            accepted=f"all of it on {provider}",
            remedy="scanside doctor says what is missing; or take --backend cpu",
        )


def shown(ran: Counter[Ran]) -> str:
    """Return how many nodes each provider ran, in words."""
    counts: Counter[str] = Counter()
    for node, count in ran.items():
        counts[node.provider] += count
    return ", ".join(f"{count} on {provider}" for provider, count in sorted(counts.items()))
