from __future__ import annotations

from peerbench.report import markdown


def test_a_run_that_gives_no_ratio_says_why() -> None:
    machine = {"processor": "some CPU", "cores": 2}
    final = {
        "run": {"rounds": 1, "machine": machine},
        "facts": {"slices": 43, "bundle": "lgg 1"},
        "invalid": ["a case segmented other slices"],
        "table": {},
    }
    page = markdown(final)
    assert "**INVALID**: a case segmented other slices" in page
    assert "43 slices, 1 interleaved rounds" in page
