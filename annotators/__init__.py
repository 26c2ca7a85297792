"""Annotation methods and labelers, and the models that they share."""
