"""Run distilabel in a separate virtual environment."""

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.console import print_progress

__all__ = ["install_distilabel", "run_distilabel"]

LOCK = Path(__file__).with_name("distilabel.lock")
SCRIPT = Path(__file__).with_name("distilabel_step.py")
# No network access and no telemetry while distilabel is timed.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def install_distilabel(cache: Path) -> Path:
    """Return the Python of distilabel's environment, which the first call installs in `cache`."""
    # Another lock file needs another environment.
    folder = cache / f"distilabel-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:8]}"
    python = folder / "bin" / "python"
    # Created last, so that an interrupted installation is repeated.
    complete_marker = folder / "whole"
    if complete_marker.exists():
        return python
    print_progress(f"installing distilabel in {folder}")
    venv.create(folder, clear=True, with_pip=True)
    install = [
        str(python),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "--quiet",
        "--requirement",
        str(LOCK),
    ]
    subprocess.run(install, check=True, stdout=sys.stderr)
    complete_marker.touch()
    return python


def run_distilabel(python: Path, task_input: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Run `distilabel_step.py` on an input and return its output. `folder` is for their files."""
    input_file = folder / "input.json"
    output_file = folder / "output.json"
    input_file.write_text(json.dumps(task_input), encoding="utf-8")
    command = [str(python), "-W", "ignore", str(SCRIPT), str(input_file), str(output_file)]
    subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | ENVIRONMENT)
    output: Mapping[str, Any] = json.loads(output_file.read_text(encoding="utf-8"))
    return output
