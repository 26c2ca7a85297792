"""`stepmark schema`."""

import json
import sys

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON schema of run files, for editors.

    It covers the plugins that are installed here.
    """
    from pipelines.run.schema import run_file_schema

    sys.stdout.write(json.dumps(run_file_schema(), indent=2, ensure_ascii=False) + "\n")
