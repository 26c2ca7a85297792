"""A vLLM server that runs as long as a context manager is open."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

__all__ = ["serve_model"]

# Far longer than a start takes, since other processes may use the cores.
START_SECONDS = 300
# What the in-process engine sets on the CPU (`engines.runtime.async_llm.CPU_ARGUMENTS`), so that
# both return the same tokens; and the token counts of prompts, which the engine `openai` reads.
OPTIONS = (
    "--dtype=float32",
    "--block-size=32",
    "--no-enable-chunked-prefill",
    "--enforce-eager",
    "--enable-prompt-tokens-details",
)
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
# Characters of the server's log in an error message: the last traceback.
LOG_EXCERPT = 3000


@contextlib.contextmanager
def serve_model(model: Path, name: str, log: Path) -> Iterator[str]:
    """Serve a model folder under a name and yield the base URL of the OpenAI-compatible API.

    The output of the server is written to `log`.

    Raises:
        RuntimeError: The server exits, or does not answer within `START_SECONDS`.
    """
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(model),
        "--served-model-name",
        name,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *OPTIONS,
    ]
    with log.open("wb") as output:
        # In a new session, whose process group contains the processes that vLLM starts.
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | ENVIRONMENT,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the vLLM server exited: {_excerpt(log)}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise RuntimeError(f"no vLLM server after {START_SECONDS} s: {_excerpt(log)}")


def _excerpt(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-LOG_EXCERPT:]
