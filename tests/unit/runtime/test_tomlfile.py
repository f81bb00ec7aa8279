from pathlib import Path

import pytest
from msgspec import Struct

from scanside.errors import UsageError
from scanside.tomlfile import parse_toml, read_toml


class Inner(Struct, forbid_unknown_fields=True):
    side: int


class Outer(Struct, forbid_unknown_fields=True):
    phases: list[Inner]


def test_a_file_becomes_the_structure(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[[phases]]\nside = 3\n")
    assert read_toml(path, Outer, what="the rules", remedy="") == Outer([Inner(3)])


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[[phases]]\nside = 3\n", encoding="utf-8-sig")
    assert read_toml(path, Outer, what="the rules", remedy="") == Outer([Inner(3)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[phases]]\nside = 'x'\n", r"Expected `int`, got `str` - at `\$\.phases\[0\]\.side`"),
        ("[[phases]]\nside = 1\nother = 1\n", r"unknown field `other` - at `\$\.phases\[0\]`"),
        ("[[phases]\n", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_toml(text, Outer, remedy="see the docs")
    assert caught.value.exit_code == 2


def test_a_file_that_is_absent_or_no_text_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    with pytest.raises(UsageError, match=r"the rules .*absent\.toml could not be read"):
        read_toml(absent, Outer, what="the rules", remedy="")
    absent.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="could not be read"):
        read_toml(absent, Outer, what="the rules", remedy="")
