"""Views against torch and Pillow, and TTA against the mean written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from raydg.adaptation import TTA, IaBN, SegTTT, TargetNorm, TrainBN, View, Views


def kinds(views: Views) -> set[tuple[float, bool, bool]]:
    return {(view.scale, view.flip, view.grey) for view in views.views()}


def test_the_default_views_are_the_published_six():
    plain = {(scale, False, False) for scale in (0.25, 0.5, 0.75)}
    assert kinds(Views()) == plain | {(scale, True, True) for scale in (0.25, 0.5, 0.75)}
    assert len(Views().views()) == 6


def test_flip_and_grey_apart_are_two_views():
    assert kinds(Views((1.0,), together=False)) == {(1, False, False), (1, True, False), (1, False, True)}
    assert kinds(Views((1.0,), grey=False)) == kinds(Views((1.0,), grey=False, together=False))


def test_the_eight_rows_of_table_6():
    rows = TTA.table_6()
    assert [len(tta.views.views()) for tta in rows.values()] == [1, 1, 3, 2, 2, 6, 6, 6]
    assert {name: tta.norm for name, tta in rows.items() if tta.norm != IaBN()} == {"Baseline": TrainBN()}
    assert rows["Multiple scales + horizontal flipping + grayscaling"].views == Views()
    assert kinds(rows["Horizontal flipping"].views) == {(1, False, False), (1, True, False)}
    assert kinds(rows["Grayscaling"].views) == {(1, False, False), (1, False, True)}
    labels = [tta.label for tta in rows.values()]
    labels += [tta.label for tta in TTA.table_6(TrainBN()).values()][2:]
    labels += [SegTTT(tta.norm, tta.views).label for tta in rows.values()]
    assert len(set(labels)) == 8 + 6 + 8


def test_a_view_is_what_pillow_makes():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255
    for (group, batch), scale in zip(Views((0.5, 0.75)).by_size(images).values(), (0.5, 0.75), strict=True):
        picture = Image.fromarray(pixels).resize((int(60 * scale), int(40 * scale)), Image.Resampling.BILINEAR)
        mirrored = picture.convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert("RGB")
        assert group == (View(scale), View(scale, True, True))
        for got, want in zip(batch, (picture, mirrored), strict=True):
            expected = torch.from_numpy(np.array(want)).permute(2, 0, 1).double() / 255
            assert (got - expected).abs().max() < 1.6 / 255  # Pillow rounds twice


@pytest.mark.parametrize("norm", [TrainBN(), IaBN(0.4), TargetNorm(batch_size=4)])
@pytest.mark.parametrize("views", [Views(), Views((1.0, 1.5), together=False), Views((0.5,), flip=False)])
def test_it_is_the_mean_over_the_views_one_by_one(network, images, norm, views):
    plain = norm.predictor(network)
    expected = []
    for view in views.views():
        size = [max(1, round(view.scale * side)) for side in (7, 9)]
        seen = images if view.scale == 1 else F.interpolate(images, size, mode="bilinear", antialias=True)
        if view.grey:
            seen = torch.einsum("bchw,c->bhw", seen, torch.tensor([0.299, 0.587, 0.114]).double())[:, None]
            seen = seen.repeat(1, 3, 1, 1)
        p = plain(seen.flip(3) if view.flip else seen)
        if p.ndim == 4:
            p = F.interpolate(p.flip(3) if view.flip else p, (7, 9), mode="bilinear", align_corners=True)
        expected.append(p)
    torch.testing.assert_close(TTA(norm, views).predictor(network)(images), torch.stack(expected).mean(0))


def test_a_single_plain_view_is_the_normalisation_itself(network, images):
    single = Views((1.0,), flip=False, grey=False)
    torch.testing.assert_close(TTA(IaBN(), single).predictor(network)(images), IaBN().predictor(network)(images))


def test_it_sees_what_its_normalisation_sees():
    assert TTA(IaBN()).sees == "one image" and not TTA().needs_batchnorm and TTA(IaBN()).needs_batchnorm
    batch = TTA(TargetNorm(batch_size=4, orders=3))
    assert (batch.sees, batch.batch_size, batch.num_orders) == ("a batch", 4, 3)


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0,), (0.5, 0.5)])
def test_scales_that_are_none_are_refused(scales):
    with pytest.raises(ValueError, match=r"Views.scales is .*: it must be at least one number above 0, each once"):
        Views(scales)
