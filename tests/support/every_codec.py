"""Lists every codec of conf/codec."""

from conftest import composed, options

from ifl.cli.build import make

CODECS = {option: make(composed(f"codec={option}").codec) for option in options("codec")}
