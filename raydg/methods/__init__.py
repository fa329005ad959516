"""Training objectives, one file each. A new method is one more file here and nothing else."""

from raydg.methods.erm import ERM
from raydg.methods.method import Method, Objective
from raydg.methods.mldg import MLDG

__all__ = ["ERM", "MLDG", "Method", "Objective"]
