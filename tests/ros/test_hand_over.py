"""The hand-over: the newest wins, the rest is counted, nothing is given twice."""

import threading

from lie_picard_pose.worker import Newest


def test_the_newest_wins_and_drops_are_counted():
    slot = Newest()
    assert slot.take() is None
    for item in range(5):
        slot.put(item)
    assert slot.take() == 4 and slot.dropped == 4
    assert slot.take() is None


def test_every_item_is_taken_once_or_counted_as_dropped():
    slot, taken, count = Newest(), [], 2000
    writer = threading.Thread(target=lambda: [slot.put(k) for k in range(count)])
    writer.start()
    while writer.is_alive():
        if (item := slot.take()) is not None:
            taken.append(item)
    taken += [item for item in [slot.take()] if item is not None]
    assert len(taken) + slot.dropped == count and taken == sorted(taken) and taken[-1] == count - 1
