"""UIDs: valid, the same for the same facts, others for any other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.errors import UsageError
from scanside.writers.dicom.uids import Identity, check_root

pydicom_uid = pytest.importorskip("pydicom.uid", reason="needs the dicom extra")

ROOTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=4).map(
    lambda arcs: ".".join(map(str, [1, *arcs]))
)


@given(st.text(), st.text(), st.none() | ROOTS)
def test_uids_are_valid_and_repeat(facts: str, role: str, root: str | None) -> None:
    uid = Identity([facts], root).uid(role)
    assert pydicom_uid.UID(uid).is_valid
    assert uid.startswith("2.25." if root is None else f"{root}.")
    assert uid == Identity([facts], root).uid(role)
    assert uid != Identity([facts + " "], root).uid(role)
    assert uid != Identity([facts], root).uid(role + " ")


def test_order_of_a_mapping_is_no_fact() -> None:
    assert Identity({"a": 1, "b": 2}).uid("") == Identity({"b": 2, "a": 1}).uid("")


def test_a_uid_below_2_25_is_a_uuid_of_version_8() -> None:
    import uuid

    made = uuid.UUID(int=int(Identity("facts").uid("sr").removeprefix("2.25.")))
    assert (made.version, made.variant) == (8, uuid.RFC_4122)


@pytest.mark.parametrize("root", ["", "1", "3.1", "1.02", "1.2.", "1.a", "1.2" + ".1234567" * 6])
def test_a_root_that_is_none_is_refused(root: str) -> None:
    with pytest.raises(UsageError, match="the UID root"):
        check_root(root)


@given(st.integers(3, 43))
def test_a_long_root_leaves_digits_and_stays_within_64(length: int) -> None:
    root = "1." + "1" * (length - 2)
    uid = Identity("facts", root).uid("sr")
    assert len(root) + 15 < len(uid) <= 64
