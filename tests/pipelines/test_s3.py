"""Datasets in S3: moto's server over HTTP, with faults. Nothing here depends on the cloud."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest

from stepmark.errors import DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.readme import README, write_readme
from storage.queries.ddl import ddl
from storage.queries.render import values
from storage.queries.sql import query_session
from tests.pipelines.running import (
    clean_environment,
    run_file,
    start,
    wait_for,
)
from tests.pipelines.test_workers import TABLES, contents, job_of, run
from tests.storage.s3_server import BUCKET, FaultyProxy, s3_server
from tests.storage.samples import fill

# Each fault costs a wait of about a second. This share is enough for every kind to occur.
FAULT_SHARE = 0.06
REPLIES = {"": ["1 + 1 = 2\nThe answer is \\boxed{2}."]}
COUNT = "SELECT count(*) FROM rollouts JOIN traces USING (trace_id)"


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultyProxy]:
    """Yield the proxy of a server that this process and its children use as S3."""
    with s3_server() as (url, proxy), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield proxy


def expire_lease(dataset: Dataset) -> None:
    """Set the time of renewal in the lease of a killed run back by a day."""
    for name in dataset.folder.files():
        if name.startswith(".lease-"):
            with dataset.folder.reading(name) as file:
                lease = json.load(file)
            with dataset.folder.writing(name) as file:
                file.write(json.dumps({**lease, "renewed": lease["renewed"] - 86_400}).encode())


def count_rows(dataset: Dataset) -> int:
    """Return the number of rows of a query that reads two tables."""
    with query_session(dataset) as ask:
        ((count,),) = values(ask(COUNT))
        return int(count)


def test_killed_run_equals_a_local_one(proxy: FaultyProxy, tmp_path: Path) -> None:
    tables: dict[str, Any] = {**TABLES, "problems": {"use": "word_problems", "count": 4}}
    local = job_of(run_file(tmp_path / "local", **tables), workers=1)
    run(local)
    tables["dataset"] = f"s3://{BUCKET}/killed"
    tables["shards"] = {"problems_per_shard": 2, "flush_seconds": 0.2}
    slow = {**tables, "engine": {"use": "scripted", "replies": REPLIES, "delay": 1.0}}
    environment = clean_environment(tmp_path / "home")
    command = start("run", run_file(tmp_path / "slow", **slow), environment=environment)
    dataset = Dataset(f"s3://{BUCKET}/killed")
    wait_for(lambda: dataset.folder.files("completions"), command)
    os.killpg(command.pid, signal.SIGKILL)
    command.communicate()
    resumed = job_of(run_file(tmp_path / "resumed", **tables), workers=1)
    with pytest.raises(DatasetError, match="another run is writing here: pid"):
        run(resumed)
    expire_lease(dataset)
    proxy.share = FAULT_SHARE
    run(resumed)
    proxy.share = 0.0
    assert resumed.meter.reused > 0
    assert proxy.counts.keys() == {"", "slow down", "reset", "lost answer", "truncated"}
    assert contents(dataset) == contents(local.dataset)
    assert count_rows(dataset) == count_rows(local.dataset) > 0


def test_plain_duckdb_reads_a_bucket(proxy: FaultyProxy) -> None:
    dataset = Dataset(f"s3://{BUCKET}/views")
    fill(dataset)
    write_readme(dataset)
    with duckdb.connect() as plain:
        # In place of DuckDB's extension for S3, which it would download.
        plain.register_filesystem(fsspec.filesystem("s3"))
        plain.execute(ddl(dataset))
        assert plain.sql(COUNT).fetchall() == [(count_rows(dataset),)] == [(1,)]
        assert plain.sql("SELECT count(*) FROM verdicts").fetchall() == [(3,)]
    assert dataset.folder.has(README)
