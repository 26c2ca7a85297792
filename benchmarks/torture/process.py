"""One process of the tortured run: `python -m benchmarks.torture.process FOLDER MODE RUN_FILE`.

The mode `command` is the command `stepmark run`. The mode `stages` runs the same stages without
Prefect, which starts in a third of the time. In both the included model logs every token to FOLDER.
"""

import asyncio
import sys
import threading
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.torture.token_log import TokenLog
from engines.runtime import ctranslate2_model
from engines.runtime.ctranslate2_model import Model, Sample
from stepmark.records import Sampling

__all__ = ["COMMAND", "STAGES", "main"]

COMMAND = "command"
STAGES = "stages"


class CountedEvent(threading.Event):
    """The event of a cancelled batch, which the model reads once after every token."""

    def __init__(self, event: threading.Event, log: TokenLog) -> None:
        super().__init__()
        self._event = event
        self._log = log

    def is_set(self) -> bool:
        """Count a token and return whether the batch was cancelled."""
        self._log.add_token()
        return self._event.is_set()


# Without slots: they would break `super` in a dataclass.
@dataclass(frozen=True, kw_only=True)
class CountedModel(Model):
    """A model that logs its tokens. Its samples are those of the model."""

    log: TokenLog

    def draw(
        self, prompt: list[str], sampling: Sampling, cancelled: threading.Event
    ) -> list[Sample]:
        """Return the samples of the model after logging them."""
        samples = super().draw(prompt, sampling, CountedEvent(cancelled, self.log))
        if not cancelled.is_set():
            for sample in samples:
                self.log.add_completion(sample.tokens)
        return samples


def main() -> None:
    """Run a run file, and log the tokens of its engine."""
    folder, mode, run_file = sys.argv[1:]
    _count_tokens(TokenLog(Path(folder)))
    if mode == COMMAND:
        from pipelines.__main__ import main as run_command

        sys.argv[1:] = ["run", run_file]
        run_command()
    else:
        _run_stages(Path(run_file))


def _count_tokens(log: TokenLog) -> None:
    """Replace the function that loads models.

    The engine itself stays the same, so its identity and all ids do, too.
    """
    load = ctranslate2_model.load

    def load_counted(folder: Path, compute_type: str, workers: int) -> Model:
        model = load(folder, compute_type, workers)
        values = {field.name: getattr(model, field.name) for field in fields(model)}
        return CountedModel(**values, log=log)

    ctranslate2_model.load = load_counted


def _run_stages(run_file: Path) -> None:
    # Imported here: the command sets variables before it imports the libraries that read them.
    from pipelines.run import plan as planning
    from pipelines.run.config import load
    from pipelines.run.job import Job
    from pipelines.run.meter import Meter
    from pipelines.run.stages import run_stages
    from storage.dataset.dataset import Dataset
    from verifiers.isolation.pool import VerifierPool

    plan = planning.build(load(run_file))
    job = Job(
        plan=plan,
        dataset=Dataset(plan.run_file.dataset),
        meter=Meter(),
        # One is enough for the short claims of this run, and starts in half of the time of two.
        workers=VerifierPool(workers=1),
    )
    asyncio.run(run_stages(job, makes_traces=True))


if __name__ == "__main__":
    main()
