"""Batches, made ahead of their use by threads.

Threads are enough, and keep nothing to pickle, fork or share: decoding, scaling and copying photos
all happen outside Python's global lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S")


def prefetch(make: Callable[[S], T], items: Iterable[S], workers: int) -> Iterator[T]:
    """Yield ``make(item)`` in the order of `items`, computed up to ``workers + 1`` items ahead.

    With 0 workers everything happens in the calling thread. An error in `make` is raised where its
    result is due. Memory stays bounded whatever the number of items.
    """
    if workers <= 0:
        yield from map(make, items)
        return
    remaining = iter(items)
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="resnets-loader") as pool:
        try:
            for item in islice(remaining, workers + 1):
                pending.append(pool.submit(make, item))
            while pending:
                result = pending.popleft().result()
                for item in islice(remaining, 1):
                    pending.append(pool.submit(make, item))
                yield result
        finally:
            for future in pending:
                future.cancel()
