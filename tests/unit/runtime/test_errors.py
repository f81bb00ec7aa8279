from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scanside
from scanside import errors
from scanside.errors import ExtraNotInstalledError, InputError, ScansideError, worst_exit_code

CLASSES = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


def test_a_message_says_what_was_given_what_is_accepted_and_what_to_do() -> None:
    error = InputError("a.png is empty", accepted="PNG", remedy="export it again")
    assert str(error) == "a.png is empty; accepted: PNG; export it again"


def test_the_docstring_draws_every_class_with_its_exit_code() -> None:
    drawn = dict(re.findall(r"(\w+Error)\s+(\d+) ", errors.__doc__ or ""))
    assert drawn == {kind.__name__: str(kind.exit_code) for kind in CLASSES}


def test_every_error_is_public() -> None:
    missing = {kind.__name__ for kind in CLASSES} - set(scanside.__all__)
    assert not missing


@pytest.mark.parametrize("kind", [k for k in CLASSES if k is not ExtraNotInstalledError])
def test_errors_survive_a_process_boundary(kind: type[ScansideError]) -> None:
    error = kind("given", accepted="accepted", remedy="remedy")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is kind
    assert str(copy) == str(error)


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    error = ExtraNotInstalledError("scanside train", package="tensorflow", extra="train")
    assert "pip install 'scanside[train]'" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


@given(st.lists(st.sampled_from([0, 3, 4, 7, 8, 9, 70])))
def test_the_most_serious_code_wins(codes: list[int]) -> None:
    order = [70, 9, 8, 4, 3, 7, 0]
    assert worst_exit_code(*codes) == min(codes, key=order.index, default=0)


def test_places_are_lines_of_their_own() -> None:
    error = InputError("the dataset is not accepted", remedy="repair it", places=("a", "b"))
    assert str(error) == "the dataset is not accepted; repair it\n- a\n- b"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes
