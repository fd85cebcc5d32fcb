"""What stands in for ImageNet: a trunk that has learnt what drawn people of a third domain wear. Data only."""

from dataclasses import replace

from reidlib.recipe import Data, Optimiser, Recipe, Sampling, Schedule

# The papers fine-tune ImageNet's weights, which no drawn benchmark can replace and nothing here may download. A trunk
# that knows clothes, bags and hair of other people, seen by other cameras, stands in for one that knows things. It has
# seen neither identities nor the people, streets and cameras of any dataset that is tested on. All settings are ours.
HARBOUR = Recipe(
    "ide",
    objective="attributes",
    datasets=(Data("harbour"),),
    sampling=Sampling("identities", people=16, images=4),
    augment=(("flip", 0.5), ("erase", 0.5)),
    optimiser=Optimiser("adamw", lr=2e-3, weight_decay=0.01),
    schedule=Schedule("cosine", warmup=0.05),
    validations=10,
)


def harbour(steps: int, **own: object) -> Recipe:
    """That pre-training for so many steps, with options of the network."""
    return replace(HARBOUR, steps=steps).with_options(**own)


# The same for all papers. Its own classifier of identities is not trained, hence small.
AT_SMOKE = replace(
    harbour(2, trunk="test_resnet", last_stride=1, image_size=(96, 32), hidden=16),
    sampling=Sampling("identities", people=4, images=2, pairs=8),
    validations=1,
)
AT_LAPTOP = harbour(1500, trunk="test_resnet", last_stride=1, image_size=(192, 64), hidden=16)
AT_GPU = harbour(3000, image_size=(256, 128), hidden=16)
PRETRAINED = "a trunk pre-trained on what drawn people wear instead of ImageNet, except at profile paper"
