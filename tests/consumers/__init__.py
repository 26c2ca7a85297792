"""Consumers of exports, tried with their own code: `python -m tests.consumers [NAME ...]`."""
