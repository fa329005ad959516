"""An ensemble's prediction against the mean of its members', written out; choices among adaptations as values."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from raydg.adaptation import (
    TTA,
    AdaBN,
    Choice,
    EnsemblePredictor,
    IaBN,
    SegTTT,
    TargetNorm,
    Tent,
    TrainBN,
    Views,
)
from raydg.domains.labels import CITYSCAPES_19
from raydg.models import DeepLabV3Plus, SmallNet
from raydg.values import decode, encode

HALF = Views((0.5, 1.0), flip=False, grey=False)


@pytest.fixture(scope="module")
def networks() -> list[nn.Module]:
    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        network = DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=8, decoder_channels=8)
        made.append(network.build(CITYSCAPES_19).eval())
    return made


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "adaptation",
    [
        TrainBN(), TargetNorm(2), IaBN(0.3), TTA(IaBN(0.3), HALF), Tent(IaBN(0.3), iterations=2),
        Tent(TargetNorm(2), "online", iterations=1, learning_rate=0.1),
        SegTTT(IaBN(0.3), HALF, iterations=2, also_after=(0, 1)),
    ],
    ids=lambda adaptation: adaptation.label,
)  # fmt: skip
def test_it_is_the_mean_of_members_that_adapt_by_themselves(networks, images, adaptation):
    ensemble = EnsemblePredictor([adaptation.predictor(network) for network in networks])
    alone = [adaptation.predictor(network) for network in networks]
    for _ in range(2):  # one that remembers has another prediction the second time
        members = [predictor.all(images) for predictor in alone]
        expected = (members[0] + members[1] + members[2]) / 3
        assert expected.shape[0] == len(adaptation.variants)
        assert torch.equal(ensemble.all(images), expected)
    torch.testing.assert_close(expected.sum(2), torch.ones_like(expected[:, :, 0]))
    assert not torch.equal(members[0], members[1])


def test_a_call_gives_the_last_variant_and_one_member_is_itself(networks, images):
    ttt = SegTTT(IaBN(0.3), HALF, iterations=1, also_after=(0,))
    single = EnsemblePredictor([ttt.predictor(networks[0])])
    assert torch.equal(single.all(images), ttt.predictor(networks[0]).all(images))
    assert torch.equal(single(images), single.all(images)[-1])
    with pytest.raises(ValueError, match="no member"):
        EnsemblePredictor([])


def test_probabilities_are_averaged_and_not_votes_nor_logits():
    class Fixed(nn.Module):
        def __init__(self, *probabilities: float) -> None:
            super().__init__()
            self.logits = torch.tensor(probabilities).log()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(images), 2)

    # Two of three vote for the first class; logits, through the third, prefer the second by far.
    members = [TrainBN().predictor(Fixed(*p)) for p in ((0.6, 0.4), (0.6, 0.4), (0.001, 0.999))]
    found = EnsemblePredictor(members)(torch.rand(1, 3, 2, 2))
    torch.testing.assert_close(found, torch.tensor([[1.201 / 3, 1.799 / 3]]))
    certain = [TrainBN().predictor(Fixed(*p)) for p in ((1.0, 1e-30), (0.2, 0.8))]
    torch.testing.assert_close(EnsemblePredictor(certain)(torch.rand(1, 3, 2, 2)), torch.tensor([[0.6, 0.4]]))


def test_every_member_is_fitted_by_itself(networks, images):
    alone = [AdaBN().predictor(network) for network in networks]
    ensemble = EnsemblePredictor([AdaBN().predictor(network) for network in networks])
    for predictor in (*alone, *ensemble.members):
        (itself,) = predictor.members
        itself.fit([images])
    expected = (alone[0](images) + alone[1](images) + alone[2](images)) / 3
    assert torch.equal(ensemble(images), expected)


WEIGHTS = tuple(IaBN(tenths / 10) for tenths in range(11))


@pytest.mark.parametrize(
    ("choice", "label", "sees"),
    [
        (Choice(candidates=WEIGHTS), "IaBN, instance_weight chosen on development", "one image"),
        (
            Choice(candidates=WEIGHTS[:2], on="source-validation", jointly=True),
            "IaBN, instance_weight chosen with the checkpoint on source-validation",
            "one image",
        ),
        (
            Choice(candidates=(TrainBN(), TargetNorm(4), AdaBN())),
            "t-BN or TN or AdaBN chosen on development",
            "the whole target",
        ),
        (
            Choice(candidates=(SegTTT(IaBN(0.1)), SegTTT(IaBN(0.2), iterations=3))),
            "Seg-TTT, norm and iterations chosen on development",
            "one image",
        ),
    ],
)
def test_a_choice_says_what_is_chosen_by_what(choice, label, sees):
    assert (choice.label, choice.sees) == (label, sees)
    assert decode(Choice, encode(choice)) == choice
    assert [choice.candidate(candidate.label) for candidate in choice.candidates] == list(choice.candidates)
    assert choice.meets_alike == (sees == "one image")


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ((IaBN(),), "at least two adaptations"),
        ((IaBN(0.1), IaBN(0.2), IaBN(0.1)), "labels that differ"),
        ((IaBN(0.1), SegTTT(also_after=(1,))), "one result each"),
    ],
)
def test_what_is_no_choice_is_refused(candidates, message):
    with pytest.raises(ValueError, match=message):
        replace(Choice(candidates=WEIGHTS), candidates=candidates)
