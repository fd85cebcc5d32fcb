"""The contract, held by every model under every option: block and aligned form, modes, precision, errors."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from reidlib.models import MODELS, Descriptor, Encoding, ReIDModel, build
from reidlib.objectives import OBJECTIVES, Batch

# What makes each system small enough to build dozens of times.
NARROW = {
    "personnet": {"fc": (24, 24, 16)},
    "mls": {"width": 6, "sizes": (3, 2, 2), "head": (6, 12), "embedding": 8, "image_size": (64, 32)},
    "midlevel": {"width": 1 / 16, "fc": (16, 16)},
    "casn": {"trunk": "test_resnet", "image_size": (96, 32), "hidden": 16, "last_stride": 1, "identities": 4},
    "ide": {"trunk": "test_resnet", "image_size": (96, 48), "hidden": 16, "identities": 4},
    "pcb": {"trunk": "test_resnet", "image_size": (96, 48), "hidden": 16, "identities": 4},
    "hagn": {"trunk": "test_resnet", "image_size": (96, 32), "width": 8, "features": 8, "identities": 4},
    "idla": {"fc": 16},
    "xcorr": {"fc": 16, "image_size": (56, 28)},
    "kissme": {"components": 4},
    "xqda": {"components": 4},
    "smallcnn": {"width": 4, "identities": 4},
}
# Each model as built by default, and with every other value of every option, one at a time.
CASES = (
    [(name, {}) for name in MODELS]
    + [
        (name, {option: value})
        for name, model in MODELS.items()
        for option, values in model.CHOICES.items()
        for value in values[1:]
    ]
    + [("casn", {"threshold": value}) for value in (0.1, None)]
)
# (model, options, objective, learning rate): four people must be learnt by heart, once a system.
LEARNERS = [
    ("personnet", {"dropout": 0.0}, "pair", 2e-3),
    ("personnet", {"layers": 7, "dropout": 0.0}, "pair", 2e-3),
    ("midlevel", {"batch_norm": True, "dropout": 0.0}, "pair", 5e-3),
    ("mls", {}, "mls", 5e-3),
    ("hagn", {}, "identity", 2e-3),
    ("casn", {"attention": False}, "casn", 5e-3),  # by the feature alone: what the attention adds is another matter
    ("casn", {"base": "pcb", "attention": False}, "casn", 1e-2),
    ("ide", {}, "identity", 2e-3),
    ("pcb", {"refined": True}, "identity", 2e-3),
    ("idla", {}, "pair", 2e-3),
    ("xcorr", {}, "pair", 2e-3),
    ("smallcnn", {}, "identity", 2e-3),
]


def labelled(case: tuple[str, dict]) -> str:
    name, options = case
    return "-".join([name, *(f"{option}={value}" for option, value in options.items())])


def narrow(name: str, seed: int = 0, **options: object) -> ReIDModel:
    given = {**NARROW.get(name, {}), **options}
    if options.get("last_stride") == 2:
        given["image_size"] = (96, 48)  # a map one place wide has no bfloat16 that can be trusted, see papers/casn.py
    torch.manual_seed(seed)
    return build(name, **given).eval()


@pytest.fixture(params=CASES, ids=labelled)
def model(request: pytest.FixtureRequest) -> ReIDModel:
    name, options = request.param
    return narrow(name, **options)


def images(model: ReIDModel, count: int, seed: int = 1) -> Tensor:
    """Smooth random pictures, (count, 3, H, W)."""
    coarse = torch.rand(count, 3, 8, 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, model.image_size, mode="bilinear")


def terms(model: ReIDModel, queries: Encoding, gallery: Encoding) -> dict[str, Tensor]:
    """The distance of all pairs by `compare`'s names: its terms where a model normalises each over the gallery."""
    return model.terms(queries, gallery) if model.normalises_rows else {"distance": model.distance(queries, gallery)}


def test_block_distance_is_the_aligned_distance(model: ReIDModel) -> None:
    encoding = model.encode(images(model, 5)).detach()
    with torch.no_grad():
        pairs = [[model.compare(encoding[i], encoding[j]) for j in range(5)] for i in range(2)]
    for _ in range(2):
        for name, block in terms(model, encoding[:2], encoding).items():
            expected = torch.tensor([[pair[name] for pair in row] for row in pairs])
            torch.testing.assert_close(block, expected, atol=1e-5, rtol=0)
        model.tile, model.pairs_per_block = 2, (3, 3)  # ragged tiles and blocks


def test_encode_is_the_forward_pass_and_a_row_does_not_depend_on_its_batch(model: ReIDModel) -> None:
    batch = images(model, 3)
    with torch.no_grad():
        together, forward, alone = model.encode(batch), model(batch)["encoding"], model.encode(batch[1:2])
    assert len(together) == 3
    for name, tensor in together.tensors.items():
        assert torch.equal(tensor, forward.tensors[name])
        torch.testing.assert_close(alone.tensors[name], tensor[1:2], atol=1e-5, rtol=0)


def test_a_model_goes_to_another_process_whole(model: ReIDModel) -> None:
    """Training on several devices pickles it."""
    batch = images(model, 2)
    with torch.no_grad():
        expected, got = model.encode(batch), pickle.loads(pickle.dumps(model)).encode(batch)
    assert all(torch.equal(got.tensors[name], tensor) for name, tensor in expected.tensors.items())


def test_many_images_are_encoded_a_batch_at_a_time() -> None:
    model, shown = narrow("hagn").eval(), np.random.default_rng(0).integers(0, 256, (5, 96, 32, 3), np.uint8)
    shown = shown.transpose(0, 3, 1, 2)  # as images of files lie in memory
    with torch.no_grad():
        alone = [model.encode(torch.from_numpy(shown[i : i + 1].copy()).float() / 255) for i in range(5)]
        together = model.encode_all(shown, 2)
    torch.testing.assert_close(together.vector, Encoding.cat(alone).vector, atol=1e-5, rtol=0)


def test_eval_mode_is_deterministic_and_keys_do_not_depend_on_the_mode(model: ReIDModel) -> None:
    batch = images(model, 4)
    with torch.no_grad():
        first, again = (model.compare(*(model(b)["encoding"] for b in (batch, batch.flip(0)))) for _ in range(2))
    model.train()
    output = model(batch)
    training = model.compare(output["encoding"], output["encoding"][[1, 0, 3, 2]])
    assert first.keys() == training.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["distance"].shape == (4,)


def test_every_parameter_receives_a_gradient(model: ReIDModel) -> None:
    model.train()
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and not parameter.any():  # timm's residual branches start at zero
            torch.nn.init.ones_(parameter)
    output = model(images(model, 4))
    encoding = output.pop("encoding")
    compared = model.compare(encoding, encoding[[1, 2, 3, 0]])
    scores = [compared[name] for name in ("distance", "logits", "separation") if name in compared]
    terms = [*scores, *output.values()]
    if not isinstance(model, Descriptor):
        sum(term.square().sum() for term in terms).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} is not used"
        assert parameter.grad.abs().sum() > 0, f"{name} has no influence"


def test_bfloat16_autocast_changes_little(model: ReIDModel) -> None:
    batch = images(model, 4)
    expected = terms(model, *[model.encode(batch).detach()] * 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        encoding = model.encode(batch)
        blocks = terms(model, encoding, encoding)
        aligned = model.compare(encoding, encoding[[1, 2, 3, 0]])
    for name, exact in expected.items():
        assert blocks[name].dtype == torch.float32
        tolerance = 0.1 * exact.std().item() + 0.01
        torch.testing.assert_close(blocks[name], exact, atol=tolerance, rtol=0)
        torch.testing.assert_close(aligned[name].float(), exact[range(4), [1, 2, 3, 0]], atol=tolerance, rtol=0)


def test_half_precision_encodings_are_accepted(model: ReIDModel) -> None:
    encoding = model.encode(images(model, 3)).detach()
    stored = encoding.to(torch.float16)
    assert stored.nbytes == encoding.nbytes // 2
    torch.testing.assert_close(model.distance(stored, stored), model.distance(encoding, encoding), atol=0.02, rtol=0)


def test_weights_survive_safetensors(model: ReIDModel, request: pytest.FixtureRequest) -> None:
    name, options = request.node.callspec.params["model"]
    batch = images(model, 3)
    expected = model.distance(*[model.encode(batch).detach()] * 2)
    other = narrow(name, seed=99, **options)
    other.load_state_dict(load(save(model.state_dict())))
    assert torch.equal(other.distance(*[other.encode(batch).detach()] * 2), expected)


def test_wrong_images_are_refused_in_one_sentence(model: ReIDModel) -> None:
    height, width = model.image_size
    with pytest.raises(ValueError, match=rf"\(1, 3, {height}, {width + 1}\) given.*image_size"):
        model.encode(torch.rand(1, 3, height, width + 1))
    with pytest.raises(ValueError, match=r"uint8; give floats in \[0, 1\]"):
        model.encode(torch.zeros(1, 3, height, width, dtype=torch.uint8))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_identities_and_image_size(name: str) -> None:
    model = narrow(name, identities=3, image_size=[168, 72])
    assert model.image_size == (168, 72)
    assert len(model.encode(images(model, 2))) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("personnt", {}), "model 'personnt' is unknown: did you mean 'personnet'"),
        (("personnet", {"kernal": 3}), "option of personnet 'kernal' is unknown: did you mean 'kernel'"),
        (("personnet", {"activation": "tan"}), "activation 'tan' is unknown: did you mean 'tanh'"),
        (("personnet", {"kernel": 5}), r"kernel 5 is unknown: .*choose from 4, 3"),
        (("personnet", {"fc": (1, 2)}), "three positive widths"),
        (("personnet", {"dropout": 1.0}), "share in"),
        (("personnet", {"image_size": (80, 32)}), "too small"),
        (("casn", {"base": "pbc"}), "base 'pbc' is unknown: did you mean 'pcb'"),
        (("idla", {"image_size": (20, 20)}), "too small"),
        (("idla", {"image_size": (160,)}), r"not \(height, width\)"),
        (("smallcnn", {"identities": 0}), "must be positive"),
    ],
)
def test_mistakes_name_what_is_allowed(call: tuple[str, dict], message: str) -> None:
    name, options = call
    with pytest.raises(ValueError, match=message):
        build(name, **options)


def test_encodings_slice_move_and_concatenate() -> None:
    encoding = Encoding(maps=torch.arange(12.0).view(4, 3), vector=torch.arange(4))
    assert len(encoding[1]) == 1
    assert torch.equal(encoding[-1].vector, torch.tensor([3]))
    assert torch.equal(encoding[[2, 0]].maps, encoding.maps[[2, 0]])
    assert torch.equal(Encoding.cat([encoding[:1], encoding[1:]]).maps, encoding.maps)
    with pytest.raises(ValueError, match="common first dimension"):
        Encoding(a=torch.zeros(2), b=torch.zeros(3))
    with pytest.raises(AttributeError, match=r"\['maps', 'vector'\]"):
        _ = encoding.map
    with pytest.raises(ValueError, match="nothing to concatenate"):
        Encoding.cat([])


@pytest.mark.parametrize(("name", "options", "objective", "rate"), LEARNERS)
def test_four_people_are_learnt_by_heart(name: str, options: dict, objective: str, rate: float) -> None:
    model = narrow(name, **{"identities": 4, **options}).train()
    people = torch.arange(4).repeat(2)
    generator = torch.Generator().manual_seed(2)
    faces = images(model, 4)[people]
    first = torch.arange(8).repeat(3)
    second = (first + torch.tensor([4, 1, 2]).repeat_interleave(8)) % 8  # the same person, and two others
    pairs = torch.stack([first, second], 1)
    goal = OBJECTIVES[objective](model)
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for _ in range(30 if name == "midlevel" else 20):  # which learns more slowly on some processors
        noisy = (faces + 0.1 * torch.randn(faces.shape, generator=generator)).clamp(0, 1)
        loss = goal.total(goal(Batch(noisy, people, torch.tensor([1] * 4 + [2] * 4), people, pairs)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    unseen = (faces + 0.1 * torch.randn(faces.shape, generator=generator)).clamp(0, 1)
    with torch.no_grad():
        encoding = model.encode(unseen)
    distance = model.distance(encoding[:4], encoding[4:])
    assert distance.argmin(1).tolist() == [0, 1, 2, 3]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_gives_the_distances_of_the_cpu(name: str) -> None:
    model = narrow(name)
    batch = images(model, 4)
    expected = model.distance(*[model.encode(batch).detach()] * 2)
    model.cuda()
    found = model.distance(*[model.encode(batch.cuda()).detach()] * 2).cpu()
    torch.testing.assert_close(found, expected, atol=1e-3 * expected.std().item() + 1e-5, rtol=0)
