"""Row fingerprints and part keys: the identity of everything that a plan writes.

A row fingerprint covers everything in the run file that can change a row, and is stored in the
row. A part key is stored in the footer of a Parquet part: the digest of the row fingerprint and of
the keys of the parts that it was made from. A part whose key is unchanged is not made again. A
key covers only parts of the same shard, so adding problems leaves finished shards valid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from engines.base import Engine
from filters.base import HasExternalInput
from pipelines.run.graders import ANSWER_EXTRACTORS, grader_of
from pipelines.run.plan import AnnotatorSpec, Plan
from stepmark import plugins, steps
from stepmark.identity import digest, fingerprint

__all__ = ["Fingerprints"]


@dataclass(frozen=True)
class Fingerprints:
    """The row fingerprints and part keys of a plan, computed on first use.

    Reading an engine's identity can read the weights of a local model.
    """

    plan: Plan

    @cached_property
    def traces(self) -> str:
        """The row fingerprint of traces."""
        return digest(self._engine_text, self.plan.run_file.generate.split, steps.VERSION)

    def traces_part_key(self, problems_part_key: str) -> str:
        """Return the part key of a shard's traces."""
        traces_per_problem = self.plan.run_file.generate.traces_per_problem
        return digest(self.traces, traces_per_problem, problems_part_key)

    def annotations(self, spec: AnnotatorSpec) -> str:
        """Return the row fingerprint of an annotator's annotations and rollouts."""
        needs = spec.plugin.needs
        inputs = [
            self._rollout_text(spec) if "engine" in needs else "",
            _identity(self.plan.judge_engine) if "judge_engine" in needs else "",
        ]
        if spec.discovers_traces:
            # Discovered traces are split into steps, as sampled traces are.
            inputs.append(self.traces)
        for dependency in spec.depends_on:
            inputs.append(self.annotations(dependency))
        return fingerprint(spec.plugin, spec.name, digest(self.plan.run_file.seed), *inputs)

    def annotations_part_key(self, spec: AnnotatorSpec, traces_part_key: str) -> str:
        """Return the part key of an annotator's annotations of a shard."""
        return digest(self.annotations(spec), traces_part_key)

    def labels(self) -> str:
        """Return the row fingerprint of labels."""
        annotations = [self.annotations(spec) for spec in self.plan.annotators.values()]
        return fingerprint(self.plan.labeler, *annotations, *self.filters())

    def labels_part_keys(
        self, traces_part_keys: Mapping[int, str], gold_part_keys: Mapping[int, str]
    ) -> Mapping[int, str]:
        """Return the part keys of all shards' labels.

        Args:
            traces_part_keys: The part key of the traces by shard.
            gold_part_keys: The part key of the ground truth that the labeler is fitted to, by
                shard.
        """
        labels = self.labels()
        all_shards = ""
        if self.plan.labels_need_all_shards:
            all_shards = digest(sorted(traces_part_keys.items()), sorted(gold_part_keys.items()))
        return {
            shard: digest(labels, part_key, all_shards)
            for shard, part_key in traces_part_keys.items()
        }

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

    def _rollout_text(self, spec: AnnotatorSpec) -> str:
        return self._prover_text if spec.uses_prover else self._engine_text

    @cached_property
    def _engine_text(self) -> str:
        return self._generated_text(self.plan.engine)

    @cached_property
    def _prover_text(self) -> str:
        return self._generated_text(self.plan.prover_engine)

    def _generated_text(self, engine: Engine | None) -> str:
        """Return the digest of what determines an engine's solutions and rollouts and their grades.

        The order of the parts is that of existing datasets and must not change.
        """
        run_file = self.plan.run_file
        generate = run_file.generate
        grader = grader_of(run_file)
        verifier = plugins.build("verifiers", {"use": grader})
        return digest(
            _identity(engine),
            run_file.seed,
            self.plan.template,
            generate.temperature,
            generate.top_p,
            generate.max_tokens,
            generate.stop,
            ANSWER_EXTRACTORS[grader].version,
            fingerprint(verifier),
        )


def _identity(engine: Engine | None) -> str:
    return engine.identity if engine is not None else ""
