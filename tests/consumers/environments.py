"""Virtual environments of consumers: one for each, kept in `build/consumers`.

The environment of a consumer has the packages of `requirements/consumers/NAME.txt`, installed
without their dependencies. All other packages, for instance PyTorch, are those of this project's
environment: its folder of packages comes last in the path of imports.
"""

import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

__all__ = ["installed_python", "requirements_of", "run_program"]

REPOSITORY = Path(__file__).parents[2]
REQUIREMENTS = REPOSITORY / "requirements" / "consumers"
PROGRAMS = Path(__file__).parent / "programs"
# Nothing is downloaded or reported while a consumer runs.
SETTINGS = {
    "ACCELERATE_USE_CPU": "true",
    "AXOLOTL_DO_NOT_TRACK": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "DISABLE_VERSION_CHECK": "1",
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "2",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "TRACKIO_DISABLED": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "WANDB_MODE": "disabled",
}


def requirements_of(name: str) -> list[str]:
    """Return the pinned packages of a consumer; the first one is the consumer itself."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def installed_python(name: str) -> Path:
    """Return the Python of the environment of a consumer, which the first call installs.

    Raises:
        subprocess.CalledProcessError: A package cannot be installed.
    """
    file = REQUIREMENTS / f"{name}.txt"
    # Other requirements need another environment.
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    folder = REPOSITORY / "build" / "consumers" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    # Created last, so that an interrupted installation is repeated.
    complete_marker = folder / "complete"
    if complete_marker.exists():
        return python
    uv = [sys.executable, "-m", "uv"]
    quiet = ["--quiet", "--system-certs"]
    subprocess.run(
        [*uv, "venv", *quiet, "--clear", "--python", sys.executable, str(folder)], check=True
    )
    install = [*uv, "pip", "install", *quiet, "--no-deps", "--python", str(python), "-r", str(file)]
    subprocess.run(install, check=True)
    packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    shared = sysconfig.get_path("purelib")
    (packages / "shared.pth").write_text(f"{shared}\n", encoding="utf-8")
    complete_marker.touch()
    return python


def run_program(python: Path, program: str, *arguments: str | Path, folder: Path) -> None:
    """Run a file of `programs` with a consumer's Python, in a folder for its files.

    Raises:
        ProgramFailedError: It failed; the message has the end of its output.
    """
    command = [python, "-W", "ignore", PROGRAMS / f"{program}.py", *arguments]
    log = folder / f"{program}.log"
    home = {"HF_HOME": str(folder / "home"), "MODELSCOPE_CACHE": str(folder / "home")}
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=folder, env=os.environ | SETTINGS | home, stdout=output, stderr=output
        )
    if done.returncode:
        end = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise ProgramFailedError(f"{program} ended with {done.returncode}:\n{end}")


class ProgramFailedError(Exception):
    """A consumer refused the rows, or could not be started."""
