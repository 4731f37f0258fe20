"""Defines the errors that a user can cause and mend, one sentence each.

Every message names the value, the rule and the way out; the command line
prints it as it stands, without a traceback.
"""


class IFLError(Exception):
    """Base of every error that a user can cause and mend."""


class ConfigError(IFLError, ValueError):
    """A setting is out of its range, or two settings contradict each other."""


class OutputError(IFLError):
    """The folder of a run cannot be written, or its disk is full."""


class DataError(IFLError):
    """A data set is missing, incomplete or not what it claims to be."""


class BlockError(IFLError):
    """A block's files are not what they have to be, or two blocks do not fit each other."""


class MessageError(IFLError):
    """Bytes received are not a message, or not one that is expected."""


class NotFiniteError(MessageError):
    """An upload holds infinities or what is not a number: its sender has diverged."""


class BusyError(IFLError):
    """Another process is running this very run."""


class DivergenceError(IFLError):
    """A training loss is no longer a finite number."""


class PartyError(IFLError):
    """A party raised what is no error of ours, or is no longer there."""


class LostError(PartyError):
    """A party is no longer there, or does not answer in time."""


class RefusedError(IFLError):
    """A server and a party do not let each other in: names, certificates or terms differ."""


class LauncherError(IFLError):
    """The launcher of a sweep refused a run, or lost one."""


class Terminated(BaseException):
    """A run was told to end before its time: like KeyboardInterrupt, no error."""
