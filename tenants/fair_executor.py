"""A thread pool in which waiting calls take turns by key, so that no key holds up the others."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

_Call = tuple["Future[Any]", Callable[[], Any]]


class FairExecutor:
    """Runs calls on `threads` threads. Those of one key run in their order.

    A key whose calls wait is served once before any other key is served again.
    """

    def __init__(self, threads: int, *, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: OrderedDict[Hashable, deque[_Call]] = OrderedDict()
        self._lock = Lock()

    def submit(self, key: Hashable, call: Callable[[], Any]) -> Future[Any]:
        """Have `call` run for `key`; a future that is cancelled before is left out."""
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
            raise  # into a future that nobody reads

    def _take_next(self) -> _Call:
        """Take the first call of the key that has waited longest; each submission takes one."""
        with self._lock:
            key, calls = next(iter(self._waiting.items()))
            taken = calls.popleft()
            if calls:
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key]
            return taken
