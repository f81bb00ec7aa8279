"""Bundles: opened only when every field and every hash is right, written atomically.

A bundle is a folder, or the same as one ``.zip``. Every file in it is named by the manifest
with its size and sha256; a file is hashed again from the very bytes that a backend loads.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from scanside.bundlestore import MANIFEST, BundleStore, bundle_store
from scanside.contract import (
    AuxiliaryFile,
    Golden,
    Manifest,
    ModelFile,
    Precision,
    Role,
    manifest_error,
)
from scanside.errors import BundleError, OutputError
from scanside.onnxfile import external_tensors, opset

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_BUNDLE", "MANIFEST", "Bundle", "open_bundle", "write_bundle"]

DEFAULT_BUNDLE: Final = Path(__file__).parent / "bundles" / "lgg"
"""The bundle that is used where none is named; it ships with the package."""

_MANIFEST_LIMIT: Final = 4 << 20
"""Bytes; a manifest is some kilobytes, and nothing is parsed that is far from it."""

_BundleFile = AuxiliaryFile | Golden | ModelFile


class Bundle(NamedTuple):
    """An opened bundle: its manifest is valid and its files had the right hashes.

    Attributes
    ----------
    path
        The folder or the zip.
    manifest
        What the bundle declares.
    manifest_sha256
        Hash of ``manifest.json`` itself, in hexadecimal digits.
    """

    path: Path
    manifest: Manifest
    manifest_sha256: str

    @property
    def label(self) -> str:
        """Name and version, for instance ``lgg 1``."""
        return f"{self.manifest.name} {self.manifest.version}"

    def read(self, field: str) -> bytes:
        """Return the verified content of the file at a field of the manifest.

        Parameters
        ----------
        field
            The path of the field, for instance ``$.golden``.

        Raises
        ------
        BundleError
            If the file is missing or is no longer what the manifest says.
        """
        return _read_verified(bundle_store(self.path), field, self.manifest.files()[field])

    def model(self, role: Role, precision: Precision) -> ModelFile:
        """Return what the manifest says of a model file.

        Parameters
        ----------
        role
            ``classifier`` or ``segmenter``.
        precision
            ``fp32``, ``fp16`` or ``int8``.

        Raises
        ------
        BundleError
            If the bundle has no such precision.
        """
        held = self.manifest.models[role]
        if precision not in held:
            raise BundleError(
                f"{self.path}: the bundle holds no {precision} {role}",
                accepted=f"--precision {'|'.join(self.manifest.precisions)} with this bundle",
            )
        return held[precision]

    def read_model(self, role: Role, precision: Precision) -> bytes:
        """Return the verified content of a model file.

        Parameters
        ----------
        role, precision
            As for `model`.

        Raises
        ------
        BundleError
            If the bundle has no such precision, or the file is not what the manifest says.
        """
        self.model(role, precision)
        return self.read(f"$.models.{role}.{precision}")


def open_bundle(path: str | Path | None = None, *, manifest_sha256: str | None = None) -> Bundle:
    """Open a bundle and verify all of it: every field, every size, every hash.

    Parameters
    ----------
    path
        A folder or a ``.zip``; none for the default bundle.
    manifest_sha256
        The hash that ``manifest.json`` must have. Hashes in a manifest show damage, not who
        made it; pinning the manifest's own hash shows that too.

    Raises
    ------
    BundleError
        If the bundle is missing, damaged, or not of this contract. The message names the path
        of the field.
    """
    where = DEFAULT_BUNDLE if path is None else Path(path)
    store = bundle_store(where)
    raw = store.read(MANIFEST, _MANIFEST_LIMIT)
    digest = hashlib.sha256(raw).hexdigest()
    if manifest_sha256 is not None and digest != manifest_sha256.lower():
        raise BundleError(
            f"{where}: {MANIFEST} has the sha256 {digest}",
            accepted=f"{manifest_sha256}, which was asked for",
            remedy="use the bundle that was approved, or approve this one and pin its hash",
        )
    manifest = _decode_manifest(raw, where)
    for field, entry in manifest.files().items():
        content = _read_verified(store, field, entry)
        if isinstance(entry, ModelFile):
            _check_model(content, field, entry)
    return Bundle(where, manifest, digest)


def write_bundle(destination: str | Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle so that it is there whole or not at all, and open what was written.

    Parameters
    ----------
    destination
        A folder, or a path that ends in ``.zip``; it must not exist.
    manifest
        What the bundle declares.
    files
        Content by file name: exactly the files that the manifest names.

    Raises
    ------
    OutputError
        If the destination exists or cannot be written.
    BundleError
        If the files are not those of the manifest.
    """
    target = Path(destination)
    if target.exists():
        raise OutputError(
            f"{target} exists already",
            accepted="a path that is free",
            remedy="remove it, or name another --output",
        )
    named = {entry.file for entry in manifest.files().values()}
    if named != set(files):
        raise BundleError(
            f"the manifest names {sorted(named)} and the content is {sorted(files)}",
            accepted="the same files in both",
        )
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    content = {MANIFEST: encoded, **files}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
            made = Path(scratch) / target.name
            if target.suffix == ".zip":
                _write_synced(made, _zipped(content))
            else:
                _write_folder(made, content)
            written = open_bundle(made)
            made.rename(target)
    except OSError as error:
        raise OutputError(
            f"{target}: {error.strerror or error}", remedy="free space, or name another --output"
        ) from error
    return written._replace(path=target)


def _decode_manifest(raw: bytes, where: Path) -> Manifest:
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.ValidationError as error:
        what, field = manifest_error(raw, error)
        raise BundleError(
            f"{where}: {MANIFEST}: {field}: {what}",
            remedy="export the bundle again with this version of scanside",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            f"{where}: {MANIFEST}: $: not JSON: {error}", remedy="fetch the bundle again"
        ) from None


def _read_verified(store: BundleStore, field: str, entry: _BundleFile) -> bytes:
    content = store.read(entry.file, entry.size)
    if len(content) != entry.size:
        raise BundleError(
            f"{field}.size: {entry.file} has {len(content)} bytes",
            accepted=f"{entry.size} bytes",
            remedy="the file is damaged: fetch the bundle again",
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        raise BundleError(
            f"{field}.sha256: {entry.file} has the sha256 {digest}",
            accepted=entry.sha256,
            remedy="the file is damaged: fetch the bundle again",
        )
    return content


def _check_model(content: bytes, field: str, entry: ModelFile) -> None:
    """Refuse a model whose tensors lie elsewhere or whose opset is not the declared one."""
    try:
        outside, declared = external_tensors(content), opset(content)
    except BundleError as error:
        raise BundleError(f"{field}: {entry.file}: {error.given}", remedy=error.remedy) from None
    if outside:
        raise BundleError(
            f"{field}: {entry.file} keeps {len(outside)} tensors outside the file"
            f" ({', '.join(outside[:3])})",
            accepted="ONNX files with their weights inside",
        )
    if declared != entry.opset:
        raise BundleError(f"{field}.opset: {entry.file} has opset {declared}, not {entry.opset}")


def _write_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, data in content.items():
        _write_synced(folder / name, data)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _zipped(content: Mapping[str, bytes]) -> bytes:
    """Return a zip of the content with a fixed date, so that equal content has equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return buffer.getvalue()
