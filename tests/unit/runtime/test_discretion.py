from __future__ import annotations

import pytest

from scanside.discretion import discreet, refusing
from scanside.errors import InputError, InternalError, OutputError


def test_what_a_library_raises_is_a_refusal_without_its_text() -> None:
    with (
        pytest.raises(InputError, match=r"^a\.dcm: the header cannot be read \(ValueError\)") as no,
        refusing("a.dcm", "the header"),
    ):
        raise ValueError("CANARY")
    assert "CANARY" not in str(no.value)


def test_what_a_library_raises_in_making_a_result_is_a_defect() -> None:
    said = r"ValueError in .*test_discretion\.py:"
    with pytest.raises(InternalError, match=said), discreet("encoding"):
        raise ValueError("CANARY")


@pytest.mark.parametrize("error", [MemoryError("too much"), OutputError("full"), KeyboardInterrupt])
def test_what_is_not_the_file_s_fault_is_no_refusal(error: BaseException) -> None:
    kind = error if isinstance(error, type) else type(error)
    for guarded in (refusing("a.dcm", "the header"), discreet("encoding")):
        with pytest.raises(kind), guarded:
            raise error
