"""What a network must not do is one sentence before training; what it may do is done right."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from conftest import CLASSES, DIM, SHAPE, SMALL, TINY, WIDE, Build, clients, equal, parameters, play
from torch import Tensor, nn
from torch.nn.functional import relu

from ifl.client.contract import check_contract
from ifl.errors import ConfigError
from ifl.federation.member import Member
from ifl.methods.base import Method
from ifl.methods.centralized import Centralized
from ifl.methods.fedgh import FedGH
from ifl.methods.fl import FL
from ifl.methods.fml import FML
from ifl.methods.fsl import FSL
from ifl.methods.fsl_sage import FSLSAGE
from ifl.methods.ifl import IFL
from ifl.methods.ifl_statistics import IFLStatistics
from ifl.methods.lg_fedavg import LGFedAvg
from ifl.methods.local import Local
from ifl.methods.parts.replay import Align, Replay
from ifl.methods.relative import RelativeRepresentations
from ifl.models import SplitModel, mlp_base, mlp_modular

PIXELS = SHAPE[0] * SHAPE[1] * SHAPE[2]


class Does(nn.Module):
    """A block of the right width that does something to its output."""

    def __init__(self, act: Callable[[Tensor, bool], Tensor], base: bool = True) -> None:
        super().__init__()
        self.act = act
        self.layer = nn.Linear(PIXELS if base else DIM, DIM if base else CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.layer(x.flatten(1)), self.training)


BASES: dict[str, tuple[Callable[[Tensor, bool], Tensor], str]] = {
    "float64": (
        lambda z, _: z.double(),
        r"into \(2, 8\) torch.float64, .*; end it with .float\(\)",
    ),
    "bfloat16 in training": (
        lambda z, training: z.bfloat16() if training else z,
        r"turns .* into \(4, 8\) torch.bfloat16, expected",
    ),
    "nan": (lambda z, _: z.log(), "base block makes .* values that are not finite of 2 training"),
    "infinite in training": (
        lambda z, training: z / (0 if training else 1),
        "not finite of 4 training samples in training",
    ),
    "squeezed": (lambda z, _: z.squeeze(), r"base block turns \(1, 1, 6, 6\) into \(8,\)"),
    "pairs": (lambda z, _: z[::2].repeat(2, 1) if len(z) > 1 else z[:0], r"\(0, 8\)"),
    "detached": (lambda z, _: z.detach(), "no gradient comes back through its base block"),
}


@pytest.mark.parametrize("kind", BASES)
def test_a_base_block_that_breaks_the_contract_is_one_sentence(kind: str) -> None:
    act, sentence = BASES[kind]
    model = SplitModel(Does(act), mlp_modular(DIM, [], CLASSES))
    x = TINY.train.inputs()[:4]
    with pytest.raises(ConfigError, match=sentence) as error:
        check_contract(model, "client 1 (odd)", x, DIM, CLASSES, batch_size=4)
    assert str(error.value).startswith("client 1 (odd): ")
    assert "\n" not in str(error.value)


def test_a_modular_block_that_breaks_it_likewise() -> None:
    for act, sentence in (
        (lambda y, _: y.sqrt(), "modular block makes .* of 2 the z of training samples"),
        (lambda y, _: y.detach(), "no gradient comes back through its modular block"),
        (lambda y, _: y.double(), r"modular block turns \(2, 8\) into \(2, 4\) torch.float64"),
    ):
        model = SplitModel(mlp_base(SHAPE, [], DIM), Does(act, base=False))
        with pytest.raises(ConfigError, match=sentence):
            check_contract(model, "c", TINY.train.inputs()[:4], DIM, CLASSES, batch_size=4)


def normalised(block: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(width), block)


NORM_BASE = Member("norm", lambda: normalised(mlp_base((PIXELS,), [], DIM), PIXELS), SMALL.modular)
NORM_MODULAR = Member("norm", SMALL.base, lambda: normalised(mlp_modular(DIM, [], CLASSES), DIM))


def test_batch_normalisation_is_tried_with_the_batch_that_it_will_get(tiny: Build) -> None:
    play(tiny(FL(tau=1), NORM_BASE), 1)
    for member, block in ((NORM_BASE, "base"), (NORM_MODULAR, "modular")):
        with pytest.raises(ConfigError, match=f"{block} block does not take .* in training .*set"):
            tiny(Local(), member, batch_size=1)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (FedGH(), "method=fedgh trains it on one mean at a time"),
        (IFL(relay="sample", relay_rows=1), "raise method.relay_rows"),
        (IFLStatistics(rows=1), "method.rows=1 makes stage 2 of single rows"),
    ],
)
def test_methods_that_train_on_single_rows_say_so(method: Method, reason: str, tiny: Build) -> None:
    with pytest.raises(ConfigError, match=f"client 0 .norm.: its modular block cannot .*{reason}"):
        tiny(method, NORM_MODULAR)
    tiny(method, SMALL)


# --- blocks that change their input


class InPlace(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.sub_(0.25).relu_())  # type: ignore[no-any-return]


class Copying(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        return self.block(relu(x - 0.25))  # type: ignore[no-any-return]


def of(kind: type[InPlace], make: Callable[[], nn.Module]) -> nn.Module:
    return kind(make())


REPLAYED = IFL(tau=2, replay=Replay(pools=2, steps=2), align=Align(weight=0.5))


@pytest.mark.parametrize("method", [REPLAYED, FSL(tau=2), FedGH(tau=2), Centralized(tau=2)])
def test_blocks_that_change_their_input_give_the_numbers_of_those_that_do_not(
    method: Method, tiny: Build
) -> None:
    found = []
    for kind in (InPlace, Copying):
        member = Member(
            "own", base=partial(of, kind, SMALL.base), modular=partial(of, kind, SMALL.modular)
        )
        federation = tiny(method, member)
        losses = [federation.engine.round(number).train_loss for number in (1, 2)]
        test = federation.data.test
        tested = [federation.engine.evaluate(test.inputs(), test.y).accuracy for _ in range(2)]
        assert tested[0] == tested[1]
        found.append((losses, tested))
    assert found[0] == found[1]


# --- parameters in several places


class Tied(nn.Module):
    """An encoder whose second layer is the first one's weight again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(PIXELS, PIXELS), nn.Linear(PIXELS, PIXELS)
        self.second.weight = self.first.weight
        self.last = nn.Linear(PIXELS, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.first(x.flatten(1)).relu()))  # type: ignore[no-any-return]


TIED = Member("tied", Tied, SMALL.modular)


@pytest.mark.parametrize(
    "method",
    [
        *(FL(tau=1), FSL(tau=1, sync_base=True), LGFedAvg(tau=1), IFL(tau=1)),
        *(FML(tau=1), RelativeRepresentations(tau=1), FSLSAGE(tau=1, h=1, sync_base=True)),
    ],
)
def test_weights_that_are_tied_within_a_block_stay_tied_and_travel_once(
    method: Method, tiny: Build
) -> None:
    federation = tiny(method, TIED)
    sent = play(federation, 2)
    for me in clients(federation):
        base = me.model.base
        assert isinstance(base, Tied)
        assert base.second.weight is base.first.weight
    if isinstance(method, FL):
        up = next(size for way, k, kind, size in sent[0] if (way, k, kind) == ("up", 0, "params"))
        assert up == 4 * sum(p.numel() for p in clients(federation)[0].model.parameters())
        assert equal(*(parameters(me.model) for me in clients(federation)))


def test_parameters_in_both_blocks_or_of_two_clients_are_refused(tiny: Build) -> None:
    shared = nn.Linear(DIM, DIM)
    both = Member(
        "both",
        lambda: nn.Sequential(SMALL.base(), shared),
        lambda: nn.Sequential(shared, SMALL.modular()),
    )
    with pytest.raises(ConfigError, match=r"its base and its modular .* \(1.weight, 1.bias\)"):
        tiny(IFL(), both)
    one = mlp_base(SHAPE, [], DIM)
    with pytest.raises(ConfigError, match=r"client 1 \(one\) and client 0 \(one\) share"):
        tiny(IFL(), Member("one", lambda: one, SMALL.modular))


def test_what_is_no_module_or_cannot_be_copied_is_named(tiny: Build) -> None:
    function: Any = relu
    with pytest.raises(ConfigError, match="a block is a function, not a torch module"):
        tiny(IFL(), Member("f", lambda: function, SMALL.modular))

    def holding() -> nn.Module:
        block = mlp_base(SHAPE, [], DIM)
        block.kept = (n for n in range(3))  # type: ignore[assignment]
        return block

    with pytest.raises(ConfigError, match="its network cannot be copied .*generator"):
        tiny(IFL(), Member("f", holding, SMALL.modular))


def test_a_base_block_without_parameters_has_nothing_to_learn(tiny: Build) -> None:
    fixed = Member(
        "fixed", lambda: nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(DIM)), SMALL.modular
    )
    for method in (IFL(tau=1), Local(tau=1), FSL(tau=1)):
        play(tiny(method, fixed, WIDE), 2)
