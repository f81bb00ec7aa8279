from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from scanside import BundleError, open_bundle
from scanside.bundle import write_bundle
from scanside.contract import Golden
from scanside.golden import GoldenSlices, encode_golden, read_golden
from scanside.publish import facts

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.bundle import Bundle


def rewritten(source: Path, golden: GoldenSlices, destination: Path) -> Bundle:
    import msgspec

    bundle = open_bundle(source)
    manifest = bundle.manifest
    files = {entry.file: bundle.read(field) for field, entry in manifest.files().items()}
    content = encode_golden(golden)
    files[manifest.golden.file] = content
    entry = Golden(**facts(manifest.golden.file, content), tolerances=manifest.golden.tolerances)
    return write_bundle(destination, msgspec.structs.replace(manifest, golden=entry), files)


def test_what_is_encoded_is_read_again(toy_path: Path, tmp_path: Path) -> None:
    golden = read_golden(open_bundle(toy_path))
    own = np.linspace(0, 1, len(golden.images), dtype=np.float32)[:, None]
    golden = golden._replace(recorded={"integer, wide": own})
    found = read_golden(rewritten(toy_path, golden, tmp_path / "b"))
    for name, value in golden._asdict().items():
        if name != "recorded":
            np.testing.assert_array_equal(getattr(found, name), value)
    np.testing.assert_array_equal(found.recorded["integer, wide"], own)
    assert encode_golden(found) == encode_golden(golden)


def test_recorded_outputs_of_other_slices_are_refused(toy_path: Path, tmp_path: Path) -> None:
    golden = read_golden(open_bundle(toy_path))
    golden = golden._replace(recorded={"integer": np.zeros((1, 1), np.float32)})
    bundle = rewritten(toy_path, golden, tmp_path / "b")
    with pytest.raises(BundleError, match=r"\$\.golden: .*recorded outputs"):
        read_golden(bundle)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    toy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = read_golden(open_bundle(toy_path))
    bomb = golden._replace(recorded={"integer": np.zeros((2**26, 1), np.float32)})
    bundle = rewritten(toy_path, bomb, tmp_path / "b")

    def load(*_: object, **__: object) -> None:
        raise AssertionError("it was unpacked")

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(BundleError, match="at most 268435456 are read"):
        read_golden(bundle)
