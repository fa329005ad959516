"""Entries of the catalogue in the layout of PACS: one image, one class."""

from raydg.domains import object_world
from raydg.domains.dataset import Dataset
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import PACS_7
from raydg.domains.layouts import ListedClasses

# The third list, `test`, is the whole domain, train and crossval together, for when it is the unseen one. It is not
# stored a second time: a target is evaluated on all of its splits.
LAYOUT = ListedClasses(lists=(("train", "train"), ("val", "crossval")))

NUMBERED_FROM_1 = LabelTable(PACS_7, dict(enumerate(PACS_7.classes, start=1)))

DATASETS = (
    Dataset(
        name="pacs",
        title="PACS",
        domains=("pacs/art_painting", "pacs/cartoon", "pacs/photo", "pacs/sketch"),
        layout=LAYOUT,
        tables=(NUMBERED_FROM_1,),
        licence="None stated; from Caltech256, Sketchy, TU-Berlin and Google Images. Research use, no redistribution.",
        commercial_use="unknown",
        citation="Li, Yang, Song and Hospedales, Deeper, Broader and Artier Domain Generalization, ICCV 2017",
    ),
    Dataset(
        name="objects",
        title="Object world",
        domains=tuple(f"objects/{domain}" for domain in object_world.DOMAINS),
        layout=LAYOUT,
        tables=(NUMBERED_FROM_1,),
        licence="Drawn by raydg, Apache-2.0.",
        commercial_use="yes",
        citation="raydg, raydg/domains/object_world",
    ),
)
