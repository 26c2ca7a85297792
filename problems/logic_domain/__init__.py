"""Deduction problems: language, models, proofs and injected mistakes."""
