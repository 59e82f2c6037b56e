"""The computing thread: the newest item wins, calls are answered, stopping does not wait for ever."""

import threading

import pytest

from lie_picard_pose.worker import Limiter, StoppingError, Worker, result_of


def test_a_busy_worker_takes_the_newest_and_counts_the_rest():
    begun, go, done = threading.Event(), threading.Event(), []

    def work(item):
        begun.set()
        go.wait(10)
        done.append(item)

    worker = Worker(work)
    worker.offer(0)
    assert begun.wait(10)
    for item in range(1, 100):
        worker.offer(item)
    go.set()
    assert worker.call(lambda: "after").result(10) == "after"
    assert done == [0, 99] and worker.dropped == 98
    assert worker.stop(10)


def test_a_call_waits_for_one_item_at_most():
    """Items that are offered meanwhile are one, not a queue."""
    done, go = [], threading.Event()
    worker = Worker(lambda item: (go.wait(10), done.append(item)))
    for item in range(50):
        worker.offer(item)
    answer = worker.call(lambda: len(done))
    go.set()
    assert answer.result(10) <= 2
    assert worker.stop(10)


def test_stopping_does_not_wait_for_what_cannot_be_interrupted():
    go, begun = threading.Event(), threading.Event()
    worker = Worker(lambda item: (begun.set(), go.wait(30)))
    worker.offer(0)
    assert begun.wait(10)
    assert not worker.stop(0.01)
    go.set()


def test_waiting_ends_when_the_process_is_to_end():
    go = threading.Event()
    worker = Worker(lambda item: None)
    future = worker.call(go.wait, 30)
    with pytest.raises(StoppingError):
        result_of(future, lambda: False)
    go.set()
    assert result_of(future, lambda: True) is True
    assert worker.stop(10)


@pytest.mark.parametrize(
    ("rate", "passed"), [(0.0, 300), (30.0, 300), (15.0, 150), (10.0, 100), (1.0, 10), (60.0, 300)]
)
def test_the_limiter_lets_its_rate_through(rate, passed):
    """Ten seconds of 30 Hz, with a camera's jitter."""
    limiter = Limiter()
    times = [100 + k / 30 + 0.002 * ((k * 7) % 3 - 1) for k in range(300)]
    assert sum(limiter.passes(rate, now) for now in times) == pytest.approx(passed, abs=2)


def test_the_limiter_does_not_save_up():
    limiter = Limiter()
    assert limiter.passes(10, 0.0) and limiter.passes(10, 100.0)
    assert [limiter.passes(10, 100.0 + k * 0.01) for k in range(1, 8)] == [False] * 7
