"""What a Prefect server displays of a run; `test_flow` reads it back from a server."""

from pathlib import Path

from pipelines.run.config import parse
from pipelines.run.flow_display import code_block, tags_of

CANARY = "canary-7f3d"


def test_tags_name_dataset_models_and_methods() -> None:
    run_file = parse(
        {
            "dataset": "data/x",
            "engine": {"use": "openai", "model": "big"},
            "judge_engine": {"use": "pocket"},
            "engines": {"second": {"use": "openai", "model": "big"}},
            "annotators": [{"use": "judge"}, {"use": "judge", "name": "strict"}],
        },
        "run.toml",
    )
    expected = ["dataset:data/x", "model:big", "model:pocket", "method:judge", "method:strict"]
    assert tags_of(run_file) == expected


def test_tags_have_no_secrets(tmp_path: Path) -> None:
    run_file = parse(
        {
            "dataset": f"s3://bucket/x?key={CANARY}",
            "engine": {"use": "openai", "model": f"https://me:{CANARY}@host/model"},
        },
        "run.toml",
    )
    tags = tags_of(run_file)
    assert len(tags) == 2
    assert CANARY not in str(tags)


def test_code_block_contains_code_blocks() -> None:
    text = "a\n````\nb\n"
    lines = code_block(text, "toml").splitlines()
    assert (lines[0], lines[-1]) == ("`````toml", "`````")
