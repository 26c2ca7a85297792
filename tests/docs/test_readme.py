"""The README: its length, its links, and the plugin that it shows."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from annotators import methods
from stepmark import plugins
from stepmark.records import Verdict
from tests.annotators.simulated import done_by, last_sample_solves, trace_of
from tests.docs.markdown import ROOT, blocks, pages

MAX_LINES = 200
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
OUTCOMES = [(Verdict.CORRECT, -1), (Verdict.INCORRECT, 0), (Verdict.UNKNOWN, None)]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("page", pages())
def test_links_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in LINK.findall(text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "docs/extending.md"])
@pytest.mark.parametrize(("outcome", "first_error"), OUTCOMES)
async def test_plugin_example_annotates(
    page: str,
    outcome: Verdict,
    first_error: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = next(b.text for b in blocks(page, "python") if "class Outcome" in b.text)
    (tmp_path / "outcome.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "annotators.methods.outcome", raising=False)
    method = plugins.build("annotators", {"use": "outcome"})
    done = await done_by(method, replace(trace_of(3), outcome=outcome), last_sample_solves)
    assert [step.verdict for step in done.annotation.steps] == [outcome] * 3
    assert (done.annotation.first_error, done.annotation.error) == (first_error, None)
    monkeypatch.delitem(sys.modules, "annotators.methods.outcome")
