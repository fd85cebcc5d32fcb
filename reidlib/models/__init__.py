"""Every system by name, and the one way to get one: `build("personnet", kernel=3)`."""

import inspect
from typing import Any

from reidlib.models.base import Descriptor, Embedder, Encoding, ReIDModel
from reidlib.models.casn import CASN
from reidlib.models.descriptors import LOMO, HistogramDescriptor, PixelDescriptor
from reidlib.models.hagn import HAGN
from reidlib.models.ide import IDE, PCB
from reidlib.models.idla import IDLA
from reidlib.models.metric import KISSME, XQDA
from reidlib.models.midlevel import MidLevel
from reidlib.models.mls import MLS
from reidlib.models.personnet import PersonNet
from reidlib.models.smallcnn import SmallCNN
from reidlib.models.xcorr import XCorr
from reidlib.names import choose

MODELS: dict[str, type[ReIDModel]] = {
    "personnet": PersonNet,
    "midlevel": MidLevel,
    "mls": MLS,
    "casn": CASN,
    "ide": IDE,
    "pcb": PCB,
    "hagn": HAGN,
    "idla": IDLA,
    "xcorr": XCorr,
    "pixels": PixelDescriptor,
    "histogram": HistogramDescriptor,
    "lomo": LOMO,
    "kissme": KISSME,
    "xqda": XQDA,
    "smallcnn": SmallCNN,
}


def options(name: str) -> dict[str, Any]:
    """The options of a model with their defaults; a ValueError names the nearest model."""
    parameters = inspect.signature(MODELS[choose("model", name, MODELS)]).parameters
    return {option: parameter.default for option, parameter in parameters.items()}


def build(name: str, **chosen: Any) -> ReIDModel:
    """A freshly initialised model; draws its weights from PyTorch's global generator.

    Every model takes `identities`, the number of classes of its classifier where it has one, and
    `image_size`, (height, width) in pixels. A ValueError names the nearest valid name, option or value.
    """
    allowed = options(name)
    for option, value in chosen.items():
        choose(f"option of {name}", option, allowed)
        if known := MODELS[name].CHOICES.get(option):
            choose(option, tuple(value) if isinstance(value, list) else value, known)
    return MODELS[name](**chosen)
