"""The stages of a run and the Prefect flow that executes them."""
