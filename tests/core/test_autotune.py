"""`method="auto"`: measured once, remembered, and never slower than the sequential way by its own measurement."""

import json

import pytest
import torch

from lie_picard import SamplerOptions
from lie_picard.sampling import autotune as planner

AUTO = SamplerOptions("auto", 100, integrator="euler")
CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A clock that advances by the cost that a test gives each method, and a store of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    class Machine:
        now, cost, runs = 0.0, {}, []

        def run(self, options):
            self.runs.append(options.method)
            self.now += self.cost[options.method] + (options.window or 0) * 1e-6

    machine = Machine()
    machine.runs = []
    monkeypatch.setattr("lie_picard.machine.time.perf_counter", lambda: machine.now)
    return machine


@pytest.mark.parametrize(
    ("cost", "chosen"),
    [
        ({"ode": 1.0, "picard": 2.0, "newton": 0.5}, "newton"),
        ({"ode": 1.0, "picard": 0.5, "newton": 2.0}, "picard"),
        ({"ode": 1.0, "picard": 2.0, "newton": 3.0}, "ode"),
        ({"ode": 1.0, "picard": 0.97, "newton": 0.95}, "ode"),  # too little to be sure of
    ],
)
def test_the_fastest_is_chosen_and_remembered(machine, cost, chosen):
    machine.cost = cost
    assert planner.resolve(AUTO, 10, "model", CPU, machine.run).method == chosen
    count = len(machine.runs)
    assert planner.resolve(AUTO, 11, "model", CPU, machine.run).method == chosen
    assert len(machine.runs) == count  # about as many samples: not measured again
    planner.resolve(AUTO, 1000, "model", CPU, machine.run)
    assert len(machine.runs) > count
    stored = json.loads(planner.store().read_text())
    assert len(stored) == 2 and all("ode" in costs for costs in stored.values())


def test_other_methods_are_left_as_they_are(machine):
    for method in ("ode", "picard", "newton", "walk"):
        options = SamplerOptions(method)
        assert planner.resolve(options, 10, "model", CPU, machine.run) is options
    assert not machine.runs


def test_a_hopeless_method_is_not_measured_to_the_end(machine):
    machine.cost = {"ode": 0.1, "picard": 10.0, "newton": 0.1}
    planner.resolve(AUTO, 10, "model", CPU, machine.run)
    assert machine.runs.count("picard") == 3 * 2  # three windows: once to warm up, once measured
    assert machine.runs.count("ode") == 6


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_damaged_store_is_replaced(machine, content):
    machine.cost = {"ode": 1.0, "picard": 2.0, "newton": 0.5}
    planner.store().parent.mkdir(parents=True)
    planner.store().write_text(content)
    assert planner.resolve(AUTO, 10, "model", CPU, machine.run).method == "newton"
    assert json.loads(planner.store().read_text())


def test_where_nothing_can_be_stored_it_still_works(machine, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    machine.cost = {"ode": 1.0, "picard": 2.0, "newton": 0.5}
    assert planner.resolve(AUTO, 10, "model", CPU, machine.run).method == "newton"
    assert "cannot store" in caplog.text
