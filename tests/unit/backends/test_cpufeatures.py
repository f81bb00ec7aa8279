from __future__ import annotations

import pytest

from scanside.backends.cpufeatures import cpu_features, parse_features


@pytest.mark.parametrize(
    ("machine", "flags", "wide"),
    [
        ("x86_64", ["fpu avx2 avx512_vnni"], True),
        ("x86_64", ["avx2 avx_vnni"], True),
        ("AMD64", ["amx_int8"], True),
        ("x86_64", ["fpu avx2 avx512f"], False),
        ("x86_64", ["fpu avx_vnni_int16"], False),
        ("x86_64", ["avx_vnni", "avx2"], False),
        ("x86_64", [], False),
        ("aarch64", [], True),
    ],
)
def test_dot_products_that_cannot_saturate(machine: str, flags: list[str], *, wide: bool) -> None:
    text = "".join(f"processor\t: {n}\nflags\t\t: {held}\n\n" for n, held in enumerate(flags))
    assert parse_features(machine, text).wide_dot_product is wide


def test_this_processor_is_asked_once() -> None:
    assert cpu_features() is cpu_features()
