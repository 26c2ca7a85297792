"""Row fingerprints and part keys: what a part was made from, and with which code.

A row fingerprint covers everything in the run file that can change a row of a method or labeler,
and is stored in the row. A part key is stored in the footer of a Parquet part: the digest of the
settings and code versions that made the part, and of the contents of the parts that it was made
from. A part whose key is unchanged is not made again. A key covers only parts of the same shard, so
adding problems leaves finished shards valid.

Ids and seeds are not derived from fingerprints (see `annotators.context` and `engines.base`), so
another grader or split makes a part again without a request to an engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from engines.base import Engine
from filters.base import HasExternalInput
from pipelines.run.annotator_specs import AnnotatorSpec
from pipelines.run.plan import Plan
from stepmark.identity import digest, fingerprint

__all__ = ["Fingerprints"]


@dataclass(frozen=True)
class Fingerprints:
    """The row fingerprints and part keys of a plan, computed on first use.

    Reading an engine's identity can read the weights of a local model.
    """

    plan: Plan

    @cached_property
    def splitting(self) -> str:
        """The fingerprint of how solutions are split into steps."""
        splitter = self.plan.splitter
        return digest(splitter.how, splitter.min_step_chars, splitter.version)

    @cached_property
    def grading(self) -> str:
        """The fingerprint of how solutions are graded."""
        parts = list[str | int]()
        for grader in self.plan.grader.chain():
            parts += [grader.verifier_id, grader.extractor_version, grader.fingerprint]
        return digest(*parts)

    def solutions(self, engine: Engine | None) -> str:
        """Return the fingerprint of the solutions and rollouts that an engine writes."""
        generate = self.plan.run_file.generate
        return digest(
            _identity(engine),
            self.plan.run_file.seed,
            self.plan.template,
            generate.temperature,
            generate.top_p,
            generate.max_tokens,
            generate.stop,
        )

    def traces_part_key(self, problems_content: str) -> str:
        """Return the part key of a shard's traces."""
        traces = digest(self.solutions(self.plan.engine), self.grading, self.splitting)
        return digest(traces, self.plan.run_file.generate.traces_per_problem, problems_content)

    def annotations(self, spec: AnnotatorSpec) -> str:
        """Return the row fingerprint of an annotator's annotations."""
        inputs = list[str]()
        if spec.engine is not None:
            # Rollouts are graded and split as traces are.
            inputs += [self.solutions(spec.engine), self.grading, self.splitting]
        elif spec.depends_on:
            # It reads those rollouts of its dependencies that are by this model.
            inputs.append(_identity(self.plan.engine))
        inputs.extend(judge.identity for judge in spec.judges)
        for dependency in spec.depends_on:
            inputs.append(self.annotations(dependency))
        return fingerprint(spec.plugin, spec.name, digest(self.plan.run_file.seed), *inputs)

    def annotations_part_key(self, spec: AnnotatorSpec, contents: Sequence[str]) -> str:
        """Return the part key of an annotator's annotations of a shard.

        Args:
            spec: The annotator.
            contents: The contents of the parts that it reads: the problems, the traces, and the
                tables of its dependencies.
        """
        return digest(self.annotations(spec), contents)

    def labels(self) -> str:
        """Return the row fingerprint of labels."""
        annotations = [self.annotations(spec) for spec in self.plan.annotators.values()]
        return fingerprint(self.plan.labeler, *annotations, *self.filters())

    def labels_part_key(self, contents: Sequence[str]) -> str:
        """Return the part key of a shard's labels, from the contents of the parts it reads."""
        return digest(self.labels(), contents)

    def filters(self) -> Sequence[str]:
        """Return the fingerprints of the filters, in order.

        Raises:
            UserError: A file that a filter reads, such as an evaluation set, cannot be read.
        """
        fingerprints = list[str]()
        for item in self.plan.filters:
            content = item.digest() if isinstance(item, HasExternalInput) else ""
            fingerprints.append(fingerprint(item, content))
        return fingerprints


def _identity(engine: Engine | None) -> str:
    return engine.identity if engine is not None else ""
