"""Training objectives, one file each. A new method is one more file here, and its name below."""

from raydg.methods.averaged import Averaged, OfAverage
from raydg.methods.coral import CORAL
from raydg.methods.deft import DeFT, DeFTConfiguration
from raydg.methods.dmg import DMG
from raydg.methods.dmg_inference import Greedy, KnownDomain, MaskEns, OneMask, PredEns, WeightedPredEns
from raydg.methods.erm import ERM
from raydg.methods.fourier_mix import FourierMix
from raydg.methods.group_dro import GroupDRO
from raydg.methods.inference import Inference, Plain
from raydg.methods.irm import IRM
from raydg.methods.isw import ISW
from raydg.methods.iw import IW
from raydg.methods.method import Extended, Method, Objective
from raydg.methods.mixstyle import MixStyle
from raydg.methods.mldg import MLDG
from raydg.methods.multi_headed import HeadEns, KnownHead, MultiHeaded
from raydg.methods.pin_the_memory import PinTheMemory
from raydg.methods.vrex import VREx

__all__ = [
    "CORAL",
    "DMG",
    "ERM",
    "IRM",
    "ISW",
    "IW",
    "MLDG",
    "Averaged",
    "DeFT",
    "DeFTConfiguration",
    "Extended",
    "FourierMix",
    "Greedy",
    "GroupDRO",
    "HeadEns",
    "Inference",
    "KnownDomain",
    "KnownHead",
    "MaskEns",
    "Method",
    "MixStyle",
    "MultiHeaded",
    "Objective",
    "OfAverage",
    "OneMask",
    "PinTheMemory",
    "Plain",
    "PredEns",
    "VREx",
    "WeightedPredEns",
]
