"""The folders of test cases, and the results of findings as the cases name them."""

import re
from pathlib import Path

from stepmark.records import Verdict
from verifiers.base import Finding

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[3] / "shared" / "data"


def result_of(finding: Finding) -> str:
    """Return the verdict, or what the reason says of an unknown step.

    That is "correct" if all equations hold, and "suspicion".
    """
    holds = re.fullmatch(r"holds: (\d+) of (\d+) equations", finding.reason)
    if finding.verdict is not Verdict.UNKNOWN:
        return finding.verdict
    if holds is not None:
        assert int(holds[1]) == finding.checked == finding.holding
        return "correct" if holds[1] == holds[2] else "unknown"
    if finding.reason.startswith("suspicion ("):
        assert finding.rule
        return "suspicion"
    return "unknown"


def meets(finding: Finding, expected: str) -> bool:
    """Return whether a finding is as a case expects; a suspicion is an unknown step."""
    result = result_of(finding)
    return result == expected or (expected == "unknown" and result == "suspicion")
