"""Where a bundle comes from: training records, commit, date, versions."""

from __future__ import annotations

import hashlib
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from scanside.contract import Provenance, field_path
from scanside.errors import BundleError
from scanside.publish import created

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scanside.contract import Role

__all__ = ["UNKNOWN", "TrainingRecord", "provenance", "read_training"]

UNKNOWN: Final = "unknown"

_TRAINING: Final = "training.json"
_PACKAGES: Final = ("scanside", "keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")
_HERE: Final = Path(__file__).resolve().parent


class TrainingRecord(msgspec.Struct, frozen=True):
    """What the export takes from ``training.json``; its other fields are not looked at."""

    task: str
    dataset_sha256: str
    model_sha256: str


def read_training(model: Path, role: Role) -> TrainingRecord | None:
    """Read the ``training.json`` beside a Keras model.

    Parameters
    ----------
    model
        The ``.keras`` file.
    role
        What the model is to be.

    Returns
    -------
    TrainingRecord or None
        None where there is no such file.

    Raises
    ------
    BundleError
        If the record can't be read, or is of another model.
    """
    path = model.with_name(_TRAINING)
    if not path.exists():
        return None
    try:
        record = msgspec.json.decode(path.read_bytes(), type=TrainingRecord)
    except msgspec.ValidationError as error:
        what, field = field_path(error)
        raise BundleError(f"{path}: {field}: {what}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{path} can't be read: {error}") from None
    same = record.model_sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    if same and record.task != role:
        raise BundleError(
            f"{model} is a {record.task}, says {path}, and was given as the {role}",
            accepted="the classifier first, the segmenter second",
        )
    if not same and record.task == role:
        raise BundleError(
            f"{path} is the record of another {role} than {model} (model_sha256 differs)",
            remedy="give the model as scanside train wrote it, or move it to a folder without"
            " that record",
        )
    # Where both models lie in one folder, the record can only be of one of them.
    return record if same else None


def provenance(
    command: str, dataset: str, records: Mapping[Role, TrainingRecord | None]
) -> Provenance:
    """Return what the manifest says of the bundle's making.

    Parameters
    ----------
    command
        The command line.
    dataset
        Name of the dataset that the models were trained on.
    records
        The models' training records.

    Raises
    ------
    UsageError
        If SOURCE_DATE_EPOCH is set and is no number of seconds.
    """
    hashes = {
        role: record.dataset_sha256 if record else UNKNOWN for role, record in records.items()
    }
    distinct = set(hashes.values())
    if len(distinct) > 1:
        parts = ", ".join(f"{role}: {digest}" for role, digest in hashes.items())
        dataset = f"{dataset} ({parts})"
    shared = distinct.pop() if len(distinct) == 1 else UNKNOWN
    return Provenance(
        command=command,
        commit=_commit(),
        created=created(),
        dataset=dataset,
        dataset_sha256=None if shared == UNKNOWN else shared,
        versions=_versions(),
    )


def _commit() -> str:
    """Return the commit of scanside's own work tree; unknown for an installed copy.

    An environment often lies inside somebody else's repository: its commit says nothing.
    """
    command = ("git", "-C", str(_HERE))
    try:
        top = _output(*command, "rev-parse", "--show-toplevel")
        if Path(top).resolve() != _HERE.parents[1]:
            return UNKNOWN
        return _output(*command, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 - no shell, fixed words
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    """Return the versions of what made the bundle."""
    import platform

    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # another distribution brings it: tensorflow-cpu
        return UNKNOWN
