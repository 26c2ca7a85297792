"""Search strategies shared by the labelling methods."""
