"""Engines: one module per way to run a language model. Only this package imports vLLM."""
