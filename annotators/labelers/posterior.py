"""Posterior: what one method is sure enough of becomes the label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from annotators._surest import surest, unlabelled
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Label, Trace

__all__ = ["Posterior"]


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Keep a trace whose most likely first error has a chance of at least `threshold`, by the posterior of one method.

    For methods that tell one and weigh the other evidence themselves: `adaptive_search`. A higher threshold keeps less and is more often
    right; the label's confidence says how often.
    """

    method: str = "adaptive_search"
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.9

    version: ClassVar[int] = 1

    def check(self, methods: Sequence[str]) -> None:
        """Refuse a run without the method."""
        if self.method not in methods:
            raise ConfigError(f"[label] use = 'posterior' needs the annotator '{self.method}'; the run has: {', '.join(methods) or 'none'}")

    def label(self, trace: Trace, annotations: Mapping[str, Annotation]) -> Label:
        """The label of one trace; undecided where the method has no posterior."""
        said = annotations.get(self.method)
        if said is None or not said.posterior:
            return unlabelled(trace, f"undecided: {self.method}")
        *errors, none = said.posterior
        return surest(trace, {NO_ERROR: none, **dict(enumerate(errors))}, self.threshold, (self.method,))
