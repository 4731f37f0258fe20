"""Names FLARE's classes that ours extend; stand-ins where it is not installed.

FLARE's own processes alone make objects of ours, so nothing is ever made of a stand-in.
"""

try:
    from nvflare.apis.executor import Executor
    from nvflare.apis.impl.controller import Controller
except ImportError:
    Executor = Controller = object

__all__ = ["Controller", "Executor"]
