"""Scores the shards of questions, one after another, wherever it is put."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from raydg.adaptation import EnsemblePredictor, Predictor
from raydg.experiment import Experiment
from raydg.judging.questions import Question
from raydg.judging.ways import Member
from raydg.methods import Extended
from raydg.models import Network
from raydg.resources import Resources
from raydg.scoring import fit, record
from raydg.shards import PreparedDomain


@dataclass
class _Held:
    """What an actor keeps for its next shard: one network and one predictor, for neighbours share them."""

    checkpoint: tuple[Path, int] | None = None
    model: Network | Extended | None = None
    asked: tuple[Any, ...] | None = None
    predictor: Predictor | None = None
    domains: dict[str, PreparedDomain] = field(default_factory=dict)


@dataclass(frozen=True)
class Scorer:
    """Scores shards of questions; builds networks and predictors where it runs, and keeps the latest."""

    questions: tuple[Question, ...]
    experiment: Experiment
    resources: Resources

    @cached_property
    def device(self) -> torch.device:
        torch.set_num_threads(self.resources.cpus_per_worker)
        return torch.device(self.resources.device)

    @cached_property
    def held(self) -> _Held:
        return _Held()

    def model(self, member: Member) -> Network | Extended:
        checkpoint, held = (member.folder.path, member.step), self.held
        if held.model is None or held.checkpoint != checkpoint:
            held.model = None
            held.model, held.checkpoint = member.folder.checkpoint_at(member.step).model(), checkpoint
        return held.model

    def predictor(self, question: Question) -> Predictor:
        """The predictor of a question's inference in its way, which has seen the domain if it needs to.

        One that keeps its state is made anew every time, for every stream begins with what was trained.
        """
        inference, way, domain = question.inference, question.way, question.rows[0].domain
        fits = any(member.adaptation.needs_fit for member in way.members)
        # A fit is to a domain's splits as they are shown.
        place = (domain, question.splits, question.protocol) if fits or inference.knows_domain else None
        asked, held = (inference, way.members, place), self.held
        if held.predictor is not None and held.asked == asked and not way.adaptation.keeps_state:
            return held.predictor
        held.predictor = None  # before the next is made, so that there are never two
        made = []
        for member in way.members:
            module = inference.module(self.model(member), self.experiment.source_names, domain)
            predictor = member.adaptation.predictor(module.to(self.device).eval())
            if fits:
                how, protocol = member.adaptation, question.protocol
                fit(predictor, self.domain(domain), question.splits, how, protocol, self.device, self.dtype)
            made.append(predictor)
        held.predictor, held.asked = made[0] if len(made) == 1 else EnsemblePredictor(made), asked
        return held.predictor

    def domain(self, name: str) -> PreparedDomain:
        if name not in self.held.domains:
            data, space = self.resources.data, self.experiment.label_space
            self.held.domains[name] = PreparedDomain.open(data, space, name)
        return self.held.domains[name]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.experiment.precision == "float64" else torch.float32

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """The record of one shard of one question."""
        device, question = self.device, self.questions[int(job["question"])]
        shard = question.shards[int(job["shard"])]
        domain = self.domain(question.rows[0].domain)
        counted = record(self.predictor(question), domain, shard, question.protocol, device, self.dtype)
        return {"question": job["question"], "shard": job["shard"], "record": counted}
