"""The budget of a run: tokens, cost and hours after which no further request is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    price_factors: Mapping[str, float] = field(default_factory=dict)
    """The price of a token as a part of the usual one, of the engines that send batches."""

    @property
    def cost(self) -> float | None:
        """The price of the tokens of this run; None without prices."""
        meter = self.meter
        cost = self.prices.of(meter.prompt_tokens, meter.generated_tokens)
        if cost is None:
            return None
        for engine, factor in self.price_factors.items():
            full_price = self.prices.of(
                meter.prompt_tokens_by_engine[engine], meter.generated_tokens_by_engine[engine]
            )
            cost -= (1 - factor) * (full_price or 0.0)
        return cost

    @property
    def used_share(self) -> float:
        """The used share of the limit that is nearest; 0 without a budget."""
        return max(self._shares(0, 0, 1.0).values(), default=0.0)

    def reached_after(
        self, prompt_tokens: int, generated_tokens: int, price_factor: float = 1.0
    ) -> str:
        """Return which limit is reached after these further tokens, as a text; empty if none is."""
        if self.meter.stopped:
            return self.meter.stopped
        for text, share in self._shares(prompt_tokens, generated_tokens, price_factor).items():
            if share >= 1:
                return text
        return ""

    def _shares(
        self, prompt_tokens: int, generated_tokens: int, price_factor: float
    ) -> Mapping[str, float]:
        """Return the used share of each limit that is set, by a text about the limit."""
        budget = self.budget
        prompt = self.meter.prompt_tokens + prompt_tokens
        generated = self.meter.generated_tokens + generated_tokens
        shares = dict[str, float]()
        if budget.tokens:
            shares[f"budget.tokens = {budget.tokens}"] = (prompt + generated) / budget.tokens
        if budget.cost:
            further_cost = self.prices.of(prompt_tokens, generated_tokens) or 0.0
            cost = (self.cost or 0.0) + price_factor * further_cost
            shares[f"budget.cost = {budget.cost:g}"] = cost / budget.cost
        if budget.hours:
            seconds = self.meter.seconds
            # Without an answer the rate is unknown.
            if self.meter.generated_tokens:
                seconds *= generated / self.meter.generated_tokens
            hours = seconds / SECONDS_PER_HOUR
            shares[f"budget.hours = {budget.hours:g}"] = hours / budget.hours
        return shares
