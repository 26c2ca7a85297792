"""Try consumers on exports: `python -m tests.consumers [NAME ...]`. Without names: all of them.

The first run installs each consumer in an environment of its own. The exit status is 1 if one of
them failed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from tests.consumers.environments import ProgramFailedError, installed_python, requirements_of
from tests.consumers.workspace import Workspace, make_workspace

CONSUMERS = ("prm_trainer", "trl", "axolotl", "ms_swift", "llamafactory", "verl", "inspect_scout")


def main() -> None:
    """Try the consumers that the command names."""
    parser = argparse.ArgumentParser(prog="python -m tests.consumers", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *CONSUMERS], metavar="NAME")
    names = parser.parse_args().names or CONSUMERS
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(Path(folder))
        failed = [name for name in names if not _succeeds(name, workspace)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _succeeds(name: str, workspace: Workspace) -> bool:
    package = requirements_of(name)[0]
    started = time.perf_counter()
    try:
        python = installed_python(name)
        consumer = import_module(f"tests.consumers.{name}")
        for attempt in consumer.attempts(python, workspace):
            _print(f"{package}  {attempt.export}: {attempt.rows} rows  {attempt.what}")
    except (AssertionError, ProgramFailedError, subprocess.CalledProcessError) as error:
        _print(f"{package}  FAILED: {error}")
        return False
    _print(f"{package}  {time.perf_counter() - started:.0f} s")
    return True


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
