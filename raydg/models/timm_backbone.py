"""Backbones that are timm's networks. timm is an optional dependency, imported when a network is built."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from raydg.models.pretrained_backbone import Library, PretrainedBackbone
from raydg.models.weights import State, reason


@dataclass(frozen=True)
class TimmBackbone(PretrainedBackbone):
    """A network of timm's. Its published weights come from the Hugging Face hub, by timm's code and into its cache."""

    library: ClassVar[Library] = "timm"

    @property
    @abstractmethod
    def timm_name(self) -> str:
        """timm's name of the network, a dot, and its name of the published weights."""

    def create(self, **options: Any) -> Any:
        """timm's network; random weights unless told otherwise."""
        return self.imported("timm").create_model(self.timm_name, **options)

    def download(self) -> State:
        try:
            return dict(self.create(pretrained=True).state_dict())
        except Exception as error:  # timm, the hub and its client each raise kinds of their own
            raise ValueError(
                f"timm's {self.timm_name} cannot be downloaded or read: {reason(error)}; "
                "put it into the hub's cache by hand, or give the path of a copy as weights."
            ) from error
