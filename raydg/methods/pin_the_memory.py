"""Pin the Memory: a memory of what each class looks like, whatever the domain, learnt by meta-learning."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.methods.inference import Inference
from raydg.methods.memory import SITE, Reading, Remembering, Writer, class_shares
from raydg.methods.method import Extended, Total, cross_entropy, precise
from raydg.methods.mldg import MLDG
from raydg.models import Architecture, Network
from raydg.models.network import bilinear_aligned
from raydg.models.sites import check_sites, sites_of
from raydg.types import Batch, Episode, Role


@dataclass(frozen=True, kw_only=True)
class WithMemory(Inference):
    """The network reading its memory, which no longer changes (Section 3.3)."""

    @property
    def label(self) -> str:
        return "with memory"

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        return model


@dataclass(frozen=True, kw_only=True)
class PinTheMemory(MLDG):
    """Pin the Memory (Section 3, Eq. 1 to 12, Algorithm 1): MLDG whose network reads and writes a memory M, a row a
    class.

        L_read(M, X; θ)   = L_seg + auxiliary_weight L_aux + cohesion_weight L_coh            Eq. 8
        L_update(M̂; θ)    = divergence_weight (2 overlap of M̂'s rows + error of classifying them)   Eq. 7, 8
        meta-training     L_ds = L_read(M, X_tr; θ) + L_update(update(M, X_tr; θ))
                          θ' = θ - inner_lr ∇L_ds
        meta-testing      M' = update(M, X_tr; θ'), its encoder held fixed                     Eq. 10
                          L_dg = L_read(M', X_te; θ')
        loss              meta_train_weight L_ds + meta_test_weight L_dg
        after the step    M <- update(M, X_tr; θ*), without a gradient                         Eq. 12

    L_coh is the cross-entropy of the attention over M's rows with the pixel's class, overlap the mean over ordered
    pairs of rows of max(product, 0). "Encoder" is all before the site `context`, ASPP included. Inside an episode, M̂
    and M' use that episode's class means; the initial memory and Eq. 12 divide the sums over all episodes and ranks.

    **Paper and code.** Where they differ there is an option. `paper` is the text's, `reference` the published code as
    it ran; the defaults take the code's outer step, which is cheaper (first order, and so with L_ds in it), and for the
    rest the paper's equations.
    - Eq. 11 steps on L_dg alone; the published code adds the gradient of L_ds: `meta_train_weight`. Alone L_dg needs
      the second order, for without it cohesion and divergence only shift the point that L_dg is measured at.
    - Eq. 9 steps the classifier G with the inner learning rate and leaves it; the code gives it the optimiser's step
      with all the rest: `classifier_steps_with`.
    - Eq. 4 is a softmax; the code draws its attention by Gumbel-softmax, in evaluation too, so that its predictions are
      random: `gumbel`.
    - The writer is Eq. 1's with normalised input, or the code's: `writer`.
    - The code gives the memory's rows length 1 after each writing, which Section 3.2 does not say but its "cosine
      similarity" needs: `normalise_memory`.
    - Eq. 7 sums the classification error over classes, the code averages: `classification`.
    - Eq. 6 compares at the features' resolution, the code at the image's: `cohesion_at`. Eq. 6 divides by all
      positions, we by those that have a class, as the code's cross-entropy does.
    - The gradient of order two (Eq. 11, "M.L." in Table 7) is not what the code computes: `second_order`.

    G's step follows from its gradient, which `Stage.clip_norm`, if there is one, scales with all others.

    Raises:
        ValueError: a weight, rate or momentum outside its range; part of the network frozen; per-domain BatchNorm; a
            rewriting without what it rewrites.
    """

    inner_lr: float = 0.25
    """Step of the look-ahead (the paper's alpha), a quarter of the outer one (B.2)."""
    inner_lr_relative: bool = True
    """Whether `inner_lr` is a multiple of the encoder's learning rate in the step, after the schedule."""
    meta_train_weight: float = 1.0
    """Weight of L_ds in the outer step: 0 in Eq. 11, 1 in the published code."""
    auxiliary_weight: float = 0.4
    """Weight of the loss of the network's auxiliary head (B.2)."""
    memory: bool = True
    """Whether there is a memory; without, it is MLDG."""
    training: Literal["meta", "episodic", "aggregate"] = "meta"
    """"meta": as above. "episodic" (Table 7 without M.L.): no look-ahead; the memory is written from the meta-train
    domains and read on the meta-test ones, both at θ. "aggregate": all domains read and write, as in plain training."""
    cohesion_weight: float = 0.02
    """Weight of L_coh (the paper's lambda 1; the supplement exchanges the names)."""
    divergence_weight: float = 0.2
    """Weight of L_div (the paper's lambda 2)."""
    momentum: float = 0.8
    """Share of the memory that stays when it is written (the paper's m)."""
    rewrite: Literal["encoder fixed", "all fixed", "nothing fixed", "off"] = "encoder fixed"
    """Which memory the meta-test reads (Table 6): M' with the gradient stopped at the encoder, at encoder and writer,
    or nowhere, or ("off") the M̂ of meta-training, which then carries no gradient."""
    writer: Writer = "published"
    """The writing network U. "published": ReLU(F + BN(W F)) at length 1; "paper": F̂ + W F̂ of normalised features;
    "none" (Table 9): F̂."""
    gumbel: bool = False
    """Whether attention is drawn by Gumbel-softmax (published code), in evaluation too."""
    normalise_memory: bool = True
    """Whether the memory's rows have length 1."""
    classification: Literal["sum", "mean"] = "sum"
    """Whether the error of G is added over classes (Eq. 7) or averaged (published code)."""
    cohesion_at: Literal["features", "image"] = "features"
    """Resolution of L_coh: the features' (Eq. 6), or the image's (published code)."""
    classifier_steps_with: Literal["inner lr", "optimizer"] = "inner lr"
    """What moves G: a plain step of the inner learning rate (Eq. 9), or the optimiser (published code)."""
    initial_batches: int | None = None
    """Steps' worth of augmented images that the initial memory is made of. None: all training images once (Section
    3.2). The published code's are 1,486, whatever the number of images."""

    inferences: ClassVar[tuple[type[Inference], ...]] = (WithMemory,)

    @property
    def weights(self) -> dict[str, float]:
        """The terms of L_read and L_update that count."""
        weights = {"cross_entropy": 1.0, "auxiliary_loss": self.auxiliary_weight, "cohesion": self.cohesion_weight}
        weights |= {"divergence": self.divergence_weight, "classification": self.divergence_weight}
        return {name: weight for name, weight in weights.items() if weight}

    @property
    def loss_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The losses, and the terms of meta-training."""
        losses = ("loss", "meta_train_loss", "meta_test_loss") if self.training == "meta" else ("loss",)
        return (*losses, *self.weights) if self.memory else losses

    @property
    def revisits_episodes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """To write the memory after the step."""
        return self.memory

    @property
    def minimum_sources(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Domains are split unless training is aggregate."""
        return 1 if self.training == "aggregate" else 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("cohesion_weight", "divergence_weight"):
            self.require(getattr(self, name) >= 0, name, "0 or more")
        self.require(0 <= self.momentum <= 1, "momentum", "0 to 1")
        legal = "None or 0 and more; 0 starts from an empty memory"
        self.require(self.initial_batches is None or self.initial_batches >= 0, "initial_batches", legal)
        self.require(self.trains == "both", "trains", "'both'")
        self.require(self.batchnorm == "pooled", "batchnorm", "'pooled'")
        self.require(self.memory or self.training == "meta", "training", "'meta' without memory; ERM is 'aggregate'")
        if self.training != "meta":
            no_look_ahead = ("meta_train_weight", "meta_test_weight", "second_order", "rewrite")
            self._require_defaults(no_look_ahead, f"where training is {self.training!r}: there is no look-ahead")
        if self.training == "aggregate":
            self._require_defaults(("num_meta_train", "split_per"), "where training is 'aggregate': nothing is split")
        if not self.memory:
            own = [name for name in PinTheMemory.__annotations__ if name not in ("inferences", "memory")]
            shared = MLDG.__dataclass_fields__.keys()
            self._require_defaults([name for name in own if name not in shared], "where memory is False")
        if not self.divergence_weight:
            self._require_defaults(("classification", "classifier_steps_with"), "where divergence_weight is 0")
        if self.memory and self.divergence_weight and self.training == "meta":
            reached = self.classifier_steps_with == "inner lr" or self.meta_train_weight > 0 or self.second_order
            legal = "'inner lr' at the first order without L_ds in the outer step: no gradient reaches G there"
            self.require(reached, "classifier_steps_with", legal)
        if self.memory and not self._writer_learns:
            legal = "'none' with these weights and this rewriting, under which no gradient reaches it"
            self.require(self.writer == "none", "writer", legal)

    @property
    def _writer_learns(self) -> bool:
        """Whether a gradient reaches U: from what the rewritten memory is worth, or from the memory's divergence."""
        if self.training != "meta":
            return self.training == "episodic" or self.divergence_weight > 0
        from_divergence = self.divergence_weight > 0 and (self.meta_train_weight > 0 or self.second_order)
        return self.rewrite in ("encoder fixed", "nothing fixed") or from_divergence

    def _require_defaults(self, names: Iterable[str], where: str) -> None:
        """Refuse what would be read by nobody."""
        for name in names:
            default = type(self).__dataclass_fields__[name].default
            self.require(getattr(self, name) == default, name, f"{default!r}, its default, {where}")

    @property
    def smallest_forward(self) -> Literal["one domain", "all domains"]:
        return "all domains" if self.training == "aggregate" else super().smallest_forward

    @classmethod
    def paper(cls) -> Self:
        """As the paper's equations say: the exact gradient of L_dg alone (Eq. 11, "M.L." in Table 7), G by the inner
        step (Eq. 9), plain softmax, normalised input of U."""
        return cls(meta_train_weight=0.0, second_order=True, writer="paper")

    @classmethod
    def reference(cls) -> Self:
        """As the published code ran (train.py:493-632, network/memory.py), but for its faulty jitter of the first
        source (reference-facts 2.2.8) and its first step's inner learning rate of 1e-3."""
        return cls(
            meta_train_weight=1.0,
            second_order=False,
            writer="published",
            gumbel=True,
            normalise_memory=True,
            classification="mean",
            cohesion_at="image",
            classifier_steps_with="optimizer",
            initial_batches=1486,
        )

    def check_model(self, model: Architecture) -> None:
        super().check_model(model)
        if self.memory:
            check_sites("PinTheMemory", (SITE,), sites_of(model))

    def roles(self, num_sources: int, seed: int, step: int, episode: int) -> tuple[Role, ...]:
        if self.training == "aggregate":
            return ("meta-train",) * num_sources
        return super().roles(num_sources, seed, step, episode)

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> Network | Remembering:
        if not self.memory:
            return network
        moves = "method" if self.classifier_steps_with == "inner lr" else "optimizer"
        classifier = moves if self.divergence_weight else "none"
        return Remembering(network, num_classes, self.writer, self.normalise_memory, self.gumbel, classifier)

    def initial_steps(self, steps_of_a_pass: int) -> int:
        if not self.memory:
            return 0
        return steps_of_a_pass if self.initial_batches is None else self.initial_batches

    @torch.no_grad()
    def start(self, model: Network | Extended, episodes: Iterable[Episode], total: Total) -> None:
        """Fill the memory with the class means of normalised features (Section 3.2, "Initialization"), the network in
        evaluation mode; a class that no pixel shows has a row of zeros."""
        model = cast(Remembering, model).eval()
        batches = (episode.batch for episode in episodes)
        sums = total(accumulated(model.sums(model.features(b.images), b.labels, write=False) for b in batches))
        model.memory.copy_(model.updated(torch.zeros_like(sums[:, :-1]), sums, momentum=0.0))

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        if self.training == "meta":
            return super().losses(network, episode)
        model, train = cast(Remembering, network), episode.of_role("meta-train")
        if self.training == "aggregate":
            reading, memory = self.read_and_write(model, train)
            terms = self.read_terms(reading, train)
        else:
            memory = self.written(model, model.features(train.images), train)
            test = episode.of_role("meta-test")
            terms = self.read_terms(self.read(model, test, memory), test)
        terms |= self.update_terms(model, memory)
        return {"loss": self.weighed(terms)} | {name: terms[name].detach() for name in self.weights}

    def meta_train(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        if not self.memory:
            return super().meta_train(network, episode)
        model, train = cast(Remembering, network), episode.of_role("meta-train")
        reading, memory = self.read_and_write(model, train)
        terms = self.read_terms(reading, train) | self.update_terms(model, memory)
        return terms | {"meta_train_loss": self.weighed(terms), "memory": memory}

    def meta_test(self, network: nn.Module, episode: Episode, meta_train: dict[str, Tensor]) -> Tensor:
        if not self.memory:
            return super().meta_test(network, episode, meta_train)
        model, test = cast(Remembering, network), episode.of_role("meta-test")
        memory = meta_train["memory"] if self.rewrite == "off" else self.rewritten(model, episode.of_role("meta-train"))
        return self.weighed(self.read_terms(self.read(model, test, memory), test))

    def joined(self, parameter: str, scale: Tensor, meta_train_gradient: Tensor, meta_test_gradient: Tensor) -> Tensor:
        if parameter.startswith("classifier.") and self.memory and self.classifier_steps_with == "inner lr":
            return scale * meta_train_gradient  # Eq. 9 is all that moves G
        return super().joined(parameter, scale, meta_train_gradient, meta_test_gradient)

    @torch.no_grad()
    def after_step(self, model: Network | Extended, episodes: Sequence[Episode], total: Total) -> None:
        """Move G where it is the method's to move, then write the memory (Eq. 12), the network in evaluation mode as in
        the published code."""
        if not self.memory:
            return
        model = cast(Remembering, model).eval()
        if model.moves_classifier and model.classifier is not None:
            for parameter in model.classifier.parameters():
                assert parameter.grad is not None
                parameter -= self.step_of(episodes[0]) * parameter.grad
        batches = (episode.of_role("meta-train") for episode in episodes)
        sums = total(accumulated(model.sums(model.features(b.images), b.labels) for b in batches))
        model.memory.copy_(model.updated(model.memory.double(), sums, self.momentum))

    def read(self, model: Remembering, batch: Batch, memory: Tensor) -> Reading:
        return model.read(batch.images, memory, auxiliary=self.auxiliary_weight > 0)

    def read_and_write(self, model: Remembering, batch: Batch) -> tuple[Reading, Tensor]:
        """A reading of the memory as it is, and M̂, written from the same features."""
        reading = self.read(model, batch, model.memory)
        return reading, self.written(model, reading.features, batch)

    def written(self, model: Remembering, features: Tensor, batch: Batch) -> Tensor:
        """The memory after writing a batch's class means into it (Eq. 3)."""
        return model.updated(model.memory, model.sums(features, batch.labels), self.momentum)

    def rewritten(self, model: Remembering, batch: Batch) -> Tensor:
        """M' (Eq. 10), with the gradient stopped where `rewrite` says so."""
        with torch.set_grad_enabled(self.rewrite == "nothing fixed"):
            features = model.features(batch.images)
        with torch.set_grad_enabled(self.rewrite != "all fixed"):
            return self.written(model, features, batch)

    def read_terms(self, reading: Reading, batch: Batch) -> dict[str, Tensor]:
        """The terms of L_read."""
        terms = {"cross_entropy": cross_entropy(reading.logits, batch.labels)}
        if reading.auxiliary_logits is not None:
            terms["auxiliary_loss"] = cross_entropy(reading.auxiliary_logits, batch.labels)
        if self.cohesion_weight:
            at_image = self.cohesion_at == "image"
            terms["cohesion"] = (pixel_cohesion if at_image else cohesion)(reading.scores, batch.labels)
        return terms

    def update_terms(self, model: Remembering, memory: Tensor) -> dict[str, Tensor]:
        """The terms of L_update (Eq. 7) for a memory just written."""
        if model.classifier is None:
            return {}
        classes = torch.arange(len(memory), device=memory.device)
        error = F.cross_entropy(precise(model.classifier(memory)), classes, reduction=self.classification)
        return {"divergence": 2 * overlap(memory), "classification": error}

    def weighed(self, terms: dict[str, Tensor]) -> Tensor:
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()


def cohesion(scores: Tensor, labels: Tensor) -> Tensor:
    """L_coh at the features' resolution (Eq. 6): scores (b, k, h', w'), labels (b, h, w); the mean over the pixels that
    show a class, each counted for the share of it that does."""
    scores = precise(scores)
    shares = class_shares(labels, scores, scores.shape[1])
    return -(shares * scores.log_softmax(1)).sum() / shares.sum().clamp(min=1e-6)


def pixel_cohesion(scores: Tensor, labels: Tensor) -> Tensor:
    """L_coh at the image's resolution (published code): the scores resized bilinearly, corners aligned."""
    return cross_entropy(bilinear_aligned(scores, (labels.shape[-2], labels.shape[-1])), labels)


def overlap(memory: Tensor) -> Tensor:
    """Mean over the ordered pairs of rows (k, c) of max(product, 0): half the second term of Eq. 7."""
    products = (memory @ memory.T).clamp(min=0)
    k = len(memory)
    return (products.sum() - products.trace()) / max(k * (k - 1), 1)


def accumulated(sums: Iterable[Tensor]) -> Tensor:
    """Added in float64, where the order of a few float32 numbers does not show."""
    total: Tensor | None = None
    for each in sums:
        total = each.double() if total is None else total + each.double()
    assert total is not None, "a rank has at least one episode"
    return total
