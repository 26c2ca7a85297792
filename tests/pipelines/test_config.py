"""Run files: defaults, error messages, and overrides from the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.run.config import Generate, RunFile, load, parse
from stepmark.errors import ConfigError

SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))
SMALL = """
dataset = "d"

[problems]
use = "word_problems"

[generate]
temperature = 0.5

[[annotators]]
use = "monte_carlo"
rollouts = 8

[[annotators]]
use = "formal"
"""


def load_text(tmp_path: Path, text: str = SMALL, overrides: Sequence[str] = ()) -> RunFile:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, overrides)


def error_message(tmp_path: Path, text: str = SMALL, overrides: Sequence[str] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_tables_have_defaults() -> None:
    run_file = parse({"dataset": "d"}, "here")
    assert run_file.generate == Generate()
    assert run_file.seed == 1
    assert run_file.problems is None
    assert run_file.engine is None
    assert run_file.annotators == ()
    assert run_file.label is None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_resolved_run_file_is_stable(path: Path, tmp_path: Path) -> None:
    resolved = load(path).to_toml()
    assert load_text(tmp_path, resolved) == load(path)
    assert load_text(tmp_path, resolved).to_toml() == resolved


def test_resolved_run_file_contains_overrides(tmp_path: Path) -> None:
    run_file = load_text(
        tmp_path,
        overrides=[
            'generate.stop=["\\n", "\\"END\\""]',
            "problems.name=Größe 'x'",
            "generate.split=regex:\\n+",
        ],
    )
    assert run_file.generate.stop == ("\n", '"END"')
    assert load_text(tmp_path, run_file.to_toml()) == run_file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "dataset: Field required"),
        ('dataset = ""', "dataset: String should have at least 1 character"),
        ("dataset = 5", "dataset: Input should be a valid string"),
        (
            'dataset = "d"\nsede = 2',
            "unknown key 'sede'; known: dataset, seed, problems, engine, judge_engine, "
            "prover_engine, engines, generate, ",
        ),
        ('dataset = "d"\nseed = "one"', "seed: Input should be a valid integer"),
        ('dataset = "d"\nbudget.tokens = "5"', "budget.tokens: Input should be a valid integer"),
        ('dataset = "d"\nbudget.hours = true', "budget.hours: Input should be a valid number"),
        ('dataset = "d"\nlimits.failed_share = true', "limits.failed_share: Input should be"),
        (
            'dataset = "d"\n[generate]\ntemprature = 1',
            "unknown key 'temprature' in [generate]; known: traces_per_problem, temperature",
        ),
        (
            'dataset = "d"\n[shards]\nsize = 1',
            "unknown key 'size' in [shards]; known: problems_per_shard, tokens_in_flight,",
        ),
        (
            'dataset = "d"\n[prices]\nper_token = 1',
            "unknown key 'per_token' in [prices]; known: prompt, generated",
        ),
        (
            'dataset = "d"\n[generate]\ntemperature = "hot"',
            "generate.temperature: Input should be a valid number",
        ),
        (
            'dataset = "d"\n[generate]\ntemperature = -1',
            "generate.temperature: Input should be greater than or equal to 0",
        ),
        ('dataset = "d"\n[generate]\ntemperature = nan', "generate.temperature: "),
        (
            'dataset = "d"\n[generate]\ntop_p = 0',
            "generate.top_p: Input should be greater than or equal to 0.000001",
        ),
        (
            'dataset = "d"\n[generate]\ntraces_per_problem = 0',
            "generate.traces_per_problem: Input should be greater than or equal to 1",
        ),
        (
            'dataset = "d"\n[generate]\ntraces_per_problem = 2000',
            "generate.traces_per_problem: Input should be less than or equal to 1024",
        ),
        (
            'dataset = "d"\n[generate]\nmax_tokens = 1.5',
            "generate.max_tokens: Input should be a valid integer",
        ),
        ('dataset = "d"\n[generate]\nstop = "END"', "generate.stop: Input should be a valid tuple"),
        (
            'dataset = "d"\n[shards]\nproblems_per_shard = 0',
            "shards.problems_per_shard: Input should be greater than or equal to 1",
        ),
        ('dataset = "d"\ngenerate = 5', "generate: "),
        ('dataset = "d"\nengine = "vllm"', "engine: Input should be a valid dictionary"),
        ('dataset = "d"\n[[engine]]\nuse = "vllm"', "engine: Input should be a valid dictionary"),
        (
            'dataset = "d"\n[engines]\nuse = "vllm"',
            "engines.use: write every engine under its own [engines.NAME]",
        ),
        (
            'dataset = "d"\nannotators = ["formal"]',
            "annotators.0: Input should be a valid dictionary",
        ),
        ('dataset = "d"\n[annotators]\nuse = "formal"', "annotators: "),
        ("dataset = ", "is not TOML: "),
        ('dataset = "d"\ndataset = "e"', "is not TOML: "),
    ],
)
def test_invalid_run_file_is_rejected(text: str, message: str, tmp_path: Path) -> None:
    error = error_message(tmp_path, text)
    assert message in error
    assert "run.toml" in error


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'dataset = "\xe9"')
    for name, reason in [
        ("none.toml", "No such file or directory"),
        ("", "Is a directory"),
        ("latin.toml", "'utf-8' codec can't decode"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name)
        assert f"cannot read the run file {tmp_path / name}: {reason}" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "key_path", "value"),
    [
        ("dataset=elsewhere", ("dataset",), "elsewhere"),
        ("dataset=s3://a/b=c", ("dataset",), "s3://a/b=c"),
        ('dataset="42"', ("dataset",), "42"),
        ("seed=7", ("seed",), 7),
        ("seed= 1_000 ", ("seed",), 1000),
        ("generate.temperature=0", ("generate", "temperature"), 0.0),
        ("generate.split=regex:a=b", ("generate", "split"), "regex:a=b"),
        ("shards.problems_per_shard=3", ("shards", "problems_per_shard"), 3),
        ("label.use=consensus", ("label", "use"), "consensus"),
        ("problems.count=5", ("problems", "count"), 5),
        ('problems.paths=["a", "b"]', ("problems", "paths"), ["a", "b"]),
        ("problems.shuffle=true", ("problems", "shuffle"), True),
        ("problems.shape=", ("problems", "shape"), ""),
        ("problems.fields.question=prompt.text", ("problems", "fields", "question"), "prompt.text"),
        ("engine={use = 'pocket'}", ("engine", "use"), "pocket"),
        ("annotators.0.rollouts=4", ("annotators", 0, "rollouts"), 4),
        ("annotators.1.name=second", ("annotators", 1, "name"), "second"),
        ("annotators=[]", ("annotators",), ()),
    ],
)
def test_override_sets_one_key(
    override: str, key_path: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    entry: Any = load_text(tmp_path, overrides=[override]).model_dump()
    for key in key_path:
        entry = entry[key]
    assert entry == value


def test_last_override_wins(tmp_path: Path) -> None:
    run_file = load_text(tmp_path, overrides=["generate.max_tokens=5", "generate.max_tokens=6"])
    assert (run_file.generate.max_tokens, run_file.generate.temperature) == (6, 0.5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("generate.max_tokens", "--set generate.max_tokens: write it as table.key=value"),
        ("=5", "--set : write it as table.key=value"),
        ("", "--set : write it as table.key=value"),
        ("generate.max_token=5", "unknown key 'max_token' in [generate]"),
        ("generate.max_tokens=many", "generate.max_tokens: Input should be a valid integer"),
        (
            "annotators.2.rollouts=4",
            "--set annotators.2.rollouts: there is no '2' in the run file",
        ),
        ("annotators.-1.rollouts=4", "there is no '-1' in the run file"),
        ("annotators.first.rollouts=4", "there is no 'first' in the run file"),
        ("annotators.0=4", "--set annotators.0: annotators is not a table"),
        ("dataset.name=4", "--set dataset.name: dataset is not a table"),
        ("dataset.name.first=4", "there is no 'name' in the run file"),
        ("dataset=2024-01-01", "dataset: a date or a time; write a text in quotes"),
        (".seed=4", "unknown key ''"),
    ],
)
def test_invalid_override_is_rejected(override: str, message: str, tmp_path: Path) -> None:
    assert message in error_message(tmp_path, overrides=[override])
