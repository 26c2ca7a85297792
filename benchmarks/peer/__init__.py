"""Compare speed and labels with those of distilabel."""
