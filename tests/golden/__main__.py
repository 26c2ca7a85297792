"""Record the golden outputs: `python -m tests.golden [SET …]`, all sets by default."""

import gc
import os
import sys
import tempfile
from pathlib import Path

# Prefect reads its settings while it is imported.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

import pytest

from tests.golden import findings, flows, messages, posteriors
from tests.golden.responses import Responses
from tests.golden.rows import RECORDED, compare, record
from tests.pipelines.one_verifier import use_one_verifier

IN_MEMORY = {
    "findings": findings.golden_sets,
    "posteriors": posteriors.golden_sets,
    "messages": messages.golden_sets,
}


def record_flows() -> None:
    """Record the flows twice, the second time from the responses alone, and compare the two."""
    gc.freeze = lambda: None  # many commands run in this process
    responses = Responses()
    for recording in (True, False):
        responses.requested.clear()
        with (
            pytest.MonkeyPatch.context() as monkeypatch,
            tempfile.TemporaryDirectory() as folder,
            flows.folder_of_flow(Path(folder)),
            responses.engine(recording=recording),
        ):
            use_one_verifier(monkeypatch)
            for flow in flows.FLOWS:
                for name, golden in flow().items():
                    (record if recording else compare)(name, golden)
                    print(name, len(golden.decisions), len(golden.texts), flush=True)  # noqa: T201
        responses.save()


def main() -> None:
    """Record the sets that the command line names, and say how large the files are."""
    names = sys.argv[1:] or ["flows", *IN_MEMORY]
    for name in names:
        if name == "flows":
            record_flows()
        else:
            for set_name, golden in IN_MEMORY[name]().items():
                record(set_name, golden)
    size = sum(file.stat().st_size for file in RECORDED.iterdir())
    print(f"{RECORDED}: {size / 1e6:.2f} MB")  # noqa: T201


if __name__ == "__main__":
    main()
