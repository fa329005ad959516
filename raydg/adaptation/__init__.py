"""Ways of meeting an unseen domain: each makes a predictor of a trained network, and says what it sees."""

from raydg.adaptation.adaptation import Adaptation, Predictor, Sees
from raydg.adaptation.batches import BATCHING, batches
from raydg.adaptation.iabn import IaBN
from raydg.adaptation.target_norm import TargetNorm
from raydg.adaptation.train_bn import TrainBN

__all__ = ["BATCHING", "Adaptation", "IaBN", "Predictor", "Sees", "TargetNorm", "TrainBN", "batches"]
