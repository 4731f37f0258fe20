"""Attacks the images of one client with all that travels, and notes what is got of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ifl.client.client import Client
from ifl.client.steps import PORTION, frozen
from ifl.comm.codecs import Float32
from ifl.data.augment import Distortion
from ifl.methods.parts.class_statistics import ClassMeans
from ifl.seeding import rng
from ifl.trials.attack.exposure import Coded, Exposure
from ifl.trials.attack.inversion import Decoder, Pairs, adapted, best_decoder, differs
from ifl.trials.attack.labels import outputs
from ifl.trials.attack.similarity import psnr, ssim
from ifl.trials.attack.surrogate import fit_surrogate

SEEN = 512  # z that surrogates learn from: what 16 rounds upload
HELD = 0.1  # of the attacker's images, to choose by
DROPOUT = 0.3  # of z, where a surrogate stands in: no decoder is to rely on what it alone has

# Views of own images: those of augment=elastic.
VIEWS = Distortion(degrees=15.0, shift=0.1, scale=0.15, shear=0.15, bend=0.1)

PLAIN_NAME, STATISTICS = "float32", "class means"
PLAIN = Coded(Float32())


@dataclass(frozen=True)
class Row:
    """An attacker's result on the images of one client: means over these images.

    A gain is the difference to the class's mean image, which y alone tells.
    """

    seed: int
    target: str
    client: int
    base: str
    travels: str
    attacker: str
    knowledge: str
    ssim: float
    psnr: float
    ssim_gain: float
    psnr_gain: float


@dataclass(frozen=True)
class CurveRow:
    """The error of a decoder in training on the attacker's pairs held out, of values in [-1, 1]."""

    seed: int
    target: str
    client: int
    knowledge: str
    attempt: int
    epoch: float
    held_out: float


@dataclass(frozen=True)
class Pictures:
    """Images (n, C, H, W) in [0, 1] of one client, and what was made of them."""

    base: str
    rows: Mapping[str, Tensor]


@dataclass(frozen=True)
class Effort:
    """An attacker's computing budget.

    Args:
        epochs: of a decoder over the attacker's images, where the victim's block is known. A
            quarter of it where a surrogate stands in, whose own ways a longer training learns;
            and of either a quarter for another thing that travels.
        tries: decoders, of which the best is taken.
        views: distorted views of each of these images, beside the image itself.
        steps: of a surrogate, and of a classifier of labels.
    """

    epochs: float = 40
    tries: int = 3
    views: int = 4
    steps: int = 400


class Attack:
    """All attacks on the images of one client.

    Args:
        victim, attacker: two clients after their last round.
        surrogates: a block for each knowledge but "weights", with the weights that it starts from.
        exposures: by what travels; None stands for class means. The first is z as it is.
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
        target: str,
    ) -> None:
        self.seed, self.number, self.target = victim.training.seed, victim.number, target
        self.base = victim.name.partition("(")[2][:-1]
        self.exposures, self.effort = exposures, effort
        order = torch.randperm(len(victim.shard), generator=self.draws("victims"))
        z = outputs(victim, victim.model.base)
        means = ClassMeans(torch.arange(classes))
        means.add(z, victim.shard.y)
        chosen = order[:images]
        self.z, self.y, self.x = z[chosen], victim.shard.y[chosen], victim.shard.inputs()[chosen]
        self.means = means.means()[self.y]
        self.own_x, self.own_y = attacker.shard.inputs(), attacker.shard.y
        seen = z[order[:SEEN]], victim.shard.y[order[:SEEN]]
        self.blocks = {"weights": victim.model.base}
        for name, block in surrogates.items():
            draws = self.draws("surrogate", name)
            own = attacker.model.modular, self.own_x, self.own_y
            self.blocks[name] = fit_surrogate(block, *own, *seen, effort.steps, draws)
        self.mean_image = self.own_x.mean(dim=0, keepdim=True)
        by_class = ClassMeans(torch.arange(classes))
        by_class.add(self.own_x.flatten(1), self.own_y)
        seen_classes = (by_class.weights > 0)[:, None, None, None]
        per_class = by_class.means().view(classes, *self.own_x.shape[1:])
        self.per_class = torch.where(seen_classes, per_class, self.mean_image)
        self.rows: list[Row] = []
        self.curves: list[CurveRow] = []
        self.pictures = {"original": _pixels(self.x)}
        self.label_alone = _likeness(_pixels(self.per_class[self.y]), _pixels(self.x))

    def draws(self, *purpose: str | int) -> torch.Generator:
        """Return the start of a random stream of this attack."""
        return rng(self.seed, "attack", self.number, *purpose)

    def run(self) -> None:
        """Attack with every block: rows, curves and pictures are what came of it."""
        self._note("nothing", "mean image", "none", self.mean_image.expand_as(self.x))
        self._note("y alone", "class mean image", "none", self.per_class[self.y])
        for knowledge, block in self.blocks.items():
            self._decode(self._pairs(block), knowledge)

    def _pairs(self, block: nn.Module) -> Pairs:
        """Return the attacker's images with their z by a block, and with views of them."""
        order = torch.randperm(len(self.own_x), generator=self.draws("held"))
        held, rest = order.tensor_split([max(1, round(HELD * len(order)))])
        x, draws = self.own_x[rest], self.draws("views")
        views = torch.cat([x, *(VIEWS(x, draws) for _ in range(self.effort.views))])
        y = self.own_y[rest].repeat(1 + self.effort.views)
        held_x = self.own_x[held]
        with frozen(block), torch.no_grad():
            z, held_z = (torch.cat([block(p) for p in s.split(PORTION)]) for s in (views, held_x))
        return Pairs(views, y, z, held_x, self.own_y[held], held_z, len(rest))

    def _decode(self, pairs: Pairs, knowledge: str) -> None:
        """Note what the best decoder makes of all that travels.

        It learns from z as it is; for each other thing that travels, and is not nearly the same,
        a copy goes on learning from that, for class means not.
        """
        effort, purpose = self.effort, ("attack", self.number, "decoder", knowledge)
        exact = knowledge == "weights"
        dropout, epochs = (0.0, effort.epochs) if exact else (DROPOUT, effort.epochs / 4)
        trained = best_decoder(
            pairs, self.per_class, PLAIN, epochs, effort.tries, dropout, self.seed, *purpose
        )
        for attempt, curve in enumerate(trained.curves):
            named = self.seed, self.target, self.number, knowledge, attempt
            self.curves += [CurveRow(*named, epoch, error) for epoch, error in curve]
        for name, exposure in self.exposures.items():
            decoder = trained.best
            if exposure and differs(pairs.held_z, exposure, self.draws("differs", name)):
                more = epochs / 4, self.seed, *purpose, name
                decoder = adapted(decoder, pairs, exposure, *more)
            self._note(name, "decoder", knowledge, self._made(decoder, name, exposure))

    def _made(self, decoder: Decoder, name: str, exposure: Exposure | None) -> Tensor:
        """Return a decoder's images of what is held of the victim's z."""
        draws = self.draws("exposure", name)
        held = self.means if exposure is None else exposure.send(self.z, draws)
        with torch.no_grad():
            images: Tensor = decoder(held, self.y)
        return images

    def _note(self, travels: str, attacker: str, knowledge: str, images: Tensor) -> None:
        made = _pixels(images)
        likeness = _likeness(made, self.pictures["original"])
        gains = [ours - label for ours, label in zip(likeness, self.label_alone, strict=True)]
        where = self.seed, self.target, self.number, self.base
        self.rows.append(Row(*where, travels, attacker, knowledge, *likeness, *gains))
        self.pictures[f"{travels}, {attacker}, {knowledge}"] = made


def _likeness(made: Tensor, original: Tensor) -> tuple[float, float]:
    """Return the means of SSIM and PSNR over images in [0, 1]."""
    return float(ssim(made, original).mean()), float(psnr(made, original).mean())


def _pixels(x: Tensor) -> Tensor:
    """Return images in [-1, 1] as images in [0, 1]."""
    return (x + 1) / 2
