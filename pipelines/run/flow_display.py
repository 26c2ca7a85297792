"""What a Prefect server displays of a run: its name, tags, log lines and artifacts.

Nothing here is needed to resume a run. A display that fails is left out, and the run goes on.
"""

import asyncio
import contextlib
import re
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO
from uuid import UUID

import httpx
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import PrefectClient
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.utilities.urls import url_for

from pipelines.run.config import RunFile
from pipelines.run.job import Job
from pipelines.run.progress import Progress
from stepmark.errors import EngineWarning
from stepmark.plugin_files import id_of
from stepmark.secrets import redact, secrets_in, without_secrets
from stepmark.visible_text import one_line

__all__ = ["FlowDisplay", "code_block", "displayed", "tags_of"]

# Often enough for a person who watches, seldom against the requests of the tasks.
REPORT_SECONDS = 15.0
ENGINE_TABLES = ("engine", "judge_engine", "prover_engine")
# What a server answers that is busy, or gone: the tasks of the run report it, if it lasts.
UNREACHABLE = (httpx.HTTPError, PrefectException, OSError)
NOT_IN_KEY = re.compile(r"[^a-z0-9]+")
FENCE = re.compile(r"^`{3,}", re.MULTILINE)


@dataclass(kw_only=True)
class FlowDisplay:
    """The display of one run on the server that its flow run belongs to."""

    job: Job
    command: str
    """The command that the name of the flow run starts with: "run" or "label"."""
    artifacts: dict[str, UUID] = field(default_factory=dict)
    """The progress artifacts by stage."""
    shown: dict[str, float] = field(default_factory=dict)
    """The percentages that the progress artifacts display."""

    async def begin(self) -> None:
        """Name and tag the flow run, and publish the effective run file."""
        run_file = self.job.plan.run_file
        context = _context()
        client = context.client
        assert isinstance(client, PrefectClient), "the flow is asynchronous"
        if context.flow_run is None:
            return
        name = f"{self.command} {self.dataset}"
        tags = sorted({*context.flow_run.tags, *tags_of(run_file)})
        with contextlib.suppress(*UNREACHABLE):
            await client.update_flow_run(context.flow_run.id, name=name, tags=tags)
        self.log(f"{name}: {', '.join(tags_of(run_file)[1:])}")
        with contextlib.suppress(*UNREACHABLE):
            await acreate_markdown_artifact(
                markdown=code_block(run_file.to_toml(), "toml"),
                key="stepmark-run-file",
                description=f"The run file of {self.dataset}, with defaults and overrides.",
            )

    async def report(self) -> None:
        """Log one line of progress, and update the progress artifacts."""
        self.log(self._progress.line())
        for stage, fields in self._progress.fields()["stages"].items():
            if fields["total"]:
                percentage = min(100.0, 100.0 * fields["done"] / fields["total"])
                with contextlib.suppress(*UNREACHABLE):
                    await self._show_percentage(stage, percentage)

    async def finish(
        self, rows: Sequence[Mapping[str, str]], labels: Sequence[Mapping[str, Any]]
    ) -> None:
        """Publish the summary and the table of labels."""
        for row in rows:
            self.log(f"{row['what']}: {row['count']}")
        with contextlib.suppress(*UNREACHABLE):
            await acreate_table_artifact(
                table=[dict(row) for row in rows], key="stepmark-summary", description=self.dataset
            )
            if labels:
                await acreate_table_artifact(
                    table=[dict(row) for row in labels],
                    key="stepmark-labels",
                    description=f"The labels of {self.dataset}.",
                )

    def log(self, line: str, *, warning: bool = False) -> None:
        """Log a line, without secrets, in the flow run."""
        log = self._logger.warning if warning else self._logger.info
        log("%s", self.public(line))

    def public(self, text: str) -> str:
        """Return a text as one line without secrets, for logs and the messages of states."""
        return one_line(redact(text, self._secrets))

    @property
    def dataset(self) -> str:
        """The location of the dataset, without secrets."""
        return without_secrets(self.job.dataset.uri)

    @property
    def url(self) -> str | None:
        """The page of the flow run; None if the server has no pages."""
        flow_run = _context().flow_run
        return None if flow_run is None else url_for(flow_run)

    @property
    def _progress(self) -> Progress:
        return Progress(meter=self.job.meter, spending=self.job.spending)

    def __post_init__(self) -> None:
        self._logger = get_run_logger()
        self._secrets = secrets_in(self.job.plan.run_file.model_dump(mode="json"))

    async def _show_percentage(self, stage: str, percentage: float) -> None:
        if self.shown.get(stage) == percentage:
            return
        if stage in self.artifacts:
            await aupdate_progress_artifact(self.artifacts[stage], percentage)
        else:
            key = f"stepmark-progress-{NOT_IN_KEY.sub('-', stage.lower())}"
            self.artifacts[stage] = await acreate_progress_artifact(
                percentage, key=key, description=f"{stage} of {self.dataset}"
            )
        self.shown[stage] = percentage


@asynccontextmanager
async def displayed(display: FlowDisplay) -> AsyncIterator[None]:
    """Display a run while the block runs, and its state at the end of the block."""
    await display.begin()
    reports = asyncio.create_task(_report_regularly(display))
    try:
        with _warnings_logged(display):
            yield
    finally:
        reports.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reports
        await display.report()


def tags_of(run_file: RunFile) -> list[str]:
    """Return the tags of a run: its dataset, its models and its methods, without secrets."""
    tables = without_secrets(run_file.model_dump(mode="json", exclude_none=True))
    engines = [tables[name] for name in ENGINE_TABLES if name in tables]
    engines.extend(tables.get("engines", {}).values())
    models = [str(engine.get("model") or engine.get("use", "")) for engine in engines]
    methods = [
        str(table.get("name") or id_of(str(table.get("use", "")))) for table in tables["annotators"]
    ]
    tags = [f"dataset:{tables['dataset']}"]
    tags.extend(f"model:{model}" for model in models)
    tags.extend(f"method:{method}" for method in methods)
    return list(dict.fromkeys(one_line(tag) for tag in tags))


async def _report_regularly(display: FlowDisplay) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        await display.report()


@contextmanager
def _warnings_logged(display: FlowDisplay) -> Iterator[None]:
    """Log warnings about engines within the block, besides showing them as before."""
    show_as_before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, EngineWarning):
            display.log(str(message), warning=True)
        show_as_before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = show_as_before


def _context() -> FlowRunContext:
    context = FlowRunContext.get()
    assert context is not None, "a flow displays its run"
    return context


def code_block(text: str, language: str) -> str:
    """Return a text as a code block of Markdown, also if it contains such blocks itself."""
    longest = max((len(match[0]) for match in FENCE.finditer(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
