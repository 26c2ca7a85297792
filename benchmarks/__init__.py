"""Benchmarks of label accuracy, throughput and overhead; `README.md` describes each."""
