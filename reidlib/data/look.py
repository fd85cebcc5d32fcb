"""A dataset in numbers: how its images spread over cameras and people, how large they are, and their colours."""

import os

import numpy as np
import pandas as pd

from reidlib.data import load, registry
from reidlib.data.pixels import read_image
from reidlib.data.splits import Benchmark, Split, joined

LUMA = np.array([0.299, 0.587, 0.114])


def present(root: str | os.PathLike[str]) -> tuple[dict[str, Benchmark], dict[str, str]]:
    """(title -> the datasets in or below `root`, title -> why one that is there is refused).

    Of several datasets with the same images of people, such as two ways to split them, the first is taken.
    """
    found: dict[str, Benchmark] = {}
    refused, known = {}, set()
    for name, dataset in registry.DATASETS.items():
        title = dataset.title.split(", ")[0] if dataset.layout != "cuhk03" else dataset.title
        try:
            benchmark = load(name, root=root)
        except FileNotFoundError:
            continue
        except ValueError as error:
            refused[title] = str(error)
            continue
        images = frozenset(people_images(benchmark).paths)
        if images not in known:
            drawn = (benchmark.train.groups != benchmark.train.person_ids).any()
            found[f"{title}, drawn" if drawn else title] = benchmark
            known.add(images)
    return found, refused


def people_images(benchmark: Benchmark) -> Split:
    """Every image of a person, from all splits, once; junk and distractors are left out."""
    parts = [benchmark.train, benchmark.validation, benchmark.query, benchmark.gallery]
    everything = joined(benchmark.name, *(part for part in parts if part is not None))
    first = {path: row for row, path in reversed(list(enumerate(everything.paths)))}
    rows = np.sort(np.fromiter(first.values(), np.int64))
    return everything.take(rows[everything.person_ids[rows] > 0])


def images_per_camera(benchmark: Benchmark) -> "pd.Series[int]":
    """The number of images of people by camera."""
    return pd.Series(people_images(benchmark).camera_ids).value_counts().sort_index()


def images_per_person(benchmark: Benchmark) -> "pd.Series[int]":
    """The number of people by the number of images there are of each."""
    return pd.Series(people_images(benchmark).person_ids).value_counts().value_counts().sort_index()


def appearance(benchmark: Benchmark, images: int = 240, seed: int = 0) -> dict[str, np.ndarray]:
    """Size and colour of about `images` images of people, drawn by `seed`, equally many from every camera.

    "height_px", "width_px" (N,) pixels. "colour" (3,): mean red, green and blue of 255, each camera counting the same.
    "contrast": standard deviation of brightness within an image, mean over images, of 255. "cameras_apart": root mean
    square distance of a camera's mean colour from that of all, of 255.
    """
    everybody = people_images(benchmark)
    generator = np.random.default_rng(seed)
    cameras = np.unique(everybody.camera_ids)
    sizes, contrasts, colours = [], [], []
    for camera in cameras:
        rows = np.flatnonzero(everybody.camera_ids == camera)
        chosen = generator.permutation(rows)[: max(1, images // len(cameras))]
        pictures = [read_image(everybody.paths[row]) for row in chosen]  # (3, H, W) each
        sizes += [picture.shape[1:] for picture in pictures]
        contrasts += [np.tensordot(LUMA, picture, 1).std() for picture in pictures]
        colours.append(np.mean([picture.mean((1, 2)) for picture in pictures], axis=0))
    height, width = np.array(sizes).T
    colour = np.mean(colours, axis=0)
    return {
        "height_px": height,
        "width_px": width,
        "colour": colour,
        "contrast": np.mean(contrasts),
        "cameras_apart": np.sqrt(np.square(colours - colour).sum(1).mean()),
    }
