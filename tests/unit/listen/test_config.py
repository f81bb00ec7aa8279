from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scanside.errors import UsageError
from scanside.listen.config import parse_listen_config, read_listen_config

if TYPE_CHECKING:
    from pathlib import Path

SHORTEST = """
[node]
ae_title = "SCANSIDE"
[[peers]]
ae_title = "SCANNER"
addresses = ["192.168.10.0/24"]
[spool]
folder = "spool"
"""

DESTINATION = """
[[destinations]]
name = "pacs"
ae_title = "PACS"
address = "10.0.0.2"
port = 104
"""


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(SHORTEST + '[models]\nbundle = "mine"\n[study]\nseries_rules = "/etc/r.toml"\n')
    config = read_listen_config(path)
    assert config.spool.folder == str(tmp_path / "spool")
    assert config.models.bundle == str(tmp_path / "mine")
    assert config.study.series_rules == "/etc/r.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHORTEST.replace("SCANSIDE", "A\\\\B"), r"\$\.node\.ae_title"),
        (SHORTEST.replace("SCANSIDE", "SEVENTEEN_LETTERS"), r"\$\.node\.ae_title"),
        (SHORTEST.replace("/24", "/33"), r"192\.168\.10\.0/33.*\$\.peers\[0\]"),
        (SHORTEST + "[limits]\nassociations = 0\n", r"\$\.limits\.associations"),
        (SHORTEST + "[limits]\nasociations = 1\n", "unknown field `asociations`"),
        (SHORTEST + DESTINATION + DESTINATION, "two destinations have one name"),
        (SHORTEST + DESTINATION + 'objects = ["pdf"]\n', r"\$\.destinations\[0\]\.objects\[0\]"),
        (
            SHORTEST + "[study]\nquiet_seconds = 20\ndeadline_seconds = 10\n",
            r"deadline_seconds is below.*\$\.study",
        ),
        (SHORTEST.replace("[[peers]]", "[[senders]]"), "`senders`|`peers`"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_listen_config(text)


def test_a_tls_file_that_is_absent_is_named(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    tls = '[node.tls]\ncertificate = "c.pem"\nkey = "k.pem"\nauthorities = "a.pem"\n'
    path.write_text(SHORTEST + tls)
    with pytest.raises(UsageError, match=r"c\.pem: there is no such file"):
        read_listen_config(path)
