"""Several worker processes on one dataset, without Prefect except where the command is tested."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from pipelines.run import plan as planning
from pipelines.run.config import load
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.options import RunOptions
from pipelines.run.retries import Retries, with_retries
from pipelines.run.stages import AsTask, Work, run_shards, run_stages, untracked
from pipelines.run.workers import coordinator as coordinator_module
from pipelines.run.workers import worker as worker_module
from pipelines.run.workers.assignment import Assignment
from pipelines.run.workers.coordinator import run_in_workers
from pipelines.run.workers.protocol import (
    Start,
    add_change,
    encode,
    error_fields,
    error_of,
    meter_values,
)
from stepmark import errors
from stepmark.errors import (
    BudgetError,
    ConfigError,
    DatasetError,
    EngineError,
    StepmarkError,
    WorkerError,
)
from storage.dataset.dataset import DamagedPartError, Dataset
from storage.dataset.lease import Ticket
from storage.dataset.tables import TRACES
from storage.queries.render import values
from storage.queries.sql import query
from tests.columns import column
from tests.pipelines.running import (
    REPOSITORY,
    WAIT_SECONDS,
    clean_environment,
    error_lines,
    finish,
    run_file,
    start,
    wait_for,
)

# Two tries without waiting.
RETRIES = Retries(seconds=(0.0,), before_first_answer=1)
# Three shards for two workers, with labels that need all shards.
TABLES: Mapping[str, Any] = {
    "problems": {"use": "word_problems", "count": 6},
    "annotators": [{"use": "monte_carlo", "rollouts": 2}, {"use": "formal"}],
    "label": {"use": "fusion"},
}
# Runs all stages of a run file in two workers, without Prefect.
COORDINATOR = """
import asyncio, sys
from functools import partial
from pipelines.run.stages import run_stages
from tests.pipelines.test_workers import RETRIES, job_of, run_in_workers
run_all = partial(run_in_workers, retries=RETRIES)
asyncio.run(run_stages(job_of(sys.argv[1]), makes_traces=True, run_all=run_all))
"""
# A worker that ends as soon as it has a shard, or at once.
DIES_WITH_SHARD = """
import os, signal, sys
sys.stdin.readline()
print('{"kind": "next"}', flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
# A worker that writes down how it was started, and has used some tokens more when it ends.
COUNTS_AND_DIES = """
import json, os, signal, sys
line = sys.stdin.readline()
used = json.loads(line)["used"]
with open("LOG", "a") as log:
    log.write(line)
print('{"kind": "next"}', flush=True)
sys.stdin.readline()
health = {"up": 1, "down": 0, "is_paused": False, "in_flight": 2}
print(json.dumps({"kind": "servers", "engines": {"engine": health}}), flush=True)
used["prompt_tokens"] += 2
used["generated_tokens"] += 5
print(json.dumps({"kind": "meter", **used}), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
DIES_AT_ONCE = "raise SystemExit(7)"

Contents = Mapping[str, Sequence[str]]


class SilentCoordinator(worker_module._Coordinator):
    """A coordinator whose messages are known in advance."""

    def listen(self, meter: Meter) -> None:
        """Read all messages at once: the end of the messages would end this process."""
        for message in self.messages:
            self._shards.put_nowait(message["shard"])


def job_of(path: str, workers: int = 2) -> Job:
    """Return the job of a run file, as `prepare` does."""
    settings = load(Path(path))
    return Job(
        plan=planning.build(settings),
        dataset=Dataset(settings.dataset),
        meter=Meter(),
        options=RunOptions(workers=workers),
    )


def run(job: Job, as_task: AsTask = untracked, *, makes_traces: bool = True) -> None:
    """Run all stages in workers if the job has more than one, otherwise in this process."""
    run_all = run_shards
    if job.worker_count > 1:
        run_all = partial(run_in_workers, retries=RETRIES)
    asyncio.run(run_stages(job, as_task, makes_traces=makes_traces, run_all=run_all))


def contents(dataset: Dataset) -> Contents:
    """Return the digests of the rows of all parts by table."""
    digests = defaultdict[str, list[str]](list)
    for table in dataset.tables():
        for shard in dataset.shards(table):
            digests[table.folder].append(dataset.check_part(table, shard).content)
    return digests


def counts(job: Job) -> Mapping[str, Any]:
    """Return all counters of a run but those of times."""
    values = meter_values(job.meter)
    for name in ("request_durations", "request_milliseconds"):
        del values[name]
    return values


def worker_processes(process: psutil.Process) -> list[psutil.Process]:
    """Return the running workers of a coordinator."""
    workers = []
    for child in process.children():
        # A process has no command line while it ends, and when its parent has not waited for it.
        with contextlib.suppress(psutil.NoSuchProcess):
            if "pipelines.run.workers.worker" in " ".join(child.cmdline()):
                workers.append(child)
    return workers


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run in one process."""
    job = job_of(run_file(tmp_path_factory.mktemp("one"), **TABLES), workers=1)
    run(job)
    return job


def test_workers_make_the_same_tables(tmp_path: Path, undisturbed: Job) -> None:
    tasks = list[str]()

    def as_task(name: str, work: Work) -> Work:
        tasks.append(name)
        return work

    job = job_of(run_file(tmp_path, **TABLES))
    run(job, as_task)
    assert contents(job.dataset) == contents(undisturbed.dataset)
    assert sorted(tasks) == ["labels", "problems", "shard-0", "shard-1", "shard-2"]
    # The counters of both workers are added up. Times differ between any two runs.
    assert counts(job) == counts(undisturbed)
    assert sum(job.meter.request_durations.values()) == sum(
        undisturbed.meter.request_durations.values()
    )
    assert job.meter.generated_tokens > 0
    assert job.dataset.folder.files("completions") == [
        f"part-{shard:05d}.parquet" for shard in range(3)
    ]
    again = job_of(str(tmp_path / "run.toml"))
    run(again, makes_traces=False)
    assert again.meter.generated_tokens == 0
    assert contents(again.dataset) == contents(undisturbed.dataset)


def test_killed_worker_is_replaced(tmp_path: Path, undisturbed: Job) -> None:
    # Slow enough that a shard is unfinished when its worker is killed.
    engine = {"use": "scripted", "replies": {"": ["1 + 1 = 2\nThe answer is \\boxed{2}."]}}
    path = run_file(tmp_path, **TABLES, engine={**engine, "delay": 1.0})
    job = job_of(path)
    killed = list[int]()

    def as_task(name: str, work: Work) -> Work:
        async def with_kill(*arguments: Any) -> Any:
            # Both workers have a shard when the second one is assigned.
            if name == "shard-1":
                victim = worker_processes(psutil.Process())[0]
                killed.append(victim.pid)
                # Time to send requests and to report them, but not for an answer.
                await asyncio.sleep(0.7)
                victim.kill()
            return await work(*arguments)

        return with_kill

    run(job, as_task)
    assert len(killed) == 1
    assert sum(job.meter.open_requests.values()) == 0, "its requests have ended with it"
    assert contents(job.dataset) == contents(undisturbed.dataset)
    assert worker_processes(psutil.Process()) == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (DIES_WITH_SHARD, r"two worker processes ended while they made shard \d .*SIGKILL"),
        (DIES_AT_ONCE, "ended before its first shard: exit status 7"),
    ],
    ids=["with_shard", "at_once"],
)
def test_dying_workers_end_the_run(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator_module, "COMMAND", (sys.executable, "-c", script))
    with pytest.raises(WorkerError, match=message):
        run(job_of(run_file(tmp_path)))


def test_engine_error_ends_the_run(tmp_path: Path) -> None:
    path = run_file(tmp_path, engine={"use": "scripted", "error": "the server is down"})
    with pytest.raises(EngineError, match="the server is down") as raised:
        run(job_of(path))
    assert raised.value.retryable
    assert worker_processes(psutil.Process()) == []


def test_stopped_workers_store_completions(tmp_path: Path) -> None:
    job = searching_job(tmp_path)
    trace_tokens = asyncio.run(stop_during_search(job))
    # The rollouts of the search, besides the traces.
    [(stored_tokens,)] = values(query(job.dataset, "SELECT sum(generated_tokens) FROM completions"))
    assert stored_tokens > trace_tokens
    assert worker_processes(psutil.Process()) == []


def searching_job(folder: Path) -> Job:
    """Return a job whose method requests rollouts several times, and stores none before its end."""
    questions = folder / "questions.jsonl"
    rows = [json.dumps({"question": f"{index}. 1 + 1?", "answer": "2"}) for index in range(6)]
    questions.write_text("\n".join(rows))
    # A search needs a wrong trace, and another one that shows that the problem can be solved.
    steps = "1 + 1 = 2\n" * 8
    replies = [f"{steps}The answer is \\boxed{{{answer}}}." for answer in (3, 2)]
    tables = {
        "problems": {"use": "files", "paths": [str(questions)]},
        "engine": {"use": "scripted", "replies": {"": replies}, "delay": 2.0},
        "annotators": [{"use": "binary_search"}],
        # Only the end of a worker stores completions.
        "shards": {"problems_per_shard": 2, "flush_seconds": 600},
    }
    return job_of(run_file(folder, **tables))


async def stop_during_search(job: Job) -> int:
    """Stop a run after its first rollouts, and return the generated tokens of its traces."""
    run_all = partial(run_in_workers, retries=RETRIES)
    running = asyncio.create_task(run_stages(job, makes_traces=True, run_all=run_all))
    while not running.done():
        traces = list(job.dataset.read(TRACES))
        trace_tokens = sum(trace.generated_tokens for trace in traces)
        if len(job.dataset.shards(TRACES)) == 3 and job.meter.generated_tokens > trace_tokens:
            break
        await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return trace_tokens


def test_dataset_in_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists in one process only"):
        run(job_of(run_file(tmp_path, dataset="memory://workers/dataset")))


def test_killed_coordinator_leaves_no_process(tmp_path: Path) -> None:
    engine = {"use": "scripted", "replies": {"": ["The answer is \\boxed{2}."]}, "delay": 600.0}
    path = run_file(tmp_path, engine=engine)
    command = [sys.executable, "-c", COORDINATOR, path]
    coordinator = subprocess.Popen(
        command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process = psutil.Process(coordinator.pid)
    wait_for(lambda: len(worker_processes(process)) == 2, coordinator)
    with pytest.raises(DatasetError, match=f"pid {coordinator.pid} on host"):
        run(job_of(path))
    children = process.children(recursive=True)
    coordinator.kill()
    coordinator.communicate()
    # The lock is free once the workers have ended, which takes moments.
    with Dataset(str(tmp_path / "dataset")).writer_lock():
        _, alive = psutil.wait_procs(children, timeout=WAIT_SECONDS)
    assert not alive


def test_interrupted_command_ends_workers(tmp_path: Path) -> None:
    engine = {"use": "scripted", "replies": {"": ["The answer is \\boxed{2}."]}, "delay": 600.0}
    path = run_file(tmp_path, engine=engine)
    environment = clean_environment(tmp_path / "home")
    command = start("run", path, "--workers", "2", environment=environment)
    process = psutil.Process(command.pid)
    wait_for(lambda: len(worker_processes(process)) == 2, command)
    children = process.children(recursive=True)
    os.killpg(command.pid, signal.SIGINT)
    status, out, err = finish(command)
    assert (status, out.count("\n")) == (130, 1)
    (line,) = error_lines(err)
    assert line.startswith("stepmark: stopped by Ctrl-C: ")
    _, alive = psutil.wait_procs(children, timeout=WAIT_SECONDS)
    assert not alive


class TestAssignment:
    """Workers are texts; what is sent to them is recorded."""

    def make(
        self, shards: int, workers: int = 1
    ) -> tuple[Assignment[str], list[tuple[str, int | None]]]:
        sent = list[tuple[str, int | None]]()
        return Assignment(range(shards), workers, lambda *message: sent.append(message)), sent

    def test_small_dataset_is_shared(self) -> None:
        assignment, sent = self.make(3, workers=2)
        assignment.request("a")
        assert sent == []
        assignment.request("b")
        assert sent == [("a", 0), ("b", 1)]
        assignment.request("b")
        assert sent[2:] == [("b", 2)]

    def test_no_shard_is_assigned_twice(self) -> None:
        assignment, sent = self.make(3)
        for worker in ("a", "b", "a", "b"):
            assignment.request(worker)
        assert sent == [("a", 0), ("b", 1), ("a", 2)]
        for worker, shard in list(sent):
            assert not assignment.is_finished
            assert shard is not None
            assignment.finish(worker, shard)
        assert assignment.is_finished
        assert sent[3:] == [("b", None)]

    def test_lost_shards_are_assigned_first(self) -> None:
        assignment, sent = self.make(4)
        for _ in range(3):
            assignment.request("a")
        assert assignment.lose("a") == (0, 1)
        assert assignment.lose("unknown") is None
        for _ in range(4):
            assignment.request("b")
        assert sent[3:] == [("b", 0), ("b", 1), ("b", 2), ("b", 3)]
        assert assignment.lose("b") == (0, 2)

    def test_idle_worker_takes_a_lost_shard(self) -> None:
        assignment, sent = self.make(1)
        assignment.request("a")
        assignment.request("b")
        assignment.lose("a")
        assert sent == [("a", 0), ("b", 0)]

    def test_dead_worker_gets_no_shard(self) -> None:
        assignment, sent = self.make(1)
        assignment.request("a")
        assignment.request("b")
        assignment.lose("b")
        assignment.lose("a")
        assert sent == [("a", 0)]


def public_errors() -> list[StepmarkError]:
    """Return an instance of every public error."""
    instances = list[StepmarkError]()
    for name in errors.__all__:
        error_class: Callable[..., StepmarkError] = getattr(errors, name)
        if name == "EngineError":
            instances.append(error_class("text é\n", retryable=True))
        elif name != "StepmarkError":
            instances.append(error_class("text é\n"))
    return instances


@pytest.mark.parametrize("error", public_errors(), ids=lambda error: type(error).__name__)
def test_errors_cross_the_pipe(error: StepmarkError) -> None:
    received = error_of(error_fields(error))
    assert type(received) is type(error)
    assert vars(received) == vars(error)
    assert str(received) == str(error)


def test_replaced_worker_keeps_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    script = COUNTS_AND_DIES.replace("LOG", str(log))
    monkeypatch.setattr(coordinator_module, "COMMAND", (sys.executable, "-c", script))
    job = job_of(run_file(tmp_path, **TABLES))
    with pytest.raises(WorkerError, match="two worker processes ended"):
        run(job)
    used = list[Mapping[str, int]]()
    for line in log.read_text().splitlines():
        start = json.loads(line)
        used.append(start["used"])
        assert 0 < start["seconds"] <= job.meter.seconds
    assert used[:2] == [{"prompt_tokens": 0, "generated_tokens": 0}] * 2
    assert used[2] == {"prompt_tokens": 2, "generated_tokens": 5}
    # A worker that has ended has no servers.
    assert job.meter.servers() == {}
    # What a worker took over is not counted again.
    assert job.meter.generated_tokens % 5 == 0
    assert job.meter.generated_tokens <= 5 * len(used)


async def test_worker_starts_with_used_budget(tmp_path: Path) -> None:
    path = run_file(tmp_path, **TABLES, budget={"tokens": 10})
    job = job_of(path)
    await job.make_problems()
    await job.close()
    start = Start(
        run_file=job.plan.run_file.to_toml(with_secrets=True),
        makes_traces=True,
        options=job.options,
        lock_descriptors=(),
        ticket=None,
        retry_seconds=[],
        retries_before_first_answer=0,
        used={"prompt_tokens": 4, "generated_tokens": 6},
        seconds=60.0,
    )
    reader, writer = os.pipe()
    messages = iter([{"kind": "shard", "shard": 0}])
    with pytest.raises(BudgetError, match=r"the run has reached budget\.tokens = 10"):
        await worker_module._work(start, SilentCoordinator(messages, writer))
    sent = os.read(reader, 2**16).decode()
    counters = json.loads(sent.splitlines()[-1])
    assert (counters["prompt_tokens"], counters["generated_tokens"]) == (4, 6)
    os.close(reader)
    os.close(writer)


def test_internal_error_becomes_its_base() -> None:
    assert type(error_of(error_fields(DamagedPartError("damaged")))) is DatasetError


def test_start_crosses_the_pipe() -> None:
    sent = Start(
        run_file="seed = 1\n# é",
        makes_traces=True,
        options=RunOptions(recompute=True, workers=2),
        lock_descriptors=[],
        ticket=Ticket(number=3, token="a"),
        retry_seconds=[2.0, 10.0],
        retries_before_first_answer=2,
    )
    message = json.loads(encode("start", **sent.fields()))
    assert message.pop("kind") == "start"
    assert Start.of(message) == sent


def test_workers_divide_limits(tmp_path: Path) -> None:
    table = {"use": "openai", "model": "m"}
    path = run_file(
        tmp_path,
        engine={**table, "requests_per_minute": 30, "tokens_per_minute": 1000},
        engines={"hosted": {**table, "requests_per_minute": 3.0}},
        annotators=[{"use": "judge", "judge": "hosted"}],
    )
    content = load(Path(path))
    engines = planning.build(coordinator_module._with_limits_of_one(content, 4)).engines
    assert column(engines.values(), "requests_per_minute") == [7.5, 0.75]
    assert engines["engine"].tokens_per_minute == 250  # type: ignore[attr-defined]
    # Limits change no result.
    whole = planning.build(content).engines
    assert {name: engine.identity for name, engine in engines.items()} == {
        name: engine.identity for name, engine in whole.items()
    }


@pytest.mark.parametrize(
    ("shards", "workers", "in_flight"),
    [
        ({}, 1, 32),
        ({}, 2, 16),
        ({"problems_per_shard": 1000}, 1, 2),
        ({"problems_per_shard": 1000}, 4, 2),
        ({"problems_per_shard": 1000, "shards_in_flight": 5}, 2, 2),
        ({"shards_in_flight": 1}, 2, 1),
    ],
)
def test_shard_size_bounds_unfinished_shards(
    tmp_path: Path, shards: dict[str, int], workers: int, in_flight: int
) -> None:
    content = load(Path(run_file(tmp_path, shards=shards)))
    assert coordinator_module._with_limits_of_one(content, workers).shards.in_flight() == in_flight


def test_meters_of_workers_add_up() -> None:
    total = Meter()
    total.finish("problems", 3)
    for _ in range(2):
        meter = Meter()
        empty = dict[str, Any]()
        meter.expect("traces", 4)
        first = meter_values(meter)
        add_change(total, empty, first)
        meter.finish("traces", 2, failed=True)
        meter.generated_tokens += 5
        add_change(total, first, meter_values(meter))
    assert (total.done["problems"], total.done["traces"], total.total["traces"]) == (3, 4, 8)
    assert (total.failed["traces"], total.generated_tokens) == (4, 10)


@pytest.mark.parametrize(
    ("failures", "retryable", "answered", "tries"),
    [(2, True, True, 3), (9, True, True, 4), (9, True, False, 2), (9, False, True, 1)],
    ids=["recovers", "gives_up", "silent", "rejected"],
)
def test_stages_are_retried_like_tasks(
    failures: int, retryable: bool, answered: bool, tries: int
) -> None:
    meter = Meter()
    meter.generated_tokens = int(answered)
    calls = list[int]()

    async def stage(shard: int) -> None:
        calls.append(shard)
        if len(calls) <= failures:
            raise EngineError("busy", retryable=retryable)

    work = with_retries(stage, meter, Retries(seconds=(0.0, 0.0, 0.0), before_first_answer=1))
    if failures < tries:
        asyncio.run(work(3))
    else:
        with pytest.raises(EngineError, match="busy"):
            asyncio.run(work(3))
    assert calls == [3] * tries
