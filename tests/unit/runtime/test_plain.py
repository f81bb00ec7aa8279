from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.plain import is_text, plain


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Pat_1 ä 日本 .png", "Pat_1 ä 日本 .png"),
        ("a\x1b[2J", r"a\x1b[2J"),
        ("a\nb\r\t\x7f\x9b", r"a\nb\r\t\x7f\x9b"),
        ("a\u202egnp.\u2066", r"a\u202egnp.\u2066"),
        (os.fsdecode(b"\xff\xfe"), r"\xff\xfe"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_steers_a_terminal_is_escaped(name: str, shown: str) -> None:
    assert plain(name) == shown


@given(st.text(st.characters()))
def test_it_is_one_line_of_text_and_the_rest_stays(name: str) -> None:
    shown = plain(name)
    assert is_text(shown)
    assert len(shown.splitlines()) <= 1
    assert plain(shown) == shown
    assert not is_text(name) or all(c in shown for c in name if c.isprintable())
