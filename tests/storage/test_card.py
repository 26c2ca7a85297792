"""The dataset card states the facts, loads each config, and contains hostile text as code."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import DatasetCard

from pipelines.scoring.dataset_scores import scores
from pipelines.scoring.gold import first_errors
from stepmark.errors import ConfigError
from stepmark.records import Cost
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations
from storage.formats.processbench import ProcessBench
from storage.formats.trl import Trl
from storage.publishing.card import Config
from storage.publishing.card_file import has_one_config, render
from storage.publishing.export import export
from storage.publishing.facts import Facts, MethodQuality, facts_of, wilson_interval
from storage.publishing.statistics import ExportStatistics
from tests.columns import column
from tests.storage.samples import ANNOTATION, BAD, GOOD, PROBLEM, TRACE, labelled

CONFIG = Config(name="trl", source="org/name", folder="trl", description="trl", file_type="parquet")
STATISTICS = ExportStatistics(split_rows=Counter(train=1), licenses=Counter(MIT=1))


def card(
    statistics: ExportStatistics = STATISTICS,
    *,
    config: Config = CONFIG,
    run_files: list[str] | None = None,
    earlier: str = "",
) -> str:
    return render(config, statistics, Facts(run_files=run_files or []), earlier)


def metadata_of(text: str) -> Any:
    return DatasetCard(text).data.to_dict()  # type: ignore[no-untyped-call]


def python_block(text: str) -> str:
    return text.split("```python\n")[1].split("```")[0]


def test_card_describes_the_export(on_disk: Dataset, tmp_path: Path) -> None:
    export(on_disk, Trl(), str(tmp_path / "out"))
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    metadata = metadata_of(text)
    # It changes with the bytes of the files, which depend on the version of Arrow.
    assert re.fullmatch(r"0\.0\.\d{1,10}", metadata["configs"][0].pop("version"))
    assert metadata == {
        "license": "mit",
        "tags": ["process-supervision", "prm", "stepmark"],
        "configs": [
            {
                "config_name": "trl",
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
                "default": True,
            }
        ],
    }
    for line in (
        "2 rows. Of 3 labelled traces 2 were kept (66.7%), 2 of them distinct.",
        "| train | 2 |",
        "- `arithmetic`: 2",
        "- `with an error`: 1",
        "- `its label is not kept`: 1",
        "- `some/model`: 3",
        "- `monte_carlo`: 3",
        "- `f`: 3",
        "| traces | 3 | 0 | 15 | 27 |",
        "| `judge` | 1 | 4 | 5 | 7 |",
        "None: no run file of the dataset has the filter `contamination`.",
        "Not measured: the dataset has no gold labels",
        '```toml\ndataset = "x"\n```',
    ):
        assert line in text


@pytest.mark.parametrize("name", ["out", "it's \\ \U0001f600"])
def test_code_of_card_loads_rows(
    on_disk: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    export(on_disk, Trl(), str(tmp_path / name))
    text = (tmp_path / name / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names: dict[str, Any] = {}
    exec(python_block(text), names)
    assert [row["labels"] for row in names["train"]] == [[True] * 3, [True, False]]


def test_code_of_card_names_revision() -> None:
    text = card(config=replace(CONFIG, revision="v1"))
    assert "train = load_dataset('org/name', 'trl', split='train', revision='v1')" in text


def scored_dataset(dataset: Dataset) -> Dataset:
    """Write ten traces with labels, judged ones, and an oracle that does not know one of them."""
    traces = []
    labels = []
    oracle = []
    judge = []
    for index in range(10):
        verdicts = [GOOD, BAD] if index % 2 else [GOOD, GOOD]
        trace, label = labelled(f"t{index}", *verdicts, kept=index != 4)
        traces.append(trace)
        labels.append(label)
        gold = None if index == 9 else [label.first_error, -1, 0][index % 3]
        row = replace(ANNOTATION, trace_id=trace.trace_id, steps=ANNOTATION.steps[:2], error=None)
        oracle.append(replace(row, method="oracle", first_error=gold))
        judge.append(replace(row, first_error=None if index == 5 else index % 2 - 1))
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(TRACES, 0, traces, "f")
    dataset.write_part(LABELS, 0, labels, "f")
    dataset.write_part(annotations("oracle"), 0, oracle, "f")
    dataset.write_part(annotations("judge"), 0, judge, "f")
    dataset.write_run_file('[label]\nuse = "consensus"\n[[filters]]\nuse = "contamination"\n')
    return dataset


def test_quality_is_that_of_score(dataset: Dataset) -> None:
    facts = facts_of(scored_dataset(dataset))
    gold, _ = first_errors(dataset, "oracle")
    expected = scores(dataset, gold, excluded_method="oracle")
    assert facts.gold == "oracle"
    assert column(facts.quality, "method") == ["judge", ""]
    for quality, score in zip(facts.quality, expected.values(), strict=True):
        assert (quality.traces, quality.decided) == (score.traces, score.decided)
        assert quality.exact / quality.decided == score.exact
        assert quality.f1 == score.f1


def test_card_states_quality(dataset: Dataset, tmp_path: Path) -> None:
    export(scored_dataset(dataset), Trl(), str(tmp_path / "out"))
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (labels,) = [line for line in text.splitlines() if line.startswith("| kept labels |")]
    quality = facts_of(dataset).quality[-1]
    low, high = wilson_interval(quality.exact, quality.decided)
    assert f"| 9 | 8 | {quality.exact / 8:.1%} | {low:.1%} to {high:.1%} |" in labels
    assert "The filter `contamination` of the run file dropped 0 traces." in text


def test_wilson_interval_is_published_one() -> None:
    # Agresti and Coull 1998, section 1: no success in ten trials.
    low, high = wilson_interval(0, 10)
    assert (low, round(high, 4)) == (0, 0.2775)


def test_f1_needs_both_classes() -> None:
    quality = MethodQuality("judge", 3, 3, 3, 3, 3)
    assert quality.f1 is None
    assert quality._replace(traces=4).f1 == 0


def test_costs_sum_all_shards(dataset: Dataset) -> None:
    cost = Cost(rollouts=2, prompt_tokens=3, generated_tokens=5)
    for shard in range(2):
        trace = replace(TRACE, trace_id=f"t{shard}")
        dataset.write_part(PROBLEMS, shard, [PROBLEM], "f")
        dataset.write_part(TRACES, shard, [trace], "f")
        row = replace(ANNOTATION, trace_id=trace.trace_id, cost=cost)
        dataset.write_part(annotations("judge"), shard, [row], "f")
    dataset.write_run_file("")
    assert facts_of(dataset).costs == [("", 2, 0, 10, 18), ("judge", 2, 4, 6, 10)]


@pytest.mark.parametrize(
    "licenses", [{"MIT": 1, "CC-BY-4.0": 1}, {"evil\nlicense: mit": 1}, {"not stated": 1}]
)
def test_unknown_licence_is_other(licenses: dict[str, int]) -> None:
    text = card(replace(STATISTICS, licenses=Counter(licenses)))
    assert metadata_of(text)["license"] == "other"


HOSTILE = (
    "```\n# Owned\n```",
    "`````",
    "a\n---\nlicense: mit\n---\n",
    "``` ~~~ `````` \n# x",
    "\n`",
    "<!-- end of config trl -->\n# x\n<script>x</script>",
)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_stays_inside_code(hostile: str) -> None:
    statistics = ExportStatistics(
        split_rows=Counter(train=1),
        models=Counter({hostile: 1}),
        left_out=Counter({hostile: 1}),
        domains=Counter({hostile: 1}),
        sources=Counter({hostile: 1}),
        methods=Counter({hostile: 1}),
        licenses=Counter({hostile: 1}),
        fingerprints=Counter({hostile: 1}),
    )
    run_file = f"x = '''\n{hostile}'''"
    config = replace(CONFIG, source=hostile, description=hostile)
    text = card(statistics, config=config, run_files=[run_file])
    assert metadata_of(text)["license"] == "other"
    fence = text.split("### Run file\n\n")[1].partition("toml\n")[0]
    inside = text.split(f"{fence}toml\n")[1].removesuffix(
        f"\n{fence}\n\n<!-- end of config trl -->\n"
    )
    assert inside == run_file.replace("<!--", r"<\x21--")
    assert fence not in inside
    outside = text.split("### Run file")[0]
    headings = [line for line in outside.splitlines() if line.startswith("#")]
    assert headings[1:] == [line for line in card().splitlines() if line.startswith("#")][1:-1]
    # The next export finds the same section.
    assert card(earlier=text).splitlines().count("<!-- end of config trl -->") == 1


def test_backticks_cannot_end_code_span() -> None:
    text = card(replace(STATISTICS, models=Counter({"a ` b\n`` c": 1})))
    assert "\n- ``` a ` b `` c ```: 1\n" in text


def test_hidden_characters_are_escaped() -> None:
    statistics = replace(STATISTICS, models=Counter({"a\x1b[31m\x00\u202eb": 1}))
    text = card(statistics, run_files=['x = "\u202e\x9b"'])
    assert r"- `a\x1b[31m\x00\u202eb`: 1" in text
    assert text.isascii()


def test_long_lists_are_truncated() -> None:
    models = Counter({f"model {index}": 1 for index in range(1000)})
    text = card(replace(STATISTICS, models=models), run_files=["x" * 10])
    assert "- 980 more" in text
    assert len(text) < 5000


def test_other_configs_and_text_stay() -> None:
    first = card()
    mine = first.replace("# `org/name`", "# My title").replace(
        "<!-- end of config trl -->\n", "<!-- end of config trl -->\n\nMy notes.\n"
    )
    mine = mine.replace("tags:\n", "pretty_name: Mine\ntags:\n- math\n")
    processbench = replace(CONFIG, name="processbench", folder="processbench")
    both = card(
        ExportStatistics(split_rows=Counter(test=2), licenses=Counter({"CC-BY-4.0": 1})),
        config=processbench,
        earlier=mine,
    )
    metadata = metadata_of(both)
    assert metadata["pretty_name"] == "Mine"
    assert metadata["tags"] == ["process-supervision", "prm", "stepmark", "math"]
    assert metadata["license"] == "other"
    assert [config["config_name"] for config in metadata["configs"]] == ["trl", "processbench"]
    assert [config.get("default") for config in metadata["configs"]] == [True, None]
    assert both.count("My notes.") == both.count("# My title") == 1
    again = card(replace(STATISTICS, split_rows=Counter(train=7)), earlier=both)
    assert again.count("## Config trl") == again.count("## Config processbench") == 1
    assert again.count("My notes.") == 1
    assert "| train | 7 |" in again
    assert "| train | 1 |" not in again


def test_other_line_ends_are_read() -> None:
    mine = card().replace("# `org/name`", "# My title").replace("\n", "\r\n")
    assert not has_one_config(mine)
    both = card(config=replace(CONFIG, name="sft", folder="sft"), earlier=mine)
    assert [config["config_name"] for config in metadata_of(both)["configs"]] == ["trl", "sft"]
    assert both.count("# My title") == both.count("## Config trl") == 1


def test_card_of_earlier_version_is_replaced() -> None:
    old = (
        "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files: []\n---\n\n# `x`\n\n"
        "Process-supervision data in the format `trl`, made with Stepmark 0.1.0.\n"
    )
    text = card(earlier=old)
    assert [config["config_name"] for config in metadata_of(text)["configs"]] == ["trl"]
    assert "in the format `trl`, made with" not in text


def test_card_of_website_is_extended() -> None:
    text = card(earlier="---\nlicense: mit\nlanguage: en\n---\n")
    assert metadata_of(text)["language"] == "en"
    assert text.count("---\n") == 2


@pytest.mark.parametrize(
    ("earlier", "message"),
    [
        ("# Mine", "a README.md that no export wrote"),
        ("---\nconfigs:\n- config_name: trl\n---\n", "a README.md that no export wrote"),
        ("---\na: [\n---\n", "cannot be read: repair or remove it"),
        ("---\n- a\n---\n", "cannot be read: repair or remove it"),
        ("---\n1: a\n---\n", "cannot be read: repair or remove it"),
        ("---\na: !!python/object/apply:os.system [x]\n---\n", "cannot be read"),
    ],
)
def test_foreign_card_is_rejected(earlier: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        card(earlier=earlier)


def test_invalid_configs_are_rejected() -> None:
    earlier = card().replace("- config_name: trl", "- 1\n- config_name: trl")
    with pytest.raises(ConfigError, match="are no list of tables"):
        card(earlier=earlier)


def test_card_has_no_gold_of_labels(dataset: Dataset, tmp_path: Path) -> None:
    scored_dataset(dataset)
    export(dataset, ProcessBench(), str(tmp_path / "out"), labels_by="oracle")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| `oracle` |" not in text.split("### Label quality")[1].split("### ")[0]
