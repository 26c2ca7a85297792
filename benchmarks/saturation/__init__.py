"""Measure how much of vLLM's throughput a run achieves."""
