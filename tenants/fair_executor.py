"""Thread pool that serves keys in turn, so that no key can starve the others."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

_QueuedCall = tuple["Future[Any]", Callable[[], Any]]


class FairExecutor:
    """Thread pool with `threads` threads and one queue per key, served round-robin.

    Calls of one key start in the order of submission.
    """

    def __init__(self, threads: int, *, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: OrderedDict[Hashable, deque[_QueuedCall]] = OrderedDict()
        self._lock = Lock()

    def submit(self, key: Hashable, call: Callable[[], Any]) -> Future[Any]:
        """Schedule `call` in the queue of `key`; it is skipped if the future is cancelled first."""
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.setdefault(key, deque()).append((future, call))
        self._pool.submit(self._run_next)
        return future

    def _run_next(self) -> None:
        future, call = self._take_next()
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
            raise  # into the inner pool's future, whose result is never read

    def _take_next(self) -> _QueuedCall:
        """Remove and return the first call of the key whose turn it is.

        Each submission runs this once, so a call is always available.
        """
        with self._lock:
            key, calls = next(iter(self._waiting.items()))
            taken = calls.popleft()
            if calls:
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key]
            return taken
