"""Tries a codec before training: what it encodes it decodes, by the rules of ``codecs.Codec``."""

import math
from functools import partial

import torch
from torch import Tensor

from ifl.checks import typed
from ifl.comm.codecs import Codec
from ifl.comm.message import Message, decode, encode
from ifl.comm.wire import parse
from ifl.errors import ConfigError
from ifl.seeding import draws, rng

SHAPES = ((3, 5), (4,), (2, 3, 2, 2), ())  # z or gradients, a bias, a convolution, a number


def check_codec(codec: Codec, classes: int) -> bool:
    """Send small tensors through a codec, twice; tell whether it draws from a global generator.

    Raises:
        ConfigError: it lacks a setting that every codec has, fails, changes a shape or a type,
            loses more at the second passage, or makes finite what is not or the reverse.
    """
    for setting, way_out in (("labels", "bytes or packed"), ("zstd", "None or a level")):
        if not hasattr(codec, setting):
            raise ConfigError(
                f"codec {type(codec).__name__} has no {setting}; derive it from "
                f"ifl.comm.codecs.Envelope, or set {setting} to {way_out}"
            )
    if codec.labels not in ("bytes", "packed"):
        raise ConfigError(f"codec.labels must be bytes or packed, got {typed(codec.labels)}")
    return draws(partial(_try, codec, classes))


def _try(codec: Codec, classes: int) -> None:
    name = f"codec {type(codec).__name__}"
    for shape in SHAPES:
        sent = torch.linspace(-2.0, 1.5, math.prod(shape)).reshape(shape)
        once = _passed(codec, classes, sent, name)
        if once.shape != sent.shape:
            raise ConfigError(
                f"{name} turns a tensor {shape} into one {tuple(once.shape)}; decode has to return "
                "the shape that encode was given"
            )
        if not once.isfinite().all():
            raise ConfigError(f"{name} makes values that are not finite of finite ones")
        if not torch.equal(_passed(codec, classes, once, name), once):
            raise ConfigError(
                f"{name} changes a tensor {shape} that it has decoded once already; at a second "
                "passage it has to leave it as it is, since servers pass on what they get"
            )
    broken = torch.tensor([[1.0, float("nan")], [0.5, 2.0]])
    try:
        decoded = _passed(codec, classes, broken, name)
    except ConfigError:
        return  # refusing it is as good
    if decoded.isfinite().all():
        raise ConfigError(
            f"{name} makes finite values of nan; what has diverged must not look as if it had not"
        )


def _passed(codec: Codec, classes: int, tensor: Tensor, name: str) -> Tensor:
    """Return a tensor after encoding and decoding, by way of a message's bytes."""
    try:
        payload = encode(Message(z=tensor.clone()), codec, classes, partial(rng, 0))
        received = decode(parse(payload), codec, None, {"classes": classes})["z"]
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ConfigError(
            f"{name} fails on a float32 tensor {tuple(tensor.shape)} ({reason}); ifl.comm.codecs."
            "Codec says what encode and decode are given and return"
        ) from error
    if received.dtype != torch.float32:
        raise ConfigError(
            f"{name} makes a single part of {received.dtype}, which passes without being decoded; "
            "name the part, or make it two"
        )
    return received
