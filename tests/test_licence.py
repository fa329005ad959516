"""Terms of parts become the terms of the whole."""

import pytest

from raydg.licence import Licence, commercial_use
from raydg.models import ResNet, SmallNet


@pytest.mark.parametrize(
    ("answers", "whole"),
    [
        ((), "yes"),
        (("yes", "yes"), "yes"),
        (("yes", "unknown"), "unknown"),
        (("unknown", "no", "yes"), "no"),
    ],
)
def test_the_strictest_part_decides(answers, whole):
    assert commercial_use([Licence(str(i), "", answer) for i, answer in enumerate(answers)]) == whole


def test_pretrained_weights_have_terms_of_their_own():
    assert SmallNet().licences == () == ResNet(18).licences
    (imagenet,) = ResNet(18, weights="imagenet").licences
    assert "ResNet(18)" in imagenet.of and imagenet.commercial_use == "unknown"
    (own,) = ResNet(18, weights="/somewhere/mine.pth").licences
    assert own.of == "weights mine.pth of ResNet(18)"
