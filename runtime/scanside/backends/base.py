"""The one seam between the pipeline and what computes: the `Backend` protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scanside.contract import Precision, Role

__all__ = ["Backend", "ProfilesLayers"]


class Backend(Protocol):
    """The two models of a bundle, loaded in one precision, ready to run.

    A backend computes and nothing else: it never decides, never normalises, and never falls
    back to another device. Any thread may call it, at most `lanes` of them at once.

    Attributes
    ----------
    name
        As in ``--backend``: ``cpu``, ``tensorrt``, ...
    precision
        The precision of the loaded models.
    lanes
        Number of threads whose calls it computes side by side.
    micro_batch
        Number of slices that a lane classifies at once, where that pays; 1 where it does not.
        Outputs do not depend on it.
    """

    @property
    def name(self) -> str:
        """Name as in ``--backend``."""

    @property
    def precision(self) -> Precision:
        """Precision of the loaded models."""

    @property
    def lanes(self) -> int:
        """Number of threads whose calls it computes side by side."""

    @property
    def micro_batch(self) -> int:
        """Number of slices that a lane classifies at once."""

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the classifier.

        Parameters
        ----------
        images
            uint8 ``[N, 256, 256, 3]``, C-contiguous, N at least 1.

        Returns
        -------
        ndarray of float32
            `tumor_probability`, ``[N, 1]``.

        Raises
        ------
        BackendError
            If the device fails; `DeviceLostError` if this process can't use it any more.
        """

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the segmenter.

        Parameters
        ----------
        images
            uint8 ``[N, 256, 256, 3]``, C-contiguous, N at least 1.

        Returns
        -------
        ndarray of float32
            `mask_probability`, ``[N, 256, 256]``.

        Raises
        ------
        BackendError
            As `classify`.
        """

    def describe(self) -> dict[str, str]:
        """Return what computes, by name: library versions, device, threads."""

    def close(self) -> None:
        """Free everything; the backend can't be used afterwards."""


@runtime_checkable
class ProfilesLayers(Protocol):
    """A backend that can time every layer of its models."""

    def profile_layers(
        self, images: NDArray[np.uint8], runs: int
    ) -> dict[Role, dict[str, list[float]]]:
        """Time every layer of both models; slower than computing, and nothing to measure by.

        Parameters
        ----------
        images
            uint8 ``[N, 256, 256, 3]``, C-contiguous.
        runs
            How often.

        Returns
        -------
        dict
            By model and layer, in the order of their computation: milliseconds of each run.

        Raises
        ------
        BackendError
            As `Backend.classify`.
        """
