"""Measure how accurate labels are for the tokens that they cost, method by method."""

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotators.base import Annotator
from benchmarks.common.console import print_json, print_progress
from benchmarks.common.targets import MISSED, Interval, worst_verdict
from benchmarks.efficiency import pocket_traces, simulated_traces
from benchmarks.efficiency.decision_times import measure_decisions
from benchmarks.efficiency.ground_truth import GroundTruth, MethodResults, TraceResult
from benchmarks.efficiency.information_bounds import RolloutBound, rollout_bound
from benchmarks.efficiency.measures import (
    Measures,
    TraceGroup,
    compare_methods,
    measure_method,
    reliability_bins,
)
from benchmarks.efficiency.methods import (
    DEFAULT,
    FIXED_RULES,
    NO_ROLLOUTS,
    POCKET_WORTHS,
    WORTHS,
    adaptive_methods,
    informed_searches,
)
from benchmarks.efficiency.parts import (
    ADAPTIVE_PREFIX,
    MATH_SHEPHERD,
    OMEGA_PRM,
    Part,
    parts_to_json,
    read_parts,
)
from benchmarks.efficiency.simulated_policy import Policy
from benchmarks.efficiency.verdicts import POCKET, SIMULATED, target_verdicts

__all__ = ["all_traces", "main", "solvable_problems"]

HEADER = (
    f"{'':31} {'exact':>20} {'tokens':>20} rollouts  least  binary   own own Z"
    " own ms decided    F1  sure   ECE"
)


async def measure(options: argparse.Namespace) -> Mapping[str, Part]:
    """Run all methods on the traces that the options select, and print a table of each part."""
    parts = dict[str, Part]()
    if options.simulated:
        for policy_name, policy in simulated_traces.POLICIES.items():
            print_progress(f"{policy_name}: {policy}")
            name = f"{SIMULATED}, {policy_name}"
            parts[name] = await _measure_policy(policy, options.simulated)
            print_table(name, parts[name])
    if options.traces:
        for name, part in (await _measure_pocket(options)).items():
            parts[name] = part
            print_table(name, part)
    return parts


async def _measure_policy(policy: Policy, wrong_traces: int) -> Part:
    ground_truth = await simulated_traces.simulate_traces(policy, wrong_traces)
    methods = {**FIXED_RULES, **adaptive_methods(WORTHS), **informed_searches(policy)}
    results = await _evaluate(ground_truth, methods)
    bounds = dict[str, RolloutBound]()
    for name, method_results in results.items():
        without_rollouts = None
        if name.startswith(ADAPTIVE_PREFIX):
            without_rollouts = results[NO_ROLLOUTS]
        bounds[name] = rollout_bound(
            ground_truth, policy, solvable_problems, method_results, without_rollouts
        )
    return _part(results, solvable_problems, bounds)


async def _measure_pocket(options: argparse.Namespace) -> Mapping[str, Part]:
    methods = {
        **FIXED_RULES,
        **adaptive_methods(POCKET_WORTHS),
        **adaptive_methods(POCKET_WORTHS, pocket_traces.FORMAL),
    }
    by_seed = list[Mapping[str, MethodResults]]()
    for seed in options.seed:
        print_progress(f"pocket, seed {seed}: sampling traces and rollouts")
        async with pocket_traces.sample_pocket_traces(
            options.traces, seed, options.bank, options.engine
        ) as ground_truth:
            by_seed.append(await _evaluate(ground_truth, methods))
    merged = dict[str, MethodResults]()
    for name in methods:
        merged[name] = MethodResults.merge(results[name] for results in by_seed)
    return {
        f"{POCKET}, solvable problems": _part(merged, solvable_problems, {}),
        f"{POCKET}, all problems": _part(merged, all_traces, {}),
    }


def solvable_problems(result: TraceResult) -> bool:
    """Return whether some sample solves the problem, which OmegaPRM requires."""
    return result.solvable


def all_traces(result: TraceResult) -> bool:
    """Return True: the group contains every trace."""
    return True


async def _evaluate(
    ground_truth: GroundTruth, methods: Mapping[str, Annotator]
) -> Mapping[str, MethodResults]:
    results = dict[str, MethodResults]()
    for name, method in methods.items():
        results[name] = await ground_truth.evaluate(method)
        for trace in results[name].traces:
            assert not trace.annotation.error, trace.annotation.error
        print_progress(f"  {name}")
    return results


def _part(
    results: Mapping[str, MethodResults], group: TraceGroup, bounds: Mapping[str, RolloutBound]
) -> Part:
    measures = dict[str, Measures]()
    comparisons = dict[str, Mapping[str, tuple[Interval, Interval]]]()
    for name, method_results in results.items():
        measures[name] = measure_method(method_results, group)
        if name in FIXED_RULES:
            continue
        to_baselines = dict[str, tuple[Interval, Interval]]()
        for baseline in (MATH_SHEPHERD, OMEGA_PRM, DEFAULT):
            to_baselines[baseline] = compare_methods(method_results, results[baseline], group)
        comparisons[name] = to_baselines
    return Part(
        measures=measures,
        bounds=bounds,
        comparisons=comparisons,
        reliability=reliability_bins(results[DEFAULT], group),
    )


def print_table(name: str, part: Part) -> None:
    """Print the measures of all methods to standard error."""
    first = next(iter(part.measures.values()))
    print_progress(
        f"\n{name}: {first.traces} wrong traces of {first.problems} problems;"
        " means per trace with 95 % intervals over problems"
    )
    print_progress(HEADER)
    for method, measures in part.measures.items():
        print_progress(_table_row(method, measures, part.bounds.get(method)))


def _table_row(method: str, measures: Measures, bound: RolloutBound | None) -> str:
    exact = _format_interval(measures.exact, 3)
    tokens = _format_interval(measures.tokens, 0)
    # Blank cells as wide as the numbers that a method lacks.
    bounds = " " * 14
    from_prior = " " * 12
    if bound is not None:
        bounds = f"{bound.rollouts:6.1f} {bound.rollouts_binary:7.1f}"
        if bound.binary_from_prior is not None:
            from_prior = f" {bound.binary_from_prior:5.1f} {bound.z_channel_from_prior:5.1f}"
    f1 = ""
    if measures.f1 is not None:
        f1 = f"{100 * measures.f1:5.1f}"
    confidence = ""
    if measures.confidence is not None:
        confidence = f"{measures.confidence.value:5.2f} {measures.calibration_error:5.2f}"
    return (
        f"{method:31} {exact} {tokens} {measures.rollouts:8.1f} {bounds}{from_prior}"
        f" {measures.cpu_ms:6.1f} {measures.coverage:7.0%} {f1:>5} {confidence}"
    )


def _format_interval(interval: Interval, digits: int) -> str:
    value = f"{interval.value:.{digits}f}"
    low = f"{interval.low:.{digits}f}"
    high = f"{interval.high:.{digits}f}"
    return f"{value} [{low}, {high}]".rjust(20)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.efficiency", description=__doc__)
    parser.add_argument(
        "--traces",
        type=int,
        default=180,
        help="the least number of wrong traces of the pocket model for each seed; 0: none",
    )
    parser.add_argument(
        "--simulated",
        type=int,
        default=200,
        help="the least number of wrong traces of each simulated policy; 0: none",
    )
    parser.add_argument(
        "--seed",
        type=int,
        nargs="+",
        default=[31],
        help="seeds of the word problems; methods are fitted to each seed separately",
    )
    parser.add_argument(
        "--engine",
        choices=sorted(pocket_traces.ENGINES),
        default="vllm",
        help="the engine that runs the pocket model",
    )
    parser.add_argument(
        "--bank",
        type=Path,
        help="a file that keeps the pocket model's completions and is reused if it exists",
    )
    parser.add_argument(
        "--with",
        dest="earlier",
        type=Path,
        help="the JSON of an earlier run, whose parts are included in the output and the plots",
    )
    parser.add_argument(
        "--plots", type=Path, help="a folder for the plots, such as docs; requires matplotlib"
    )
    return parser.parse_args()


def _print_decision_times(decision_times: Mapping[int, Mapping[str, float]]) -> None:
    by_length = list[str]()
    for steps, times in decision_times.items():
        by_length.append(
            f"{steps}: {times['median_ms']} ms, {times['among_others_ms']} ms in a batch"
        )
    print_progress("CPU time of a decision by the steps of a trace: " + "; ".join(by_length))


def _print_verdicts(verdicts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Print a line per target and return the verdicts."""
    printed = list[str]()
    for name, targets in verdicts.items():
        for target, comparison in targets.items():
            verdict = comparison["verdict"]
            value = comparison["value"]
            interval = f"[{comparison['low']:.3f}, {comparison['high']:.3f}]"
            print_progress(f"{verdict}: {name}: {target}: {value:.3f} {interval}")
            printed.append(verdict)
    return printed


def main() -> None:
    """Measure and print JSON; the exit status is 1 if a target is missed."""
    options = _options()
    decision_times = measure_decisions()
    _print_decision_times(decision_times)
    parts = dict[str, Part]()
    if options.earlier is not None:
        parts |= read_parts(options.earlier)
    parts |= asyncio.run(measure(options))
    verdicts = target_verdicts(parts, decision_times)
    if options.plots is not None:
        # Imported only here, because nothing else requires matplotlib.
        from benchmarks.efficiency.plots import draw_plots

        draw_plots(parts, options.plots)
    print_json({"targets": verdicts, "decisions": decision_times, "parts": parts_to_json(parts)})
    if worst_verdict(_print_verdicts(verdicts)) == MISSED:
        raise SystemExit(1)
