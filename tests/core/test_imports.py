"""Every command imports only what it uses, and `--help` nothing heavy."""

import subprocess
import sys

import pytest

from lie_picard.cli import COMMANDS

BLOCKED = ("rosbags", "trimesh", "transforms3d", "mcap", "distributed", "lightning_fabric", "lightning", "onnxruntime",
           "tensorboard", "yaml", "jinja2", "rclpy", "cv_bridge", "rosidl_runtime_py")  # fmt: skip


def run(*words, blocked=BLOCKED):
    """A command in a process that lacks these packages."""
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        f"from lie_picard.cli import main\nsys.exit(main({list(words)!r}))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("info",),
        ("evaluate", "--images", "1", "--recall-images", "1", "--recall-samples", "4", "--randomised"),
        ("bench", "--steps", "4", "--samples", "2", "--repeats", "1", "--windows", "2"),
        ("calibrate", "--check", "--images", "1"),
    ],
    ids=lambda words: words[0],
)
def test_without_the_packages_of_other_commands_it_runs(words):
    done = run(*words)
    assert done.returncode == 0, done.stderr


def test_training_asks_for_fabric_in_one_line(tmp_path):
    done = run("train", "--output", str(tmp_path / "a.safetensors"), "--images", "80")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and "pip install 'lie_picard[train]'" in done.stderr


@pytest.mark.parametrize("words", [("evaluate-bag", "a", "--params", "b", "--output", "c")], ids=["evaluate-bag"])
def test_a_command_that_lacks_its_package_says_so_in_one_line(words):
    done = run(*words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "pip install" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_can_be_read_without_the_others_packages(command):
    others = BLOCKED if command not in ("evaluate-bag", "compare") else ("onnxruntime", "lightning_fabric", "rclpy")
    done = run(command, "--help", blocked=others)
    assert done.returncode == 0 and f"lie-picard {command}" in done.stdout


def test_the_list_of_commands_and_the_packages_face_import_no_torch():
    code = (
        "import sys, lie_picard\nfrom lie_picard.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'rich', 'cv2'} & set(sys.modules), sorted(sys.modules)\n"
        "assert lie_picard.PoseEstimator.__name__ == 'PoseEstimator' and 'torch' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


def test_every_public_name_is_there():
    import lie_picard

    for name in lie_picard.__all__:
        assert getattr(lie_picard, name) is not None and name in dir(lie_picard)
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = lie_picard.NoSuchName
