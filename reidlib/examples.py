"""Examples that figures show, chosen by rules: pairs, rank lists, responses and maps of a trained network."""

import numpy as np
import torch

from reidlib.data.pixels import pixels
from reidlib.data.splits import Benchmark, Split, joined
from reidlib.evaluation import rank_list
from reidlib.models import ReIDModel
from reidlib.models.base import model_input

EXAMPLES = 8  # queries of `attention_examples`
RANKED = 10  # gallery images of `ranked_images`, as in Fig. 7 of HAGN


def example_pairs(benchmark: Benchmark, count: int) -> tuple[Split, np.ndarray, np.ndarray]:
    """(split, pairs (2 count, 2), same (2 count,)): cross-camera test pairs, half of one person.

    The rule: queries evenly spaced through the query list, each with the first gallery image of that person in
    another camera, and with the first gallery image, in another camera, of the next person in the list.
    """
    query, gallery = benchmark.query, benchmark.gallery
    chosen = np.flatnonzero(benchmark.matched)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(count, len(chosen))).astype(int)]
    people = benchmark.gallery.identities
    pairs, same = [], []
    for index in chosen:
        person, camera = query.person_ids[index], query.camera_ids[index]
        other = people[(np.searchsorted(people, person) + 1) % len(people)]
        for wanted, one in ((person, True), (other, False)):
            match = np.flatnonzero((gallery.person_ids == wanted) & (gallery.camera_ids != camera))
            if len(match):
                pairs.append((index, len(query) + match[0]))
                same.append(one)
    used, compact = np.unique(pairs, return_inverse=True)
    return joined("test pairs", query, gallery).take(used), compact.reshape(-1, 2), np.array(same)


def pair_images(
    benchmark: Benchmark, model: ReIDModel, count: int, device: str
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """(first images, second images, same): the pairs of `example_pairs` as a network takes them."""
    split, pairs, same = example_pairs(benchmark, count)
    images = model_input(pixels(split, model.image_size), device)
    return images[pairs[:, 0]], images[pairs[:, 1]], same


def figure_arrays(model: ReIDModel, benchmark: Benchmark, device: str = "cpu") -> dict[str, np.ndarray]:
    """All that the figures of a trained model need: `pair_responses`, `ranked_images` and `attention_examples`."""
    made = (function(model, benchmark, device) for function in (pair_responses, ranked_images, attention_examples))
    return {name: array for arrays in made for name, array in arrays.items()}


@torch.inference_mode()
def ranked_images(model: ReIDModel, benchmark: Benchmark, device: str = "cpu") -> dict[str, np.ndarray]:
    """Four queries, evenly spaced through those with a match, and the ten gallery images nearest to each, or all.

    "ranked_query" (4, 3, H, W) and "ranked_gallery" (4, 10, 3, H, W) uint8, "ranked_correct" (4, 10) bool. Of a model
    that names its `highest_weighted` map also "ranked_maps" (4, 11, h, w) float16: the one that it names for the query
    and the nearest image, on the query and on all ten (MidLevel, Fig. 1).
    """
    asked = np.flatnonzero(benchmark.matched)
    asked = asked[np.linspace(0, len(asked) - 1, 4).astype(int)]
    found = rank_list(model, benchmark, asked, RANKED, device=device, progress=False)
    ranked = (found.gallery_index >= 0).all(0)  # fewer where the gallery counts fewer for one of them
    index, correct = found.gallery_index[:, ranked], found.correct[:, ranked]
    queries = np.array(pixels(benchmark.query.take(asked), model.image_size))
    gallery = np.array(pixels(benchmark.gallery.take(index.ravel()), model.image_size))
    gallery = gallery.reshape(*correct.shape, *queries.shape[1:])
    arrays = {"ranked_query": queries, "ranked_gallery": gallery, "ranked_correct": correct}
    if hasattr(model, "highest_weighted"):
        maps = []
        for shown in np.concatenate([queries[:, None], gallery], 1):
            encoded = model.encode(model_input(shown, device))
            chosen = model.highest_weighted(encoded[0], encoded[1])[0]  # type: ignore[operator]
            maps.append(encoded.maps[:, chosen].half().cpu().numpy())
        arrays["ranked_maps"] = np.stack(maps)
    return arrays


@torch.inference_mode()
def pair_responses(model: ReIDModel, benchmark: Benchmark, device: str = "cpu") -> dict[str, np.ndarray]:
    """Arrays for a figure of feature responses: two test pairs, one of one person and one of two.

    "images" (2, 2, 3, H, W) uint8, "same" (2,), and every convolutional layer's responses by name, averaged over
    channels after taking magnitudes, float16. Of a model that attends to parts also "windows" (2, 2, levels, n, 4, 2),
    as MLS.windows has them of each image. Empty for models without `responses`.
    """
    if not hasattr(model, "responses"):
        return {}
    a, b, same = pair_images(benchmark, model, 1, device)
    arrays = {"images": (torch.stack([a, b], 1) * 255).round().byte().cpu().numpy(), "same": same}
    for name, response in model.responses(a, b).items():  # type: ignore[operator]
        if response.ndim >= 4:
            arrays[name] = response.abs().mean(-3).half().cpu().numpy()
    if hasattr(model, "windows") and (of_a := model.windows(a)) is not None:  # type: ignore[operator]
        arrays["windows"] = torch.stack([of_a, model.windows(b)], 1).cpu().numpy()  # type: ignore[operator]
    return arrays


@torch.inference_mode()
def attention_examples(model: ReIDModel, benchmark: Benchmark, device: str = "cpu") -> dict[str, np.ndarray]:
    """Of a model that compares attention: the queries of `example_pairs`, each in three pairs and with a rank.

    The pairs: with that rule's image of the same person, with its image of the next person, and with the nearest
    gallery image of all. "example_images" (N, 4, 3, H, W) uint8, the query and these three. "example_maps"
    (N, 3, 2, h, w) float16, the attention of each pair on both its images. "example_nearest" (N,) bool, whether the
    nearest is of the same person. "example_rank" (N,), of the image of the same person: 1 and how many images of other
    people are nearer. Empty for other models.
    """
    split, pairs, same = example_pairs(benchmark, EXAMPLES)
    of_query: dict[int, dict[bool, int]] = {}
    for (query, other), one in zip(pairs.tolist(), same.tolist(), strict=True):
        of_query.setdefault(query, {})[one] = other
    rows = np.array([(query, found[True], found[False]) for query, found in of_query.items() if len(found) == 2])
    if not hasattr(model, "responses") or not len(rows):
        return {}
    images = np.array(pixels(split, model.image_size))[rows]  # (N, 3, 3, H, W)
    if "map_a" not in model.compare(*(model(model_input(images[:1, 0], device))["encoding"] for _ in range(2))):
        return {}
    asked = np.array([benchmark.query.paths.index(split.paths[row]) for row in rows[:, 0]])
    truth = np.array([benchmark.gallery.paths.index(split.paths[row]) for row in rows[:, 1]])
    found = rank_list(model, benchmark, asked, len(benchmark.gallery), device=device, progress=False)
    nearest = np.array(pixels(benchmark.gallery.take(found.gallery_index[:, 0]), model.image_size))
    images = np.concatenate([images, nearest[:, None]], 1)
    query, *others = (model(model_input(images[:, number], device))["encoding"] for number in range(4))
    compared = [model.compare(query, other) for other in others]
    maps = [torch.stack([pair["map_a"], pair["map_b"]], 1) for pair in compared]
    wrong_before = ((found.gallery_index != truth[:, None]).cumprod(1) * ~found.correct).sum(1)
    return {
        "example_images": images,
        "example_maps": torch.stack(maps, 1).half().cpu().numpy(),
        "example_nearest": found.correct[:, 0],
        "example_rank": 1 + wrong_before,
    }
