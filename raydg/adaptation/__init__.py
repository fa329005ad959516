"""Ways of meeting an unseen domain: each makes a predictor of a trained network, and says what it sees."""

from raydg.adaptation.adabn import AdaBN
from raydg.adaptation.adaptation import Adaptation, Predictor, Sees
from raydg.adaptation.batches import batches
from raydg.adaptation.choice import Choice
from raydg.adaptation.cotta import CoTTA
from raydg.adaptation.ensemble import EnsemblePredictor
from raydg.adaptation.eta import ETA
from raydg.adaptation.iabn import IaBN
from raydg.adaptation.mc_dropout import MCDropout
from raydg.adaptation.normalization import Normalization
from raydg.adaptation.seg_ttt import SegTTT
from raydg.adaptation.shot import SHOT
from raydg.adaptation.t3a import T3A
from raydg.adaptation.target_norm import TargetNorm
from raydg.adaptation.tent import Tent
from raydg.adaptation.train_bn import TrainBN
from raydg.adaptation.tta import TTA
from raydg.adaptation.views import View, Views

__all__ = [
    "ETA",
    "SHOT",
    "T3A",
    "TTA",
    "AdaBN",
    "Adaptation",
    "Choice",
    "CoTTA",
    "EnsemblePredictor",
    "IaBN",
    "MCDropout",
    "Normalization",
    "Predictor",
    "Sees",
    "SegTTT",
    "TargetNorm",
    "Tent",
    "TrainBN",
    "View",
    "Views",
    "batches",
]
