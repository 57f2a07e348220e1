"""A queue in which every client waits for its own work, and not for another client's.

Each client has a lane, first in, first out. The next item is of the client that has been served
least. "Served" counts what the work really cost, so that large work has fewer turns than small
work. A client that was away gets no credit for that time, and a client that has been served more
than the others does not lose that debt by leaving.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class _Lane(Generic[T]):
    """A client's items, how much it has been served, and in which turn it was served last."""

    served: float
    turn: int = 0
    items: deque[T] = field(default_factory=deque)


class FairQueue(Generic[T]):
    """Not safe for several threads: its owner has a lock."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane[T]] = {}
        # Where a new client begins: what each would have been served if all were served equally.
        # It grows with all work, so that new clients do not go ahead of a waiting one for ever.
        self._equal = 0.0
        self._turn = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for lane in self._lanes.values():
            yield from lane.items

    def heads(self) -> Iterator[T]:
        """The first item of each client."""
        return (lane.items[0] for lane in self._lanes.values() if lane.items)

    def has(self, client: Hashable) -> bool:
        """Whether a client has items here."""
        lane = self._lanes.get(client)
        return lane is not None and bool(lane.items)

    def append(self, client: Hashable, item: T) -> None:
        """Add an item behind the client's other ones."""
        lane = self._lanes.setdefault(client, _Lane(self._equal))
        if not lane.items:
            lane.served = max(lane.served, self._equal)
        lane.items.append(item)
        self._length += 1

    def pop(self, skip: Callable[[Hashable], bool] | None = None) -> T | None:
        """Take the first item of the client that has been served least; None if there is none.

        Args:
            skip: returns True for a client whose turn it is not.
        """
        least: _Lane[T] | None = None
        for client, lane in self._lanes.items():
            if not lane.items or (skip is not None and skip(client)):
                continue
            if least is None or (lane.served, lane.turn) < (least.served, least.turn):
                least = lane
        if least is None:
            return None
        self._turn += 1
        self._length -= 1
        least.turn = self._turn
        return least.items.popleft()

    def charge(self, client: Hashable, cost: float) -> None:
        """Count work that was done for a client, in any unit that is always the same."""
        lanes = self._lanes
        lane = lanes.setdefault(client, _Lane(self._equal))
        lane.served += cost
        waiting = [each.served for each in lanes.values() if each.items]
        self._equal = max(self._equal + cost / len(lanes), min(waiting, default=0.0))
        if len(waiting) < len(lanes):
            for name, each in list(lanes.items()):
                if not each.items and each.served <= self._equal:
                    del lanes[name]  # it would begin at this value again
