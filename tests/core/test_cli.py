"""The command line: every command runs, writes its JSON, and answers bad input with one line."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from lie_picard import cli


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "lie_picard.cli", *map(str, arguments)], capture_output=True, text=True
    )


def test_the_overview_names_every_command_by_what_it_is_for(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert exit_.value.code == 0 and all(f"\n  {name} " in text for name in cli.COMMANDS)
    assert all(f"{group}:" in text for group in cli.GROUPS) and max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("line", [one for command in cli.COMMANDS.values() for one in command.examples])
def test_every_example_is_understood(line):
    words = shlex.split(line)
    assert words[0] == "lie-picard"
    args = cli._parser(words[1:]).parse_args(words[1:])
    assert args.command == words[1] and callable(args.run)


@pytest.mark.parametrize(
    ("line", "offered"), [("lie-picard eval", "evaluate-bag"), ("lie-picard evaluate --met", "--method"),
                          ("lie-picard evaluate --method m", "map")],
)  # fmt: skip
def test_a_shell_completes_commands_options_and_choices(line, offered, tmp_path):
    pytest.importorskip("argcomplete")
    found = tmp_path / "found"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
             "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(found)}  # fmt: skip
    subprocess.run([sys.executable, "-m", "lie_picard.cli"], env=os.environ | asked, check=True)
    assert offered in found.read_text().replace(" ", "\n").split()


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "--json" in text and "--seed" in text and "\nexamples:\n  lie-picard " in text


def test_train_evaluate_bench_and_info_on_a_model_of_ones_own(tmp_path):
    model, rendered = tmp_path / "own.safetensors", tmp_path / "data"
    trained = run("train", "--output", model, "--solids", "cone", "--images", 8,
                  "--set", "training.batch=4", "--set", "training.rotations=2", "--validate-every", 1)  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert run("render", rendered, "--split", "test", "--solids", "cone", "--images", 2).returncode == 0
    for extra in ([], ["--data", rendered]):
        out = tmp_path / "evaluation.json"
        done = run("evaluate", "--checkpoint", model, "--images", 2, "--samples", 2, "--steps", 3,
                   "--recall-images", 1, "--recall-samples", 4, "--json", out, *extra)  # fmt: skip
        assert done.returncode == 0, done.stderr
        result = json.loads(out.read_text())
        assert {"machine", "rows"} <= result.keys()
        assert {"solid", "mean_deg", "median_deg", "within_2deg", "recall_deg", "modes_reached"} <= result["rows"][
            0
        ].keys()
        assert result["rows"][-1]["solid"] == "all"
    done = run("bench", "--checkpoint", model, "--steps", 4, "--samples", 1, 2, "--repeats", 2,
               "--plans", "picard", "walk", "--json", "-")  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 4
    assert {"picard_ms", "sequential_ms", "speedup", "rounds", "evaluations", "inefficiency"} <= rows[0].keys()
    info = json.loads(run("info", model, "--json", "-").stdout)
    assert info["config"]["objects"] == ["cone"] and info["training"]["command"].startswith("lie-picard train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere.safetensors"], "no such file"),
        (["evaluate", "--checkpoint", "/etc/hostname"], "not a readable safetensors file"),
        (["evaluate", "--solids", "banana"], "nothing is known of the shape of 'banana'"),
        (["evaluate", "--data", "/nowhere"], "no such file"),
        (["evaluate", "--steps", "1"], "steps >= 2"),
        (["info", "--json", "/nowhere/info.json"], "no such folder"),
        (["info", "--threads", "-1"], "--threads"),
        (["bench", "--device", "mps"], "unknown device"),
        (["bench", "--device", "abacus"], "unknown device"),
        (["evaluate", "--tolerance", "-1"], "tolerance"),
        (["evaluate", "--videos", "1", "--method", "map", "--images", "3"], "--images, --method: leave it out"),
        (["evaluate", "--scenes", "--output", "report", "--steps", "3"], "--output, --steps: leave it out"),
        (["evaluate", "--method", "map", "--compare"], "evaluate twice"),
        (["bench", "--render", "--device", "abacus"], "unknown device"),
        (["evaluate", "--data", "x", "--output", "y"], "its own images"),
        (["evaluate", "--data", "x", "--textured"], "its own images"),
        (["calibrate"], "embedded checkpoint"),
        (["train", "--output", "o", "--set", "model.objects=cube"], "list of names"),
        (["train", "--output", "o", "--set", 'model.objects=["cube", "cube"]'], "must be distinct"),
        (["train", "--object", "x", "--output", "o", "--minutes", "9", "--locator-minutes", "-5"], "at least 0"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy(arguments, message, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and message in error[0]


def test_no_result_of_a_command_depends_on_a_stopwatch(monkeypatch):
    monkeypatch.setattr("lie_picard.sampling.autotune.resolve", lambda *_: pytest.fail("it was measured"))
    assert cli.main(["evaluate", "--solids", "cube", "--images", "1", "--samples", "2", "--recall-images", "0"]) == 0
