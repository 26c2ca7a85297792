"""The README: its length, and the links of all pages."""

import re

import pytest

from tests.docs.markdown import ROOT, pages

MAX_LINES = 200
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("page", pages())
def test_links_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in LINK.findall(text):
        assert (ROOT / page).parent.joinpath(target).exists(), target
