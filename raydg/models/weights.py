"""Files of pretrained weights: how they are read, and whether they are an encoder's."""

import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model_weights

IMAGENET = "imagenet"
SUFFIXES = (".pth", ".safetensors", ".npz")
NUM_SHOWN = 4
"""Keys of each kind that a message lists."""

# What the readers raise on damaged files and on files of another kind.
UNREADABLE = (
    OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, RuntimeError,
    pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, SafetensorError,
)  # fmt: skip

State = dict[str, Tensor]


def suffix(path: str) -> str:
    return Path(path).suffix.lower()


def download(builder: Callable[..., nn.Module]) -> State:
    """torchvision's IMAGENET1K_V1 weights of the network that `builder` makes, kept in torch.hub's directory.

    Raises:
        ValueError: they are not there yet and cannot be downloaded, or what is there cannot be read.
    """
    weights = get_model_weights(builder)["IMAGENET1K_V1"]
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except UNREADABLE as error:
        place = f"{torch.hub.get_dir()}/checkpoints"
        advice = f"put it into {place} by hand, or give the path of a copy as weights"
        raise ValueError(f"{weights.url} cannot be downloaded or read: {reason(error)}; {advice}.") from error


def read(path: str) -> State:
    """Tensors by key of a .pth, .safetensors or .npz file; nothing in the file is executed.

    A .pth may hold the state dict itself or have it under "state_dict" or "model". Keys may begin with "module.".

    Raises:
        ValueError: no such file, another suffix, an unreadable file, or one that holds anything but tensors.
    """
    readers: dict[str, Callable[[str], Any]] = {".pth": _read_pth, ".safetensors": load_file, ".npz": _read_npz}
    if suffix(path) not in readers:
        raise ValueError(f"The weights file {path!r} must end in one of {', '.join(SUFFIXES)}.")
    if not Path(path).is_file():
        raise ValueError(f"There is no weights file {path!r}.")
    try:
        data = readers[suffix(path)](path)
    except UNREADABLE as error:
        raise ValueError(f"The weights file {path!r} cannot be read: {reason(error)}.") from error
    if not isinstance(data, dict) or not data or not all(isinstance(tensor, Tensor) for tensor in data.values()):
        raise ValueError(f"The weights file {path!r} holds no state dict: keys, each with a tensor, and nothing else.")
    # DistributedDataParallel's prefix.
    return {str(key).removeprefix("module."): tensor for key, tensor in data.items()}


def _read_pth(path: str) -> Any:
    data = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model"):
        if isinstance(data, dict) and isinstance(data.get(wrapper), dict):
            return data[wrapper]
    return data


def _read_npz(path: str) -> State:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def reason(error: Exception) -> str:
    """One line for what may be a page."""
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0].rstrip(" .:")


def misfit(encoder: nn.Module, state: State, head: str | tuple[str, ...]) -> str:
    """Why `state` is not exactly the encoder's, in words; empty if it is. Keys that begin with `head`, or one of
    them, do not count."""
    wanted = encoder.state_dict()
    given = {key: tensor for key, tensor in state.items() if not key.startswith(head)}
    both = [key for key in wanted if key in given]
    kinds = {
        # Files of torch before 0.4.1 lack BatchNorm's counters.
        "missing": [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")],
        "unexpected": [key for key in given if key not in wanted],
        "of another shape": [
            f"{key} {tuple(given[key].shape)} for {tuple(wanted[key].shape)}"
            for key in both
            if given[key].shape != wanted[key].shape
        ],
    }
    return "; ".join(f"{len(keys)} keys {kind} ({_first(keys)})" for kind, keys in kinds.items() if keys)


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:NUM_SHOWN]) + (", ..." if len(keys) > NUM_SHOWN else "")
