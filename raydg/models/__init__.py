"""Networks as values: `DeepLabV3Plus(ResNet(50, weights="imagenet")).build(CITYSCAPES_19)`."""

from raydg.models.alexnet import AlexNet
from raydg.models.architecture import Architecture
from raydg.models.backbone import Backbone, DilatableBackbone
from raydg.models.classifier import Classifier
from raydg.models.deeplabv1 import DeepLabV1
from raydg.models.deeplabv2 import DeepLabV2
from raydg.models.deeplabv3 import DeepLabV3
from raydg.models.deeplabv3plus import DeepLabV3Plus
from raydg.models.dinov2 import DINOv2, LinearSegmentation
from raydg.models.fcn import FCN
from raydg.models.hrnet import HRNet, HRNetV2
from raydg.models.network import Network
from raydg.models.resnet import ResNet
from raydg.models.segformer import MiT, SegFormer
from raydg.models.smallnet import SmallNet
from raydg.models.squeezenet import SqueezeNet

__all__ = [
    "FCN",
    "AlexNet",
    "Architecture",
    "Backbone",
    "Classifier",
    "DINOv2",
    "DeepLabV1",
    "DeepLabV2",
    "DeepLabV3",
    "DeepLabV3Plus",
    "DilatableBackbone",
    "HRNet",
    "HRNetV2",
    "LinearSegmentation",
    "MiT",
    "Network",
    "ResNet",
    "SegFormer",
    "SmallNet",
    "SqueezeNet",
]
