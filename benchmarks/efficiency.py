"""How much truth a token buys: `python -m benchmarks.efficiency` (see `README.md`)."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from annotators.base import Annotator
from annotators.methods.adaptive_search import AdaptiveSearch
from annotators.methods.binary_search import BinarySearch
from annotators.methods.monte_carlo import MonteCarlo
from benchmarks import _pocket, _simulated
from benchmarks._decisions import LONGEST, decisions
from benchmarks._ground import Found, Ground, Labelled
from benchmarks._limit import Knowing, Limit, limit
from benchmarks._measures import Group, Measured, difference, measured, reliability
from benchmarks._policy import Policy
from benchmarks._targets import MISSED, Interval, beside, worst

__all__ = ["main"]

MATH_SHEPHERD, OMEGA_PRM = "Math-Shepherd K=8", "OmegaPRM k=8"
FIXED: Mapping[str, Annotator] = {
    MATH_SHEPHERD: MonteCarlo(rollouts=8),
    f"{MATH_SHEPHERD}, early": MonteCarlo(rollouts=8, stop_early=True),
    OMEGA_PRM: BinarySearch(rollouts=8, right_answers="search"),
    f"{OMEGA_PRM}, early": BinarySearch(rollouts=8, right_answers="search", stop_early=True),
}
DEFAULT = AdaptiveSearch().worth
WORTHS = (4.0, 2.0, 1.0, DEFAULT, 0.25, 0.1)
"""Nats for a thousand tokens: the least that adaptive search buys for. The default is what is held to the targets."""
POCKET_WORTHS = WORTHS[:-1]
"""The last buys ten rollouts a trace there, and is no more exact."""
_ADAPTIVE = "adaptive, "
UNBOUGHT = f"{_ADAPTIVE}nothing bought"
CONFIDENCES = (0.6, 0.8, 0.9, 0.95)
"""At which a search that knows the policy stops."""
MOST_MS = 1.0
"""Of a processor, for a decision about the longest traces: so that the search never starves an engine."""
SHARE_OF_OMEGA_PRM, SHARE_OF_MATH_SHEPHERD, GAP, SHARE_WITH_EVIDENCE, TIMES_THE_LIMIT = (
    1 / 4,
    1 / 15,
    0.03,
    1 / 2,
    2.0,
)

HEADER = f"{'':31} {'exact':>20} {'tokens':>20} rollouts  least  binary   own own Z own ms decided    F1  sure   ECE"
Rows = dict[str, Measured]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is told of one group of traces on one ground."""

    rows: Rows
    limits: Mapping[str, Limit]
    against: Mapping[str, Mapping[str, tuple[Interval, Interval]]]
    """Of the adaptive ways, against each fixed rule and the default: how much more exact, and the share of its tokens; paired."""
    reliability: Sequence[tuple[float, float, int]]
    """Of the default, by tenths of confidence: its mean, the share that is exact, and how many traces."""


async def measure(options: argparse.Namespace) -> Mapping[str, Part]:
    """All grounds, all ways."""
    parts = dict[str, Part]()
    for name, policy in _simulated.POLICIES.items() if options.simulated else ():
        say(f"{name}: {policy}")
        parts[f"simulated, {name}"] = await _simulation(policy, options.simulated)
        show(f"simulated, {name}", parts[f"simulated, {name}"])
    if options.traces:
        ways, grounds = (
            {**FIXED, **_adaptive(POCKET_WORTHS), **_adaptive(POCKET_WORTHS, _pocket.FORMAL)},
            list[Mapping[str, Labelled]](),
        )
        for seed in options.seed:
            say(f"pocket, seed {seed}: traces and rollouts are written")
            async with _pocket.ground(options.traces, seed, options.bank, options.engine) as ground:
                grounds.append(await _labelled(ground, ways))
        labelled = {name: Labelled.of(each[name] for each in grounds) for name in ways}
        for name, group in (
            ("pocket, solvable problems", solvable),
            ("pocket, all problems", every),
        ):
            parts[name] = _part(labelled, group)
            show(name, parts[name])
    return parts


async def _simulation(policy: Policy, wrong: int) -> Part:
    ground = await _simulated.ground(policy, wrong)
    knowing = {
        f"knows the policy, to {sure:g}": Knowing(policy=policy, confidence=sure)
        for sure in CONFIDENCES
    }
    labelled = await _labelled(ground, {**FIXED, **_adaptive(WORTHS), **knowing})
    bounds = {
        name: limit(
            ground,
            policy,
            solvable,
            done,
            labelled[UNBOUGHT] if name.startswith(_ADAPTIVE) else None,
        )
        for name, done in labelled.items()
    }
    return _part(labelled, solvable, bounds)


def solvable(one: Found) -> bool:
    """Whether some sample solves the trace's problem, as OmegaPRM asks."""
    return one.solvable


def every(one: Found) -> bool:
    """Any trace."""
    return True


def _adaptive(worths: Sequence[float], *evidence: str) -> Mapping[str, Annotator]:
    unbought = {" + ".join([UNBOUGHT, *evidence]): AdaptiveSearch(budget=0, evidence=evidence)}
    return unbought | {
        _name(worth, *evidence): AdaptiveSearch(worth=worth, evidence=evidence) for worth in worths
    }


def _name(worth: float, *evidence: str) -> str:
    return " + ".join([f"{_ADAPTIVE}worth {worth:g}", *evidence])


async def _labelled(ground: Ground, ways: Mapping[str, Annotator]) -> Mapping[str, Labelled]:
    done = dict[str, Labelled]()
    for name, method in ways.items():
        done[name] = await ground.labelled(method)
        failed = [one.said.error for one in done[name].found if one.said.error]
        assert not failed, failed[0]
        say(f"  {name}")
    return done


def _part(
    labelled: Mapping[str, Labelled], group: Group, limits: Mapping[str, Limit] | None = None
) -> Part:
    rows = {name: measured(done, group) for name, done in labelled.items()}
    return Part(
        rows=rows,
        limits=limits or {},
        against={
            name: {
                other: difference(labelled[name], labelled[other], group)
                for other in (MATH_SHEPHERD, OMEGA_PRM, _name(DEFAULT))
            }
            for name in labelled
            if name not in FIXED
        },
        reliability=reliability(labelled[_name(DEFAULT)], group),
    )


def verdicts(parts: Mapping[str, Part]) -> Mapping[str, Any]:
    """The targets, how far each part is from them, and whether it meets them."""
    return {
        name: _pocket_verdicts(part) if name.startswith("pocket") else _simulated_verdicts(part)
        for name, part in parts.items()
    }


def _pocket_verdicts(part: Part) -> Mapping[str, Any]:
    default = _name(DEFAULT)
    found = dict[str, Any]()
    for rule, share in ((OMEGA_PRM, SHARE_OF_OMEGA_PRM), (MATH_SHEPHERD, SHARE_OF_MATH_SHEPHERD)):
        exact, tokens = part.against[default][rule]
        found[f"tokens of {rule}"] = beside(tokens, most=share)
        found[f"exact beyond {rule}"] = beside(exact, least=0)
    gap = part.rows[default].gap
    assert gap is not None, "adaptive search always tells its confidence"
    found["confidence less exactness"] = beside(gap, least=-GAP, most=GAP)
    beyond = [part.against[way][default] for way in _adaptive(POCKET_WORTHS, _pocket.FORMAL)]
    exact = max(
        (exact for exact, tokens in beyond if tokens.value <= SHARE_WITH_EVIDENCE),
        key=lambda exact: exact.value,
    )
    found[
        f"exact with {_pocket.FORMAL} beyond without, for at most {SHARE_WITH_EVIDENCE} of the tokens"
    ] = beside(exact, least=0)
    return found


def _simulated_verdicts(part: Part) -> Mapping[str, Any]:
    rollouts, least = part.rows[_name(DEFAULT)].rollouts, part.limits[_name(DEFAULT)]
    assert least.own is not None, "adaptive search always tells its posterior"
    assert least.own_z is not None
    times = beside(rollouts / least.own, most=TIMES_THE_LIMIT)
    return {
        "rollouts, times the least": {
            **times,
            "were no mistake to come right": rollouts / least.own_z,
        }
    }


def show(name: str, part: Part) -> None:
    """A table, on standard error: standard output is the JSON alone."""
    first = next(iter(part.rows.values()))
    say(
        f"\n{name}: {first.traces} wrong traces of {first.problems} problems; for each of them, with 95 % intervals over problems"
    )
    say(HEADER)
    for way, row in part.rows.items():
        least = part.limits.get(way)
        bounds = f"{least.rollouts:6.1f} {least.rollouts_binary:7.1f}" if least else f"{'':14}"
        bounds += (
            f" {least.own:5.1f} {least.own_z:5.1f}"
            if least and least.own is not None
            else f"{'':12}"
        )
        sure = (
            f"{row.confidence.value:5.2f} {row.calibration_error:5.2f}"
            if row.confidence is not None
            else ""
        )
        f1 = "" if row.f1 is None else f"{100 * row.f1:5.1f}"
        cost = f"{_told(row.tokens, 0)} {row.rollouts:8.1f} {bounds} {row.own_ms:6.1f}"
        say(f"{way:31} {_told(row.exact, 3)} {cost} {row.coverage:7.0%} {f1:>5} {sure}")


def _told(interval: Interval, digits: int) -> str:
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]".rjust(
        20
    )


def say(text: str) -> None:
    """Progress goes to standard error."""
    sys.stderr.write(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.efficiency", description=__doc__)
    parser.add_argument(
        "--traces",
        type=int,
        default=180,
        help="wrong traces of the pocket domain, at least, for each seed; 0: none",
    )
    parser.add_argument(
        "--simulated",
        type=int,
        default=200,
        help="wrong traces of each simulated policy, at least; 0: none",
    )
    parser.add_argument(
        "--seed",
        type=int,
        nargs="+",
        default=[31],
        help="of the pocket domain's problems; methods learn from each apart",
    )
    parser.add_argument(
        "--engine",
        choices=sorted(_pocket.ENGINES),
        default="vllm",
        help="that runs the pocket model",
    )
    parser.add_argument(
        "--bank",
        type=Path,
        help="a file that keeps what the pocket model writes, and is read first where it exists",
    )
    parser.add_argument(
        "--with",
        dest="earlier",
        type=Path,
        help="the JSON of an earlier run, whose grounds are told and drawn too",
    )
    parser.add_argument(
        "--plots", type=Path, help="a folder for the plots, such as docs; wants matplotlib"
    )
    return parser.parse_args()


def _earlier(file: Path | None) -> Mapping[str, Part]:
    return (
        {}
        if file is None
        else TypeAdapter(dict[str, Part]).validate_python(
            json.loads(file.read_text(encoding="utf-8"))["parts"]
        )
    )


def main() -> None:
    """Measure and print JSON; exit status 1 where a target is missed, beyond what chance explains."""
    options = _options()
    decided = decisions()
    spoken = (
        f"{steps}: {each['median_ms']} ms, {each['among_others_ms']} among others"
        for steps, each in decided.items()
    )
    say("a decision, by the steps of a trace: " + "; ".join(spoken))
    parts = {**_earlier(options.earlier), **asyncio.run(measure(options))}
    took = beside(decided[LONGEST]["median_ms"], most=MOST_MS)
    found = {**verdicts(parts), "a decision": {f"milliseconds at {LONGEST} steps": took}}
    if options.plots is not None:
        from benchmarks._plots import draw  # wants matplotlib, which nothing else here does

        draw(parts, options.plots)
    told = {
        "targets": found,
        "decisions": decided,
        "parts": {name: asdict(part) for name, part in parts.items()},
    }
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    for name, targets in found.items():
        for what, one in targets.items():
            say(
                f"{one['verdict']}: {name}: {what}: {one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
            )
    raise SystemExit(
        worst(one["verdict"] for targets in found.values() for one in targets.values()) == MISSED
    )


if __name__ == "__main__":
    main()
