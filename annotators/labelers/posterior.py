"""Posterior: label a trace by the posterior of one method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from annotators.first_error.label import abstain, label_from_posterior
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Label, Trace

__all__ = ["Posterior"]


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Keep a trace if its most likely first error has a probability of at least `threshold`.

    The posterior is that of one method which combines all other evidence itself, such as
    `adaptive_search`. A higher threshold keeps fewer traces, and more of them are correct. The
    confidence of a label estimates the probability that it is correct.
    """

    method: str = "adaptive_search"
    """The method whose posterior is used."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Keep a trace if its most likely first error has at least this probability."""

    version: ClassVar[int] = 1

    def check(self, methods: Sequence[str]) -> None:
        """Raise `ConfigError` if the run does not have the method."""
        if self.method not in methods:
            raise ConfigError(
                f"[label] use = 'posterior' needs the annotator '{self.method}';"
                f" the run has: {', '.join(methods) or 'none'}"
            )

    def label(self, trace: Trace, annotations: Mapping[str, Annotation]) -> Label:
        """Return the label of one trace; it abstains if the method has no posterior."""
        annotation = annotations.get(self.method)
        if annotation is None or not annotation.posterior:
            return abstain(trace, f"undecided: {self.method}")
        # Annotations store the probability of no error last.
        *errors, no_error = annotation.posterior
        posterior = {NO_ERROR: no_error, **dict(enumerate(errors))}
        return label_from_posterior(trace, posterior, self.threshold, (self.method,))
