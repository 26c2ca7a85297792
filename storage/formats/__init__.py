"""Trainer formats: one file per format, which converts labelled traces to the trainer's rows."""
