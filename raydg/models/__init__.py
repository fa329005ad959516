"""Networks as values: `DeepLabV3Plus(ResNet(50, weights="imagenet")).build(CITYSCAPES_19)`."""

from raydg.models.alexnet import AlexNet
from raydg.models.architecture import Architecture
from raydg.models.backbone import Backbone, DilatableBackbone
from raydg.models.classifier import Classifier
from raydg.models.deeplabv3plus import DeepLabV3Plus
from raydg.models.network import Network
from raydg.models.resnet import ResNet
from raydg.models.smallnet import SmallNet
from raydg.models.squeezenet import SqueezeNet

__all__ = [
    "AlexNet",
    "Architecture",
    "Backbone",
    "Classifier",
    "DeepLabV3Plus",
    "DilatableBackbone",
    "Network",
    "ResNet",
    "SmallNet",
    "SqueezeNet",
]
