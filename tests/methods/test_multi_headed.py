"""A head for every source, against heads called one by one."""

import copy

import pytest
import torch
import torch.nn.functional as F

from raydg.domains.labels import IDD_LEVEL1, PACS_7
from raydg.methods import ERM, HeadEns, KnownHead, MultiHeaded, Objective
from raydg.methods.multi_headed import Headed
from raydg.models import Classifier, DeepLabV3Plus, SmallNet
from raydg.optimization import SGD
from raydg.types import Batch, Episode

SOURCES = ("art", "photo", "photo:2")


def episode(segments: bool = False) -> Episode:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(6, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (6, 32, 32) if segments else (6,), generator=generator)
    return Episode(0, 0, Batch(images, labels, torch.tensor([0, 0, 1, 1, 2, 2])), ("meta-train",) * 3)


def headed(segments: bool = False, alike: bool = False) -> Headed:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=8, decoder_channels=8)
        network = small.build(IDD_LEVEL1) if segments else Classifier(SmallNet(8)).build(PACS_7)
        model = MultiHeaded().wrap(network, 3, 3).double()
        if not alike:
            with torch.no_grad():
                for p in model.others.parameters():
                    p += 0.5 * torch.randn_like(p)
    return model


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("batchnorm", ["pooled", "per-domain"])
def test_every_image_is_judged_by_the_head_of_its_domain(segments: bool, batchnorm) -> None:
    model, asked = headed(segments), episode(segments).batch
    expected = copy.deepcopy(model).train()
    found = MultiHeaded(batchnorm=batchnorm).losses(model.train(), episode(segments))["loss"]
    network = expected.network
    x = (asked.images - network.mean) / network.std
    errors = []
    shared = network.encoder(x) if batchnorm == "pooled" else None
    for domain in range(3):
        rows = slice(2 * domain, 2 * domain + 2)
        features = network.encoder(x[rows]) if shared is None else tuple(maps[rows] for maps in shared)
        logits = expected.heads[domain](features)
        if segments:
            logits = F.interpolate(logits, (32, 32), mode="bilinear", align_corners=True)
        errors.append(F.cross_entropy(logits, asked.labels[rows]))
    torch.testing.assert_close(found, sum(errors) / 3)


def test_a_head_learns_from_its_own_domain_only() -> None:
    model = headed()
    only = episode().batch[torch.tensor([2, 3])]
    Objective(MultiHeaded(), model)(Episode(0, 0, only, ("meta-train",) * 3))["loss"].backward()
    learnt = [all(p.grad is not None and p.grad.any() for p in head.parameters()) for head in model.heads]
    assert learnt == [False, True, False]
    assert all(p.grad is None for head in (model.heads[0], model.heads[2]) for p in head.parameters())


def test_everything_receives_a_gradient_and_belongs_to_one_group() -> None:
    model = headed()
    objective = Objective(MultiHeaded(), model).train()
    objective(episode())["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in objective.parameters())
    network = model.network
    optimizer = SGD(0.1).build(network.encoder.parameters(), network.decoder.parameters(), model.extras())
    sizes = {group["part"]: len(group["params"]) for group in optimizer.param_groups}
    assert sizes == {"encoder": len(list(network.encoder.parameters())), "decoder": 2, "extras": 4}


def test_with_heads_alike_a_step_is_aggregates() -> None:
    """They start as copies, so before they part the loss and the encoder's gradient are those of one shared head."""
    model = headed(alike=True)
    plain = copy.deepcopy(model.network)
    found = MultiHeaded().losses(model.train(), episode())["loss"]
    expected = ERM().losses(plain.train(), episode())["loss"]
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    for ours, theirs in zip(model.network.encoder.parameters(), plain.encoder.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    together = [sum(p) for p in zip(*([q.grad for q in head.parameters()] for head in model.heads), strict=True)]
    for ours, theirs in zip(together, plain.decoder.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad)


@pytest.mark.parametrize("segments", [False, True])
def test_heads_are_averaged_and_a_known_one_chosen(segments: bool) -> None:
    model, images = headed(segments).eval(), episode().batch.images
    by_head = []
    with torch.no_grad():
        for head in model.heads:
            network = copy.deepcopy(model.network)
            network.decoder = head
            by_head.append(network(images))
        logits = torch.stack(by_head)

        def found(inference, domain="sketch"):
            return inference.module(model, SOURCES, domain)(images)

        torch.testing.assert_close(found(HeadEns()).exp(), logits.softmax(2).mean(0))
        torch.testing.assert_close(found(HeadEns(averages="logits")), logits.mean(0))
        torch.testing.assert_close(found(KnownHead(), "art").exp(), logits[0].softmax(1))
        torch.testing.assert_close(found(KnownHead(), "photo").exp(), logits[1:].softmax(2).mean(0))
        with pytest.raises(ValueError, match="'sketch' is no source"):
            found(KnownHead())


def test_the_encoder_runs_once_however_many_heads_there_are() -> None:
    model, calls = headed().eval(), []
    model.network.encoder.register_forward_hook(lambda *_: calls.append(1))
    HeadEns().module(model, SOURCES, None)(episode().batch.images)
    assert len(calls) == 1


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"MultiHeaded.trains is 'encoder': it must be 'both' or 'decoder'"):
        MultiHeaded(trains="encoder")
    assert MultiHeaded(averages="logits").default_inference() == HeadEns(averages="logits")
