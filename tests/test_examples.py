"""The examples of figures: chosen as their rules say, and of the networks they are shown for."""

from dataclasses import replace

import numpy as np
import torch

from reidlib.data.pixels import pixels
from reidlib.examples import attention_examples, example_pairs, figure_arrays
from reidlib.models import build


def test_example_pairs_are_across_cameras_and_half_of_one_person(plaza_tiny):
    split, pairs, same = example_pairs(plaza_tiny, 20)
    people, cameras = split.person_ids[pairs], split.camera_ids[pairs]
    assert same.tolist() == [True, False] * 20
    assert ((people[:, 0] == people[:, 1]) == same).all()
    assert (cameras[:, 0] != cameras[:, 1]).all()
    assert len(split) == len(set(split.paths))


def test_of_a_small_gallery_all_that_is_ranked_is_shown(plaza_tiny):
    person = plaza_tiny.query.person_ids[plaza_tiny.matched][0]
    query = plaza_tiny.query.take(plaza_tiny.matched & (plaza_tiny.query.person_ids == person))
    gallery = plaza_tiny.gallery.take(plaza_tiny.gallery.person_ids == person)
    gallery = gallery.take(np.arange(len(gallery)) < 8)
    small = replace(plaza_tiny, query=query, gallery=gallery)
    counted = min((gallery.camera_ids != camera).sum() for camera in query.camera_ids)
    arrays = figure_arrays(build("pixels").eval(), small)
    assert arrays["ranked_gallery"].shape[1] == counted < 10
    assert arrays["ranked_correct"].all()


def test_rank_lists_hold_what_the_model_ranks_first(plaza_tiny):
    arrays = figure_arrays(build("pixels").eval(), plaza_tiny)
    assert arrays["ranked_query"].shape == (4, 3, 128, 64)
    assert arrays["ranked_gallery"].shape == (4, 10, 3, 128, 64)
    model = build("pixels").eval()
    query = model.encode(torch.from_numpy(arrays["ranked_query"]) / 255)
    for row, gallery in enumerate(arrays["ranked_gallery"]):
        distance = model.distance(query[row], model.encode(torch.from_numpy(gallery) / 255))[0]
        assert (distance.diff() >= -1e-6).all()


def test_figures_of_attended_parts_say_where_they_are(plaza_tiny):
    model = build("mls", width=6, sizes=(3, 2, 2), head=(6, 12), embedding=8, image_size=(64, 32)).eval()
    arrays = figure_arrays(model, plaza_tiny)
    assert arrays["CSN-2"].shape == (2, 2, 3, 16, 8)
    images = torch.from_numpy(arrays["images"]).float() / 255
    for pair, image in np.ndindex(2, 2):
        found = model.windows(images[pair, image : image + 1])[0]
        np.testing.assert_allclose(arrays["windows"][pair, image], found, atol=1e-2)


def test_ranked_maps_are_the_one_that_the_query_and_the_nearest_image_name(plaza_tiny):
    model = build("midlevel", width=1 / 16, fc=(8, 8), image_size=(128, 64)).eval()
    arrays = figure_arrays(model, plaza_tiny)
    assert arrays["ranked_maps"].shape == (4, 11, 8, 4)
    query, gallery = (torch.from_numpy(arrays[f"ranked_{name}"]) / 255 for name in ("query", "gallery"))
    for row in range(4):
        responses = model.responses(query[row : row + 1], gallery[row, :1])
        named = responses["Highest weighted"][0, :, 0]
        np.testing.assert_allclose(arrays["ranked_maps"][row, :2], named, rtol=2e-3, atol=1e-4)


def test_examples_of_attention_are_of_their_pairs_and_ranks(plaza_tiny):
    torch.manual_seed(0)
    small = {"trunk": "test_resnet", "last_stride": 1, "image_size": (96, 32), "hidden": 16}
    # Ranked by the feature alone: attention hangs on signs, which rounding may turn.
    model = build("casn", **small, attention=False).eval().requires_grad_(False)
    arrays = attention_examples(model, plaza_tiny)
    count = len(arrays["example_rank"])
    assert 0 < count <= 8
    assert arrays["example_images"].shape == (count, 4, 3, 96, 32)
    encoded = [model(torch.from_numpy(arrays["example_images"][:, at]) / 255)["encoding"] for at in range(4)]
    for pair in range(3):
        compared = model.compare(encoded[0], encoded[1 + pair])
        for image, name in enumerate(("map_a", "map_b")):
            np.testing.assert_allclose(arrays["example_maps"][:, pair, image], compared[name], rtol=2e-3, atol=1e-4)
    split, pairs, same = example_pairs(plaza_tiny, 8)
    ours = pixels(split, model.image_size)[pairs[same]]
    gallery = plaza_tiny.gallery
    everybody = model.encode(torch.from_numpy(np.array(pixels(gallery, model.image_size))) / 255)
    for shown, rank in zip(arrays["example_images"], arrays["example_rank"], strict=True):
        row = next(at for at, pair in enumerate(ours) if (pair == shown[:2]).all())
        person, camera = (getattr(split, name)[pairs[same][row, 0]] for name in ("person_ids", "camera_ids"))
        truth = gallery.paths.index(split.paths[pairs[same][row, 1]])
        own = gallery.person_ids == person
        counted = torch.from_numpy(~(own & (gallery.camera_ids == camera)) & (gallery.person_ids >= 0))
        asked = model.encode(torch.from_numpy(shown[:1]) / 255)
        distance = model.distance(asked, everybody, counted[None])[0].numpy()
        assert rank == 1 + (counted.numpy() & ~own & (distance < distance[truth])).sum()
    assert attention_examples(build("pixels").eval(), plaza_tiny) == {}
