"""Helpers of the `entailment` verifier: the parser of its language, and the proofs by z3."""
