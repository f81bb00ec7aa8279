"""A model of a bundle as an ONNX Runtime session on the CPU: derived, optimised, kept.

The session computes the graph that `scanside.backends.rewrites` derives from the file's. What
ONNX Runtime optimises it to is kept (`scanside.backends.graphcache`), and the next start loads
that with optimisation off: the same kernels on the same numbers, so the same bits.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scanside.errors import BackendError, BundleError, ExtraNotInstalledError
from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.backends.cpufeatures import CpuFeatures
    from scanside.bundle import Bundle
    from scanside.contract import Precision, Role

__all__ = [
    "OUTPUTS",
    "PROVIDER",
    "Opened",
    "check_interface",
    "library_version",
    "open_session",
]

PROVIDER: Final = "CPUExecutionProvider"
OUTPUTS: Final = {
    "classifier": ("tumor_probability", "tensor(float)", [1]),
    "segmenter": ("mask_probability", "tensor(float)", [SIDE, SIDE]),
}
"""Name, type and shape without the batch axis of what each model gives."""

_LOG: Final = logging.getLogger(__name__)
_ERRORS_ONLY: Final = 3
_SILENT: Final = 4

_SPINNING: Final = {"session.intra_op.allow_spinning": "0"}
"""Two sessions take turns: threads of one that spin while they wait take the cores from the
other, and from reading and writing (on 2 cores the models alone ran at 1.7 times the rate)."""

_FROM_KEPT: Final = {
    "session.load_model_format": "ORT",
    "session.use_ort_model_bytes_directly": "1",
}
"""The bytes are read where they are; ONNX Runtime would copy them first."""

_TO_KEEP: Final = {"session.save_model_format": "ORT"}
"""Its own format loads faster than ONNX, and in less memory."""


class Opened(NamedTuple):
    """A session that is ready.

    Attributes
    ----------
    session
        The ``onnxruntime.InferenceSession``.
    applied
        Labels of the rewrites that made its graph from the file's.
    """

    session: Any
    applied: tuple[str, ...]


def open_session(
    bundle: Bundle, role: Role, precision: Precision, threads: int, features: CpuFeatures
) -> Opened:
    """Return a session for a model of a bundle.

    Parameters
    ----------
    bundle
        The opened bundle.
    role, precision
        Which of its models.
    threads
        Threads that compute one call.
    features
        The processor's features, which the rewrites go by.

    Raises
    ------
    ExtraNotInstalledError
        If onnxruntime is not installed.
    BackendError
        If ONNX Runtime refuses the model.
    BundleError
        If the bundle does not hold the model, or its input and output are not of its role.
    """
    # Imported here: choosing a backend imports this module before any graph is loaded.
    from scanside.backends.graphcache import graph_key, keep_while, kept_graph

    version = library_version()
    options = _graph_options(features)
    entry = bundle.manifest.models[role].get(precision)
    key = None if entry is None else graph_key(entry.sha256, version, options)
    field = f"$.models.{role}.{precision}"
    if key is not None and (kept := kept_graph(key)) is not None:
        try:
            session = _session(kept.content, threads, options | _FROM_KEPT, optimise=False)
            check_interface(session, role, field)
        except Exception as error:  # noqa: BLE001 - whatever it is, the graph is made anew
            _LOG.debug("scanside: the kept graph of the %s is made anew: %s", role, error)
        else:
            return Opened(session, kept.applied)
    from scanside.backends.rewrites import FOR_ONNX_RUNTIME, derive

    derived = derive(bundle.read_model(role, precision), features, FOR_ONNX_RUNTIME)
    made: list[Any] = []

    def optimise(file: Path | None) -> None:
        try:
            entries = options | (_TO_KEEP if file else {})
            made.append(_session(derived.content, threads, entries, write_to=file))
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise BackendError(
                f"ONNX Runtime {version} refuses the {precision} {role}: {error}",
                remedy="export the bundle again, or install the onnxruntime it was made with",
            ) from error
        check_interface(made[0], role, field)

    if key is None:
        optimise(None)
    else:
        keep_while(key, derived.applied, optimise)
    return Opened(made[0], derived.applied)


def library_version() -> str:
    """Return ONNX Runtime's version.

    Raises
    ------
    ExtraNotInstalledError
        If onnxruntime is not installed.
    BackendError
        If it can't be imported.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise _broken(error) from error
        raise ExtraNotInstalledError(
            "the cpu backend", package="onnxruntime", extra="cpu"
        ) from None
    except ImportError as error:
        raise _broken(error) from error
    return str(onnxruntime.__version__)


def _graph_options(features: CpuFeatures) -> dict[str, str]:
    """Return the options that the optimised graph depends on.

    x64quantprecision
        Without VNNI, sums of products of bytes saturate silently; with it, ONNX Runtime takes
        the slower kernels that don't. Where VNNI is there, those would only be slower.

    References
    ----------
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    return {"session.x64quantprecision": "0" if features.wide_dot_product else "1"}


def _session(
    content: bytes,
    threads: int,
    entries: dict[str, str],
    *,
    optimise: bool = True,
    write_to: Path | None = None,
) -> Any:  # noqa: ANN401
    """Return a session on the CPU provider, made from the very bytes that were verified."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A kept graph that is refused is made anew: nothing to report.
    options.log_severity_level = _ERRORS_ONLY if optimise else _SILENT
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if write_to is not None:
        options.optimized_model_filepath = str(write_to)
    for name, value in (_SPINNING | entries).items():
        options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(content, options, providers=[PROVIDER])
    if session.get_providers() != [PROVIDER]:
        raise BackendError(
            f"ONNX Runtime gave a session on {session.get_providers()}", accepted=PROVIDER
        )
    # The Python class keeps the file's bytes for a change of providers, which never comes: the
    # weights would be in memory twice.
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None
    return session


def check_interface(session: Any, role: Role, field: str) -> None:  # noqa: ANN401
    """Refuse a model whose input and output are not those of its role."""
    found = [(t.name, t.type, t.shape[1:]) for t in (*session.get_inputs(), *session.get_outputs())]
    wanted = [("image", "tensor(uint8)", [SIDE, SIDE, len(CHANNELS)]), OUTPUTS[role]]
    if found != wanted:
        raise BundleError(
            f"{field}: the model has {found}",
            accepted=f"{wanted}, the batch axis first",
            remedy="export the bundle again: the models may have been exchanged",
        )


def _broken(error: ImportError) -> BackendError:
    return BackendError(
        f"onnxruntime is installed and cannot be imported: {error}",
        remedy="install it again: pip install --force-reinstall 'scanside[cpu]'",
    )
