"""GoogLeNet's two layouts: published sizes, one inception module by hand, weights under both naming schemes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from torchvision.models import googlenet as whole_googlenet

from reidlib.models.googlenet import Inception, googlenet

TINY = 1 / 16


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("layout", "level", "channels", "height", "width"),
    [
        ("caffe", "4e", 832, 10, 5),  # both printed in Sec. III-A of the MidLevel paper
        ("caffe", "5b", 1024, 5, 2),
        ("torchvision", "4e", 832, 10, 5),
        ("torchvision", "5b", 1024, 5, 3),  # its 2x2 pooling keeps half a window
    ],
)
def test_map_sizes_of_a_160_by_80_image(layout: str, level: str, channels: int, height: int, width: int) -> None:
    network = googlenet(level, layout, width=0.25).eval()
    assert network(torch.rand(1, 3, 160, 80)).shape == (1, channels // 4, height, width)
    assert network.channels == channels // 4
    assert googlenet(level, layout).channels == channels


def test_parameters_of_the_whole_trunk() -> None:
    # The published 6,998,552 of bvlc_googlenet less its classifier of 1,025,000.
    assert parameters(googlenet("5b")) == 6_998_552 - 1_025_000
    assert parameters(googlenet("4e")) == 3_486_016
    theirs = whole_googlenet(weights=None, aux_logits=False, init_weights=False)
    assert parameters(googlenet("5b", "torchvision")) == parameters(theirs) - parameters(theirs.fc)


def test_torchvision_layout_is_torchvisions_network() -> None:
    torch.manual_seed(0)
    theirs = whole_googlenet(weights=None, aux_logits=False, init_weights=False).eval()
    ours = googlenet("4e", "torchvision").eval()
    ours.load_state_dict({name: theirs.state_dict()[name] for name in ours.state_dict()})
    found = {}
    theirs.inception4e.register_forward_hook(lambda module, inputs, output: found.update(maps=output))
    images = torch.rand(2, 3, 96, 48)
    with torch.no_grad():
        theirs(images)
        torch.testing.assert_close(ours(images), found["maps"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_inception_branch_by_branch(batch_norm: bool) -> None:
    torch.manual_seed(0)
    module = Inception(6, 2, (3, 4), (1, 2), 5, batch_norm).eval()
    x = torch.rand(2, 6, 7, 5)

    def layer(name: str, x: torch.Tensor, padding: int = 0) -> torch.Tensor:
        x = F.conv2d(x, module[name].weight, module[name].bias, padding=padding)
        return F.relu(F.batch_norm(x, torch.zeros(x.shape[1]), torch.ones(x.shape[1])) if batch_norm else x)

    expected = torch.cat(
        [
            layer("1x1", x),
            layer("3x3", layer("3x3_reduce", x), 1),
            layer("5x5", layer("5x5_reduce", x), 2),
            layer("pool_proj", F.max_pool2d(x, 3, 1, 1)),
        ],
        1,
    )
    torch.testing.assert_close(module(x), expected)
    assert module(x).shape == (2, 2 + 4 + 2 + 5, 7, 5)


def test_initial_weights_are_caffes_fillers() -> None:
    torch.manual_seed(0)
    convolution = googlenet("3a").inception_3a["3x3"]
    inputs = convolution.weight[0].numel()
    assert convolution.weight.var().item() == pytest.approx(1 / inputs, rel=0.02)
    assert convolution.weight.abs().max() <= (3 / inputs) ** 0.5
    assert (convolution.bias == 0.2).all()


def test_normalisation_is_caffes_or_batch_norm() -> None:
    plain, normed = googlenet("4e", width=TINY), googlenet("4e", width=TINY, batch_norm=True)
    kinds = [[type(module).__name__ for module in network.modules()] for network in (plain, normed)]
    assert [(k.count("LocalResponseNorm"), k.count("BatchNorm2d")) for k in kinds] == [(2, 0), (0, 3 + 7 * 6)]
    # Caffe: x (1 + alpha / n sum of squares over 5 channels) ^ -beta
    x = 100 * torch.rand(1, 8, 2, 2)
    square = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
    energy = torch.stack([square[:, i : i + 5].sum(1) for i in range(8)], 1)
    torch.testing.assert_close(plain.norm1(x), x * (1 + 1e-4 / 5 * energy) ** -0.75)


def test_weights_are_read_under_caffes_names_with_or_without_its_slash(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = googlenet("4e", width=TINY)
    named = dict(trained.named_parameters())
    assert {"conv1.7x7_s2.weight", "conv2.3x3_reduce.bias", "inception_4e.pool_proj.weight"} <= set(named)
    caffe = {name.replace(".", "/", 1): value.detach() for name, value in named.items()}
    save_file({**caffe, "loss3/classifier.weight": torch.zeros(3, 3)}, tmp_path / "caffe.safetensors")
    loaded = googlenet("4e", width=TINY, pretrained=str(tmp_path / "caffe.safetensors"))
    assert all(torch.equal(value, named[name]) for name, value in loaded.named_parameters())


def test_weights_of_torchvision_are_read_from_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = whole_googlenet(weights=None, aux_logits=False, init_weights=False)
    torch.save(theirs.state_dict(), tmp_path / "googlenet.pth")
    loaded = googlenet("4e", "torchvision", pretrained=str(tmp_path / "googlenet.pth"))
    assert torch.equal(loaded.inception4e.branch2[1].conv.weight, theirs.inception4e.branch2[1].conv.weight)
    with pytest.raises(ValueError, match="not those of 'caffe googlenet'"):
        googlenet("4e", pretrained=str(tmp_path / "googlenet.pth"))


def test_without_a_network_fetching_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(ConnectionError, match=r"could not be fetched.*pretrained='/path/to"):
        googlenet("4e", "torchvision", pretrained=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "4f"}, "level '4f' is unknown: did you mean '4e'"),
        ({"layout": "coffee"}, "layout 'coffee' is unknown: did you mean 'caffe'"),
        ({"width": 0.3}, "not a number of sixteenths"),
        ({"width": 2.0}, "sixteenths up to 1"),
        ({"pretrained": True}, "no weights of Caffe's layout are published for PyTorch"),
    ],
)
def test_mistakes_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        googlenet(**options)
