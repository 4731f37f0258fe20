"""Attacks one client with all attackers, and notes what they get of its images."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ifl.client.client import Client
from ifl.client.steps import frozen
from ifl.comm.codecs import Float32
from ifl.methods.parts.class_statistics import ClassMeans
from ifl.seeding import global_stream, rng
from ifl.trials.attack.exposure import Coded, Exposure
from ifl.trials.attack.inversion import Inverter, descend_to, train_inverter
from ifl.trials.attack.similarity import psnr, ssim
from ifl.trials.attack.surrogate import fit_surrogate

SEEN = 512  # z that surrogates learn from: what 16 rounds upload


TRIED, SMOOTH = 6, (0.02, 0.2, 2.0)  # own images on which descent tries how much smoothness counts


PAPER, STATISTICS = "float32 (paper)", "class means"


PLAIN = Coded(Float32())


@dataclass(frozen=True)
class Row:
    """An attacker's result on the images of one client: means over these images."""

    seed: int
    client: int
    base: str
    travels: str
    attacker: str
    knowledge: str
    ssim: float
    psnr: float


@dataclass(frozen=True)
class Pictures:
    """Images (n, C, H, W) in [0, 1] of one client, and what was made of them."""

    base: str
    rows: Mapping[str, Tensor]


@dataclass(frozen=True)
class Effort:
    """An attacker's computing budget: steps of training an inverter decide."""

    steps: int

    @property
    def again(self) -> int:
        """Steps of an inverter that goes on, for something else that travels."""
        return max(1, self.steps // 4)

    @property
    def descent(self) -> int:
        """Steps of descent on images."""
        return max(1, self.steps // 5)


class Party:
    """One side's data: images x in [-1, 1], labels y, and z by some block, with its class means.

    Args:
        places: (n,) int64, of the images that matter among all of the client's.
    """

    def __init__(self, client: Client, block: nn.Module, classes: int, places: Tensor) -> None:
        shard = client.shard
        means = ClassMeans(torch.arange(classes))
        parts = []
        with frozen(block), torch.no_grad():
            for x, y in client.portions():
                parts.append(block(x))
                means.add(parts[-1], y)
        self.all_z, self.all_y, self.means = torch.cat(parts), shard.y, means.means()
        self.z, self.y = self.all_z[places], shard.y[places]
        self.x = shard.inputs()[places]

    def held(self, exposure: Exposure | None, draws: torch.Generator) -> Tensor:
        """Return what is held of its z elsewhere; without exposure, the mean of its class."""
        return self.means[self.y] if exposure is None else exposure.send(self.z, draws)


class Attack:
    """All attacks on one client.

    Args:
        victim, attacker: two clients after their last round.
        surrogates: a block for each knowledge but "weights", with the weights that it starts from.
        exposures: by what travels; None stands for class means.
        images: how many of the victim's are attacked.
    """

    def __init__(
        self,
        victim: Client,
        attacker: Client,
        surrogates: Mapping[str, nn.Module],
        exposures: Mapping[str, Exposure | None],
        images: int,
        classes: int,
        effort: Effort,
    ) -> None:
        self.seed, self.number = victim.training.seed, victim.number
        self.base = victim.name.partition("(")[2][:-1]
        self.classes, self.exposures, self.effort = classes, exposures, effort
        order = torch.randperm(len(victim.shard), generator=self.draws("victims"))
        self.victim = Party(victim, victim.model.base, classes, order[:images])
        self.attacker, self.x, self.y = attacker, attacker.shard.inputs(), attacker.shard.y
        seen = self.victim.all_z[order[:SEEN]], self.victim.all_y[order[:SEEN]]
        self.blocks = {"weights": victim.model.base}
        for name, block in surrogates.items():
            steps, draws = effort.steps, self.draws("surrogate", name)
            own = attacker.model.modular, self.x, self.y
            self.blocks[name] = fit_surrogate(block, *own, *seen, steps, draws)
        mean_image = self.x.mean(dim=0, keepdim=True)
        by_class = ClassMeans(torch.arange(classes))
        by_class.add(self.x.flatten(1), self.y)
        seen_classes = (by_class.weights > 0)[:, None, None, None]
        per_class = by_class.means().view(classes, *self.x.shape[1:])
        self.per_class = torch.where(seen_classes, per_class, mean_image)
        self.mean_image = mean_image
        self.rows: list[Row] = []
        self.pictures = {"original": _pixels(self.victim.x)}

    def draws(self, *purpose: str | int) -> torch.Generator:
        """Return the start of a random stream of this attack."""
        return rng(self.seed, "attack", self.number, *purpose)

    def run(self) -> tuple[list[Row], Pictures]:
        """Return what all attackers got, and the images."""
        self._note("nothing", "mean image", "none", self.mean_image.expand_as(self.victim.x))
        self._note("y alone", "class mean image", "none", self.per_class[self.victim.y])
        held = {
            name: self.victim.held(exposure, self.draws("exposure", name))
            for name, exposure in self.exposures.items()
        }
        tried = torch.randperm(len(self.x), generator=self.draws("tried"))[:TRIED]
        for knowledge, block in self.blocks.items():
            with frozen(block):
                own = Party(self.attacker, block, self.classes, tried)
                for name, images in self._invert(own, held, knowledge):
                    self._note(name, "inverter", knowledge, images)
                for name, images in self._descend(own, held, knowledge, block):
                    self._note(name, "descent", knowledge, images)
        return self.rows, Pictures(self.base, self.pictures)

    def _invert(
        self, own: Party, held: Mapping[str, Tensor], knowledge: str
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield an inverter's images for all that travels.

        One inverter is trained on z as in the paper; for each thing that travels a copy goes on
        learning from that, for class means from z as in the paper.
        """
        with global_stream(self.seed, "attack", self.number, "inverter", knowledge):
            inverter = Inverter(own.z.shape[1], self.per_class)
        own_images, draws = (own.all_z, self.y, self.x), self.draws("inverter", knowledge)
        train_inverter(inverter, *own_images, PLAIN, self.effort.steps, draws)
        for name, exposure in self.exposures.items():
            again = self.effort.again, self.draws("inverter", knowledge, name)
            mine = train_inverter(deepcopy(inverter), *own_images, exposure or PLAIN, *again)
            with torch.no_grad():
                yield name, mine(held[name], self.victim.y)

    def _descend(
        self, own: Party, held: Mapping[str, Tensor], knowledge: str, block: nn.Module
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the images that descent finds, from the class's mean image, for all that travels.

        How much smoothness counts is what did best on images of the attacker's own.
        """
        trial = {
            name: own.held(exposure, self.draws("tried", knowledge, name))
            for name, exposure in self.exposures.items()
        }
        kinds, grid = len(trial), len(SMOOTH)
        found = self._descent(
            block,
            {name: z.repeat(grid, 1) for name, z in trial.items()},
            self.per_class[own.y].repeat(grid * kinds, 1, 1, 1),
            torch.tensor(SMOOTH).repeat_interleave(len(own.y)).repeat(kinds),
        )
        error = (found.view(kinds, grid, *own.x.shape) - own.x).square().flatten(2).mean(dim=2)
        best = torch.tensor(SMOOTH)[error.argmin(dim=1)]  # (kinds,)
        images = self._descent(
            block,
            held,
            self.per_class[self.victim.y].repeat(kinds, 1, 1, 1),
            best.repeat_interleave(len(self.victim.y)),
        )
        yield from zip(held, images.chunk(kinds), strict=True)

    def _descent(
        self, block: nn.Module, z: Mapping[str, Tensor], start: Tensor, smooth: Tensor
    ) -> Tensor:
        rules = [self.exposures[name] for name in z]
        expect = [(lambda part: part) if rule is None else rule.expect for rule in rules]
        return descend_to(block, [*z.values()], expect, start, smooth, self.effort.descent)

    def _note(self, travels: str, attacker: str, knowledge: str, images: Tensor) -> None:
        made, original = _pixels(images), self.pictures["original"]
        likeness = float(ssim(made, original).mean()), float(psnr(made, original).mean())
        where = (self.seed, self.number, self.base)
        self.rows.append(Row(*where, travels, attacker, knowledge, *likeness))
        self.pictures[f"{travels}, {attacker}, {knowledge}"] = made


def _pixels(x: Tensor) -> Tensor:
    """Return images in [-1, 1] as images in [0, 1]."""
    return (x + 1) / 2
