"""Shared by all tests: compositions of the real configuration, and a tiny federation."""

import signal
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import read_once
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from ifl.client.client import Client
from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.data.augment import Augment, Distortion
from ifl.data.dataset import Dataset, Shard
from ifl.data.partition import Iid, Partition
from ifl.federation.build import Federation, build
from ifl.federation.member import Member
from ifl.methods.base import Method
from ifl.models import mlp_base, mlp_modular
from ifl.trials.faults.methods import NEEDS

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
SHAPE, DIM, CLASSES = (1, 6, 6), 8, 4
NOWHERE = "nowhere"
NARROW = ("clients=mlp_homogeneous", "clients.members.0.base.widths=[16]")  # quick to train
# Settings by which a method holds another conversation, or keeps other things: "OPTION KEY=VALUE".
VARIANTS = (
    "fsl method.sync_base=true",
    "cse_fsl method.sync_clients=false",
    "fedproto method.predict=head",
    "fedgh method.epochs=2 method.batch_size=3",
    "fl method.send=updates codec=int8",
    "fl method.send=updates method.error_feedback=true codec=int4",
    "lg_fedavg method.send=updates method.error_feedback=true codec=int8",
    "ifl_statistics method.covariance=full method.nonnegative=false",
    "ifl_statistics method.covariance=pooled method.align.weight=1",
    "ifl_statistics method.covariance=pooled method.relay=merged codec=int8",
    "fedlite method.sync_base=true",
    "fsl_sage method.sync_base=true",
    "ifl anchors=held_out anchors.count=64 method.anchors.rows=16 method.anchors.send=both "
    "method.anchors.start=1 codec=int4",
    "ifl method.anchors.mixtures=8 method.anchors.rows=16 method.anchors.start=2 "
    "method.anchors.mixed=2 codec=int4",
    "late_vendor method.after=2",
    "late_vendor method.after=2 method.join=ifl",
)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what runs behind it
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other
read_once.install()

_ask = Hydra.get_mode


def _mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    """Compose a configuration for its hydra.mode only where a choice may set it, as launcher=local.

    Hydra does so for every command. Commands in other processes are as ever.
    """
    may = [o for o in overrides if o.lstrip("+").startswith(("launcher", "experiment", "hydra"))]
    return _ask(hydra, config_name, overrides) if may else None


Hydra.get_mode = _mode  # type: ignore[method-assign, assignment]


def options(group: str) -> list[str]:
    """Return the options of a config group: its files, by their path within it."""
    files = (CONF / group).rglob("*.yaml")
    return sorted(str(path.relative_to(CONF / group).with_suffix("")) for path in files)


# Every method with what it needs, and the variants: "OPTION KEY=VALUE".
EVERY = (*(" ".join([o, *NEEDS.get(o, ())]) for o in options("method")), *VARIANTS)


def composed(*overrides: str) -> DictConfig:
    return deepcopy(_composed(overrides))


@cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    """Compose the options of groups once, and set single values in a copy, which takes less."""
    groups = tuple(o for o in overrides if (CONF / o.partition("=")[0]).is_dir())
    values = OverridesParser.create().parse_overrides([o for o in overrides if o not in groups])
    if not values or not all(map(is_plain, values)):
        return composed_by_hydra(overrides)
    whole = deepcopy(_composed(groups))
    for value in values:
        key = value.key_or_group
        now = OmegaConf.select(whole, key, default=NOWHERE, throw_on_resolution_failure=False)
        if now == NOWHERE:
            return composed_by_hydra(overrides)  # which says what is wrong
        OmegaConf.update(whole, key, value.value(), merge=True)
    return whole


def is_plain(value: Override) -> bool:
    """Tell whether an override sets a key that is there to one value, and tells Hydra nothing."""
    changes = value.type is OverrideType.CHANGE and not value.is_sweep_override()
    return changes and not value.is_hydra_override()


def composed_by_hydra(overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def sweeper(*overrides: str, **settings: Any) -> Any:
    """Return the sweeper of a command line, with these settings of hydra.sweeper replaced."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config("config", list(overrides), RunMode.MULTIRUN)
        with open_dict(config.hydra.sweeper):
            config.hydra.sweeper.update(settings)
        context = HydraContext(hydra.config_loader, Callbacks())
        return Plugins.instance().instantiate_sweeper(
            hydra_context=context, task_function=lambda config: None, config=config
        )


def member(name: str, base: Sequence[int], modular: Sequence[int]) -> Member:
    return Member(
        name, partial(mlp_base, SHAPE, base, DIM), partial(mlp_modular, DIM, modular, CLASSES)
    )


SMALL, WIDE = member("small", [], []), member("wide", [12], [6])


def images(count: int, seed: int) -> Shard:
    """Random images whose label is the brightest of four rows: a task that can be learnt."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, *SHAPE), generator=generator, dtype=torch.uint8)
    return Shard(x, x[:, 0, :CLASSES].float().mean(dim=2).argmax(dim=1))


TINY = Dataset("tiny", images(240, seed=1), images(80, seed=2), SHAPE, CLASSES)
MOMENTUM = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
PLAIN = partial(torch.optim.SGD, lr=0.05)

Build = Callable[..., Federation]


@pytest.fixture
def tiny() -> Build:
    """Return a maker of federations on 6 x 6 images: ``tiny(method, SMALL, WIDE, count=3)``."""

    def make(
        method: Method,
        *members: Member,
        count: int = 2,
        seed: int = 0,
        optimizer: object = MOMENTUM,
        decay_rounds: int | None = None,
        augment: Augment = Distortion(),  # noqa: B008 (frozen)
        batch_size: int = 8,
        partition: Partition = Iid(),  # noqa: B008 (frozen)
        **more: Any,
    ) -> Federation:
        optimizers = Optimizers(optimizer, optimizer, decay_rounds)  # type: ignore[arg-type]
        training = Training(optimizers, batch_size, seed, augment=augment)
        chosen = members or (SMALL,)
        return build(TINY, partition, chosen, count, method, training, Float32(), DIM, **more)

    return make


def parameters(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def tensors(state: Any) -> list[torch.Tensor]:
    """Return all tensors of a state, in its order."""
    if isinstance(state, torch.Tensor):
        return [state]
    nested = state.values() if isinstance(state, Mapping) else state
    return [t for v in nested for t in tensors(v)] if isinstance(state, Mapping | list) else []


def equal(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def play(federation: Federation, rounds: int) -> list[list[tuple[str, int, str, int]]]:
    """Conduct rounds from the first one, again if need be; return the ledger's rows of each."""
    rows = []
    for party in federation.engine.parties.here:
        party.forget()
    for number in range(1, rounds + 1):
        federation.engine.round(number)
        rows.append(federation.engine.channel.ledger.close_round())
    return rows


def clients(federation: Federation) -> Sequence[Client]:
    return federation.engine.clients
