"""Step-labelling strategies: one file per method, each reading like its paper."""
