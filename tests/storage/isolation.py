"""Isolated queries without their process, which takes most of the time of a test."""

import io
import subprocess

import pytest

from storage.queries import isolated

__all__ = ["answer_in_this_process"]


def answer_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run isolated queries in the process of the test."""

    def run(command: list[str], **options: object) -> "subprocess.CompletedProcess[bytes]":
        request = options["input"]
        assert isinstance(request, bytes)
        out = io.BytesIO()
        status = isolated.answer(request.decode(), out)
        return subprocess.CompletedProcess(command, status, out.getvalue(), b"")

    monkeypatch.setattr(subprocess, "run", run)
