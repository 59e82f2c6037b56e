"""Images that never reach the node are counted, by stamps alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lie_picard_pose.losses import Losses

T0 = 1_790_000_000_000_000_000


def stamps(rate, count, jitter, seed):
    period = 1e9 / rate
    noise = np.random.default_rng(seed).uniform(-jitter, jitter, count) * period
    return (T0 + np.arange(count) * period + noise).astype(np.int64).tolist()


@given(rate=st.floats(5.0, 120.0), share=st.floats(0.0, 0.7), seed=st.integers(0, 1000), paired=st.booleans())
def test_the_share_that_was_lost_is_told(rate, share, seed, paired):
    sent = stamps(rate, 300, 0.1, seed)
    arrives = np.random.default_rng(seed + 1).random(300) >= share
    arrives[[0, -1]] = True
    losses = Losses()
    for stamp, here in zip(sent, arrives, strict=True):
        if paired:
            losses.info(stamp)
        if here:
            losses.image(stamp)
    found = losses.recent()
    assert found.sent == pytest.approx(300, abs=0 if paired else 15)
    assert found.share == pytest.approx(1 - arrives.mean(), abs=0.001 if paired else 0.05)


@given(rate=st.floats(0.6, 1000.0), jitter=st.floats(0.0, 0.15), seed=st.integers(0, 1000))
def test_nothing_is_lost_where_all_arrive(rate, jitter, seed):
    losses = Losses()
    for stamp in stamps(rate, 200, jitter, seed):
        losses.image(stamp)
    assert losses.recent().lost == 0


def test_a_camera_that_pauses_loses_nothing():
    losses = Losses()
    for stamp in stamps(30, 100, 0, 0) + [stamp + 60 * 10**9 for stamp in stamps(30, 100, 0, 0)]:
        losses.image(stamp)
    assert losses.recent().lost == 0


def test_calibrations_that_come_once_say_nothing_of_images():
    losses = Losses()
    losses.info(T0 + 5)
    for stamp in stamps(30, 100, 0, 0):
        losses.image(stamp)
    assert losses.recent() == (0, 100)


def test_a_stamp_that_goes_back_and_stamps_that_stand_still_are_no_loss():
    losses = Losses()
    for stamp in stamps(30, 100, 0, 0) + stamps(30, 50, 0, 0) + [0] * 50:
        losses.image(stamp)
    assert losses.recent().lost == 0
