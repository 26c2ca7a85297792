"""Assignment of shards to workers: no shard has two workers at a time."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["Assignment"]

Worker = TypeVar("Worker")


class Assignment(Generic[Worker]):
    """The shards that wait, those that workers make, and the workers that wait for a shard.

    Nothing is assigned before all workers have requested a shard: the first worker to start would
    otherwise take all shards of a small dataset.

    Args:
        shards: The shards, in the order in which they are assigned.
        workers: The number of workers.
        send: Sends a shard to a worker that waits; None if no shard is left for it.
    """

    def __init__(
        self,
        shards: Iterable[int],
        workers: int,
        send: Callable[[Worker, int | None], None],
    ) -> None:
        self._send = send
        self._workers_to_wait_for = workers
        self._waiting = deque(shards)
        self._idle = deque[Worker]()
        self._worker_of = dict[int, Worker]()
        self._losses = Counter[int]()

    @property
    def is_finished(self) -> bool:
        """Whether all shards are finished."""
        return not self._waiting and not self._worker_of

    def request(self, worker: Worker) -> None:
        """Assign a shard to a worker as soon as one waits."""
        self._idle.append(worker)
        # A worker requests one shard at a time, so all of them are idle when the last one starts.
        if len(self._idle) >= self._workers_to_wait_for:
            self._workers_to_wait_for = 0
            self._distribute()

    def wait_for_no_more(self) -> None:
        """Assign shards to the workers that have requested one, although others have not."""
        self._workers_to_wait_for = 0
        self._distribute()

    def finish(self, worker: Worker, shard: int) -> None:
        """Record that a worker has finished its shard."""
        assert self._worker_of.get(shard) is worker, shard
        del self._worker_of[shard]
        self._distribute()

    def lose(self, worker: Worker) -> tuple[int, int] | None:
        """Take the shards of a worker that died, and assign them again.

        Returns:
            The first of its shards whose workers have died most often, and how often; None if it
            had no shard.
        """
        lost = [shard for shard, owner in self._worker_of.items() if owner is worker]
        for shard in lost:
            del self._worker_of[shard]
            self._losses[shard] += 1
        # They come first, because they have waited longest.
        self._waiting.extendleft(reversed(lost))
        if worker in self._idle:
            self._idle.remove(worker)
        self._distribute()
        if not lost:
            return None
        worst = max(lost, key=lambda shard: self._losses[shard])
        return worst, self._losses[worst]

    def _distribute(self) -> None:
        while self._idle and self._waiting:
            worker = self._idle.popleft()
            shard = self._waiting.popleft()
            self._worker_of[shard] = worker
            self._send(worker, shard)
        # A worker keeps waiting while others make the last shards: one of them may die.
        if self.is_finished:
            while self._idle:
                self._send(self._idle.popleft(), None)
