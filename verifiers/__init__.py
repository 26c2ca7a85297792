"""Verifiers: deterministic, three-valued checks of claims. Unknown never counts as incorrect."""
