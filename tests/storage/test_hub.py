"""Export to the Hub and back, with a fake server of its HTTP API.

The client reads its settings when it is imported, so it runs in a separate process.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepmark.errors import ConfigError
from storage.dataset.dataset import Dataset
from storage.formats.trl import Trl
from storage.publishing.export import export
from tests.storage.hub_server import GOOD_TOKEN

ROOT = Path(__file__).parents[2]
PREAMBLE = """
import sys
from stepmark.errors import UserError
from storage.publishing import files as module
from storage.dataset import parts
from storage.dataset.dataset import Dataset
from storage.publishing.export import export
from storage.formats.trl import Trl
from storage.dataset.tables import TRACES
from tests.storage.samples import TRACE, fill
dataset = Dataset(sys.argv[1])
"""


@dataclass(frozen=True)
class Hub:
    """A running fake server; `run` runs a client of it."""

    address: str
    home: Path

    def run(self, code: str, dataset: Dataset, token: str = GOOD_TOKEN) -> str:
        settings = {
            "HF_ENDPOINT": self.address,
            "HF_TOKEN": token,
            "HF_HOME": str(self.home),
            # The fake server has no Xet storage.
            "HF_HUB_DISABLE_XET": "1",
        }
        command = [sys.executable, "-c", PREAMBLE + code, dataset.uri]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self) -> Any:
        with urllib.request.urlopen(f"{self.address}/log") as response:
            return json.load(response)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    command = [sys.executable, "-m", "tests.storage.hub_server"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield Hub(server.stdout.readline().strip(), tmp_path / "hf")
        server.communicate()


def test_export_is_one_private_commit(hub: Hub, on_disk: Dataset) -> None:
    code = """
import datasets, json
done = export(dataset, Trl(), "hf://datasets/org/name")
rows = datasets.load_dataset("org/name", split="train").to_list()
print(json.dumps([done.rows, done.left_out, done.destination, rows]))
"""
    rows, left_out, destination, loaded = json.loads(hub.run(code, on_disk))
    assert rows == 2
    assert left_out == {"its label is not kept": 1}
    assert destination == f"{hub.address}/datasets/org/name"
    assert [row["labels"] for row in loaded] == [[True, True, True], [True, False]]
    assert hub.log() == {
        "org/name": {
            "visibility": "private",
            "commits": [["header", "file README.md", "lfsFile data/train-00000-of-00001.parquet"]],
        }
    }


def test_second_export_replaces_files(hub: Hub, on_disk: Dataset) -> None:
    # One row per file, so that the first export has two files.
    code = """
import datasets
limits = module.SHARD_BYTES, parts.BATCH_ROWS, parts.ROW_GROUP_BYTES
module.SHARD_BYTES, parts.BATCH_ROWS, parts.ROW_GROUP_BYTES = 1, 1, 1
export(dataset, Trl(), "hf://datasets/org/name/", private=False)
module.SHARD_BYTES, parts.BATCH_ROWS, parts.ROW_GROUP_BYTES = limits
export(dataset, Trl(), "hf://datasets/org/name")
print(datasets.load_dataset("org/name", split="train").num_rows)
"""
    assert hub.run(code, on_disk) == "2\n"
    log = hub.log()["org/name"]
    assert log["visibility"] == "public"
    assert sorted(log["commits"][1]) == [
        "deletedFile data/train-00000-of-00002.parquet",
        "deletedFile data/train-00001-of-00002.parquet",
        "file README.md",
        "header",
        "lfsFile data/train-00000-of-00001.parquet",
    ]


@pytest.mark.parametrize(
    ("token", "message"),
    [("hf_bad", "HF_TOKEN is not valid"), (" ", "HF_TOKEN is not set; make a write token")],
)
def test_rejected_token_error_is_one_line(
    hub: Hub, on_disk: Dataset, token: str, message: str
) -> None:
    code = """
try:
    export(dataset, Trl(), "hf://datasets/org/name")
except UserError as error:
    print(type(error).__name__, error)
"""
    output = hub.run(code, on_disk, token)
    assert message in output
    assert output.count("\n") == 1
    assert hub.log() == {}


def test_unreachable_hub_error_is_one_line(hub: Hub, on_disk: Dataset) -> None:
    code = """
try:
    export(dataset, Trl(), "hf://datasets/org/name")
except UserError as error:
    print(type(error).__name__, error)
"""
    # Nothing listens on the discard port.
    unreachable = Hub("http://127.0.0.1:9", hub.home)
    output = unreachable.run(code, on_disk)
    assert output.startswith("DatasetError cannot write to hf://datasets/org/name: ")
    assert output.endswith("Connection refused\n")


def test_dataset_can_be_on_hub(hub: Hub, on_disk: Dataset) -> None:
    code = """
from huggingface_hub import HfApi
from storage.queries.sql import query
HfApi().create_repo("org/live", repo_type="dataset", private=True)
live = Dataset("hf://datasets/org/live")
live.check_writable()
fill(live)
assert live.has_part(TRACES, 0, "f") and not live.has_part(TRACES, 0, "g")
assert next(live.read(TRACES)) == TRACE
print(live.methods("annotations"), query(live, "SELECT count(*) FROM steps").to_pylist())
"""
    assert hub.run(code, on_disk) == "('formal', 'judge') [{'count_star()': 8}]\n"


def test_missing_token_fails_early(on_disk: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="HF_TOKEN is not set"):
        export(on_disk, Trl(), "hf://datasets/org/name")
