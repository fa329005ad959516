"""Self-adaptation's HRNet: its keys, from its source (models/hrnet.py, models/hrnet_config.py). Apart, since importing
timm takes seconds; that our HRNet computes what timm's does is for test_hrnet."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from raydg.domains.labels import CITYSCAPES_19
from raydg.models import HRNet, HRNetV2
from raydg.models.published import SELF_ADAPTATION_HRNET, load_published

pytest.importorskip("timm")

WIDTHS = (18, 36, 72, 144)
MODULES = {2: 1, 3: 4, 4: 3}


def hrnet18() -> dict[str, tuple[int, ...]]:
    """Shapes by key, every BatchNorm replaced by its wrapper with an alpha."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv_bn(conv: str, norm: str, inputs: int, outputs: int, kernel: int) -> None:
        shapes[f"{conv}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"{norm}.alpha"] = shapes[f"{norm}.batch_norm.num_batches_tracked"] = ()
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.batch_norm.{part}"] = (outputs,)

    def sequence(name: str, inputs: int, outputs: int, kernel: int) -> None:
        conv_bn(f"{name}.0", f"{name}.1", inputs, outputs, kernel)

    conv_bn("conv1", "bn1", 3, 64, 3)
    conv_bn("conv2", "bn2", 64, 64, 3)
    for block in range(4):
        for number, (inputs, outputs, kernel) in enumerate(((64, 64, 1), (64, 64, 3), (64, 256, 1)), start=1):
            inputs = 256 if (block, number) not in ((0, 1),) and number == 1 else inputs
            conv_bn(f"layer1.{block}.conv{number}", f"layer1.{block}.bn{number}", inputs, outputs, kernel)
    sequence("layer1.0.downsample", 64, 256, 1)
    sequence("transition1.0", 256, 18, 3)
    sequence("transition1.1.0", 256, 36, 3)
    sequence("transition2.2.0", 36, 72, 3)
    sequence("transition3.3.0", 72, 144, 3)
    for stage, num_modules in MODULES.items():
        for module in (f"stage{stage}.{number}" for number in range(num_modules)):
            for branch in range(stage):
                for block in range(4):
                    for number in (1, 2):
                        at = f"{module}.branches.{branch}.{block}"
                        conv_bn(f"{at}.conv{number}", f"{at}.bn{number}", WIDTHS[branch], WIDTHS[branch], 3)
            for to in range(stage):
                for of in range(stage):
                    at = f"{module}.fuse_layers.{to}.{of}"
                    if of > to:
                        sequence(at, WIDTHS[of], WIDTHS[to], 1)
                    for step in range(to - of):
                        sequence(f"{at}.{step}", WIDTHS[of], WIDTHS[to if step == to - of - 1 else of], 3)
    conv_bn("last_layer.0", "last_layer.1", 270, 270, 1)
    shapes |= {"last_layer.0.bias": (270,), "last_layer.3.weight": (19, 270, 1, 1), "last_layer.3.bias": (19,)}
    return shapes


def test_every_key_finds_its_place(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}
    for key, shape in hrnet18().items():
        state[f"module.model.{key}"] = torch.tensor(7) if key.endswith("tracked") else torch.rand(shape)
    torch.save(state, tmp_path / "hrnet18.pth")
    network = HRNetV2(HRNet(18)).build(CITYSCAPES_19, pretrained=False)
    SELF_ADAPTATION_HRNET.check(HRNetV2(HRNet(18)))
    left_out = load_published(network, tmp_path / "hrnet18.pth", SELF_ADAPTATION_HRNET)
    assert left_out and all(key.endswith(".alpha") for key in left_out)
    assert len(state) == len(left_out) + len(network.state_dict())
    # The encoder's names are theirs, and so are the values under them.
    for key, tensor in network.encoder.state_dict().items():
        module, _, part = key.rpartition(".")
        same = {f"module.model.{key}", f"module.model.{module}.batch_norm.{part}"} & state.keys()
        assert torch.equal(tensor, state[same.pop()])
    assert torch.equal(
        network.decoder.project[1].running_var, state["module.model.last_layer.1.batch_norm.running_var"]
    )
    assert torch.equal(network.decoder.classifier.bias, state["module.model.last_layer.3.bias"])
