"""The store of completions: what engines returned, so that no sample is requested twice."""
