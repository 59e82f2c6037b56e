"""The hand-over: the newest wins, the rest is counted, closing wakes the worker."""

import threading

from lie_picard_pose.newest import Newest


def test_the_newest_wins_and_drops_are_counted():
    slot = Newest()
    for item in range(5):
        slot.put(item)
    assert slot.take() == 4 and slot.dropped == 4


def test_take_waits_for_put_and_close_ends_it():
    slot, taken = Newest(), []
    worker = threading.Thread(target=lambda: taken.extend(iter(slot.take, None)))
    worker.start()
    slot.put("frame")
    while not taken:
        pass
    slot.close()
    worker.join(10)
    assert taken == ["frame"] and not worker.is_alive()
