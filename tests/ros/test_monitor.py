"""What the node's diagnostics count."""

import dataclasses

from lie_picard.node.pipeline import Result
from lie_picard_msgs.msg import PoseHypothesisArray
from lie_picard_pose.monitor import Monitor


def message(name, rounds):
    made = PoseHypothesisArray(object_id=name, presence=0.9)
    made.statistics.rounds, made.statistics.evaluations, made.statistics.converged = rounds, float(rounds), rounds > 0
    return made


def test_what_was_not_sampled_is_no_run_of_the_sampler_that_failed():
    monitor, absent = Monitor(), Result([], [], [], [message("cube", 0)])
    monitor.processed({}, absent, ["cube"])
    assert monitor.figures(0).sampler == []
    monitor.processed({}, dataclasses.replace(absent, lost=[message("cube", 0), message("cone", 8)]), ["cube", "cone"])
    figures = monitor.figures(0)
    assert figures.sampler == [(8, 8.0, True)]
    assert figures.objects == {"cube": "lost, presence 0.90", "cone": "lost, presence 0.90"}
