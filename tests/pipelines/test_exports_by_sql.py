"""Every export has the rows that plain SQL computes from the Parquet files of its dataset.

One dataset is a small run of the demo, with recorded replies of its model. A majority of its
methods makes the labels, without filters, so that some have incorrect and undecided steps. The
other one has random rows that are hard to export.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from stepmark import plugins
from storage.dataset.dataset import Dataset
from tests.golden import flows
from tests.golden.responses import Responses
from tests.pipelines.exports_by_sql.comparison import (
    KIND,
    QUERIES,
    Comparison,
    Variant,
    compare,
    connect,
    variants_of,
)
from tests.pipelines.exports_by_sql.random_dataset import write_random_dataset
from tests.pipelines.one_verifier import use_one_verifier

LABELS = (
    "label={use='consensus',rule='majority',min_agreeing=1}",
    "filters=[]",
)
"""Labels with more incorrect and undecided steps than those of the demo have."""
DEMO = "demo"
RANDOM = "random"


@dataclass(frozen=True)
class Source:
    """A dataset, and its tables in DuckDB."""

    folder: str
    tables: duckdb.DuckDBPyConnection

    def compare(self, variant: Variant) -> Comparison:
        """Compare an export of the dataset with SQL."""
        return compare(self.tables, self.folder, variant)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Source]:
    """The datasets by name."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patches:
        use_one_verifier(patches)
        _run_demo(folder)
    write_random_dataset(Dataset(str(folder / RANDOM)), seed=1)
    folders = {DEMO: str(folder / "pocket"), RANDOM: str(folder / RANDOM)}
    return {name: Source(path, connect(path)) for name, path in folders.items()}


def _run_demo(folder: Path) -> None:
    responses = Responses()
    with flows.folder_of_flow(folder), responses.engine():
        flows.run("pocket", "run", (*flows.POCKET_SETS, *LABELS))
    assert responses.unrecorded == []


@pytest.mark.parametrize("format_name", plugins.available(KIND))
@pytest.mark.parametrize("labels_by", ["", "judge"])
@pytest.mark.parametrize("name", [DEMO, RANDOM])
def test_export_agrees_with_sql(
    sources: Mapping[str, Source], name: str, labels_by: str, format_name: str
) -> None:
    for variant in variants_of(format_name, labels_by):
        compared = sources[name].compare(variant)
        assert not compared.differences, "\n".join([str(variant), *compared.examples])
        assert compared.exported == compared.by_sql
        # The demo is too small for pairs.
        assert compared.exported or name == DEMO


def test_every_query_is_of_a_format() -> None:
    assert sorted(file.stem for file in QUERIES.iterdir()) == list(plugins.available(KIND))


def test_changed_labels_are_differences(sources: Mapping[str, Source]) -> None:
    source = sources[RANDOM]
    variant = Variant(format_name="trl")
    tables = source.tables
    tables.execute("BEGIN")
    try:
        tables.execute("UPDATE labels SET steps = steps[:len(steps) - 1] WHERE kept")
        compared = source.compare(variant)
    finally:
        tables.execute("ROLLBACK")
    assert compared.only_exported > 0
    assert compared.only_by_sql > 0
    assert not source.compare(variant).differences
