"""BOP data sets: what is written is read, in every layout; what is damaged is refused in one line."""

import dataclasses
import io
import json
import math
import os
import struct
import tarfile
import zlib

import bop_sets
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard.cli import main
from lie_picard.data.bop import BopError, Dataset, agrees, crops, object_names
from lie_picard.data.bop.annotations import mask_of_runs, runs_of_mask
from lie_picard.data.bop.render import depth_of
from lie_picard.model.config import ModelConfig
from lie_picard.objects import catalogue
from lie_picard.rendering.clean import Crop, render

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two scenes of two images in folders, the same in shards."""
    root = bop_sets.written(tmp_path_factory.mktemp("bop") / "solids", count=2, images=2)
    return bop_sets.written(root, "test_web", "shards", count=2, images=2)


def images_of(dataset, split="test", sensor=""):
    return [image for unit in dataset.units(split, sensor) for image in dataset.images(unit)]


def read_all(root, split="test", sensor=""):
    """Everything that there is to read."""
    dataset = Dataset(root)
    dataset.targets(split)
    for image in images_of(dataset, split, sensor):
        camera = image.camera(image.picture().shape)
        image.depth()
        for one in image.instances or ():
            assert camera.width and dataset.models[one.object_id].radius
            image.mask(one.index)
            image.mask(one.index, visible=False)


def test_models_are_about_their_balls_and_keep_their_symmetries(data):
    models = Dataset(data).models
    assert list(models.names.values()) == list(bop_sets.SOLIDS) and models.number("tetX") == 3
    for number, name in models.names.items():
        known = catalogue("symsol")[name]
        assert models[number].radius == pytest.approx(0.05, rel=1e-6) and agrees(models[number], known)
        mine, theirs = models[number].symmetry, known.symmetry
        assert np.linalg.norm(mine.centre) < 1e-6
        assert len(mine.rotations) == len(theirs.rotations) and len(mine.axes) == len(theirs.axes)
    # Apex at 50 mm, base at -25: the middle of the box is 12.5 above the ball's.
    assert models[1].centre == pytest.approx((0, 0, -0.0125), abs=1e-6)
    assert not agrees(models[1], catalogue("symsol")["cube"]) and not agrees(models[2], catalogue("symsol")["icosa"])


def test_rendered_truth_agrees_with_depth_masks_and_visibility(data):
    dataset = Dataset(data)
    for image in images_of(dataset):
        depth, camera = image.depth(), image.camera(image.picture().shape)
        for one in image.instances:
            model = dataset.models[one.object_id]
            assert np.allclose(model.model_pose(model.object_pose(one.pose)), one.pose)
            alone = depth_of(catalogue("symsol")[model.name], model.radius, model.object_pose(one.pose), camera)
            every, seen = image.mask(one.index, visible=False), image.mask(one.index)
            assert ((alone > 0) == every).all() and (every | ~seen).all()
            assert one.visible == pytest.approx(seen.sum() / every.sum())
            if seen.any():
                assert np.abs(alone - depth)[seen].max() < 1e-4  # stored in tenths of a millimetre
                rows, columns = np.nonzero(every)
                assert (one.box.x, one.box.y) == (columns.min(), rows.min())
                assert one.box.x + one.box.width == columns.max() + 1
            hidden = every & ~seen
            assert not hidden.any() or (depth[hidden] < alone[hidden] + 1e-4).all()


def test_shards_hold_what_folders_hold(data):
    dataset = Dataset(data)
    assert dataset.splits() == ["test", "test_web"]
    for one, other in zip(images_of(dataset), images_of(dataset, "test_web"), strict=True):
        assert (one.scene_id, one.image_id) == (other.scene_id, other.image_id)
        assert (one.matrix == other.matrix).all()
        assert np.abs(one.picture().astype(int) - other.picture()).mean() < 2  # JPEG
        assert np.array_equal(one.depth(), other.depth(), equal_nan=True)
        for mine, theirs in zip(one.instances, other.instances, strict=True):
            assert (mine.pose == theirs.pose).all() and mine.visible == theirs.visible and mine.box == theirs.box
            for visible in (False, True):
                assert (one.mask(mine.index, visible) == other.mask(theirs.index, visible)).all()


@pytest.mark.parametrize(("sensor", "folder"), [("photoneo", "rgb_photoneo"), ("gray1", "gray1")])
def test_several_sensors_are_told_apart(data, tmp_path, sensor, folder):
    root = bop_sets.copied(data, tmp_path / "set")
    for scene in (root / "test").iterdir():
        for kind in ("camera", "gt", "gt_info"):
            (scene / f"scene_{kind}_{sensor}.json").write_bytes((scene / f"scene_{kind}.json").read_bytes())
        os.rename(scene / "rgb", scene / folder)
        for name in ("depth", "mask", "mask_visib"):
            os.rename(scene / name, scene / f"{name}_{sensor}")
    read_all(root, sensor=sensor)
    image = images_of(Dataset(root), sensor=sensor)[0]
    assert image.depth() is not None and image.mask(0) is not None
    with pytest.raises(BopError, match=f"no sensor 'other': choose with --sensor one of .*{sensor}"):
        images_of(Dataset(root), sensor="other")


def test_what_need_not_be_there_may_be_missing(data, tmp_path):
    root = bop_sets.copied(data, tmp_path / "set")
    scene = root / "test" / "000000"
    for name in ("depth", "mask", "mask_visib"):
        os.rename(scene / name, root / name)
    os.rename(scene / "scene_gt_info.json", root / "info")
    for picture in (scene / "rgb").iterdir():  # grey, and as JPEG
        grey = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(picture.with_suffix(".jpg")), grey)
        picture.unlink()
    os.rename(scene / "rgb", scene / "gray")
    image = images_of(Dataset(root))[0]
    assert image.depth() is None and image.mask(0) is None and image.picture().ndim == 2
    assert image.instances[0].visible is None
    os.rename(scene / "scene_gt.json", root / "gt")
    assert images_of(Dataset(root))[0].instances is None


def test_depth_is_in_metres_whatever_it_is_stored_in(data, tmp_path):
    root = bop_sets.copied(data, tmp_path / "set")
    scene = root / "test" / "000000"
    before = images_of(Dataset(root))[0].depth()
    metres = np.nan_to_num(before)
    (scene / "depth" / "000000.png").unlink()
    cv2.imwrite(str(scene / "depth" / "000000.tif"), metres)
    bop_sets.edit(scene / "scene_camera.json", lambda value: bop_sets.set_in(value, "0", "depth_scale", 1000.0))
    assert np.allclose(images_of(Dataset(root))[0].depth(), before, atol=1e-6, equal_nan=True)


@examples(50)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_run_lengths_are_what_they_encode(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    assert (mask_of_runs(runs_of_mask(mask), "x") == mask).all()


def test_cocos_text_of_run_lengths_is_read():
    # Lengths 6, 1, 40, 4, 49: differences to the last but one from the fourth on are 3 and 9. Five bits a letter, from
    # "0" on; 32 says that more follow, 16 that it is negative: 6 is "6", 1 "1", 40 = 8 + 32 is "X1", 3 "3", 9 "9".
    assert runs_of_mask(mask_of_runs({"size": [10, 10], "counts": "61X139"}, "x"))["counts"] == [6, 1, 40, 4, 49]


def png(width, height):
    """The head of an image that would be as large as that."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def spoil(root, kind):
    """One damage of a data set, by name."""
    scene, models = root / "test" / "000000", root / "models_eval"
    picture, camera, truth = scene / "rgb" / "000001.png", scene / "scene_camera.json", scene / "scene_gt.json"
    first = lambda *change: lambda value: bop_sets.set_in(value, "0", *change)  # noqa: E731
    match kind:
        case "cut json":
            truth.write_text(truth.read_text()[:-20])
        case "deep json":
            truth.write_text("[" * 100_000)
        case "list of cameras":
            camera.write_text("[]")
        case "named image":
            camera.write_text('{"../../secret": {}}')
        case "K":
            bop_sets.edit(camera, first("cam_K", [1, 2, 3]))
        case "K of zeros":
            bop_sets.edit(camera, first("cam_K", [0] * 9))
        case "fisheye":
            bop_sets.edit(camera, lambda value: value["0"].pop("cam_K") and bop_sets.set_in(
                value, "0", "cam_model", {"projection_model_type": "CameraModelType.FISHEYE624"}))  # fmt: skip
        case "depth scale":
            bop_sets.edit(camera, first("depth_scale", -1))
        case "R":
            bop_sets.edit(truth, first(0, "cam_R_m2c", [1, 0, 0, 0, 1, 0, 0, 0, -1]))
        case "t":
            bop_sets.edit(truth, first(0, "cam_t_m2c", [1, 0, float("nan")]))
        case "obj_id":
            bop_sets.edit(truth, first(0, "obj_id", "../5"))
        case "infos":
            bop_sets.edit(scene / "scene_gt_info.json", lambda value: value["0"].clear())
        case "visib_fract":
            bop_sets.edit(scene / "scene_gt_info.json", first(0, "visib_fract", 7))
        case "no image":
            picture.unlink()
        case "cut image":
            picture.write_bytes(picture.read_bytes()[:-200])
        case "text image":
            picture.write_text("404 not found")
        case "bomb":
            picture.write_bytes(png(60_000, 60_000))
        case "colour depth":
            cv2.imwrite(str(scene / "depth" / "000001.png"), np.zeros((240, 320, 3), np.uint8))
        case "endless":
            picture.unlink()
            os.mkfifo(picture)
        case "no models":
            for folder in ("models", "models_eval"):
                (root / folder / "models_info.json").unlink()
        case "no mesh":
            (models / "obj_000002.ply").unlink()
        case "metres":
            bop_sets.edit(models / "models_info.json", lambda value: bop_sets.set_in(value, "2", "diameter", 0.1))
        case "diameter":
            bop_sets.edit(models / "models_info.json", lambda value: value["2"].pop("diameter") and None)
        case "targets":
            (root / "test_targets_bop19.json").write_text('[{"scene_id": 0, "im_id": "all"}]')


DAMAGES = {
    "cut json": "scene_gt.json is not JSON: .*download", "deep json": "nested too deeply",
    "list of cameras": "must map numbers of images", "named image": "has the key '../../secret'",
    "K": "cam_K must be 9 finite numbers", "K of zeros": "no camera matrix", "fisheye": "undistort them",
    "depth scale": "depth_scale must be a positive", "R": "cam_R_m2c is no rotation", "t": "cam_t_m2c must be 3 finite",
    "obj_id": "obj_id must be a number of a model", "infos": "has 0 entries of",
    "visib_fract": "a share between 0 and 1", "no image": "000001.png: no such file",
    "cut image": "is truncated, after", "text image": "is no readable image",
    "bomb": "claims more pixels|claims 60000", "colour depth": "is no depth image",
    "no models": "no such file; download",
    "endless": "no such file|cannot be read: not a file", "no mesh": "obj_000002.ply: no such file",
    "metres": "has a diameter of 0.1, but", "diameter": "needs a diameter in millimetres",
    "targets": "target 0 needs scene_id",
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_is_damaged_is_told_in_one_line(data, tmp_path, kind):
    root = bop_sets.copied(data, tmp_path / "set")
    read_all(root)
    spoil(root, kind)
    with pytest.raises(BopError, match=DAMAGES[kind]) as caught:
        read_all(root)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_splits_that_are_not_there_are_told_with_those_that_are(data, tmp_path):
    with pytest.raises(BopError, match="no such split; it has test, test_web"):
        Dataset(data).units("val")
    with pytest.raises(BopError, match="is no name of a split"):
        Dataset(data).units("../solids/test")
    with pytest.raises(BopError, match="no such folder"):
        Dataset(tmp_path / "nowhere")
    with pytest.raises(BopError, match="write NUMBER=NAME"):
        object_names(["bracket"])
    with pytest.raises(BopError, match="has no object 9: it has 1, 2, 3, 4"):
        Dataset(data, object_names(["9=bracket"]))


def test_a_shard_that_breaks_off_gives_what_stands_before(data, tmp_path):
    root = bop_sets.copied(data, tmp_path / "set")
    shard = root / "test_web" / "shard-000000.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    dataset = Dataset(root)
    unit = dataset.units("test_web")[0]
    whole = list(dataset.images(unit))
    assert 1 <= len(whole) < 4 and whole[0].picture().shape == (240, 320, 3)
    assert len(unit.problems) == 1 and "download it again" in unit.problems[0]
    for damaged in (b"", b"not a tar file" * 100, zlib.compress(content)):
        shard.write_bytes(damaged)
        with pytest.raises(BopError, match=r"no tar file|holds no image"):
            list(dataset.images(dataset.units("test_web")[0]))


def test_no_name_in_a_shard_leads_anywhere(tmp_path, data):
    root = bop_sets.copied(data, tmp_path / "set")
    (tmp_path / "secret.json").write_text('{"cam_K": [1, 0, 0, 0, 1, 0, 0, 0, 1]}')
    (root / "odd").mkdir()
    with tarfile.open(root / "odd" / "shard-000000.tar", "w") as tar:
        link = tarfile.TarInfo("000000_000000.camera.json")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.json")
        tar.addfile(link)
        head = tarfile.TarInfo("../../000000_000001.rgb.jpg")
        head.size = 3
        tar.addfile(head, io.BytesIO(b"abc"))
    dataset = Dataset(root)
    unit = dataset.units("odd")[0]
    (image,) = dataset.images(unit)
    assert image.image_id == 1 and "1 members that are no files" in unit.problems[0]
    with pytest.raises(BopError, match="has no camera"):
        _ = image.matrix
    with pytest.raises(BopError, match="is no readable image"):
        image.picture()
    assert not (tmp_path / "000000_000001.rgb.jpg").exists()


def test_a_head_of_a_shard_of_any_size_is_not_taken_into_memory(tmp_path, data):
    root = bop_sets.copied(data, tmp_path / "set")
    (root / "odd").mkdir()
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, 1 << 33
    (root / "odd" / "shard-000000.tar").write_bytes(head.tobuf() + bytes(4096))
    with pytest.raises(BopError, match="no tar file"):
        list(Dataset(root).images(Dataset(root).units("odd")[0]))


def test_a_split_is_not_written_over_and_models_stay_the_same(data):
    with pytest.raises(BopError, match="exists already"):
        bop_sets.written(data)
    with pytest.raises(SystemExit):
        main(["render", str(data), "--format", "coco"])
    assert main(["render", str(data), "--format", "bop", "--split", "val", "--images", "1", "--solids", "cube"]) == 2


def test_commands_write_what_is_read(tmp_path, capsys):
    root = tmp_path / "set"
    words = ["render", str(root), "--format", "bop", "--split", "train", "--images", "1", "--width", "160", "--height",
             "120", "--layout", "shards", "--solids", "tet", "--json", "-"]  # fmt: skip
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["layout"] == "shards"
    read_all(root, "train")


def small(*names):
    return ModelConfig(objects=names, image_size=32)


def test_crops_are_the_views_that_the_model_is_asked_for(data):
    config = small(*sorted(bop_sets.SOLIDS))
    source = crops.Source(data, "test", visible=0.999)
    images, rotations, labels, view, _ = next(crops.batches(source, config, 12, 0, 0, 1, CPU))
    right = 0
    for image, rotation, label in zip(images, rotations, labels, strict=True):
        shape = catalogue("symsol")[config.objects[label]]
        same = render(shape, rotation[None], 32, Crop(config.distance, config.fill), config.channels)[0]
        covered = same.float() > 14  # beside it, the crop may show another
        near = (image.float() - same.float()).abs() < 25
        right += float(near[covered].float().mean()) > 0.85
    assert view.places()[:, :2].abs().max() < 1e-3 and (view.places()[:, 2] - math.log(config.fill)).abs().max() < 1e-3
    assert right >= 10  # some have another object before their border, or are much nearer than ten radii


def test_a_batch_depends_on_its_number_alone_and_shards_give_the_same(data):
    config = small("cone", "cube", "cyl")
    source = crops.Source(data, "test", visible=0.1, randomised=0.5, absent=0.3)
    one = crops.batches(source, config, 6, 3, 0, 1, CPU)
    next(one)
    again, other = next(one), next(crops.batches(source, config, 6, 3, 1, 7, CPU))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(again[:3], other[:3], strict=True))
    stored = next(crops.batches(dataclasses.replace(source, split="test_web"), config, 6, 3, 1, 7, CPU))
    assert torch.equal(stored.labels, other.labels) and torch.equal(stored.rotations, other.rotations)


def test_training_that_cannot_be_is_refused_at_once(data, tmp_path):
    with pytest.raises(BopError, match="has no object 'mug': it has cone"):
        next(crops.batches(crops.Source(data, "test"), small("mug"), 2, 0, 0, 1, CPU))
    root = bop_sets.copied(data, tmp_path / "set")
    for scene in (root / "test").iterdir():
        bop_sets.edit(
            scene / "scene_gt_info.json",
            lambda value: [about.update(visib_fract=0.1) for image in value.values() for about in image] and None,
        )
    with pytest.raises(BopError, match=r"no instance of 'cone' that is seen by 0.25 or more"):
        next(crops.batches(crops.Source(root, "test"), small("cone"), 2, 0, 0, 1, CPU))


def test_a_model_is_trained_on_a_bop_data_set(data, tmp_path):
    out = tmp_path / "model.safetensors"
    words = ["train", "--output", str(out), "--bop", str(data), "--split", "test_web", "--bop-object", "2=box",
             "--images", "8", "--set", "training.batch=4", "--set", "model.image_size=32", "--validate-every",
             "0", "--min-visible", "0.1", "--set", "training.averaged_target=false"]  # fmt: skip
    assert main(words) == 0
    from lie_picard.model import checkpoint

    config, note = checkpoint.read_metadata(out)
    assert config.objects == ("box", "cone", "cyl", "tetX")
    assert note["recipe"]["data"]["bop_split"] == "test_web"
