"""Infer the first error of a trace: model, likelihoods, posterior, EM and batching."""
