"""KISSME (Koestinger et al., CVPR 2012) and XQDA (Liao et al., CVPR 2015): metrics learnt on a descriptor.

Both model the difference of two images as Gaussian, one for images of one person and one for images of two; the
distance is the log likelihood ratio, up to a constant. Pairs are across cameras, and all of them count.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from reidlib.models.base import Descriptor, Encoding
from reidlib.models.descriptors import LOMO, HistogramDescriptor, PixelDescriptor

DESCRIPTORS: dict[str, type[Descriptor]] = {
    "lomo": LOMO,
    "histogram": HistogramDescriptor,
    "pixels": PixelDescriptor,
}


def principal_directions(features: Tensor, most: int) -> Tensor:
    """Orthonormal (D, d) of the largest variance of (N, D), d at most `most` and the rank."""
    centred = features - features.mean(0)
    count, width = centred.shape
    values, vectors = torch.linalg.eigh(centred @ centred.T if count < width else centred.T @ centred)
    kept = (values > 1e-6 * values[-1]).nonzero()[-most:, 0].flip(0)
    if count < width:
        return centred.T @ (vectors[:, kept] / values[kept].sqrt())
    return vectors[:, kept]


def scatter(features: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of (x_i - x_j)(x_i - x_j)^T over the pairs within the groups, (d, d), and the number of these pairs.

    groups: (N,). No pair is visited: it is sum_i n_i x_i x_i^T - sum_g s_g s_g^T, with n_i the size of i's group and
    s_g the sum of group g.
    """
    _, member, sizes = groups.unique(return_inverse=True, return_counts=True)
    sums = features.new_zeros(len(sizes), features.shape[1]).index_add_(0, member, features)
    weighted = features * sizes[member].to(features)[:, None]
    return features.T @ weighted - sums.T @ sums, (sizes * (sizes - 1)).sum() / 2


def pair_covariances(features: Tensor, person_ids: Tensor, camera_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Covariances (d, d) of x_i - x_j over all pairs across cameras, of one person and of two.

    ValueError: no such pair of either kind.
    """
    camera = camera_ids.unique(return_inverse=True)[1]
    person = person_ids.unique(return_inverse=True)[1]
    everyone = torch.zeros_like(person)
    # Across cameras is everything but within them, of two people everything but of one.
    both, one = (
        [a - b for a, b in zip(scatter(features, whole), scatter(features, part), strict=True)]
        for whole, part in ((everyone, camera), (person, person * len(features) + camera))
    )
    if one[1] < 1 or both[1] - one[1] < 1:
        people = len(person.unique())
        raise ValueError(f"{len(person)} images of {people} people hold no pairs of both kinds across cameras.")
    return one[0] / one[1], (both[0] - one[0]) / (both[1] - one[1])


class Metric(Descriptor):
    """A descriptor and, after `estimate`, a projection of it; the distance is the squared Euclidean one.

    descriptor: "lomo", "histogram" or "pixels". components: principal components of the training set to begin with.
    """

    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {"descriptor": tuple(DESCRIPTORS)}
    projection: Tensor
    kept: Tensor

    def __init__(self, descriptor: str, components: int, image_size: Sequence[int]) -> None:
        super().__init__(image_size)
        if components < 1:
            raise ValueError(f"components {components!r} is not a positive number such as 100.")
        self.descriptor = DESCRIPTORS[descriptor](image_size)  # type: ignore[call-arg]
        width = self.descriptor.encode(torch.zeros(1, 3, *self.image_size)).vector.shape[1]
        # Of one size whatever is learnt, so that stored weights fit; `kept` columns count, at first none.
        self.register_buffer("projection", torch.zeros(width, components))
        self.register_buffer("kept", torch.tensor(0))

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives the "encoding" with `vector`: the descriptor before `estimate`, its projection after it."""
        vector = self.descriptor(images)["encoding"].vector
        if self.kept:
            with torch.autocast(vector.device.type, enabled=False):
                vector = vector @ self.projection[:, : int(self.kept)]
        return {"encoding": Encoding(vector=vector)}

    @torch.no_grad()
    def estimate(self, encodings: Encoding, person_ids: Tensor, camera_ids: Tensor) -> None:
        basis = principal_directions(encodings.vector, self.projection.shape[1])
        reduced = (encodings.vector @ basis).double()
        similar, dissimilar = pair_covariances(reduced, person_ids.to(reduced.device), camera_ids.to(reduced.device))
        found = basis @ self.learn(similar, dissimilar).to(basis)
        self.projection[:, : found.shape[1]] = found
        self.kept.fill_(found.shape[1])

    @abstractmethod
    def learn(self, similar: Tensor, dissimilar: Tensor) -> Tensor:
        """L (d, k), k <= d, from both covariances: the distance is (x - y)^T L L^T (x - y)."""

    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        return {"distance": (a.vector - b.vector).square().sum(1)}

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        with torch.autocast(self.mean.device.type, enabled=False):
            q, g = queries.vector, gallery.vector
            lengths = q.square().sum(1, keepdim=True) + g.square().sum(1)
            return torch.addmm(lengths, q, g.T, alpha=-2).clamp_min_(0)


class KISSME(Metric):
    """M = S^-1 - D^-1 of the covariances of similar and dissimilar pairs, its negative eigenvalues cut off.

    components: the paper reduces its descriptors to 34 principal components on VIPeR; 100 is LOMO's authors'.
    """

    def __init__(
        self,
        descriptor: str = "lomo",
        components: int = 100,
        image_size: Sequence[int] = (128, 48),
        identities: int = 751,  # of the common signature
    ) -> None:
        super().__init__(descriptor, components, image_size)

    def learn(self, similar: Tensor, dissimilar: Tensor) -> Tensor:
        spread = torch.linalg.eigvalsh(similar)
        if spread[0] < 1e-9 * spread[-1]:
            raise ValueError(
                f"the pairs of one person do not determine {len(similar)} components: ask for fewer than there are "
                f"images minus people."
            )
        values, vectors = torch.linalg.eigh(torch.linalg.inv(similar) - torch.linalg.inv(dissimilar))
        return vectors * values.clamp_min(0).sqrt()


class XQDA(Metric):
    """Cross-view quadratic discriminant analysis: KISSME in the subspace where D varies more than S.

    Its directions solve D w = v S w with v > 1. Scaled so that W^T S W = 1, both covariances are diagonal there, and
    the metric S^-1 - D^-1 is 1 - 1 / v.
    components: the paper reduces nothing; 1000 of LOMO's leave out directions that vary less than the ridge.
    ridge: added to S, the paper's 0.001 for LOMO of squared length 3; here it has length 1.
    """

    def __init__(
        self,
        descriptor: str = "lomo",
        components: int = 1000,
        ridge: float = 1e-3 / 3,
        image_size: Sequence[int] = (128, 48),
        identities: int = 751,  # of the common signature
    ) -> None:
        super().__init__(descriptor, components, image_size)
        if ridge <= 0:
            raise ValueError(f"ridge {ridge!r} is not a positive variance such as 3e-4.")
        self.ridge = ridge

    def learn(self, similar: Tensor, dissimilar: Tensor) -> Tensor:
        similar = similar + self.ridge * torch.eye(len(similar)).to(similar)
        root = torch.linalg.cholesky(similar)  # S = R R^T: the ordinary problem R^-1 D R^-T u = v u, w = R^-T u
        half = torch.linalg.solve_triangular(root, dissimilar, upper=False)
        values, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(root, half.T, upper=False))
        kept = (values > 1).nonzero()[:, 0]
        if not len(kept):
            raise ValueError(f"no direction varies more between people than within them: lower ridge={self.ridge}.")
        directions = torch.linalg.solve_triangular(root.T, vectors[:, kept], upper=True)
        return directions * (1 - 1 / values[kept]).sqrt()
