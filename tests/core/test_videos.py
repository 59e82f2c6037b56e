"""The measure of following: a perfect finder gets everything, and each kind of failure shows in its own figure."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from lie_picard.data.seeds import test_generator
from lie_picard.evaluation import videos
from lie_picard.geometry.camera import Region
from lie_picard.objects import BUILT_IN, catalogue

CUBE, TET = (catalogue(BUILT_IN)[name] for name in ("cube", "tet"))
AWAY = range(20, 40)


def video():
    """The first instance is away in the middle of the video; the second stays."""
    for k in range(60):
        place = 100.0 + k if k not in AWAY else -500.0
        regions = [Region(place, 100, 80, 80), Region(400, 300 - k, 80, 80), Region(500, 20, 60, 60)]
        yield videos._Shown(np.zeros((1, 1, 3), np.uint8), regions, [0.0 if k in AWAY else 1.0, 1.0, 1.0])


def found(name, region, presence=0.9):
    return SimpleNamespace(object_id=name, region=region, hypotheses=SimpleNamespace(presence=presence))


class Finder:
    """Finds what is there; `spoil` changes what it says of the k-th image."""

    def __init__(self, spoil=lambda k, shown, finds: finds):
        self.shown, self.k, self.spoil = list(video()), -1, spoil

    def __call__(self, estimator, following, image, camera, targets, *_):
        self.k += 1
        shown = self.shown[self.k]
        finds = [found(target.object_id, shown.regions[i]) for i, target in enumerate(targets) if shown.shares[i] > 0.5]
        finds = self.spoil(self.k, shown, finds)
        names = {one.object_id for one in finds}
        missing = [SimpleNamespace(presence=math.nan, why="") for one in targets if one.object_id not in names]
        return finds, missing


def row(monkeypatch, spoil=lambda k, shown, finds: finds):
    monkeypatch.setattr(videos, "look", Finder(spoil))
    tally = videos.Tally()
    videos._follow(None, CUBE, video(), tally, 8, lambda count: None)
    return tally.row()


def test_who_finds_everything_gets_everything(monkeypatch):
    got = row(monkeypatch)
    assert (got["recall"], got["precision"], got["jumps"], got["presence_auroc"]) == (1, 1, 0, 1)
    assert (got["returns"], got["refound_soon"], got["departures"], got["lost_soon"]) == (1, 1, 1, 1)


@pytest.mark.parametrize(("late", "soon"), [(2, 1.0), (3, 0.0)])
def test_what_is_found_again_late_counts_as_late(monkeypatch, late, soon):
    spoil = lambda k, shown, finds: finds[1:] if AWAY.stop <= k < AWAY.stop + late else finds  # noqa: E731
    got = row(monkeypatch, spoil)
    assert got["refound_soon"] == soon and got["lost_soon"] == 1 and got["recall"] < 1


@pytest.mark.parametrize(("late", "soon"), [(2, 1.0), (3, 0.0)])
def test_what_is_said_to_be_there_when_it_is_gone_counts(monkeypatch, late, soon):
    ghost = found("cube#0", Region(300, 100, 80, 80), 0.95)
    spoil = lambda k, shown, finds: [*finds, ghost] if AWAY.start <= k < AWAY.start + late else finds  # noqa: E731
    got = row(monkeypatch, spoil)
    assert got["lost_soon"] == soon and got["precision"] < 1 and got["presence_auroc"] < 1


def test_a_name_that_goes_over_to_the_other_instance_is_a_jump(monkeypatch):
    def spoil(k, shown, finds):
        for one in finds:
            if k >= 50:
                one.object_id = {"cube#0": "cube#1", "cube#1": "cube#0"}[one.object_id]
        return finds

    got = row(monkeypatch, spoil)
    assert got["jumps"] == 2 and got["recall"] == got["precision"] == 1


def test_what_never_comes_back_is_no_late_return(monkeypatch):
    got = row(monkeypatch, lambda k, shown, finds: [] if k < 20 else finds)
    assert got["returns"] == 0 and math.isnan(got["refound_soon"])  # it was never found before


def test_a_video_is_labelled_as_it_is_rendered(monkeypatch):
    monkeypatch.setattr(videos, "IMAGES", 4)
    shown = list(videos._video(CUBE, TET, 0.1, test_generator(1)))
    assert len(shown) == 4 and all(one.image.shape == (480, 640, 3) for one in shown)
    assert all(0 <= share <= 1 for one in shown for share in one.shares)
    assert any(share > 0.9 for one in shown for share in one.shares)
    again = next(videos._video(CUBE, TET, 0.1, test_generator(1)))
    assert (again.image == shown[0].image).all() and again.regions == shown[0].regions


@pytest.mark.parametrize("sought", [[CUBE], [CUBE, TET]])
def test_the_third_thing_in_a_video_is_never_what_is_sought(monkeypatch, sought):
    shown = []
    monkeypatch.setattr(videos, "searched", lambda estimator: sought)
    monkeypatch.setattr(videos, "_video", lambda one, other, diameter, generator: shown.append((one, other)) or [])
    rows = videos.evaluate(None, 3)
    assert [row["solid"] for row in rows] == [*(one.name for one in sought), "all"]
    assert len(shown) == 3 * len(sought) and all(one.name != other.name for one, other in shown)
