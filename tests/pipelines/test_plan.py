"""A plan: everything that cannot be is refused before anything starts, and a fingerprint moves with what it covers alone."""

from collections.abc import Callable
from dataclasses import replace
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
from verifiers.answers import Answers

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
    return parse(
        {key: value for key, value in (RUN | changes).items() if value is not None}, "run.toml"
    )


def plan(**changes: Any) -> Plan:
    return build(run_file(**changes))


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        plan(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_methods_go_by_their_plugins_name_or_their_own() -> None:
    built = plan().annotators
    assert tuple(built) == METHODS
    assert built["binary_search"].plugin == BinarySearch(rollouts=4)
    assert built["thorough"].plugin == BinarySearch(rollouts=16)


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
        ({"annotators": [{"use": "formal", "name": "../x"}]}, "name = '../x'"),
        ({"annotators": [{"use": "formal", "name": "A"}]}, "name = 'A'"),
        ({"annotators": [{"use": "formal", "name": ""}]}, "name = ''"),
        (
            {"annotators": [{"use": "formal", "verifiers": ["guess"]}], "label": None},
            "verifiers has no 'guess'",
        ),
        (
            {"annotators": [{"use": "adaptive_search", "evidence": ["formal"]}, {"use": "formal"}]},
            "annotator 'adaptive_search' depends on 'formal': list [[annotators]] use = 'formal' before it",
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
            "annotator 'prover' uses a language model: add an [prover_engine] table",
        ),
        (
            {"annotators": [PROVER | {"engine": "judge_engine"}]},
            "annotator 'prover': engine = 'judge_engine': a method that samples",
        ),
        (
            {"annotators": [{"use": "formal", "engine": "prover_engine"}]},
            "annotator 'formal': engine = 'prover_engine': a method that",
        ),
        ({"generate": {"split": "words"}}, "split: no way of splitting called 'words'"),
        ({"generate": {"split": "regex:("}}, "is not a valid pattern"),
        (
            {"generate": {"prompt": "none"}},
            "no prompt 'none': give the path of a text file, or one of: boxed, logic, pocket",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(**changes)


def test_the_judge_engine_is_the_engine_unless_there_is_one() -> None:
    both = plan(judge_engine={"use": "scripted", "replies": {"": ["yes"]}})
    assert plan().judge_engine is not None
    assert plan().judge_engine == plan().engine
    assert both.judge_engine != both.engine
    assert (
        plan(
            engine=None, judge_engine=RUN["engine"], annotators=[{"use": "judge"}], label=None
        ).engine
        is None
    )


def hearing(rollouts: int = 4) -> list[dict[str, Any]]:
    return [
        {"use": "formal"},
        {"use": "binary_search", "rollouts": rollouts},
        {"use": "adaptive_search", "evidence": ["formal", "binary_search"]},
        {"use": "adaptive_search", "name": "again", "evidence": ["adaptive_search"]},
        {"use": "judge"},
    ]


def test_methods_speak_after_those_they_hear_and_change_with_them() -> None:
    one, other = plan(annotators=hearing()), plan(annotators=hearing(rollouts=5))
    assert [[spec.name for spec in wave] for wave in one.waves] == [
        ["formal", "binary_search", "judge"],
        ["adaptive_search"],
        ["again"],
    ]
    changed = {
        method
        for method in one.annotators
        if row_fingerprint(one, method) != row_fingerprint(other, method)
    }
    assert changed == {"binary_search", "adaptive_search", "again"}


def test_a_prover_writes_the_rollouts_of_the_methods_that_name_it() -> None:
    engine, prover = RUN["engine"], {"use": "scripted", "replies": {"": ["No."]}}
    own = {"use": "monte_carlo", "name": "own", "engine": "engine"}
    one = plan(annotators=[*RUN["annotators"], PROVER, own], prover_engine=prover)
    assert rollout_engine(one, "prover") == one.prover_engine != one.engine
    assert rollout_engine(one, "own") == rollout_engine(one, "binary_search") == one.engine
    two = plan(annotators=[*RUN["annotators"], PROVER, own], prover_engine=engine)
    check_moved(names(one), names(two), {"prover"})
    check_moved(
        names(two),
        names(
            plan(
                annotators=[*RUN["annotators"], PROVER, own],
                prover_engine=engine,
                judge_engine=prover,
            )
        ),
        {"judge"},
    )


def test_a_run_file_may_leave_most_out() -> None:
    bare = build(parse({"dataset": "d"}, ""))
    assert (bare.source, bare.engine, bare.judge_engine, dict(bare.annotators), bare.labeler) == (
        None,
        None,
        None,
        {},
        None,
    )


def test_a_question_is_never_read_as_a_template() -> None:
    problem = Problem(
        problem_id="", question="What is {question}?", answer=None, domain="", source=""
    )
    prompt = plan().solve_prompt(problem)
    assert prompt.user.endswith("within \\boxed{}.\n\nWhat is {question}?\n")
    assert (prompt.prefix, prompt.system) == ("", "")


def test_sampling_is_that_of_the_run_file() -> None:
    g = {"temperature": 0.3, "top_p": 0.9, "max_tokens": 7, "stop": ["END"]}
    assert plan(generate=g).sampling(n=3, seed=5) == Sampling(
        n=3, temperature=0.3, top_p=0.9, max_tokens=7, stop=("END",), seed=5
    )


def row_fingerprint(one: Plan, method: str) -> str:
    return Fingerprints(one).annotations(one.annotators[method])


def part_key(one: Plan, method: str, traces: str) -> str:
    return Fingerprints(one).annotations_part_key(one.annotators[method], traces)


def labels_key(one: Plan, traces: str) -> str:
    return Fingerprints(one).labels_part_keys({0: traces}, {})[0]


def rollout_engine(one: Plan, method: str) -> Engine | None:
    return one.engines.rollout_engine(uses_prover=one.annotators[method].uses_prover)


def names(one: Plan) -> dict[str, str]:
    """Every stamp of a plan: of traces of the same problems, of annotations and labels over the same traces."""
    found = {method: part_key(one, method, "traces") for method in one.annotators}
    return found | {
        "traces": Fingerprints(one).traces_part_key("problems"),
        "labels": Fingerprints(one).labels_part_keys({0: "traces"}, {})[0],
    }


def check_moved(before: dict[str, str], after: dict[str, str], moved: set[str]) -> None:
    """What moved is this and, when an annotation did, the labels too."""
    follows = {"labels"} if moved & {*EVERYTHING_ASKED, "formal", "prover"} - {"traces"} else set()
    assert {name for name in before if before[name] != after[name]} == moved | follows


MAJORITY = {"use": "consensus", "rule": "majority"}
EVERYTHING_WRITTEN = {"traces", "binary_search", "thorough"}
EVERYTHING_ASKED = {*EVERYTHING_WRITTEN, "judge"}


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({}, set()),
        ({"dataset": "elsewhere"}, set()),
        ({"prices": {"prompt": 1.0}}, set()),
        ({"shards": {"shards_in_flight": 1}}, set()),
        ({"engine": RUN["engine"] | {"delay": 1.0}}, set()),
        ({"shards": {"problems_per_shard": 2}}, set()),
        ({"problems": RUN["problems"] | {"count": 5}}, set()),
        ({"seed": 2}, {*EVERYTHING_ASKED, "formal"}),
        ({"engine": {"use": "scripted", "replies": {"": ["No."]}}}, EVERYTHING_ASKED),
        ({"judge_engine": {"use": "scripted", "replies": {"": ["No."]}}}, {"judge"}),
        ({"generate": {"temperature": 0.5}}, EVERYTHING_WRITTEN),
        ({"generate": {"top_p": 0.5}}, EVERYTHING_WRITTEN),
        ({"generate": {"max_tokens": 5}}, EVERYTHING_WRITTEN),
        ({"generate": {"stop": ["END"]}}, EVERYTHING_WRITTEN),
        ({"generate": {"prompt": "pocket"}}, EVERYTHING_WRITTEN),
        ({"generate": {"split": "sentence"}}, {"traces"}),
        ({"generate": {"grader": "code"}}, EVERYTHING_WRITTEN),
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
def test_a_fingerprint_moves_with_what_it_covers(changes: dict[str, Any], moved: set[str]) -> None:
    check_moved(names(plan()), names(plan(**changes)), moved)


@pytest.mark.parametrize(
    ("plugin", "moved"),
    [
        (WordProblems, set()),
        (Answers, EVERYTHING_WRITTEN),
        (BinarySearch, {"binary_search", "thorough"}),
    ],
)
def test_a_new_version_of_a_plugin_moves_what_it_makes(
    plugin: type[Any], moved: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(plan())
    monkeypatch.setattr(plugin, "version", plugin.version + 1)
    check_moved(before, names(plan()), moved)


def test_the_text_of_ones_own_prompt_is_covered(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{question}")
    before = names(plan(generate={"prompt": str(own)}))
    own.write_text("{question}!")
    check_moved(before, names(plan(generate={"prompt": str(own)})), EVERYTHING_WRITTEN)


@pytest.mark.parametrize(
    "other",
    [
        lambda one: part_key(one, "binary_search", "other traces"),
        lambda one: part_key(one, "thorough", "traces"),
        lambda one: part_key(replace(one, engine=Scripted()), "binary_search", "traces"),
    ],
)
def test_annotations_of_other_traces_methods_or_engines_are_others(
    other: Callable[[Plan], str],
) -> None:
    assert other(plan()) != part_key(plan(), "binary_search", "traces")


def test_labels_of_other_annotations_are_others() -> None:
    annotators = RUN["annotators"]
    chosen = (annotators, annotators[:3], annotators[1:])
    assert (
        len({labels_key(plan(annotators=methods, label=MAJORITY), "traces") for methods in chosen})
        == 3
    )
    assert labels_key(plan(), "traces") != labels_key(plan(), "other traces")
