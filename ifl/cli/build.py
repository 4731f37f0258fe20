"""Builds the federation that a configuration describes."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from ifl.cli.config import checked, typed_from
from ifl.cli.unread import BLOCKS, check_read, spread
from ifl.data.contents import OWN_FILES
from ifl.errors import ConfigError, IFLError
from ifl.runs.identity import MOVED
from ifl.runs.made import told

if TYPE_CHECKING:
    from torch import nn

    from ifl.data.dataset import Dataset
    from ifl.federation.build import Federation

OWN = {"batch_size", "lr"}  # of a member, if it is to have others than all
_TOLD: set[str] = set()  # addresses of before that a line has named


def make(config: Any, **kwargs: Any) -> Any:
    """Instantiate a ``_target_``; what its constructor refuses comes out as its own sentence.

    An address of before (``runs.identity.MOVED``) works, with one line that names the new one.
    """
    try:
        return instantiate(moved(config), **kwargs)
    except InstantiationException as error:
        if isinstance(error.__cause__, IFLError):
            raise error.__cause__ from None
        reason = str(error).replace(
            ", set env var HYDRA_FULL_ERROR=1 to see chained exception.", ""
        )
        raise ConfigError(" ".join(reason.split())) from error


def moved(config: Any) -> Any:
    """Return a copy of a configuration with the present address of every class that has moved."""
    if isinstance(config, DictConfig | ListConfig):
        config = OmegaConf.to_container(config, resolve=True)
    if isinstance(config, dict):
        fresh = {key: moved(value) for key, value in config.items()}
        old = str(fresh.get("_target_"))
        if old in MOVED:
            fresh["_target_"] = MOVED[old]
            if old not in _TOLD:
                print(f"{old} has moved; write _target_: {MOVED[old]}")
            _TOLD.add(old)
        return fresh
    return [moved(value) for value in config] if isinstance(config, list) else config


def make_block(config: Any, data: "Dataset", fusion_dim: int) -> "nn.Module":
    """Instantiate a base or modular block, told what it leaves out of what all must fit.

    A parameter of its class or function that is called shape, fusion_dim or classes, and that the
    configuration does not set, gets data.shape, fusion.dim or data.classes.
    """
    agreed = {"shape": data.shape, "fusion_dim": fusion_dim, "classes": data.classes}
    return make(told(moved(config), agreed))  # type: ignore[no-any-return]


class Blocks:
    """Makes one block after the other, as ``make_block`` does, and after the first one faster.

    That one is made by Hydra, which says what is wrong with a configuration. If it says nothing
    but which class or function takes which plain values, the others are made by calling that.
    """

    def __init__(self, config: Any, data: "Dataset", fusion_dim: int) -> None:
        self._made_first = partial(make_block, config, data, fusion_dim)
        self._plain = moved(config)
        self._agreed = {"shape": data.shape, "fusion_dim": fusion_dim, "classes": data.classes}
        self._make: Callable[..., nn.Module] | None = None
        self._settings: Any = None

    def __call__(self) -> "nn.Module":
        """Return a fresh block."""
        if self._make is not None:
            return self._make(**deepcopy(self._settings))
        block = self._made_first()
        said = told(self._plain, self._agreed)
        if isinstance(said, dict) and not any(map(_says_more, said.items())):
            called = instantiate(said, _partial_=True)
            self._make, self._settings = called.func, called.keywords
        return block


def _says_more(setting: tuple[str, Any]) -> bool:
    """Tell whether a setting of a block is more than a plain value, or lists of such."""
    name, value = setting
    if isinstance(value, list | tuple):
        return any(_says_more(("", inner)) for inner in value)
    return isinstance(value, Mapping) or (name.startswith("_") and name != "_target_")


def assemble(config: DictConfig, typed: Sequence[str] = ()) -> "Federation":
    """Build the federation that a configuration describes; every setting is checked here.

    Args:
        config: of a job.
        typed: the overrides of the command line or the sweep, which have to change something.
    """
    from ifl.client.privacy import Privacy
    from ifl.client.settings import Optimizers, Training
    from ifl.data.dataset import check_dataset, hold_out
    from ifl.data.owners import By
    from ifl.engines.base import checked_transport
    from ifl.federation.budget import costly
    from ifl.federation.build import build
    from ifl.federation.evaluation import Evaluation
    from ifl.federation.member import Member
    from ifl.federation.participation import Participation
    from ifl.federation.workers import Workers, available_device
    from ifl.seeding import global_stream

    checked(config)
    check_read(config, typed)
    config = spread(config).copy()
    for section, key in (name.split(".") for name in OWN_FILES):
        if isinstance(config[section], DictConfig) and config[section].get(key) is not None:
            config[section][key] = typed_from(config[section][key])
    members = config.clients.members
    needed = {"name", *BLOCKS}
    whole_ones = isinstance(members, ListConfig) and all(
        isinstance(member, DictConfig) and needed <= {*member} <= needed | OWN for member in members
    )
    if not whole_ones:
        raise ConfigError(
            "clients.members must be a list of {name, base, modular}, each with a batch_size and "
            f"an lr if it is to have its own, got {members}; see conf/clients/paper.yaml"
        )
    device, remark = available_device(config.runtime.device)
    if remark:
        print(remark)
    with global_stream(config.seed, "settings"):
        optimizers = Optimizers(
            make(config.optimizer.base),
            make(config.optimizer.modular),
            config.optimizer.get("decay_rounds"),
        )
        partition, method, codec, augment, anchors, adversary = (
            make(config[group])
            for group in ("partition", "method", "codec", "augment", "anchors", "adversary")
        )
    training = Training(
        optimizers,
        config.batch_size,
        config.seed,
        device,
        augment,
        config.runtime.precision,
        config.logit_adjustment,
    )
    with global_stream(0, "data"):  # the same for every seed
        data = check_dataset(make(config.data))
    if isinstance(partition, By):
        data = partition.owned(data)
    for key in ("shape", "classes"):  # for blocks that refer to them
        if key in config.data and config.data[key] is None:
            config.data[key] = getattr(data, key)
    data = hold_out(data, config.validation)
    federation = build(
        partition=partition,
        method=method,
        codec=codec,
        members=[
            Member(**{**m, **{kind: Blocks(m[kind], data, config.fusion.dim) for kind in BLOCKS}})
            for m in map(moved, members)
        ],
        count=config.clients.count,
        training=training,
        fusion_dim=config.fusion.dim,
        data=data,
        workers=Workers(config.runtime.workers, config.runtime.threads),
        participation=Participation(**config.participation),
        on_bad_upload=config.on_bad_upload,
        privacy=Privacy(**config.privacy),
        evaluation=Evaluation(**config.evaluate),
        anchors=anchors,
        adversary=adversary,
        resident=config.runtime.resident,
        transport=checked_transport(make(config.engine)),
    )
    for sentence in costly(federation.engine):
        print(sentence)
    return federation
