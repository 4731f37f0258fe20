"""Lists every codec of conf/codec."""
from functools import partial
from math import prod
import pytest
import torch
from conftest import composed, options
from hypothesis import given, settings
from hypothesis import strategies as st
from ifl.cli.build import make
from ifl.comm.channel import Channel
from ifl.comm.codecs import Float32
from ifl.comm.message import Message, decode, encode, label_type, sizes
from ifl.errors import MessageError


CODECS = {option: make(composed(f"codec={option}").codec) for option in options("codec")}
