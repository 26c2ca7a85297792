"""Estimate error rates of label sources: the Dawid-Skene model and its EM algorithm."""
