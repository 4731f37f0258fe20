"""Runs in the FLARE job at the server: passes on what comes through the tunnel to ifl server."""

import time
from pathlib import Path
from typing import Any

from ifl.engines.flare.bases import Controller
from ifl.engines.flare.local import Server as Settings
from ifl.engines.flare.local import read_server
from ifl.engines.flare.messages import TOPIC, handler, sender
from ifl.engines.flare.tunnel import Tunnel

LOOK_SECONDS = 1.0  # between two looks at whether ifl server is there
PROBE_SECONDS = 2.0


class Server(Controller):  # type: ignore[misc]
    """The server's end of the tunnel; the job ends when ``ifl server`` has ended.

    No setting of it comes with the job: where ``ifl server`` is says ``local/ifl.json``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tunnel: Tunnel | None = None
        self._own: Settings | None = None

    def start_controller(self, fl_ctx: Any) -> None:
        """Open the tunnel."""
        engine = fl_ctx.get_engine()
        self._own = read_server(Path(engine.get_workspace().get_site_config_dir()))
        self._tunnel = Tunnel(sender(engine), self._own.connected, say=self.logger.info)
        engine.register_aux_message_handler(TOPIC, handler(self._tunnel, _name_of))

    def control_flow(self, abort_signal: Any, fl_ctx: Any) -> None:
        """Wait until ``ifl server`` has been there and is gone, or the job is aborted."""
        assert self._own is not None
        since, seen = time.monotonic(), False
        while not abort_signal.triggered:
            if _is_there(self._own):
                since, seen = time.monotonic(), True
            gone = time.monotonic() - since
            if seen and gone > self._own.gone:
                self.log_info(fl_ctx, f"ifl server has been gone for {gone:.0f} s: the job ends")
                return
            if not seen and gone > self._own.wait:
                self.system_panic(
                    f"there was no ifl server at {self._own.server} for {gone:.0f} s", fl_ctx
                )
                return
            time.sleep(LOOK_SECONDS)

    def stop_controller(self, fl_ctx: Any) -> None:
        """Close the tunnel."""
        if self._tunnel is not None:
            self._tunnel.close()

    def process_result_of_unknown_task(self, *args: Any, **settings: Any) -> None:
        """Take no result: there is no task."""


def _is_there(own: Settings) -> bool:
    try:
        own.connected(PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def _name_of(fl_ctx: Any) -> str:
    return str(fl_ctx.get_peer_context().get_identity_name())
