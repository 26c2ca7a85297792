"""Measure the cost of the driver next to a fast engine."""
