"""The documentation names the consumers with the versions that are tried, and no others."""

import re
from pathlib import Path

from tests.consumers.__main__ import CONSUMERS
from tests.consumers.environments import requirements_of

PAGE = Path(__file__).parents[2] / "docs" / "import-export.md"


def test_documented_versions_are_tried() -> None:
    tried = set[tuple[str, str]]()
    for name in CONSUMERS:
        package, version = requirements_of(name)[0].split("==")
        tried.add((package.replace("-", "").replace("_", ""), version))
    section = PAGE.read_text(encoding="utf-8").split("### Consumers")[1].split("###")[0]
    documented = set[tuple[str, str]]()
    for name, version in re.findall(r"^\| ([\w-]+) (\d[\d.]*) \|", section, re.MULTILINE):
        documented.add((name.lower().replace("-", "").replace("_", ""), version))
    # vLLM is installed for the tests, which try it.
    assert documented - {("vllm", "0.32")} == tried
