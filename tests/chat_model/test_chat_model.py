"""A run with a real chat model: templates, continuation, token counts, likelihoods, parsing.

The model solves almost nothing, and a CPU with other instructions may give other texts. The tests
therefore check what holds for every text that the model writes.
"""

import asyncio
import json
import math
import re
import sys
import urllib.request
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import tomli_w

from engines.base import Completion, Prompt
from engines.openai import OpenAI
from pipelines.__main__ import main
from pipelines.run import check
from pipelines.run import plan as planning
from pipelines.run.config import load
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.plan import Plan
from pipelines.run.stages import run_stages
from pipelines.run.summary import summary_rows
from stepmark.records import Annotation, Critique, Problem, Rollout, Sampling, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations, critiques, rollouts
from tests.chat_model.conftest import MODEL_NAME, ServedModel
from tests.pipelines.one_verifier import use_one_verifier
from tests.pipelines.rows import counts_by_name
from verifiers.isolation.pool import VerifierPool

pytestmark = pytest.mark.vllm

PROBLEM_FILE = Path(__file__).parent / "gsm8k.jsonl"
PROBLEM_COUNT = 8
TRACES_PER_PROBLEM = 2
METHODS = ("monte_carlo", "formal", "judge", "answer_likelihood")
JSON_PROMPT = "judge_json"
RUN: Mapping[str, Any] = {
    "problems": {"use": "files", "paths": [str(PROBLEM_FILE)], "shape": "gsm8k", "license": "MIT"},
    "generate": {
        "prompt": "boxed",
        "traces_per_problem": TRACES_PER_PROBLEM,
        "temperature": 0.7,
        "max_tokens": 72,
        "split": "line",
        # Few steps, because every step costs two rollouts and one score.
        "min_step_chars": 60,
    },
    "annotators": [
        {"use": "monte_carlo", "rollouts": 2},
        {"use": "formal"},
        {
            "use": "judge",
            "prompt": ["judge", JSON_PROMPT],
            "votes": 1,
            "temperature": 0.7,
            "max_tokens": 72,
        },
        {"use": "answer_likelihood"},
    ],
    "label": {"use": "consensus"},
}
# The check of a run file ends after less than a minute, also on a machine that is busy with others.
CHECK_SECONDS = 600.0
GREEDY = Sampling(max_tokens=16, temperature=0.0)
CONTINUED_TOKENS = 6
# Characters in which two different continuations do not agree by chance.
BEGINNING = 20
# A sampled text can consist of other tokens than the tokenizer chooses for it: of 74 requests at
# temperatures up to 1, 10 differed, in 0.1 % of their tokens.
MOST_DIFFERENT_REQUESTS = 0.25
MOST_DIFFERENT_TOKENS = 0.01
# Rounding of float32 in 30 layers, which vLLM and transformers add in different orders.
CLOSE = 2e-3


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run, and what it has read and written."""

    run_file: str
    plan: Plan
    meter: Meter
    dataset: Dataset
    problems: Mapping[str, Problem]
    traces: Mapping[str, Trace]

    def prompt_of(self, trace: Trace) -> Prompt:
        return self.plan.solve_prompt(self.problems[trace.problem_id])

    def prefix_of(self, rollout: Rollout) -> str:
        return "".join(self.traces[rollout.trace_id].steps[: rollout.prefix_steps])

    def annotations_by(self, method: str) -> Sequence[Annotation]:
        return list(self.dataset.read(annotations(method)))

    @property
    def rollouts(self) -> Sequence[Rollout]:
        return list(self.dataset.read(rollouts("monte_carlo")))

    @property
    def critiques(self) -> Sequence[Critique]:
        return list(self.dataset.read(critiques("judge")))


@pytest.fixture(scope="module")
def run(server: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Return the run of 8 problems; a warning of the engine is an error of the tests."""
    run_file = write_run_file(tmp_path_factory.mktemp("run"), server)
    meter = perform(run_file)
    plan = planning.build(load(Path(run_file)))
    dataset = Dataset(plan.run_file.dataset)
    return FinishedRun(
        run_file=run_file,
        plan=plan,
        meter=meter,
        dataset=dataset,
        problems={problem.problem_id: problem for problem in dataset.read(PROBLEMS)},
        traces={trace.trace_id: trace for trace in dataset.read(TRACES)},
    )


def write_run_file(folder: Path, server: ServedModel) -> str:
    engine = {"use": "openai", "model": MODEL_NAME, "base_urls": [server.url], "retries": 0}
    path = folder / "run.toml"
    path.write_text(tomli_w.dumps({"dataset": str(folder / "data"), **RUN, "engine": engine}))
    return str(path)


def perform(run_file: str) -> Meter:
    """Run all stages without Prefect, with one verifier worker, and return the counters."""
    settings = load(Path(run_file))
    job = Job(
        plan=planning.build(settings),
        dataset=Dataset(settings.dataset),
        meter=Meter(),
        workers=VerifierPool(workers=1),
    )
    asyncio.run(run_stages(job, makes_traces=True))
    return job.meter


def request_count(server: ServedModel) -> float:
    """Return how many requests the server has answered."""
    with urllib.request.urlopen(server.url.removesuffix("v1") + "metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    counts = [line for line in lines if line.startswith("vllm:request_success_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in counts)


def rendered(tokenizer: Any, prompt: Prompt) -> str:
    """Return the text that the chat template makes from a request."""
    messages = [{"role": "user", "content": prompt.user}]
    if prompt.prefix:
        messages.append({"role": "assistant", "content": prompt.prefix})
    text: str = tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=not prompt.prefix,
        continue_final_message=bool(prompt.prefix),
    )
    return text


def count_tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def requests_in(
    run: FinishedRun,
) -> Sequence[tuple[Prompt, Sequence[Trace | Rollout | Critique], Sequence[str]]]:
    """Return the prompt of each request of the run, its samples, and their texts."""
    requests: list[tuple[Prompt, Sequence[Trace | Rollout | Critique], Sequence[str]]] = []
    for _, group in groupby(run.traces.values(), key=lambda trace: trace.problem_id):
        traces = list(group)
        texts = ["".join(trace.steps) for trace in traces]
        requests.append((run.prompt_of(traces[0]), traces, texts))
    for _, grouped in groupby(
        run.rollouts, key=lambda sample: (sample.trace_id, sample.prefix_steps)
    ):
        samples = list(grouped)
        prompt = run.prompt_of(run.traces[samples[0].trace_id])
        prompt = replace(prompt, prefix=run.prefix_of(samples[0]))
        requests.append((prompt, samples, [sample.text for sample in samples]))
    for critique in run.critiques:
        assert critique.request is not None
        schema = "{}" if critique.prompt == JSON_PROMPT else ""
        prompt = Prompt(user=critique.request, schema=schema)
        requests.append((prompt, [critique], [critique.text]))
    return requests


def test_dataset_is_complete(run: FinishedRun) -> None:
    assert len(run.problems) == PROBLEM_COUNT
    assert len(run.traces) == PROBLEM_COUNT * TRACES_PER_PROBLEM
    for trace in run.traces.values():
        assert trace.steps
        assert trace.model == MODEL_NAME
    for method in METHODS:
        for trace, annotation in zip(run.traces.values(), run.annotations_by(method), strict=True):
            assert annotation.error is None
            assert annotation.trace_id == trace.trace_id
            assert len(annotation.steps) == len(trace.steps)
    assert run.dataset.count(LABELS) == len(run.traces)
    prefixes = sum(len(trace.steps) - 1 for trace in run.traces.values())
    assert len(run.rollouts) == 2 * prefixes > 0
    # One reply to each of two prompts.
    assert len(run.critiques) == 2 * len(run.traces)


def test_server_reports_no_failure(run: FinishedRun, server: ServedModel) -> None:
    log = server.log.read_text(encoding="utf-8", errors="replace")
    assert "POST /v1/chat/completions" in log
    for failure in ("Traceback", "ERROR", '" 4', '" 5'):
        assert failure not in log


def test_prompts_are_those_of_the_template(run: FinishedRun, tokenizer: Any) -> None:
    """The server reads as many tokens as the template of the model has, with and without prefix."""
    for prompt, samples, _ in requests_in(run):
        expected = count_tokens(tokenizer, rendered(tokenizer, prompt))
        assert samples[0].prompt_tokens == expected
        # They are counted once for all samples of a request.
        assert not any(sample.prompt_tokens for sample in samples[1:])


def test_completions_have_the_counted_tokens(run: FinishedRun, tokenizer: Any) -> None:
    # A grammar often allows only other tokens than the tokenizer chooses.
    requests = [request for request in requests_in(run) if not request[0].schema]
    different_requests = 0
    different_tokens = 0
    all_tokens = 0
    for _, samples, texts in requests:
        expected = 0
        for sample, text in zip(samples, texts, strict=True):
            # The token that ends the answer is counted too.
            expected += count_tokens(tokenizer, text) + (sample.finish_reason == "stop")
        counted = sum(sample.generated_tokens for sample in samples)
        all_tokens += counted
        different_tokens += abs(counted - expected)
        different_requests += counted != expected
    assert different_requests <= MOST_DIFFERENT_REQUESTS * len(requests)
    assert different_tokens <= MOST_DIFFERENT_TOKENS * all_tokens


def test_finish_reasons_match_lengths(run: FinishedRun) -> None:
    reasons = set[str]()
    for _, samples, _ in requests_in(run):
        sample_reasons = {sample.finish_reason for sample in samples}
        reasons |= sample_reasons
        counted = sum(sample.generated_tokens for sample in samples)
        # All limits of this run are equal.
        limit = run.plan.run_file.generate.max_tokens * len(samples)
        assert (counted == limit) >= (sample_reasons == {"length"})
        assert counted <= limit
    assert reasons == {"stop", "length"}


def test_meter_and_tables_agree(run: FinishedRun) -> None:
    """The run counts the tokens of all tables, and those of the proof of continuation."""
    requests = requests_in(run)
    generated = 0
    for _, samples, _ in requests:
        generated += sum(sample.generated_tokens for sample in samples)
    # The proof takes 12 tokens of a list, at most three times an own answer of 48 tokens and the 12
    # after its cut, two beginnings of 12, and 13 after the end of a line and of the answer.
    assert 1 <= run.meter.generated_tokens - generated <= 12 + 3 * (48 + 12) + 2 * 12 + 13
    assert sum(line.cost.rollouts for line in run.annotations_by("monte_carlo")) == len(
        run.rollouts
    )


def test_prefixes_are_cached(run: FinishedRun) -> None:
    for method in ("monte_carlo", "judge"):
        costs = [annotation.cost for annotation in run.annotations_by(method)]
        cached = sum(cost.cached_tokens for cost in costs)
        assert 0 < cached <= sum(cost.prompt_tokens for cost in costs)


def test_rollouts_do_not_start_again(run: FinishedRun) -> None:
    restarts = 0
    for rollout in run.rollouts:
        beginning = "".join(run.traces[rollout.trace_id].steps)[:BEGINNING]
        restarts += rollout.text.startswith(beginning)
    # A model that repeats itself may write its first sentence again.
    assert restarts <= len(run.rollouts) / 10


async def test_greedy_answers_are_continued(run: FinishedRun, server: ServedModel) -> None:
    """A greedy answer that is cut between two words goes on as before."""
    # The run has proven it.
    engine = OpenAI(model=MODEL_NAME, base_urls=(server.url,), trust_continuation=True)
    prompts = [run.plan.solve_prompt(problem) for problem in run.problems.values()]
    answers = await complete_all(engine, prompts, GREEDY)
    cut_prompts = list[Prompt]()
    rests = list[str]()
    for prompt, answer in zip(prompts, answers, strict=True):
        cut = middle_space(answer.text)
        cut_prompts.append(replace(prompt, prefix=answer.text[:cut]))
        rests.append(answer.text[cut:])
    shorter = replace(GREEDY, max_tokens=CONTINUED_TOKENS)
    continuations = await complete_all(engine, cut_prompts, shorter)
    await engine.close()
    continued = 0
    for continuation, rest in zip(continuations, rests, strict=True):
        length = min(len(continuation.text), len(rest))
        assert length > 0
        continued += continuation.text[:length] == rest[:length]
    # Two tokens can have nearly the same probability, and rounding depends on the batch.
    assert continued >= PROBLEM_COUNT - 1


async def complete_all(
    engine: OpenAI, prompts: Iterable[Prompt], sampling: Sampling
) -> Sequence[Completion]:
    results = await asyncio.gather(*(engine.complete(prompt, sampling) for prompt in prompts))
    return [result[0] for result in results]


def middle_space(text: str) -> int:
    """Return the position of the space between two words that is nearest to the middle."""
    spaces = [match.start() + 1 for match in re.finditer(r"\S \S", text)]
    return min(spaces, key=lambda space: abs(space - len(text) // 2))


def test_every_unknown_has_a_reason(run: FinishedRun) -> None:
    samples: list[Trace | Rollout] = [*run.traces.values(), *run.rollouts]
    for sample in samples:
        assert sample.outcome is not Verdict.UNKNOWN or sample.outcome_reason
        if sample.finish_reason == "length":
            assert (sample.outcome, sample.outcome_reason) == (Verdict.UNKNOWN, "truncated")
    for method in METHODS:
        for annotation in run.annotations_by(method):
            for step in annotation.steps:
                # Methods that count trials count the undecided ones.
                assert step.verdict is not Verdict.UNKNOWN or step.rationale or step.unknowns
    for label in run.dataset.read(LABELS):
        assert label.kept or label.reason


def test_unreadable_replies_are_counted(run: FinishedRun) -> None:
    unread = 0
    for critique in run.critiques:
        is_read = any(verdict is not Verdict.UNKNOWN for verdict in critique.verdicts)
        unread += not is_read
        if critique.finish_reason != "stop":
            assert not is_read
    summary = summary_rows(run.dataset, Meter(), run.plan.run_file.prices)
    counts = counts_by_name(summary)
    if unread:
        assert counts["unreadable replies of judge"].startswith(
            f"{unread} of {len(run.critiques)} "
        )
    decided = 0
    for annotation in run.annotations_by("judge"):
        decided += annotation.first_error is not None
    assert decided <= len(run.critiques) - unread


def test_complete_replies_follow_the_schema(run: FinishedRun) -> None:
    """The server enforces the JSON schema of the prompt `judge_json`."""
    for critique in run.critiques:
        if critique.prompt == JSON_PROMPT and critique.finish_reason == "stop":
            steps = json.loads(critique.text)["steps"]
            assert len(steps) == len(critique.verdicts)
            assert {step["verdict"] for step in steps} <= set(Verdict)


def test_likelihoods_are_probabilities(run: FinishedRun) -> None:
    for annotation in run.annotations_by("answer_likelihood"):
        for step in annotation.steps:
            assert step.value is not None
            assert 0 < step.value <= 1
    completions = pyarrow.parquet.read_table(Path(run.run_file).parent / "data" / "completions")
    scores = [row for row in completions["logprobs"].to_pylist() if row is not None]
    assert len(scores) >= len(run.traces)
    for logprobs in scores:
        assert logprobs
        assert all(math.isfinite(logprob) and logprob <= 0 for logprob in logprobs)


def test_likelihoods_are_those_of_transformers(
    run: FinishedRun, server: ServedModel, tokenizer: Any
) -> None:
    likelihoods = {line.trace_id: line for line in run.annotations_by("answer_likelihood")}
    traces = [trace for trace in run.traces.values() if "\\boxed" not in "".join(trace.steps)]
    trace = max(traces, key=lambda trace: len(trace.steps))
    answer = run.problems[trace.problem_id].answer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load_model(server.folder)
    for count, step in enumerate(likelihoods[trace.trace_id].steps, start=1):
        prefix = "".join(trace.steps[:count])
        if not prefix[-1].isspace():
            prefix += "\n"
        prompt = replace(run.prompt_of(trace), prefix=f"{prefix}The answer is {answer}.")
        expected = mean_logprob(model, tokenizer, rendered(tokenizer, prompt), f"{answer}.")
        assert step.value is not None
        assert math.log(step.value) == pytest.approx(expected, abs=CLOSE)


def load_model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def mean_logprob(model: Any, tokenizer: Any, text: str, ending: str) -> float:
    """Return the mean log-probability of the tokens that contain characters of the ending."""
    import torch

    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens = torch.tensor(encoded["input_ids"])
    with torch.no_grad():
        # The logits at a position are those of the next token.
        logprobs = model(tokens[None]).logits[0, :-1].log_softmax(-1)
    start = len(text) - len(ending)
    values = list[float]()
    for index, (_, end) in enumerate(encoded["offset_mapping"]):
        if end > start:
            values.append(float(logprobs[index - 1, tokens[index]]))
    return math.fsum(values) / len(values)


def test_check_tries_the_run_file(
    run: FinishedRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check.check_run, "__defaults__", (CHECK_SECONDS,))
    use_one_verifier(monkeypatch)
    settings = ["--set", "generate.max_tokens=24", "--set", "annotators.2.max_tokens=24"]
    monkeypatch.setattr(sys, "argv", ["stepmark", "check", run.run_file, *settings])
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().out.splitlines()
    faults = [line for line in lines if ": FAULT " in line]
    output = "\n".join(lines)
    assert f"engine: OpenAI: {MODEL_NAME}" in lines
    for start in (
        "problem: 'John arm wrestles 20 people. He beats 80%.",
        "solution: ",
        "monte_carlo: ",
        "answer_likelihood: the engine returns the log-probabilities of ",
        "this check: ",
    ):
        assert f"\n{start}" in output
    assert " is continued with '" in output
    assert "warning: " not in output
    # Whether this judge gives a verdict depends on its skill.
    assert all(line.startswith("judge: FAULT ") for line in faults)
    assert re.search(r"^judge: (FAULT )?\d of 2 replies have a verdict", output, re.MULTILINE)


def test_second_run_requests_nothing(run: FinishedRun, server: ServedModel) -> None:
    before = request_count(server)
    assert before
    meter = perform(run.run_file)
    assert request_count(server) == before
    assert (meter.prompt_tokens, meter.generated_tokens, meter.reused) == (0, 0, 0)
