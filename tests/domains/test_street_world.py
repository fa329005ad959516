import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.street_world import DOMAINS, STYLES, render, write
from raydg.domains.street_world import write as writing  # noqa: F401

ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY = 7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23
PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = 24, 25, 26, 27, 28, 31, 32, 33
EGO = 1
