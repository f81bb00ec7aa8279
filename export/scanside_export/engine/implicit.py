"""Implicit INT8, the legacy way, from what another package provides through an entry point.

A provider has ``prepare(bundle, dataset, split, file, *, stage, say)``, which writes the slices
and says what they are, and ``open_calibrator(trt, images, cache)``, a context manager that gives
a calibrator of the library's class and what says, after the build, where its ranges come from.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scanside.errors import ExtraNotInstalledError, ScansideError
from scanside_export.engine.exchange import Failed
from scanside_export.engine.library import ChildError, has

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scanside_export.engine.exchange import Request

__all__ = ["GROUP", "Implicit", "calibrating", "check_calibrators", "provider"]

GROUP: Final = "scanside.int8_calibrators"
"""The entry points; one is expected."""


_CLASS: Final = "IInt8EntropyCalibrator2"


class Implicit(NamedTuple):
    """Slices from which the library shall choose its ranges.

    Attributes
    ----------
    images
        NumPy file of the prepared slices.
    facts
        What they are, for the engine's key.
    """

    images: Path
    facts: dict[str, str]


def provider() -> Any:  # noqa: ANN401 - what an entry point names
    """Return what calibrates.

    Raises
    ------
    ExtraNotInstalledError
        If no installed package provides it.
    """
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        return entry.load()
    raise ExtraNotInstalledError(
        "scanside build --implicit-int8", package=f"a package with {GROUP}", extra="calibrate"
    )


def check_calibrators(trt: Any, request: Request) -> None:  # noqa: ANN401
    """Refuse an implicit calibration where the library has none.

    Raises
    ------
    ChildError
        If it has not.
    """
    if request.calibration is not None and not has(trt, _CLASS):
        raise ChildError(
            Failed(
                kind="backend",
                given=f"version {trt.__version__} of the library has no {_CLASS}: implicit INT8 is"
                " gone since TensorRT 11",
                remedy="leave --implicit-int8 out: the bundle's own INT8 models are built then",
            )
        )


@contextmanager
def calibrating(
    trt: Any,  # noqa: ANN401 - any version of the library
    builder: Any,  # noqa: ANN401
    config: Any,  # noqa: ANN401
    network: Any,  # noqa: ANN401
    request: Request,
) -> Iterator[Callable[[], tuple[str, ...]]]:
    """Let the configuration calibrate while the block builds, where the request asks for it.

    Parameters
    ----------
    trt
        The library.
    builder, config, network
        Of this build.
    request
        What to build.

    Yields
    ------
    callable
        Says after the build where the ranges come from; nothing where they are in the model.

    Raises
    ------
    ChildError
        If this can't be calibrated here, or was not with every slice.
    """
    if request.calibration is None:
        yield lambda: ()
        return
    images, cache = Path(request.calibration.images), Path(request.calibration.cache)
    try:
        with provider().open_calibrator(trt, images, cache) as (calibrator, finish):
            profile = builder.create_optimization_profile()
            for number in range(network.num_inputs):
                tensor = network.get_input(number)
                shape = (1, *tuple(tensor.shape)[1:])
                profile.set_shape(tensor.name, shape, shape, shape)
            config.set_calibration_profile(profile)
            config.int8_calibrator = calibrator
            yield lambda: (f"{finish()} (the legacy way)",)
    except ScansideError as error:
        raise ChildError(Failed(kind="backend", given=error.given, remedy=error.remedy)) from error
