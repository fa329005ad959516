"""Training objectives, one file each. A new method is one more file here and nothing else."""

from raydg.methods.coral import CORAL
from raydg.methods.deft import DeFT
from raydg.methods.dmg import DMG
from raydg.methods.erm import ERM
from raydg.methods.group_dro import GroupDRO
from raydg.methods.irm import IRM
from raydg.methods.method import Extended, Method, Objective
from raydg.methods.mixstyle import MixStyle
from raydg.methods.mldg import MLDG
from raydg.methods.pin_the_memory import PinTheMemory
from raydg.methods.vrex import VREx

__all__ = [
    "CORAL",
    "DMG",
    "ERM",
    "IRM",
    "MLDG",
    "DeFT",
    "Extended",
    "GroupDRO",
    "Method",
    "MixStyle",
    "Objective",
    "PinTheMemory",
    "VREx",
]
