"""Deduction problems: language, model search, proofs, injected mistakes and the oracle.

The oracle deliberately shares no parser and no prover with `verifiers.entailment`. A test
compares their verdicts on thousands of steps; with shared code, a bug would appear on both sides
and confirm itself.
"""
