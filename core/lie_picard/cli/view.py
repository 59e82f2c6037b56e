"""`lie-picard view`: an image's hypotheses in a browser, beside the posterior over rotations, which can be turned."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lie_picard.cli.common import check_output, positive
from lie_picard.files import atomic_write
from lie_picard.node import table

if TYPE_CHECKING:
    from lie_picard.node.settings import Settings

_IMAGES = 60
_DIAMETER_M = 0.1
_LIVE = "lie_picard_pose.live_view"  # of the ROS package


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("source", nargs="*", type=Path, metavar="IMAGE|BAG", help="image files, or one recording")
    parser.add_argument("--topic", metavar="TOPIC", help="show what a running pose node publishes here, such as "
                        "/pose_node/hypotheses (needs ROS)")  # fmt: skip
    parser.add_argument("--params", type=Path, metavar="FILE", help="the pose node's parameters file: what to look for")
    parser.add_argument("--node", default="", metavar="NAME", help="which of the file's nodes, where there are several")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter")
    parser.add_argument("--checkpoint", help="file, or 'default'; otherwise what --params says")
    parser.add_argument("--object", nargs="+", metavar="NAME", help="what to look for; default: what --params says, or "
                        "what the checkpoint carries")  # fmt: skip
    parser.add_argument("--diameter", type=float, metavar="M", help="of all circumscribed spheres, metres; default: "
                        f"--params's, the checkpoint's, or {_DIAMETER_M:g}")  # fmt: skip
    parser.add_argument("--whole", action="store_true", help="the object fills the image: it is not searched in it")
    parser.add_argument("--samples", type=positive, help="of each object; default: --params's, or 100")
    parser.add_argument("--camera-calibration", type=Path, metavar="FILE", help="of image files: the YAML that ROS's "
                        "camera_calibration writes")  # fmt: skip
    parser.add_argument("--fov", type=float, metavar="DEG", help="field of view of image files along their shorter "
                        "side; default: as in the images that the model was trained on")  # fmt: skip
    parser.add_argument("--images", type=positive, default=_IMAGES, help="of a recording, evenly spread")
    parser.add_argument("--image", default="", metavar="TOPIC", help="of a recording, or live; default: found out")
    parser.add_argument("--camera-info", default="", metavar="TOPIC", help="likewise")
    parser.add_argument("--output", type=Path, default=Path("view.html"), metavar="FILE", help="the page to write")
    parser.add_argument(
        "--host", default="127.0.0.1", help="live: where browsers may ask; 0.0.0.0: other computers too"
    )
    parser.add_argument("--port", type=int, default=8050, help="live: 0 takes a free one")
    parser.add_argument("--no-open", action="store_true", help="open no browser")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def run(args: argparse.Namespace) -> int:
    """Write the page and open it; or serve it until Ctrl-C. Returns the exit status."""
    if bool(args.source) == bool(args.topic):
        raise ValueError("give image files or a recording, or --topic of a running node")
    if args.topic:
        return _live(args)
    check_output(args.output)
    settings = _settings(args)
    from lie_picard.node.settings import on_its_own
    from lie_picard.recording import scenes as sources
    from lie_picard.view.page import page

    settings = on_its_own(settings, args.seed)
    bags = [one for one in args.source if one.is_dir() or one.suffix in (".mcap", ".db3")]
    if bags and len(args.source) > 1:
        raise ValueError("give image files, or one recording")
    if bags:
        from lie_picard.recording.frames import Topics

        problems: list[str] = []

        with tqdm(unit="image", disable=None, desc="estimating") as bar:

            def show(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)

            topics = Topics(image=args.image, camera_info=args.camera_info)
            scenes = list(sources.of_recording(bags[0], settings, topics, args.images, args.device, show,
                                               problems.append))  # fmt: skip
        for line in dict.fromkeys(one.partition(": ")[2] for one in problems):
            where = [one.partition(": ")[0] for one in problems if one.endswith(line)]
            print(f"{where[0]}{f' and {len(where) - 1} more' if where[1:] else ''}: left out: {line}", file=sys.stderr)
    else:
        lens = sources.Lens(args.camera_calibration, args.fov)
        images = sources.of_images(args.source, settings, lens, args.device)
        scenes = list(tqdm(images, total=len(args.source), unit="image", disable=None, desc="estimating"))
    if not scenes:
        raise ValueError(f"{args.source[0]} holds no image that can be used")
    title = args.source[0].name if len(args.source) == 1 else f"{len(args.source)} images"
    with atomic_write(args.output) as partial:
        partial.write_text(page(scenes, f"Lie-Picard: {title}"))
    _report(args, scenes)
    if not args.no_open:
        webbrowser.open(args.output.absolute().as_uri())
    return 0


def _values(args: argparse.Namespace) -> dict[str, Any]:
    from lie_picard.node.settings import read_values

    values = {name: entry.default for name, entry in table.TABLE.items()} | {"samples": 100}
    if args.params is not None:
        values = read_values(args.params, args.node)
    values = table.changed(values, args.set)
    return values if args.checkpoint is None else values | {"checkpoint": args.checkpoint}


def _settings(args: argparse.Namespace) -> Settings:
    from lie_picard.node.settings import carried_by, settings_of

    values = _values(args)
    if args.samples is not None:
        values["samples"] = args.samples
    carried = carried_by(values["checkpoint"])
    if args.object is not None:
        values |= {"objects": args.object, "diameters": [_known(name, values) for name in args.object]}
    elif values["objects"] == table.TABLE["objects"].default:
        if carried is None:
            raise ValueError(
                "say what to look for: --object NAME (lie-picard info lists the model's), or --params FILE"
            )
        values |= {"objects": list(carried), "diameters": [0.0] * len(list(carried))}
    if args.diameter is not None:
        values["diameters"] = [args.diameter] * len(values["objects"])
    if args.whole:
        values |= {"regions_from": "parameters", "regions": table.TABLE["regions"].default}
    return settings_of(table.checked(values))


def _known(name: str, values: Mapping[str, Any]) -> float:
    """The diameter that is known of an object, 0, or one to begin with where none is known."""
    from lie_picard.node.settings import known_to

    found = known_to(values["checkpoint"]).find(name)
    return _DIAMETER_M if found is None or found.diameter is None else 0.0


def _live(args: argparse.Namespace) -> int:
    values = table.checked(_values(args))
    try:
        live = importlib.import_module(_LIVE)
    except ImportError as error:
        raise ValueError(
            f"--topic needs ROS and this workspace ({error.name} is missing): source scripts/env.sh, or your own "
            "workspace's install/setup.bash"
        ) from None
    from lie_picard.node.settings import known_to

    known = known_to(values["checkpoint"])
    return live.run(  # type: ignore[no-any-return]
        args.topic, args.image, args.camera_info, known, values["rectified"], args.host, args.port, not args.no_open
    )


def _report(args: argparse.Namespace, scenes: list[dict[str, Any]]) -> None:
    found = [
        {"image": one["caption"], "missing": one["missing"], "objects": {
            thing["name"]: [{"id": mode["id"], "weight": mode["weight"]} for mode in thing["modes"]]
            for thing in one["objects"]}}
        for one in scenes
    ]  # fmt: skip
    if args.json is not None:
        text = json.dumps({"output": str(args.output), "images": found}, indent=1)
        if str(args.json) == "-":
            print(text)
            return
        args.json.write_text(text + "\n")
    things = sum(len(one["objects"]) for one in found)
    print(f"{args.output}: images: {len(found)}, objects found in them: {things}")
    if not things:
        print(
            "no object was found: is it in the image? --whole looks at the whole image as one region", file=sys.stderr
        )
