"""Where maps lie: against maps made by hand, plain loops, and what a cell of a network really sees."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from reidlib import robustness
from reidlib.coverage import (
    PAIRS,
    PARTS_OF,
    REGIONS,
    TABLE,
    against_references,
    coverage,
    gaussian,
    layers_of,
    map_on_person,
    middle,
    on_regions,
    scenes,
    stored,
    viewpoint,
)
from reidlib.data.splits import Benchmark, Split
from reidlib.data.synthetic import PARTS, named_world, read_manifest, visible_attributes
from reidlib.maps import MAPS, spread, window
from reidlib.models import build
from reidlib.recipe import Data, EvaluationSettings, Optimiser, Recipe, Sampling, options
from reidlib.run import measure, train_and_evaluate
from reidlib.store import RunStore, Trial

SMALL = {
    "casn": {"trunk": "test_resnet", "last_stride": 1, "image_size": (96, 32), "hidden": 16, "identities": 5},
    "mls": {"width": 6, "sizes": (3, 2, 2), "head": (6, 12), "embedding": 8, "image_size": (64, 32)},
    "midlevel": {"width": 0.0625, "fc": (8, 8), "batch_norm": True},
    "personnet": {"fc": (16, 16, 8)},
    "hagn": {"trunk": "test_resnet", "width": 6, "features": 5, "identities": 7, "image_size": (192, 64)},
}


def network(name, **changed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(name, **SMALL[name] | changed).eval()


@pytest.fixture
def regions():
    """Person, bag, skin, difference on two images of 6 x 4."""
    masks = torch.zeros(4, 2, 6, 4, dtype=torch.bool)
    masks[0, :, 1:6, 1:3] = True
    masks[1, 0, 2:4, 2:3] = True  # the second image shows no bag
    masks[2, :, 1, 1] = True
    masks[3, :, 2:5, 1:3] = True
    return masks


def test_a_map_on_the_bag_has_all_of_its_energy_there(regions):
    found = on_regions(regions[1].float(), regions)
    assert found[0].tolist() == [1, 1, 0, 1, 1]
    assert found[1].isnan().all()  # no bag, no energy


def test_an_even_map_has_the_area_of_each_region(regions):
    found = on_regions(torch.ones(2, 6, 4), regions)
    np.testing.assert_allclose(found[0], [10 / 24, 2 / 24, 1 / 24, 6 / 24, 6 / 10], rtol=1e-6)
    assert found[1, 1].isnan()


def test_shares_are_those_of_a_loop(regions):
    energy = torch.rand(2, 6, 4, generator=torch.Generator().manual_seed(0))
    found = on_regions(energy, regions)
    for region in range(4):
        on = sum(energy[0, y, x].item() for y in range(6) for x in range(4) if regions[region, 0, y, x])
        assert found[0, region].item() == pytest.approx(on / energy[0].sum().item(), rel=1e-5)
    assert found[0, 4].item() == pytest.approx((found[0, 3] / found[0, 0]).item(), rel=1e-6)


def test_a_window_covers_what_lies_inside_its_corners():
    """Against finer points, each asked on which side of the four edges it is; the window leaves the image."""
    corners = torch.tensor([[[0.1, 0.2], [0.8, 0.1], [1.1, 0.7], [0.4, 0.8]]])
    found = window(corners, (12, 8))[0]
    edges = list(zip(corners[0], corners[0].roll(-1, 0), strict=True))
    want = torch.zeros(12, 8)
    for y, x in np.ndindex(120, 80):
        point = torch.tensor([(x + 0.5) / 80, (y + 0.5) / 120])
        inside = all((b - a)[0] * (point - a)[1] >= (b - a)[1] * (point - a)[0] for a, b in edges)
        want[y // 10, x // 10] += float(inside)
    np.testing.assert_allclose(found / found.sum(), want / want.sum(), atol=0.003)


def test_a_straight_window_is_even_and_nothing_lies_outside():
    found = window(torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]]), (16, 8))[0]
    assert found[4:12, 2:6].unique().numel() == 1
    assert found.sum() == found[4:12, 2:6].sum() == 64**2


def test_cells_are_spread_over_the_pixels_around_what_they_see():
    cells = torch.tensor([[[1.0, 2], [3, 4]]])
    found, reach = spread(cells, (8, 4), start=2.5, step=2)  # centres between pixels 2 and 3, and 4 and 5
    assert reach.any(1).tolist() == [False, False, True, True, True, True, False, False]
    assert found[0, :, 2].tolist() == [0, 0, 1, 1, 3, 3, 0, 0]
    assert found[0, 2].tolist() == [0, 0, 1, 1]
    assert middle(torch.tensor([[[0.0, 0, 3], [0, 0, 1]]])).tolist() == [[0.25, 2]]


CELLS = {  # the step of a map, and what the cells of a map are computed from, of the first image alone
    "casn": (16, lambda model, a, b: model.encode(a).maps),
    "mls": (4, lambda model, a, b: model.encode(a).maps2),
    "midlevel": (16, lambda model, a, b: model.encode(a).maps),
    "personnet": (4, lambda model, a, b: model.compare(model.encode(a), model.encode(b))["difference"]),
}


@pytest.mark.parametrize(
    ("name", "size"), [("personnet", (160, 60)), ("midlevel", (560, 560)), ("mls", (160, 96)), ("casn", (560, 560))]
)
def test_a_cell_lies_in_the_middle_of_the_pixels_that_move_it(name, size):
    """By the gradient of one cell's energy, over several images, because pooling looks at few of its inputs."""
    model, (step, cells) = network(name, image_size=size), CELLS[name]
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # timm starts the last ones of a ResNet's blocks at 0
    images = torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(1), requires_grad=True)
    others = images.detach().flip(0)
    layers = MAPS[type(model)](model, images.detach(), others)
    reach = next(layer for layer in layers if layer.image in (0, None) and "window" not in layer.name).reach
    maps = cells(model, images, others)
    first = []
    for axis, side, count in zip((1, 0), size, maps.shape[2:], strict=True):
        inside = reach.any(axis).nonzero()[:, 0]
        # A first cell that begins before the image is counted from the last one.
        first.append(int(inside[0]) if inside[0] or inside[-1] == side - 1 else int(inside[-1]) + 1 - step * count)
    row, column = ((side // 2 - start) // step for side, start in zip(size, first, strict=True))
    maps[:, :, row, column].square().sum().backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    for axis, start, cell in zip((1, 0), first, (row, column), strict=True):
        lit = seen.any(axis).nonzero()[:, 0]
        assert (lit[0] + lit[-1]).item() / 2 == pytest.approx(start + step * cell + (step - 1) / 2, abs=1.6)


@pytest.mark.parametrize(
    ("stage", "what", "pooled"), [(1, "activation", True), (1, "attention", False), (2, "attention", False)]
)
def test_a_cell_of_a_stage_lies_in_the_middle_of_the_pixels_that_move_it(stage, what, pooled):
    """HAGN's maps, whose cells see more than they cover and start on the image's edge; as the test above."""
    model = network("hagn")
    images = torch.rand(4, 3, *model.image_size, generator=torch.Generator().manual_seed(1), requires_grad=True)
    if what == "attention":
        with torch.no_grad():  # the trunk's own cell, not the 7 x 7 around it
            model.before[stage - 1]["S"].weight.zero_()[:, :, 3, 3] = 1.0
    found = model.maps(images)
    maps = found[f"Stage {stage}" if what == "activation" else f"S{stage}"]
    row, column = (side // 2 for side in maps.shape[2:])
    maps[:, :, row, column].square().sum().backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    layers = MAPS[type(model)](model, images.detach(), images.detach().flip(0))
    energy = next(layer.energy for layer in layers if (layer.name, layer.image) == (f"stage {stage}, {what}", 0))[0]
    covered = torch.isclose(energy, maps[0, :, row, column].square().sum().detach())
    assert (maps.shape[2:] == model.size) == pooled
    for axis in (1, 0):
        lit, over = (area.any(axis).nonzero()[:, 0] for area in (seen, covered))
        middles = ((lit[0] + lit[-1]).item() / 2, (over[0] + over[-1] + 1).item() / 2)
        assert middles[0] == pytest.approx(middles[1], abs=0.3 * len(over))


def test_a_gaussian_is_centred_where_a_map_reaches():
    reach = torch.zeros(40, 20, dtype=torch.bool)
    reach[8:24, 4:12] = True
    found = gaussian(reach)
    assert (found == found.max()).nonzero().float().mean(0).tolist() == [15.5, 7.5]
    assert (found[15, 4] / found[15, 7]).item() == pytest.approx(np.exp(-(3.5**2 - 0.5**2) / 8), rel=1e-5)


def test_every_visible_attribute_has_its_parts(plaza_tiny):
    attributes = visible_attributes(named_world("plaza", "tiny").identity(20))
    assert set(PARTS_OF) == set(attributes)
    assert {part for parts in PARTS_OF.values() for part in parts} <= set(PARTS)


def test_changing_an_attribute_changes_its_parts():
    """The same image drawn with one colour changed: what changes lies on the parts that the attribute names."""
    for name in ("upper_colour", "lower_colour", "shoe_colour", "hair_colour"):
        drawn = []
        for changed in (False, True):
            world = named_world("plaza", "tiny", preset="easy")
            person = next(
                p for p in range(20, 60) if world.identity(p).hat == "none" and world.identity(p).bag == "none"
            )
            if changed:
                who = world.identity(person)
                other = tuple((np.asarray(getattr(who, name)) + 0.5) % 1)
                world._groups[world.group(person)][person] = replace(who, **{name: other})
            drawn.append(world.render(person, 1, 0, size=(256, 128), labeled=True))
        moved = np.abs(drawn[0].pixels.astype(float) - drawn[1].pixels).sum(2)
        parts = np.isin(drawn[0].parts, [PARTS.index(part) for part in PARTS_OF[name]])
        assert moved[parts].sum() > 0.7 * moved.sum(), name


def test_pairs_are_of_their_kinds_and_the_truth_is_of_their_images(plaza_tiny):
    truth = scenes(plaza_tiny, 12, 0)
    assert set(truth.kinds) == set(PAIRS)
    split = truth.split
    people, cameras, groups = (getattr(split, name)[truth.pairs] for name in ("person_ids", "camera_ids", "groups"))
    assert ((people[:, 0] == people[:, 1]) == (truth.kinds == "same")).all()
    assert ((groups[:, 0] == groups[:, 1]) == (truth.kinds != "stranger")).all()
    assert (cameras[:, 0] != cameras[:, 1]).all()
    assert [bool(parts) for parts in truth.differing] == (truth.kinds != "same").tolist()
    assert ((truth.turns >= 0) & (truth.turns <= np.pi)).all()
    folder = plaza_tiny.query.paths[0].parents[1]
    entry = read_manifest(folder)["images"][split.paths[3].relative_to(folder).as_posix()]
    again = named_world("plaza", "tiny").render(
        entry["subject"], entry["camera"], entry["index"], labeled=entry["labeled"], partial=entry["partial"]
    )
    np.testing.assert_array_equal(truth.parts[3], again.parts)
    assert truth.yaws[3] == again.yaw
    person, bag, skin, difference = truth.regions(0, (64, 32))
    alone = scenes(plaza_tiny, 12, 0, ("look-alike",))
    assert set(alone.kinds) == {"look-alike"}
    for image in (0, 1):
        own, among = (of.split.take(of.pairs[:, image]).paths for of in (alone, truth))
        assert list(own) == [path for path, kind in zip(among, truth.kinds, strict=True) if kind == "look-alike"]
    assert (person | ~bag).all()
    assert (person | ~skin).all()
    assert (person | ~difference).all()
    assert torch.equal(truth.regions(None, (64, 32)), truth.regions(0, (64, 32)) | truth.regions(1, (64, 32)))


@pytest.mark.parametrize(("name", "maps"), [("casn", 2), ("mls", 8), ("midlevel", 1), ("personnet", 1), ("hagn", 8)])
def test_a_network_is_measured_on_every_kind_of_pair(plaza_tiny, name, maps):
    model = network(name)
    found = coverage(model, plaza_tiny, model, pairs=6, seed=1)
    assert found["map"].nunique() == maps
    assert set(found.pair) == set(PAIRS)
    assert set(found.region) <= set(REGIONS)
    assert not found[found.pair == "same"].region.str.startswith("difference").any()
    numbers = found[["share", "area", "centre"]]
    assert ((numbers >= 0) & (numbers <= 1)).all().all()
    assert (found.share == found.untrained).all()  # given the same network
    person = found[found.region == "person"].groupby("map").share.mean()
    bag = found[found.region == "bag"].groupby("map").share.mean()
    assert (bag <= person).all()
    assert found["shift"].isna().all() == (name == "personnet")
    again = coverage(model, plaza_tiny, pairs=6, seed=1)
    pd.testing.assert_frame_equal(
        again.drop(columns=["untrained", "shift_untrained"]),
        found[again.columns].drop(columns=["untrained", "shift_untrained"]),
    )
    assert again.untrained.isna().all()


def test_the_share_of_a_map_is_that_of_its_pixels(plaza_tiny):
    model, truth = network("midlevel"), scenes(plaza_tiny, 6, 1)
    found = coverage(model, plaza_tiny, pairs=6, seed=1)
    layers = layers_of(model, truth)
    first = []
    for layer in layers:
        person = truth.regions(layer.image, model.image_size)[0, 0]
        first.append((layer.energy[0] * person).sum().item() / layer.energy[0].sum().item())
    row = found[found.region == "person"].iloc[0]
    assert row.share == pytest.approx(np.mean(first), abs=1e-4)
    even = [
        (truth.regions(at, model.image_size)[0, 0] & layers[0].reach).sum() / layers[0].reach.sum() for at in (0, 1)
    ]
    assert row.area == pytest.approx(float(np.mean(even)), abs=1e-4)


def test_attention_that_nobody_compares_is_not_measured(plaza_tiny):
    found = coverage(network("casn", attention=False), plaza_tiny, pairs=4)
    assert set(found["map"]) == {"Identification attention"}


def test_what_cannot_be_measured_is_one_sentence(plaza_tiny, tmp_path):
    with pytest.raises(ValueError, match="these have: CASN, HAGN, MLS, MidLevel, PersonNet"):
        coverage(build("pixels"), plaza_tiny)
    split = Split("photographs", (tmp_path / "a.jpg", tmp_path / "b.jpg"), *np.array([[1, 1], [1, 2], [1, 1]]))
    (tmp_path / "manifest.json").write_text('{"about": "something else"}')
    train = Split("train", (tmp_path / "c.jpg", tmp_path / "d.jpg"), *np.array([[2, 3], [1, 2], [2, 3]]))
    with pytest.raises(ValueError, match="photographed: parts are known of drawn images only"):
        coverage(network("personnet"), Benchmark("photographed", train, split, split))


def test_the_map_of_a_papers_figure_is_summed_up_in_one_number(plaza_tiny):
    for name, layer in (("casn", "Identification attention"), ("hagn", "stage 4, activation")):
        model = network(name)
        table = coverage(model, plaza_tiny, pairs=3)
        wanted = table[(table["map"] == layer) & (table.pair == "same") & (table.region == "person")]
        assert len(wanted) == 3
        assert map_on_person(model, plaza_tiny, pairs=3) == pytest.approx(wanted.share.mean())
    assert np.isnan(map_on_person(network("mls"), plaza_tiny))


def made_up(shares, groups=None, **columns):
    count = len(shares)
    table = pd.DataFrame({"map": "a map", "pair": "same", "region": "person", "share": shares, "area": 0.2})
    table = table.assign(centre=0.5, untrained=shares, yaw=np.linspace(0, np.pi, count), shift=0.1, shift_untrained=0.3)
    return table.assign(group=range(count) if groups is None else groups, **columns)


def trial(table):
    return Trial(SimpleNamespace(table=lambda name: table if name == TABLE else None))


def test_a_summary_is_the_mean_with_an_interval_over_groups():
    first, second = made_up([0.3, 0.4, 0.5]), made_up([0.45, 0.35, 0.4])
    (row,) = stored([trial(first), Trial(None), trial(None), trial(second)]).to_dict("records")
    assert row["share"] == pytest.approx(0.4)
    assert row["low"] < 0.4 < row["high"]
    assert (row["pairs"], row["trials"]) == (6, 2)
    assert [row[f"over_{name}"] for name in ("area", "centre", "untrained")] == ["above", "below", "not told apart"]
    one_group = stored([trial(made_up([0.3, 0.4], groups=[7, 7]))])
    assert one_group[["low", "high"]].isna().all().all()
    assert one_group.over_area.tolist() == ["not told apart"]
    assert stored([Trial(None), trial(None)]) is None


def test_kinds_of_pairs_are_counted_by_which_side_of_a_reference_they_lie_on():
    words = {"over_area": ["above", "above", "below"], "over_centre": ["not told apart"] * 3}
    one = pd.DataFrame({"map": "S1, attention", "region": "bag", "share": [0.1, 0.2, 0.3]} | words)
    one["over_untrained"] = ["above", "below", "below"]
    other = one.assign(map="S2, attention", share=0.2)
    summary = pd.concat([one, other, one.assign(map="S1, activation")])
    got = against_references(summary, ("bag", "skin"))
    assert got.index.tolist() == ["S1, attention: bag", "S2, attention: bag", "S1, activation: bag"]  # no skin is there
    assert got.iloc[0].tolist() == [
        "0.20",
        "2 above, 1 below (of 3)",
        "0 above, 0 below (of 3)",
        "1 above, 2 below (of 3)",
    ]
    together = against_references(summary, ("bag",), {"attention": ", attention"})
    assert together["random weights"].to_dict() == {"attention: bag": "2 above, 4 below (of 6)"}


def test_moves_are_sorted_by_the_turn_between_both_images():
    found = viewpoint([trial(made_up([0.3] * 5, shift=[0.1, 0.1, 0.2, 0.4, 0.6]))])
    assert found.turn.tolist() == ["up to 60°", "60° to 120°", "120° to 180°"]
    np.testing.assert_allclose(found["shift"], [0.1, 0.2, 0.5])
    assert found.pairs.tolist() == [2, 1, 2]
    assert viewpoint([trial(made_up([0.3] * 5, shift=np.nan))]) is None
    assert viewpoint([Trial(None)]) is None


def test_a_run_that_keeps_figures_keeps_its_coverage(tmp_path, plaza_tiny, monkeypatch):
    monkeypatch.setitem(robustness.OF, "figures", (robustness.PLAIN,))  # its other table takes long to make
    data = Data("plaza", "tiny", version="1")
    recipe = Recipe(
        "personnet",
        options(fc=(16, 16, 8)),
        datasets=(data,),
        sampling=Sampling(pairs=4),
        optimiser=Optimiser("rmsprop", lr=1e-4),
        steps=2,
        validations=1,
    )
    settings, store = [EvaluationSettings(data, queries=4)], RunStore(tmp_path)
    run = train_and_evaluate(recipe, settings, store, keep="figures", progress=False)
    kept = run.table(TABLE)
    assert set(kept.pair) == set(PAIRS)
    assert not np.allclose(kept.share, kept.untrained)
    pd.testing.assert_frame_equal(measure(store.find(recipe), recipe).table(TABLE), kept)
    assert store.verify() == []
    bare = train_and_evaluate(replace(recipe, seed=1), settings, store, keep="weights", progress=False)
    assert bare.table(TABLE) is None
