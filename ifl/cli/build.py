"""Builds the federation that a configuration describes."""

from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from ifl.errors import ConfigError, IFLError
from ifl.runs.identity import MOVED

if TYPE_CHECKING:
    from ifl.federation.build import Federation

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


def assemble(config: DictConfig) -> "Federation":
    """Build the federation that a configuration describes; every setting is checked here."""
    from ifl.client.privacy import Privacy
    from ifl.client.settings import Optimizers, Training
    from ifl.data.dataset import hold_out
    from ifl.federation.build import Member, build
    from ifl.federation.participation import Participation
    from ifl.federation.workers import Workers, available_device

    members = config.clients.members
    whole_ones = isinstance(members, ListConfig) and all(
        isinstance(member, DictConfig) and set(member) == {"name", "base", "modular"}
        for member in members
    )
    if not whole_ones:
        raise ConfigError(
            f"clients.members must be a list of {{name, base, modular}}, got {members}; see "
            "conf/clients/paper.yaml"
        )
    device, remark = available_device(config.runtime.device)
    if remark:
        print(remark)
    optimizers = Optimizers(
        make(config.optimizer.base),
        make(config.optimizer.modular),
        config.optimizer.get("decay_rounds"),
    )
    return build(
        partition=make(config.partition),
        method=make(config.method),
        codec=make(config.codec),
        members=[
            Member(member.name, partial(make, member.base), partial(make, member.modular))
            for member in members
        ],
        count=config.clients.count,
        training=Training(optimizers, config.batch_size, config.seed, device, make(config.augment)),
        fusion_dim=config.fusion.dim,
        data=hold_out(make(config.data), config.validation),
        workers=Workers(config.runtime.workers, config.runtime.threads),
        participation=Participation(**config.participation),
        on_bad_upload=config.on_bad_upload,
        privacy=Privacy(**config.privacy),
    )
