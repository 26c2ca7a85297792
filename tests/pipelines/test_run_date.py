"""`{date}` in a run file."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipelines.run.config import load, load_tables
from pipelines.run.run_date import date_in, has_date, parse_date, with_date
from stepmark.errors import ConfigError

DAY = date(2026, 11, 30)


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_date_replaced_in_dataset_and_paths(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'dataset = "s3://bucket/{date}/nightly-{date}"\n'
        '[problems]\nuse = "files"\npaths = ["in/{date}/*.jsonl", "more/{a,b}.jsonl"]\n'
        'fields = {question = "{date}"}\n',
    )
    run_file = load(path, day=DAY)
    assert run_file.dataset == "s3://bucket/2026-11-30/nightly-2026-11-30"
    assert run_file.problems is not None
    assert run_file.problems["paths"] == ["in/2026-11-30/*.jsonl", "more/{a,b}.jsonl"]
    assert run_file.problems["fields"] == {"question": "{date}"}
    assert "{date}" not in run_file.dataset + run_file.to_toml().partition("[problems.fields]")[0]


def test_date_of_override_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, 'dataset = "d"\n')
    assert load(path, ["dataset=x-{date}"], day=DAY).dataset == "x-2026-11-30"
    assert has_date(load_tables(path, ["dataset=x-{date}"]))
    assert not has_date(load_tables(path))


def test_today_is_the_default(tmp_path: Path) -> None:
    name = load(write(tmp_path, 'dataset = "{date}"\n')).dataset
    # The test may run at midnight.
    assert abs((date.fromisoformat(name) - date.today()).days) <= 1


@pytest.mark.parametrize(
    "dataset",
    ["d/{day}", "d/{date:%Y/../..}", "d/{date!r}", "d/{date.year}", "d/{ date }", "{dataset[0]}"],
)
def test_other_placeholders_are_refused(dataset: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.toml: dataset: .* is not replaced; only \{date\}"):
        with_date({"dataset": dataset}, DAY, "run.toml")


def test_other_types_are_left_to_validation() -> None:
    raw = {"dataset": 3, "problems": {"paths": [1, {"x": "{date}"}]}}
    assert with_date(raw, DAY, "run.toml") == raw


def test_date_depends_on_time_zone() -> None:
    moment = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert date_in("UTC", moment) == date(2026, 11, 30)
    assert date_in("Europe/Berlin", moment) == date(2026, 12, 1)


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_unknown_zone_is_one_line(zone: str) -> None:
    with pytest.raises(ConfigError, match="is not a time zone"):
        date_in(zone, None)


def test_date_is_parsed() -> None:
    assert parse_date("2026-11-30") == DAY
    with pytest.raises(ConfigError, match="is not a date"):
        parse_date("../../x")
