"""Ids and seeds of a fixed run file. A change of one of them needs a line in CHANGELOG.md."""

from dataclasses import replace
from itertools import chain

from annotators.context import rollout_seed
from engines.base import Prompt, completion_keys, score_key
from pipelines.run import plan as planning
from pipelines.run.config import parse
from pipelines.run.traces import trace_ids
from problems.base import problem_id_of
from stepmark.identity import seed_for
from stepmark.records import Problem, Sampling

PLAN = planning.build(
    parse(
        {
            "dataset": "d",
            "seed": 7,
            "engine": {"use": "scripted", "replies": {"": ["The answer is \\boxed{4}."]}},
            "generate": {"traces_per_problem": 2, "temperature": 0.5, "stop": ["END"]},
        },
        "run.toml",
    )
)
PROBLEM = Problem(
    problem_id=problem_id_of("What is 2 + 2?", "4"),
    question="What is 2 + 2?",
    answer="4",
    domain="arithmetic",
    source="test",
)


def test_ids_of_traces_are_fixed() -> None:
    assert PROBLEM.problem_id == "7f8b5fa9070565ced947282c"
    assert trace_ids(PLAN, PROBLEM) == ["4a38d26ed836f5545d2cdb8f", "c7a8632dd364ff66270d0576"]


def test_ids_of_rollouts_are_fixed() -> None:
    seed = rollout_seed(7, "monte_carlo", PROBLEM.problem_id, "2 + 2 = 4\n", 0)
    assert PLAN.engine is not None
    prompt = replace(PLAN.solve_prompt(PROBLEM), prefix="2 + 2 = 4\n")
    (key,) = completion_keys(PLAN.engine.identity, prompt, PLAN.sampling(n=1, seed=seed))
    assert seed == 2157520319694848
    assert key.hex() == "e3e37310a412a5569a46a8b32e988339"


def test_seeds_are_fixed() -> None:
    assert seed_for(7, "trace", PROBLEM.problem_id) == 7760111500096512


def test_keys_cover_everything_but_n() -> None:
    """Each part of a request changes its keys; a larger n only adds some."""
    prompt = Prompt(user="u", prefix="p", system="s", schema="{}")
    sampling = Sampling(n=2, temperature=0.5, top_p=0.9, max_tokens=5, stop=("a",), seed=3)
    base = completion_keys("engine", prompt, sampling)
    assert completion_keys("engine", prompt, replace(sampling, n=4))[:2] == base
    assert completion_keys("engine", prompt, replace(sampling, n=1, seed=4)) == base[1:]
    others = [completion_keys("other", prompt, sampling)]
    for prompt_changes in ({"user": "x"}, {"prefix": "x"}, {"system": "x"}, {"schema": "x"}):
        others.append(completion_keys("engine", replace(prompt, **prompt_changes), sampling))
    # The same text as a whole, divided differently between the turns.
    others.append(completion_keys("engine", replace(prompt, user="up", prefix=""), sampling))
    for changed in (
        replace(sampling, temperature=0.6),
        replace(sampling, top_p=1.0),
        replace(sampling, max_tokens=6),
        replace(sampling, stop=()),
    ):
        others.append(completion_keys("engine", prompt, changed))
    keys = set(chain(base, *others))
    assert len(keys) == 2 * (1 + len(others))
    assert score_key("engine", prompt, "a") not in keys
    assert score_key("engine", prompt, "a") != score_key("engine", prompt, "b")
