"""Measure how accurate labels are for the tokens that they cost."""
