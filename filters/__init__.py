"""Filters: which labelled traces of a dataset are left out of training, one file per reason."""
