"""Search strategies shared by the annotation methods."""
