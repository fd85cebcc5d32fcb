"""Trunks by name, and weights that are asked for, checked, and never fetched silently."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from reidlib.models.trunks import load_weights, read_weights, trunk

TINY = "test_resnet"


@pytest.mark.parametrize(
    ("last_stride", "sizes"), [(1, [(24, 8), (12, 4), (6, 2), (6, 2)]), (2, [(24, 8), (12, 4), (6, 2), (3, 1)])]
)
def test_stages_strides_and_channels(last_stride: int, sizes: list[tuple[int, int]]) -> None:
    made = trunk(TINY, last_stride=last_stride, stages=(1, 2, 3, 4))
    maps = made(torch.rand(2, 3, 96, 32))
    assert [tuple(m.shape[2:]) for m in maps] == sizes
    assert made.channels == tuple(m.shape[1] for m in maps) == (32, 48, 192, 96)
    assert made.strides == (4, 8, 16, 16 * last_stride)


def test_the_papers_trunk_has_the_printed_maps() -> None:
    """As published: ResNet-50 with 23.51 M parameters; 384x128 gives 2048x24x8 without the last stride."""
    with torch.device("meta"):
        made = trunk("resnet50")
    assert sum(p.numel() for p in made.parameters()) == 23_508_032
    assert [tuple(m.shape) for m in made(torch.rand(1, 3, 384, 128, device="meta"))] == [(1, 2048, 24, 8)]


def test_without_its_last_stride_a_trunk_is_otherwise_the_same() -> None:
    """PCB, CASN and HAGN change one stride; timm alone would dilate the stage as well."""
    torch.manual_seed(0)
    ours = trunk("resnet50").eval()
    peer = timm.create_model("resnet50").eval()
    peer.load_state_dict(ours.network.state_dict(), strict=False)
    peer.layer4[0].conv2.stride = peer.layer4[0].downsample[0].stride = (1, 1)
    images = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[0], peer.forward_features(images))


@pytest.mark.parametrize("name", [TINY, "densenet121"])
def test_a_weight_file_of_the_whole_network_fits_its_features(tmp_path: Path, name: str) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(name)
    for file in ("weights.safetensors", "weights.pth"):
        (save_file if "safe" in file else torch.save)(whole.state_dict(), tmp_path / file)
        made = trunk(name, str(tmp_path / file), last_stride=2).eval()
        images = torch.rand(1, 3, 64, 32)
        with torch.no_grad():
            torch.testing.assert_close(made(images)[-1].relu(), whole.eval().forward_features(images).relu())


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    whole = timm.create_model(TINY).state_dict()
    with pytest.raises(ValueError, match=r"not those of 'x': 2 of its 2 tensors are missing, 'weight' first"):
        load_weights(torch.nn.Linear(2, 2), whole, "x")
    save_file({**whole, "conv1.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"'conv1.0.weight' is \(1,\)"):
        trunk(TINY, str(tmp_path / "other.safetensors"))


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file of weights"):
        read_weights(tmp_path / "none.safetensors")
    for name, content in (("torn.safetensors", b"12345678"), ("torn.pth", b"PK\x03\x04"), ("empty.pth", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="not a whole file of weights"):
            read_weights(tmp_path / name)
    torch.save({"optimiser": 3}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="not tensors by name"):
        read_weights(tmp_path / "other.pth")


def test_a_file_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="holds code, which is not run"):
        read_weights(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


def test_without_a_network_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        if pretrained:
            raise OSError("no network")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    trunk(TINY)  # asks for nothing
    with pytest.raises(ConnectionError, match=r"pass pretrained='/path/to/weights\.safetensors'"):
        trunk(TINY, pretrained=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet5"}, "did you mean 'resnet50'"),
        ({"name": "densenet121"}, "use last_stride=2"),
        ({"name": TINY, "last_stride": 3}, "must be 1 or 2"),
        ({"name": TINY, "stages": (0,)}, "some of 1, 2, 3, 4"),
    ],
)
def test_mistakes_name_what_is_allowed(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trunk(**arguments)
