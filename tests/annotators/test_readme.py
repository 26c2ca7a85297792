"""The example of a method in README works as a plugin file."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from annotators import methods
from stepmark import plugins
from stepmark.records import Verdict
from tests.annotators.columns import column
from tests.annotators.simulated import done_by, last_sample_solves, trace_of

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(
    ("outcome", "first_error"),
    [(Verdict.CORRECT, -1), (Verdict.INCORRECT, 0), (Verdict.UNKNOWN, None)],
)
async def test_readme_method_annotates(
    outcome: Verdict, first_error: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    (tmp_path / "outcome.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "annotators.methods.outcome", raising=False)
    method = plugins.build("annotators", {"use": "outcome"})
    done = await done_by(method, replace(trace_of(3), outcome=outcome), last_sample_solves)
    assert column(done.annotation.steps, "verdict") == [outcome] * 3
    assert (done.annotation.first_error, done.annotation.error) == (first_error, None)
    # Other tests must not find the module of this temporary file.
    monkeypatch.delitem(sys.modules, "annotators.methods.outcome")
