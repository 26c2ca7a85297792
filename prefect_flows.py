"""The flow that `prefect.yaml` deploys: Prefect reads it from a file, not from a package."""

from pipelines.run.flow import stepmark_run

__all__ = ["stepmark_run"]
