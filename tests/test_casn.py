"""CASN: closed forms against autograd, alignment and fused distance against loops, sizes against counts by hand."""

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from reidlib.losses import attention_consistency, identification_attention
from reidlib.models import Encoding, build
from reidlib.models.casn import CASN, align, attention_map
from reidlib.models.ide import TwoLayers
from reidlib.objectives import Batch, ConsistentAttention

SMALL = {"trunk": "test_resnet", "image_size": (96, 32), "last_stride": 1, "hidden": 16, "identities": 5}


def casn(seed: int = 0, **options: object) -> CASN:
    torch.manual_seed(seed)
    model = build("casn", **{**SMALL, **options}).eval()
    assert isinstance(model, CASN)
    with torch.no_grad():  # attention that differs from pair to pair: half of the hidden units are on
        model.verifier.fc1.bias.zero_()
        model.verifier.fc1.weight.mul_(5)
    return model


def encoded(model: CASN, count: int, height: int = 6, seed: int = 1) -> Encoding:
    """Random maps as a trunk would give them, and their feature."""
    maps = torch.rand(count, model.channels, height, 2, generator=torch.Generator().manual_seed(seed)).square()
    return Encoding(maps=maps, feature=model.pool(maps))


def grad_cam(score: Tensor, maps: Tensor, row: int) -> Tensor:
    """The definition: the map's channels weighted by the mean gradient of one row's score, and ReLU; (H, W)."""
    (gradient,) = torch.autograd.grad(score, maps, retain_graph=True)
    return torch.relu((gradient[row].mean((1, 2), keepdim=True) * maps[row]).sum(0))


@pytest.mark.parametrize("height", [6, 7])  # 7 rows: six stripes that overlap
@pytest.mark.parametrize("difference", ["signed", "absolute", "square"])
@pytest.mark.parametrize("base", ["ide", "pcb"])
def test_siamese_attention_is_that_of_autograd(base: str, difference: str, height: int) -> None:
    """Sec. 3.2.2 as written: alpha from dz_1/df-, s1 = <alpha, f1>, Grad-CAM of s1 at the last maps."""
    model = casn(base=base, difference=difference)
    made = [encoded(model, 3, height, seed).maps.requires_grad_() for seed in (1, 2)]
    f1, f2 = (model.pool(maps).flatten(1) for maps in made)
    compared = model.compare(*(Encoding(maps=maps, feature=model.pool(maps)) for maps in made))
    seen = {"signed": lambda d: d, "absolute": torch.abs, "square": torch.square}[difference]
    alphas = []
    for pair in range(3):
        minus = (f1 - f2)[pair].detach().requires_grad_()
        z = model.verifier(seen(minus)[None])[0]
        torch.testing.assert_close(z, compared["logits"][pair])
        alpha = (torch.autograd.grad(z[1], minus)[0] > 0).float()
        alphas.append(alpha)
        for f, maps, name in ((f1, made[0], "map_a"), (f2, made[1], "map_b")):
            expected = grad_cam((alpha * f[pair]).sum(), maps, pair)
            torch.testing.assert_close(compared[name][pair], expected, atol=1e-6, rtol=1e-5)
    assert not torch.equal(alphas[0], alphas[1]), "attention that depends on the pair"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [{}, {"base": "pcb"}, {"between": "dropout"}], ids=str)
def test_identification_attention_is_grad_cam_of_the_true_class(options: dict, training: bool) -> None:
    """In training each image's own score, although batch norm ties the scores of a batch together."""
    model = casn(**options).train(training)
    images, labels = torch.rand(4, 3, 96, 32), torch.tensor([0, 3, 1, 3])
    torch.manual_seed(3)  # of the dropout
    attended = model.attended(images, labels)
    maps = attended["encoding"].maps
    for row, label in enumerate(labels):
        expected = grad_cam(attended["logits"][row, :, label].sum(), maps, row)  # CA-19
        torch.testing.assert_close(attended["attention"][row], expected, atol=1e-7, rtol=1e-4)


def test_attention_map_by_hand() -> None:
    """Two channels on a 1x2 map, one of which pulls down: M = ReLU((2 A_1 - 4 A_2) / 2)."""
    maps = torch.tensor([[[[3.0, 1.0]], [[1.0, 2.0]]]])
    gradient = torch.tensor([[[2.0, -1.0], [0.0, -3.0]]])  # two parts
    torch.testing.assert_close(attention_map(gradient, maps), torch.tensor([[[1.0, 0.0]]]))


def test_mask_by_hand() -> None:
    """M = (1, 2, 3) becomes (0, 0.5, 1); half of the middle row goes, towards the mean colour."""
    model = casn(image_size=(3, 1), last_stride=2)
    images = torch.full((1, 3, 3, 1), 0.9)
    masked = model.masked(images, torch.tensor([[[1.0], [2.0], [3.0]]]), slope=10.0, centre=0.5)
    for row, kept in enumerate((1 - 0.0066929, 0.5, 0.0066929)):
        mean = model.mean[:, 0, 0]
        torch.testing.assert_close(masked[0, :, row, 0], mean + (0.9 - mean) * kept, atol=1e-6, rtol=0)
    flat = model.masked(images, torch.ones(1, 3, 1), 10.0, 0.5)  # a map without contrast masks nothing
    torch.testing.assert_close(flat, images, atol=5e-3, rtol=0)


def test_losses_by_hand() -> None:
    logits = torch.tensor([[[1.0, 2.0], [3.0, 5.0]], [[0.0, 0.0], [-1.0, 1.0]]])  # 2 images, 2 parts, 2 identities
    labels = torch.tensor([1, 0])
    assert identification_attention(logits, labels).item() == (2 + 5 + 0 - 1) / 2
    p = torch.sigmoid(torch.tensor([1.0, 2.0, 0.0, -2.0]))
    torch.testing.assert_close(identification_attention(logits, labels, "probability"), p.sum() / 2)
    distance = torch.tensor([1.0, 5.0, 2.0], requires_grad=True)
    assert attention_consistency(distance, torch.tensor([True, False, True])).item() == 1.5
    none = attention_consistency(distance, torch.zeros(3, dtype=torch.bool))
    none.backward()
    assert none.item() == 0
    assert not distance.grad.any()


def aligned_by_loop(profile: list[float], threshold: float) -> Tensor:
    above = [i for i, value in enumerate(profile) if value > threshold]
    cut = profile[above[0] : above[-1] + 1] if above else profile
    return F.interpolate(torch.tensor(cut)[None, None], len(profile), mode="linear")[0, 0]


def test_alignment_equals_a_loop() -> None:
    torch.manual_seed(0)
    profiles = torch.rand(40, 7).square()
    profiles[0], profiles[1], profiles[2] = 0.0, 0.9, torch.eye(7)[6]  # none, all, only the last above
    found = align(profiles.view(4, 10, 7), 0.5).view(40, 7)
    for profile, got in zip(profiles, found, strict=True):
        torch.testing.assert_close(got, aligned_by_loop(profile.tolist(), 0.5))
    assert torch.equal(align(profiles, None), profiles)


def test_identical_images_have_no_attention_distance_and_a_finite_gradient() -> None:
    model = casn()
    maps = encoded(model, 2).maps.requires_grad_()
    encoding = Encoding(maps=maps, feature=model.pool(maps))
    compared = model.compare(encoding, encoding)
    assert compared["features"].tolist() == compared["attention"].tolist() == [0, 0]
    compared["distance"].sum().backward()
    assert torch.isfinite(maps.grad).all()


def test_the_attention_distance_equals_a_loop() -> None:
    model = casn()
    a, b = encoded(model, 4, 9), encoded(model, 4, 9, seed=2)
    compared = model.compare(a, b)
    for pair in range(4):
        profiles = []
        for name in ("map_a", "map_b"):
            rows = [max(row) for row in compared[name][pair].tolist()]
            profiles.append(aligned_by_loop([value / max(rows) for value in rows], 0.5))
        expected = (profiles[0] - profiles[1]).square().sum().sqrt()
        torch.testing.assert_close(compared["attention"][pair], expected, atol=1e-5, rtol=0)
        assert compared["attention"][pair] > 0.01


def fused_by_loop(terms: dict[str, Tensor], counted: Tensor, normalisation: str) -> Tensor:
    total = torch.zeros_like(counted, dtype=torch.float32)
    for term in terms.values():
        for row in range(len(term)):
            kept = term[row][counted[row]] if normalisation != "global" else term[counted]
            if normalisation == "row-z":
                total[row] += (term[row] - kept.mean()) / kept.std(correction=0)
            else:
                total[row] += (term[row] - kept.min()) / (kept.max() - kept.min())
    return total


@pytest.mark.parametrize("normalisation", CASN.CHOICES["normalisation"])
def test_fused_distance_equals_a_loop_over_what_counts(normalisation: str) -> None:
    model = casn(normalisation=normalisation)
    queries, gallery = encoded(model, 3), encoded(model, 6, seed=2)
    counted = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) < 0.7
    terms = model.terms(queries, gallery)
    for mask in (counted, None):
        expected = fused_by_loop(terms, torch.ones_like(counted) if mask is None else mask, normalisation)
        torch.testing.assert_close(model.distance(queries, gallery, mask), expected, atol=1e-5, rtol=1e-5)
    counted[1] = False  # a query with nothing to rank
    assert torch.isfinite(model.distance(queries, gallery, counted)).all()


def test_without_attention_the_feature_ranks_alone() -> None:
    model = casn()
    queries, gallery = encoded(model, 3), encoded(model, 6, seed=2)
    features = model.terms(queries, gallery)["features"]
    torch.testing.assert_close(
        features, (queries.feature.flatten(1)[:, None] - gallery.feature.flatten(1)).norm(dim=2), atol=1e-5, rtol=0
    )
    model.attention = False
    assert torch.equal(model.distance(queries, gallery), features)


def test_candidates_are_compared_by_attention_and_the_others_follow_in_order() -> None:
    model = casn()
    queries, gallery = encoded(model, 3), encoded(model, 8, seed=2)
    counted = torch.ones(3, 8, dtype=torch.bool)
    counted[:, 0] = False
    terms = model.terms(queries, gallery)
    full = model.distance(queries, gallery, counted)
    model.candidates = 8
    everyone = model.distance(queries, gallery, counted)
    torch.testing.assert_close(everyone[counted], full[counted], atol=1e-5, rtol=1e-5)
    model.candidates = 3
    found = model.distance(queries, gallery, counted)
    for row in range(3):
        order = terms["features"][row, 1:].argsort() + 1
        near, far = order[:3], order[3:]
        features, attention = (terms[name][row] for name in ("features", "attention"))
        span = features[1:].max() - features[1:].min()
        expected = (features - features[1:].min()) / span
        kept = attention[near]
        expected[near] += (kept - kept.min()) / (kept.max() - kept.min())
        expected[far] += 1
        torch.testing.assert_close(found[row, 1:], expected[1:], atol=1e-5, rtol=0)
        assert found[row, near].max() <= found[row, far].min()
        assert found[row, far].diff().min() >= 0


def test_a_classifier_without_relu_is_odd_up_to_its_bias() -> None:
    """CA-4: linear in f1 - f2, z(d) + z(-d) is one constant, so no threshold on z tells same from different."""
    torch.manual_seed(0)
    linear, bent = TwoLayers(6, 8, 2, "dropout").eval(), TwoLayers(6, 8, 2, "relu").eval()
    d = torch.randn(5, 6)
    both = linear(d) + linear(-d)
    torch.testing.assert_close(both, both[:1].expand(5, -1))
    both = bent(d) + bent(-d)
    assert (both - both[:1]).abs().max() > 0.01
    # and the attention of the linear one is the same for all pairs
    gradient = linear.attend(d, torch.ones(5, dtype=torch.long))[1]
    torch.testing.assert_close(gradient, gradient[:1].expand(5, -1))


def batch(count: int = 8) -> Batch:
    people = torch.arange(count // 2).repeat_interleave(2)
    first = torch.arange(0, count, 2)
    pairs = torch.cat([torch.stack([first, first + 1], 1), torch.stack([first, (first + 2) % count], 1)])
    images = torch.rand(count, 3, 96, 32, generator=torch.Generator().manual_seed(0))
    return Batch(images, people + 1, torch.arange(count) % 2 + 1, people, pairs)


@pytest.mark.parametrize("term", ConsistentAttention.TERMS)
@pytest.mark.parametrize("base", ["ide", "pcb"])
def test_every_loss_term_reaches_the_trunk(base: str, term: str) -> None:
    model = casn(base=base).train()
    objective = ConsistentAttention(model, {name: float(name == term) for name in ConsistentAttention.TERMS})
    terms = objective(batch())
    assert list(terms) == [term]
    terms[term].backward()
    assert model.trunk.network.conv1[0].weight.grad.abs().sum() > 0


def test_the_whole_loss_is_equations_5_and_6() -> None:
    objective = ConsistentAttention(casn())  # eval mode: nothing is random or moves
    data = batch()
    terms = objective(data)
    output = objective.model.attended(data.images, data.labels)
    identity = F.cross_entropy(output["logits"][:, 0], data.labels)
    masked = objective.model.masked(data.images, output["attention"], 10.0, 0.5)
    ia = objective.model(masked)["logits"][range(8), 0, data.labels].mean()
    a, b = data.pairs.unbind(1)
    pairs = objective.model.compare(output["encoding"][a], output["encoding"][b])
    same = torch.tensor([1] * 4 + [0] * 4)
    bce = F.cross_entropy(pairs["logits"], same)
    total = identity + 0.5 * ia + 0.05 * (bce + 0.2 * pairs["attention"][:4].mean())
    torch.testing.assert_close(objective.total(terms), total)


@pytest.mark.parametrize("through_map", [True, False])
def test_identification_attention_moves_its_own_map_unless_stopped(through_map: bool) -> None:
    """CA-7: the gradient of L_ia with and without the way through M, against M taken as a constant."""
    model, data = casn(), batch()
    weights = {"identity": 0.0, "bce": 0.0, "attention": 0.0}
    objective = ConsistentAttention(model, weights, through_map=through_map)
    weight = model.classifier[0].fc1.weight
    (found,) = torch.autograd.grad(objective(data)["ia"], weight)
    attention = model.attended(data.images, data.labels)["attention"].detach()
    masked = model.masked(data.images, attention, 10.0, 0.5)
    (constant,) = torch.autograd.grad(model(masked)["logits"][range(8), 0, data.labels].mean(), weight)
    assert torch.allclose(found, constant, atol=1e-7) is not through_map


def test_training_under_bf16_autocast_is_finite() -> None:
    objective = ConsistentAttention(casn(base="pcb").train())
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective.total(objective(batch()))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in objective.parameters())


@pytest.mark.parametrize(
    ("options", "parameters", "gigaflops"),
    [({}, 25.99, 13.78), ({"last_stride": 1}, 25.99, 20.53), ({"base": "pcb"}, 34.11, 24.35)],
)
def test_counts_of_a_pair_at_full_width(options: dict, parameters: float, gigaflops: float) -> None:
    """Counted by hand: both images, their classifiers, and the BCE classifier of their difference."""
    with FakeTensorMode(), torch.no_grad():
        model = build("casn", **options).eval()
        images = torch.rand(2, 3, *model.image_size)
        with FlopCounterMode(display=False) as counter:
            feature = model.encode(images).feature.flatten(1)
            model.verifier(feature[:1] - feature[1:])
        count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 2) == parameters
    assert round(counter.get_total_flops() / 1e9, 2) == gigaflops


def test_responses_show_both_attentions() -> None:
    model = casn()
    a, b = torch.rand(2, 2, 3, 96, 32)
    found = model.responses(a, b)
    with torch.no_grad():
        compared = model.compare(model.encode(a), model.encode(b))
    assert torch.equal(found["Siamese attention"][:, 0, 0], compared["map_a"])
    assert torch.equal(found["Siamese attention"][:, 1, 0], compared["map_b"])
    assert found["Identification attention"].shape == found["Siamese attention"].shape == (2, 2, 1, 6, 2)


def test_maps_are_kept_only_where_attention_ranks() -> None:
    """Of PCB they are 33 times as large as the feature; of a gallery they would not fit the memory of a GPU."""
    images = torch.rand(3, 3, 96, 32)
    with torch.no_grad():
        ranked, alone = casn().encode(images), casn(attention=False).encode(images)
    assert set(ranked.tensors) == {"maps", "feature"}
    assert set(alone.tensors) == {"feature"}
    assert torch.equal(ranked.feature, alone.feature)


def test_a_query_without_any_counted_image_has_finite_distances_with_candidates() -> None:
    model = casn(candidates=2)
    with torch.no_grad():
        encoded = model.encode(torch.rand(4, 3, 96, 32))
        counted = torch.tensor([[True] * 4, [False] * 4])
        assert model.distance(encoded[:2], encoded, counted).isfinite().all()


def test_mistakes_name_what_is_allowed() -> None:
    for options, message in (
        ({"base": "pbc"}, "did you mean 'pcb'"),
        ({"difference": "squared"}, "did you mean 'square'"),
        ({"threshold": 1.0}, r"share of the maximum in \[0, 1\)"),
        ({"candidates": 0}, "must be positive"),
        ({"hidden": 0}, "must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            build("casn", **{**SMALL, **options})


def test_crops_are_for_training_alone() -> None:
    """CA-2's public baseline trains on 256x128 windows of 288x144 images and ranks whole ones."""
    model = casn()
    crop = torch.rand(2, 3, 80, 24)
    assert model.train().attended(crop, torch.tensor([0, 1]))["attention"].shape == (2, 5, 2)
    with pytest.raises(ValueError, match=r"\(B, 3, 96, 32\) expected"):
        model.eval()(crop)
    with pytest.raises(ValueError, match=r"\(B, 3, 96, 32\) expected"):
        model.train()(torch.rand(2, 3, 112, 24))
