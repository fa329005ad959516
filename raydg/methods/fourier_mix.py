"""Fourier mixing: images lend each other the amplitudes of their spectra, which carry style, and keep their phases."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from raydg.methods.method import Method
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class FourierMix(Method):
    """Amplitude mixing of FACT (Xu et al., CVPR 2021), and the exchange of FDA (Yang and Soatto, CVPR 2020), with
    ERM's loss. Labels stay: an image keeps its phases, and so its shapes.

        amplitude <- (1 - m) amplitude + m amplitude of another image,   m ~ U(least, most), one for every image
        inside the window of low frequencies;  image <- inverse transform, cut off at 0 and 1

    Three settings have names: FACT's mixing is the default; FDA with its size L is least = most = 1, window = 2 L and
    partners "other-domain" (for domain generalisation: of another source).

    **Theirs and ours.** FACT (data/data_utils.py) trains on both images of a pair, mixed and as they are, and lets a
    moving average of the network teach it; here an episode's images are mixed with a probability, and there is no
    teacher (`Averaged` has the moving average). Its window has sqrt(ratio) of each side, off by one frequency at the
    upper end, so that a part of the inverse transform is imaginary and is dropped; ours is symmetric. FDA
    (utils/__init__.py) measures L on the shorter side for both. What `raydg.augmentation` does to one image's colours
    and sharpness goes with this.

    Raises:
        ValueError: not 0 <= least <= most <= 1, a probability or window outside [0, 1]; in training, no image of
            another domain where partners are to be of one.
    """

    probability: float = 0.5
    """Of an image to be mixed."""
    least: float = 0.0
    """Smallest share of the other image's amplitudes."""
    most: float = 1.0
    """Largest share of the other image's amplitudes (FACT's eta, 1.0 in its config/PACS)."""
    window: float = 1.0
    """Share of each axis of the spectrum, around frequency 0, whose amplitudes mix."""
    partners: Literal["any", "other-domain"] = "any"
    """Whose amplitudes an image may be lent: any image's of the episode (FACT's "all") or one of another domain."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.probability <= 1, "probability", "0 to 1")
        self.require(0 <= self.most <= 1, "most", "0 to 1")
        self.require(0 <= self.least <= self.most, "least", f"0 to most = {self.most}")
        self.require(0 <= self.window <= 1, "window", "0 to 1")

    def check_sources(self, num_sources: int) -> None:
        super().check_sources(num_sources)
        legal = "'any' with one source domain"
        self.require(num_sources > 1 or self.partners == "any", "partners", legal)

    @property
    def needs_every_source(self) -> bool:
        return self.partners == "other-domain"

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        batch = episode.batch
        mixed = type(batch)(self.mix(batch.images, batch.domains), batch.labels, batch.domains)
        return {"loss": self.loss(network, mixed)}

    def mix(self, images: Tensor, domains: Tensor) -> Tensor:
        """Images (b, 3, h, w) of domains (b,), mixed or as they are. All draws are from torch's CPU generator."""
        num_images = len(images)
        chosen = torch.rand(num_images) < self.probability
        share = torch.empty(num_images).uniform_(self.least, self.most)
        where = domains.cpu()
        legal = where != where[:, None] if self.partners == "other-domain" else torch.ones(num_images, num_images)
        if not legal.any(1).all():
            raise ValueError("FourierMix.partners is 'other-domain', but an episode holds one domain: take 'any'.")
        other = torch.multinomial(legal.float(), 1).squeeze(1).to(images.device)
        share = torch.where(chosen, share, 0.0).to(images).view(-1, 1, 1, 1)
        mixed = lend(images, images[other], share, self.window).clamp(0, 1)
        # An image that is not mixed is not even rounded.
        mixed = torch.where(share > 0, mixed, images)
        return mixed.contiguous(memory_format=torch.channels_last)


def lend(images: Tensor, others: Tensor, share: Tensor, window: float) -> Tensor:
    """Images (b, 3, h, w) with a share (b, 1, 1, 1) of the others' amplitudes at frequencies up to window / 2 cycles a
    pixel along both axes."""
    height, width = images.shape[-2:]
    rows = torch.fft.fftfreq(height, device=images.device).abs() <= window / 2
    columns = torch.fft.rfftfreq(width, device=images.device) <= window / 2
    inside = (rows[:, None] & columns).to(images)
    spectrum = torch.fft.rfft2(images)
    amplitude = spectrum.abs()
    amplitude = amplitude + share * inside * (torch.fft.rfft2(others).abs() - amplitude)
    return torch.fft.irfft2(torch.polar(amplitude, spectrum.angle()), s=(height, width))
