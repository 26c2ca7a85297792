"""What is measured, and how: see `README.md`."""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # as `stepmark` has it; before anything imports numpy
