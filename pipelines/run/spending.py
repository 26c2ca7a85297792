"""The budget of a run: tokens, cost and hours after which no further request is sent."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.run.config import Budget, Prices
from pipelines.run.meter import Meter

__all__ = ["Spending"]

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a run has used of its budget."""

    budget: Budget
    prices: Prices
    meter: Meter

    @property
    def used_share(self) -> float:
        """The used share of the limit that is nearest; 0 without a budget."""
        return max(self._shares().values(), default=0.0)

    @property
    def reached(self) -> str:
        """Which limit is reached, as a text; empty if none is."""
        for text, share in self._shares().items():
            if share >= 1:
                return text
        return ""

    def _shares(self) -> Mapping[str, float]:
        """Return the used share of each limit that is set, by a text about the limit."""
        budget = self.budget
        shares = dict[str, float]()
        if budget.tokens:
            tokens = self.meter.prompt_tokens + self.meter.generated_tokens
            shares[f"budget.tokens = {budget.tokens}"] = tokens / budget.tokens
        if budget.cost:
            cost = self.prices.of(self.meter.prompt_tokens, self.meter.generated_tokens) or 0.0
            shares[f"budget.cost = {budget.cost:g}"] = cost / budget.cost
        if budget.hours:
            hours = self.meter.seconds / SECONDS_PER_HOUR
            shares[f"budget.hours = {budget.hours:g}"] = hours / budget.hours
        return shares
