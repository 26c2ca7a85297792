"""The budget of a run: tokens, cost and hours after which no further request is sent."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.run.config import Budget, Prices
from pipelines.run.meter import Meter

__all__ = ["Spending"]

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a run has used of its budget. A run that has stopped has none left."""

    budget: Budget
    prices: Prices
    meter: Meter

    @property
    def used_share(self) -> float:
        """The used share of the limit that is nearest; 0 without a budget."""
        return max(self._shares(0, 0).values(), default=0.0)

    def reached_after(self, prompt_tokens: int, generated_tokens: int) -> str:
        """Return which limit is reached after these further tokens, as a text; empty if none is."""
        if self.meter.stopped:
            return self.meter.stopped
        for text, share in self._shares(prompt_tokens, generated_tokens).items():
            if share >= 1:
                return text
        return ""

    def _shares(self, prompt_tokens: int, generated_tokens: int) -> Mapping[str, float]:
        """Return the used share of each limit that is set, by a text about the limit."""
        budget = self.budget
        prompt = self.meter.prompt_tokens + prompt_tokens
        generated = self.meter.generated_tokens + generated_tokens
        shares = dict[str, float]()
        if budget.tokens:
            shares[f"budget.tokens = {budget.tokens}"] = (prompt + generated) / budget.tokens
        if budget.cost:
            cost = self.prices.of(prompt, generated) or 0.0
            shares[f"budget.cost = {budget.cost:g}"] = cost / budget.cost
        if budget.hours:
            seconds = self.meter.seconds
            # Without an answer the rate is unknown.
            if self.meter.generated_tokens:
                seconds *= generated / self.meter.generated_tokens
            hours = seconds / SECONDS_PER_HOUR
            shares[f"budget.hours = {budget.hours:g}"] = hours / budget.hours
        return shares
