"""Engines by name: which engine every method uses, and what fingerprints cover."""

from collections.abc import Sequence
from typing import Any

import pytest

from engines.base import Engine, EngineWrapper
from engines.scripted import Scripted
from pipelines.run.config import parse
from pipelines.run.engine_pool import EnginePool
from pipelines.run.fingerprints import Fingerprints
from pipelines.run.plan import Plan, build
from stepmark.errors import UserError

STRICT = {"use": "scripted", "replies": {"": ["strict"]}, "context": 100_000}
LENIENT = {"use": "scripted", "replies": {"": ["lenient"]}, "context": 100_000}
ENGINE = {"use": "scripted", "replies": {"": ["The answer is 1."]}}


def plan(annotators: Sequence[dict[str, Any]], **tables: Any) -> Plan:
    """Return the plan of a run with these annotators."""
    content = {"dataset": "d", "engine": ENGINE, "annotators": list(annotators), **tables}
    return build(parse(content, "run.toml"))


def fingerprint(built: Plan, method: str = "judge") -> str:
    """Return the row fingerprint of a method's annotations."""
    return Fingerprints(built).annotations(built.annotators[method])


def test_annotators_select_engines_by_name() -> None:
    built = plan(
        [
            {"use": "monte_carlo", "engine": "strong"},
            {"use": "answer_likelihood", "engine": "strong"},
            {"use": "binary_search"},
            {"use": "judge", "judge": "strict"},
            {"use": "formal"},
        ],
        engines={"strong": LENIENT, "strict": STRICT},
    )
    strong = built.engines["strong"]
    assert built.annotators["monte_carlo"].engine is strong
    assert built.annotators["answer_likelihood"].engine is strong
    assert built.annotators["binary_search"].engine is built.engine
    assert built.annotators["judge"].engine is None
    assert built.annotators["judge"].judges == (built.engines["strict"],)
    assert built.annotators["formal"].engine is None
    assert built.annotators["formal"].judges == ()


def test_default_roles_are_names() -> None:
    built = plan(
        [
            {"use": "judge", "judge": ["prover_engine", "engine", "judge_engine"]},
            {"use": "monte_carlo", "engine": "judge_engine"},
        ],
        judge_engine=STRICT,
        prover_engine=LENIENT,
    )
    roles = ("prover_engine", "engine", "judge_engine")
    assert built.annotators["judge"].judges == tuple(built.engines[role] for role in roles)
    assert built.annotators["monte_carlo"].engine is built.engines["judge_engine"]


def test_names_are_separate_clients() -> None:
    built = plan([{"use": "judge", "judge": ["a", "b"]}], engines={"a": STRICT, "b": STRICT})
    first, second = built.annotators["judge"].judges
    assert first == second
    assert first is not second
    assert len(built.engines.distinct()) == 3


@pytest.mark.parametrize(
    ("annotators", "tables", "message"),
    [
        (
            [{"use": "monte_carlo", "engine": "strong"}],
            {"engines": {"a": STRICT}},
            "annotator 'monte_carlo': engine = 'strong': there is no engine of that name; "
            "the engines are: engine, a",
        ),
        (
            [{"use": "judge", "judge": ["a", "b"]}],
            {"engines": {"a": STRICT}},
            "annotator 'judge': judge = 'b': there is no engine of that name; "
            "the engines are: engine, a",
        ),
        ([{"use": "judge", "judge": 3}], {}, "judge = 3: there is no engine of that name"),
        ([{"use": "judge", "judge": [["a"]]}], {}, "judge = ['a']: there is no engine of that"),
        (
            [{"use": "judge", "judge": []}],
            {},
            "annotator 'judge': judge is empty or lists an engine twice; the engines are: engine",
        ),
        ([{"use": "judge", "judge": ["engine", "engine"]}], {}, "lists an engine twice"),
        (
            [{"use": "monte_carlo", "judge": "engine"}],
            {},
            "annotator 'monte_carlo': judge = 'engine': the method asks no judge; "
            "its keys are: use, name, engine, rollouts, ",
        ),
        (
            [{"use": "judge", "engine": "engine"}],
            {},
            "annotator 'judge': engine = 'engine': the method samples and scores no rollouts; "
            "its keys are: use, name, judge, votes, ",
        ),
        (
            [{"use": "judge"}, {"use": "formal"}],
            {"engines": {"a": STRICT}},
            "[engines.a] is not used: set `engine` or `judge` of an annotator to 'a', or remove "
            "the table; the annotators are: judge, formal",
        ),
        ([], {"engines": {"a": STRICT}}, "the annotators are: none"),
        (
            [{"use": "judge"}],
            {"engines": {"A": STRICT}},
            "[engines.A]: use lower-case letters, digits and _ for the name of an engine",
        ),
        (
            [{"use": "judge"}],
            {"engines": {"judge_engine": STRICT}},
            "but not engine, judge_engine, prover_engine",
        ),
        (
            [{"use": "judge"}],
            {"engines": {"a": {"use": "scripted", "reply": ""}}},
            "[engines.a]: engines.scripted has no parameter 'reply'; it has: replies, ",
        ),
        ([{"use": "judge"}], {"engines": {"a": {}}}, "[engines.a]: a table for engines needs"),
        (
            [{"use": "judge", "judge": "a"}, {"use": "monte_carlo"}],
            {"engine": {}, "engines": {"a": STRICT}},
            "annotator 'monte_carlo' uses a language model: add an [engine] table, or set "
            "`engine` to one of: a",
        ),
    ],
)
def test_invalid_selection_is_rejected(
    annotators: list[dict[str, Any]], tables: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        plan(annotators, **tables)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_list_needs_an_ensemble_method(monkeypatch: pytest.MonkeyPatch) -> None:
    from annotators.methods.judge import Judge

    monkeypatch.setattr(Judge, "needs", frozenset({"judge_engine"}))
    assert plan([{"use": "judge", "judge": ["engine"]}]).annotators["judge"].judges
    with pytest.raises(UserError, match="the method asks a single judge; name one"):
        plan([{"use": "judge", "judge": ["engine", "a"]}], engines={"a": STRICT})


def test_fingerprints_cover_identities_not_names() -> None:
    by_role = plan([{"use": "judge"}], judge_engine=STRICT)
    by_name = plan([{"use": "judge", "judge": "a"}], engines={"a": STRICT})
    assert fingerprint(by_role) == fingerprint(by_name)
    other = plan([{"use": "judge", "judge": "a"}], engines={"a": LENIENT})
    assert fingerprint(by_role) != fingerprint(other)
    samplers = [{"use": "monte_carlo", "engine": "a"}]
    sampler = plan(samplers, engines={"a": ENGINE})
    assert fingerprint(sampler, "monte_carlo") == fingerprint(
        plan([{"use": "monte_carlo"}]), "monte_carlo"
    )
    other_sampler = plan(samplers, engines={"a": LENIENT})
    assert fingerprint(sampler, "monte_carlo") != fingerprint(other_sampler, "monte_carlo")


def test_fingerprints_cover_every_judge() -> None:
    engines = {"a": STRICT, "b": LENIENT}
    fingerprints = set[str]()
    for judges in (["a", "b"], ["b", "a"], ["a", "engine", "b"], ["a", "b", "engine"]):
        fingerprints.add(fingerprint(plan([{"use": "judge", "judge": judges}], engines=engines)))
    for judge in engines:
        built = plan([{"use": "judge", "judge": [judge]}], engines={judge: engines[judge]})
        fingerprints.add(fingerprint(built))
    assert len(fingerprints) == 6
    assert fingerprint(plan([{"use": "judge", "judge": ["engine"]}])) == fingerprint(
        plan([{"use": "judge"}])
    )


def test_wrapped_engines_reach_methods() -> None:
    built = plan(
        [
            {"use": "monte_carlo", "engine": "a"},
            {"use": "judge", "judge": ["a", "engine"]},
            {"use": "adaptive_search", "evidence": ["monte_carlo"]},
        ],
        engines={"a": STRICT},
    )

    def wrap(engine: Engine) -> Engine:
        return EngineWrapper(engine=engine)

    wrapped = built.with_engines(built.engines.wrap(wrap))
    assert wrapped.engine is wrapped.engines["engine"]
    used = [wrapped.engine, wrapped.annotators["monte_carlo"].engine]
    used += [*wrapped.annotators["judge"].judges, wrapped.annotators["adaptive_search"].engine]
    used += [spec.engine for spec in wrapped.annotators["adaptive_search"].depends_on]
    assert all(isinstance(engine, EngineWrapper) for engine in used)
    for method in built.annotators:
        assert fingerprint(wrapped, method) == fingerprint(built, method)


async def test_pool_closes_every_engine_once() -> None:
    closed = list[str]()

    class ClosableEngine(Scripted):
        async def close(self) -> None:
            closed.append(self.error)

    shared = ClosableEngine(error="shared")
    pool = EnginePool({"a": shared, "b": shared, "c": ClosableEngine(error="other")})
    await pool.close()
    assert closed == ["shared", "other"]
