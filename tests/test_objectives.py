"""Loss terms by name: which are computed, how heads are averaged, what a right answer is."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from reidlib.losses import batch_hard_triplet
from reidlib.models import Encoding
from reidlib.models.base import Embedder
from reidlib.objectives import OBJECTIVES, Batch, IdentityObjective, Objective, PairObjective


class Heads(Embedder):
    """Gives what it is told to, whatever the images."""

    def __init__(self, vector: torch.Tensor, **output: torch.Tensor) -> None:
        super().__init__((4, 2))
        self.vector, self.output = vector, output

    def forward(self, images):
        return {"encoding": Encoding(vector=F.normalize(self.vector)), **self.output}


PEOPLE = torch.tensor([0, 0, 1, 1])
BATCH = Batch(torch.zeros(4, 3, 4, 2), PEOPLE + 1, torch.tensor([1, 2, 1, 2]), PEOPLE, torch.empty(0, 2).long())


def test_heads_are_averaged() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, wide, narrow = (torch.randn(4, *shape, generator=generator) for shape in ((3, 2), (5,), (2,)))
    objective = IdentityObjective(Heads(narrow, logits=logits, embeddings0=wide, embeddings1=narrow), margin=1.0)
    terms = objective(BATCH)
    by_head = [F.cross_entropy(logits[:, head], PEOPLE, label_smoothing=0.1) for head in range(3)]
    by_level = [batch_hard_triplet(features, PEOPLE, 1.0) for features in (wide, narrow)]
    torch.testing.assert_close(terms["identity"], sum(by_head) / 3)
    torch.testing.assert_close(terms["triplet"], sum(by_level) / 2)
    torch.testing.assert_close(objective.total(terms), terms["identity"] + terms["triplet"])


def test_distances_of_triplets_are_exact_under_autocast_where_that_is_asked_for() -> None:
    near = 1 + 0.05 * torch.randn(4, 512, generator=torch.Generator().manual_seed(0))
    model = Heads(near, logits=torch.zeros(4, 2), embeddings0=near)
    rounded, exact = (IdentityObjective(model, single_precision=single) for single in (False, True))
    expected = batch_hard_triplet(near, PEOPLE)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(exact(BATCH)["triplet"], expected)
        assert (rounded(BATCH)["triplet"] - expected).abs() > 0.02


def test_a_term_of_weight_0_is_not_computed() -> None:
    model = Heads(torch.eye(4), logits=torch.zeros(4, 2))
    objective = IdentityObjective(model, {"triplet": 0.0, "identity": 2.0})
    terms = objective(BATCH)
    assert terms.keys() == {"identity"}
    assert objective.total(terms) == 2 * terms["identity"]


def test_a_right_answer_is_the_nearest_image_of_another_camera() -> None:
    vector = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.4]])
    objective = IdentityObjective(Heads(vector, logits=torch.zeros(4, 2)))
    assert objective.accuracy(BATCH) == pytest.approx(3 / 4)  # 3's nearest under camera 1 is 0, of the other person
    lonely = replace(BATCH, camera_ids=torch.tensor([1, 2, 1, 1]))  # 2 and 3 have no match: they ask nothing
    assert objective.accuracy(lonely) == 1


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_names_its_terms(name: str) -> None:
    assert issubclass(OBJECTIVES[name], Objective)
    assert OBJECTIVES[name].TERMS
    with pytest.raises(ValueError, match="loss term 'triplets' is unknown"):
        OBJECTIVES[name](Heads(torch.eye(4)), {"triplets": 1.0})


def test_a_known_term_is_suggested() -> None:
    with pytest.raises(ValueError, match="did you mean 'pair'"):
        PairObjective(Heads(torch.eye(4)), {"pairs": 1.0})
