"""Filters: plugins that exclude labelled traces from training, one file per reason."""
