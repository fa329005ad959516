"""The families of folder layouts that datasets come in. None of them opens an image."""

from raydg.domains.layouts.classes import ClassFolders, DrawnSplit, ListedClasses, ListedImages
from raydg.domains.layouts.pairs import ListedNames, ListedPairs, PairedFiles, RenamedSplits, SampleTable

__all__ = [
    "ClassFolders",
    "DrawnSplit",
    "ListedClasses",
    "ListedImages",
    "ListedNames",
    "ListedPairs",
    "PairedFiles",
    "RenamedSplits",
    "SampleTable",
]
