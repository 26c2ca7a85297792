"""Pause and cancellation of a run from the API or the pages of a Prefect server.

Both stop a run as SIGTERM does: what was made is stored, and the dataset is resumable.

- A cancelled run that a worker or `stepmark schedule` started gets SIGTERM from it. Nothing but the
  run itself can stop one that `stepmark run` started, so the run polls its state.
- A paused run ends its process, as Prefect's suspended runs do. To resume it reschedules it, if it
  has a deployment; otherwise the same command continues the dataset in a new flow run.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import Pause, PrefectException
from prefect.states import Suspended

__all__ = ["CancelledInPrefectError", "stopped_by_server"]

POLL_SECONDS = 5.0

Result = TypeVar("Result")


class CancelledInPrefectError(Exception):
    """Somebody has cancelled the flow run on the server, and the work has stopped."""


async def stopped_by_server(work: Coroutine[Any, Any, Result]) -> Result:
    """Await the work of the current flow run, and cancel it if the server says so.

    Raises:
        CancelledInPrefectError: The flow run was cancelled.
        Pause: The flow run was paused.
    """
    context = FlowRunContext.get()
    assert context is not None, "the work belongs to a flow run"
    assert context.flow_run is not None, "a flow that runs has a flow run"
    assert isinstance(context.client, PrefectClient), "the flow is asynchronous"
    watch = _Watch(context.client, context.flow_run)
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    watcher = asyncio.create_task(watch.cancel_when_stopped(task))
    try:
        return await work
    except asyncio.CancelledError:
        if watch.state is None:
            raise
        # The cancellation is handled here.
        task.uncancel()
        await watch.raise_reason(watch.state)
        raise
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher


@dataclass
class _Watch:
    """The state of a flow run on the server."""

    client: PrefectClient
    flow_run: FlowRun
    state: State[Any] | None = None
    """The state that stopped the work; None while it may go on."""

    async def cancel_when_stopped(self, task: "asyncio.Task[Any]") -> None:
        """Poll the state, and cancel a task when it says that the run must stop."""
        while self.state is None:
            await asyncio.sleep(POLL_SECONDS)
            # A server that is busy or gone for a moment stops no run.
            with contextlib.suppress(httpx.HTTPError, PrefectException, OSError):
                state = (await self.client.read_flow_run(self.flow_run.id)).state
                if state is not None and self._must_stop(state):
                    self.state = state
        # A second cancellation would interrupt the storing.
        if not task.cancelling():
            task.cancel()

    def _must_stop(self, state: State[Any]) -> bool:
        if state.is_paused():
            return True
        # Whatever started the run of a deployment sends it a signal, and sets its final state.
        is_cancelled = state.is_cancelling() or state.is_cancelled()
        return is_cancelled and self.flow_run.deployment_id is None

    async def raise_reason(self, state: State[Any]) -> None:
        """Raise what ends the flow in the state that was asked for."""
        if not state.is_paused():
            raise CancelledInPrefectError
        if self.flow_run.deployment_id is not None and not state.state_details.pause_reschedule:
            # A plain pause expects a process that waits. This one ends, so that no GPU is held.
            state = Suspended(timeout_seconds=None)
            with contextlib.suppress(httpx.HTTPError, PrefectException, OSError):
                await self.client.set_flow_run_state(self.flow_run.id, state, force=True)
        raise Pause(state=state)
