"""Plans: invalid run files are rejected, and part keys change with exactly their inputs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from annotators.methods.binary_search import BinarySearch
from engines.base import Engine
from engines.scripted import Scripted
from pipelines.run.config import RunFile, parse
from pipelines.run.fingerprints import Fingerprints
from pipelines.run.plan import Plan, build
from problems.sources.word_problems import WordProblems
from stepmark.errors import UserError
from stepmark.records import Problem, Sampling
from tests.columns import column
from verifiers.answers import Answers

# Two annotators of the same plugin, one of the judge, and one without an engine.
RUN: dict[str, Any] = {
    "dataset": "d",
    "problems": {"use": "word_problems", "count": 4},
    "engine": {"use": "scripted", "replies": {"": ["The answer is 1."]}},
    "annotators": [
        {"use": "binary_search", "rollouts": 4},
        {"use": "binary_search", "name": "thorough", "rollouts": 16},
        {"use": "judge"},
        {"use": "formal"},
    ],
    "label": {"use": "consensus"},
}
PROVER = {"use": "monte_carlo", "name": "prover", "engine": "prover_engine"}
METHODS = ("binary_search", "thorough", "judge", "formal")


def run_file(**changes: Any) -> RunFile:
    """Return the run file with these tables replaced; None removes a table."""
    tables = dict[str, Any]()
    for name, table in {**RUN, **changes}.items():
        if table is not None:
            tables[name] = table
    return parse(tables, "run.toml")


def plan(**changes: Any) -> Plan:
    return build(run_file(**changes))


def error_message(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        plan(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def part_key(built: Plan, method: str, traces_key: str) -> str:
    """Return the part key of a method's annotations."""
    return Fingerprints(built).annotations_part_key(built.annotators[method], [traces_key])


def with_engine(built: Plan, engine: Engine) -> Plan:
    """Return the plan with this engine in place of all others."""
    return built.with_engines(built.engines.wrap(lambda _: engine))


def labels_key(built: Plan, traces_key: str) -> str:
    """Return the part key of the labels of a dataset with one shard."""
    return Fingerprints(built).labels_part_key([traces_key])


def part_keys(built: Plan) -> Mapping[str, str]:
    """Return all part keys of a plan, for the same problems and the same traces."""
    keys = {method: part_key(built, method, "traces") for method in built.annotators}
    keys["traces"] = Fingerprints(built).traces_part_key("problems")
    keys["labels"] = labels_key(built, "traces")
    return keys


def check_changed(before: Plan, after: Plan, expected: set[str]) -> None:
    """Check which part keys differ; changed annotations must change the labels too."""
    annotations = {"binary_search", "thorough", "judge", "formal", "prover"}
    if expected & annotations:
        expected = {*expected, "labels"}
    old_keys = part_keys(before)
    new_keys = part_keys(after)
    assert {name for name in old_keys if old_keys[name] != new_keys[name]} == expected


def test_annotators_have_unique_names() -> None:
    annotators = plan().annotators
    assert tuple(annotators) == METHODS
    assert annotators["binary_search"].plugin == BinarySearch(rollouts=4)
    assert annotators["thorough"].plugin == BinarySearch(rollouts=16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"problems": {"use": "wordproblems"}},
            "problems has no 'wordproblems'; it has: files, huggingface, logic, word_problems",
        ),
        ({"problems": {"use": "word_problems", "max_steps": 99}}, "they must satisfy"),
        ({"problems": {"count": 4}}, "a table for problems needs `use = …`"),
        (
            {"engine": {"use": "scripted", "reply": "x"}},
            "engines.scripted has no parameter 'reply'; it has: replies, ",
        ),
        ({"annotators": [{"rollouts": 4}]}, "a table for annotators needs `use = …`"),
        (
            {"annotators": [{"use": "judge"}, {"use": "judge"}]},
            "two [[annotators]] are called 'judge': give one of them a `name`",
        ),
        (
            {"annotators": [{"use": "judge"}, {"use": "formal", "name": "judge"}]},
            "two [[annotators]] are called 'judge'",
        ),
        (
            {"annotators": [{"use": "consensus"}]},
            "'consensus' labels, it does not annotate: put it in [label]",
        ),
        (
            {"annotators": [{"use": "formal", "name": "oracle"}]},
            "[[annotators]] name = 'oracle': use lower-case letters, digits and _",
        ),
        ({"annotators": [{"use": "formal", "name": "human"}]}, "name = 'human'"),
        # The labels of the rater `ann`.
        ({"annotators": [{"use": "formal", "name": "human_ann"}]}, "or human_NAME"),
        ({"annotators": [{"use": "formal", "name": "../x"}]}, "name = '../x'"),
        ({"annotators": [{"use": "formal", "name": "A"}]}, "name = 'A'"),
        ({"annotators": [{"use": "formal", "name": ""}]}, "name = ''"),
        (
            {"annotators": [{"use": "formal", "verifiers": ["guess"]}], "label": None},
            "verifiers has no 'guess'",
        ),
        (
            {"annotators": [{"use": "adaptive_search", "evidence": ["formal"]}, {"use": "formal"}]},
            "annotator 'adaptive_search' depends on 'formal': "
            "the run file must list an [[annotators]] of that name before it",
        ),
        (
            {"label": {"use": "judge"}},
            "[label] use = 'judge' annotates, it does not label: put it in [[annotators]]",
        ),
        (
            {"label": {"use": "consensus", "judge": "other"}},
            "needs the annotators 'other' and one of monte_carlo, binary_search",
        ),
        ({"label": {}}, "a table for labelers needs `use = …`"),
        (
            {"engine": None},
            "annotator 'binary_search' uses a language model: add an [engine] table",
        ),
        (
            {"engine": None, "annotators": [{"use": "judge"}], "label": None},
            "'judge' uses a language model: add an [judge_engine] table",
        ),
        (
            {"annotators": [PROVER]},
            "annotator 'prover': engine = 'prover_engine': there is no engine of that name; "
            "the engines are: engine",
        ),
        (
            {"annotators": [PROVER | {"engine": "judge_engine"}]},
            "annotator 'prover': engine = 'judge_engine': there is no engine of that name",
        ),
        (
            {"annotators": [{"use": "formal", "engine": "prover_engine"}]},
            "annotator 'formal': engine = 'prover_engine': the method samples and scores no",
        ),
        ({"generate": {"split": "words"}}, "split: no way of splitting called 'words'"),
        ({"generate": {"split": "regex:("}}, "is not a valid pattern"),
        (
            {"generate": {"prompt": "none"}},
            "no prompt 'none': give the path of a text file, or one of: boxed, logic, pocket",
        ),
    ],
)
def test_invalid_run_file_is_rejected(changes: dict[str, Any], message: str) -> None:
    assert message in error_message(**changes)


def test_judge_engine_defaults_to_engine() -> None:
    built = plan()
    (judge,) = built.annotators["judge"].judges
    assert judge is built.engine
    with_judge = plan(judge_engine={"use": "scripted", "replies": {"": ["yes"]}})
    assert with_judge.annotators["judge"].judges == (with_judge.engines["judge_engine"],)
    assert with_judge.engines["judge_engine"] != with_judge.engine
    judge_only = plan(
        engine=None, judge_engine=RUN["engine"], annotators=[{"use": "judge"}], label=None
    )
    assert judge_only.engine is None


def dependent_annotators(rollouts: int) -> list[dict[str, Any]]:
    # The last method depends on nothing, although it follows methods that do.
    return [
        {"use": "formal"},
        {"use": "binary_search", "rollouts": rollouts},
        {"use": "adaptive_search", "evidence": ["formal", "binary_search"]},
        {"use": "adaptive_search", "name": "again", "evidence": ["adaptive_search"]},
        {"use": "judge"},
    ]


def test_dependencies_run_in_earlier_waves() -> None:
    waves = plan(annotators=dependent_annotators(rollouts=4)).waves
    assert [column(wave, "name") for wave in waves] == [
        ["formal", "binary_search", "judge"],
        ["adaptive_search"],
        ["again"],
    ]


def test_fingerprints_cover_dependencies() -> None:
    first = plan(annotators=dependent_annotators(rollouts=4))
    second = plan(annotators=dependent_annotators(rollouts=5))
    changed = set[str]()
    for method, spec in first.annotators.items():
        other = second.annotators[method]
        if Fingerprints(first).annotations(spec) != Fingerprints(second).annotations(other):
            changed.add(method)
    # The change passes through two dependencies; `formal` and `judge` do not depend on it.
    assert changed == {"binary_search", "adaptive_search", "again"}


def test_prover_serves_methods_that_select_it() -> None:
    prover = {"use": "scripted", "replies": {"": ["No."]}}
    with_engine = {"use": "monte_carlo", "name": "own", "engine": "engine"}
    annotators = [*RUN["annotators"], PROVER, with_engine]
    built = plan(annotators=annotators, prover_engine=prover)
    assert built.annotators["prover"].engine is built.engines["prover_engine"]
    assert built.engines["prover_engine"] != built.engine
    assert built.annotators["own"].engine is built.engine
    assert built.annotators["binary_search"].engine is built.engine
    same_engine = plan(annotators=annotators, prover_engine=RUN["engine"])
    check_changed(built, same_engine, {"prover"})
    with_judge = plan(annotators=annotators, prover_engine=RUN["engine"], judge_engine=prover)
    check_changed(same_engine, with_judge, {"judge"})


def test_most_tables_are_optional() -> None:
    built = build(parse({"dataset": "d"}, ""))
    assert built.source is None
    assert built.engine is None
    assert dict(built.engines) == {}
    assert dict(built.annotators) == {}
    assert built.labeler is None


def test_question_is_not_a_template() -> None:
    problem = Problem(
        problem_id="", question="What is {question}?", answer=None, domain="", source=""
    )
    prompt = plan().solve_prompt(problem)
    assert prompt.user.endswith("within \\boxed{}.\n\nWhat is {question}?\n")
    assert prompt.prefix == ""
    assert prompt.system == ""


def test_sampling_follows_the_run_file() -> None:
    generate = {"temperature": 0.3, "top_p": 0.9, "max_tokens": 7, "stop": ["END"]}
    assert plan(generate=generate).sampling(n=3, seed=5) == Sampling(
        n=3, temperature=0.3, top_p=0.9, max_tokens=7, stop=("END",), seed=5
    )


MAJORITY = {"use": "consensus", "rule": "majority"}
# The tables that contain text generated by the engine, and those of all methods with an engine.
GENERATED = {"traces", "binary_search", "thorough"}
REQUESTED = {*GENERATED, "judge"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"dataset": "elsewhere"}, set()),
        ({"prices": {"prompt": 1.0}}, set()),
        ({"shards": {"shards_in_flight": 1}}, set()),
        ({"engine": RUN["engine"] | {"delay": 1.0}}, set()),
        # The key of the problems is the same here, so the number per shard changes nothing.
        ({"shards": {"problems_per_shard": 2}}, set()),
        ({"problems": RUN["problems"] | {"count": 5}}, set()),
        ({"seed": 2}, {*REQUESTED, "formal"}),
        ({"engine": {"use": "scripted", "replies": {"": ["No."]}}}, REQUESTED),
        ({"judge_engine": {"use": "scripted", "replies": {"": ["No."]}}}, {"judge"}),
        ({"generate": {"temperature": 0.5}}, GENERATED),
        ({"generate": {"top_p": 0.5}}, GENERATED),
        ({"generate": {"max_tokens": 5}}, GENERATED),
        ({"generate": {"stop": ["END"]}}, GENERATED),
        ({"generate": {"prompt": "pocket"}}, GENERATED),
        # Rollouts are stored in steps too.
        ({"generate": {"split": "sentence"}}, GENERATED),
        ({"generate": {"grader": "code"}}, GENERATED),
        ({"generate": {"traces_per_problem": 2}}, {"traces"}),
        (
            {"annotators": [{"use": "binary_search", "rollouts": 5}, *RUN["annotators"][1:]]},
            {"binary_search"},
        ),
        (
            {
                "annotators": [
                    *RUN["annotators"][:2],
                    {"use": "judge", "votes": 1},
                    RUN["annotators"][3],
                ]
            },
            {"judge"},
        ),
        (
            {
                "annotators": [
                    *RUN["annotators"][:2],
                    {"use": "judge", "prompt": "pocket"},
                    RUN["annotators"][3],
                ]
            },
            {"judge"},
        ),
        ({"label": {"use": "consensus", "rule": "majority"}}, {"labels"}),
        ({"label": {"use": "consensus", "formal_veto": False}}, {"labels"}),
    ],
)
def test_part_keys_cover_their_inputs(changes: dict[str, Any], expected: set[str]) -> None:
    check_changed(plan(), plan(**changes), expected)


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        # The key of the problems is fixed in `part_keys`.
        (WordProblems, set()),
        (Answers, GENERATED),
        (BinarySearch, {"binary_search", "thorough"}),
    ],
)
def test_plugin_version_changes_its_output(
    plugin: type[Any], expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = part_keys(plan())
    monkeypatch.setattr(plugin, "version", plugin.version + 1)
    after = part_keys(plan())
    changed = {name for name in before if before[name] != after[name]}
    # A new version of a method or grader changes the labels through the annotations.
    assert changed - {"labels"} == expected
    assert ("labels" in changed) == bool(expected)


def test_text_of_prompt_file_is_covered(tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{question}")
    before = plan(generate={"prompt": str(prompt)})
    prompt.write_text("{question}!")
    check_changed(before, plan(generate={"prompt": str(prompt)}), GENERATED)


@pytest.mark.parametrize(
    "changed_key",
    [
        lambda built: part_key(built, "binary_search", "other traces"),
        lambda built: part_key(built, "thorough", "traces"),
        lambda built: part_key(with_engine(built, Scripted()), "binary_search", "traces"),
    ],
    ids=["traces", "method", "engine"],
)
def test_annotations_key_depends_on_inputs(changed_key: Callable[[Plan], str]) -> None:
    assert changed_key(plan()) != part_key(plan(), "binary_search", "traces")


def test_labels_key_depends_on_annotations() -> None:
    annotators = RUN["annotators"]
    keys = set[str]()
    for chosen in (annotators, annotators[:3], annotators[1:]):
        keys.add(labels_key(plan(annotators=chosen, label=MAJORITY), "traces"))
    assert len(keys) == 3
    assert labels_key(plan(), "traces") != labels_key(plan(), "other traces")
