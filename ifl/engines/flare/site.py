"""Runs in the client of a FLARE job: passes on what calls the site's Unix socket."""

from pathlib import Path
from typing import Any

from ifl.engines.flare.bases import Executor
from ifl.engines.flare.entrance import Entrance
from ifl.engines.flare.local import read_site
from ifl.engines.flare.messages import TOPIC, handler, sender
from ifl.engines.flare.tunnel import Tunnel
from ifl.errors import ConfigError

PEER = "server"  # as FLARE calls the job at the server


class Site(Executor):  # type: ignore[misc]
    """The site's end of the tunnel, from the beginning of the job to its end.

    No setting of it comes with the job: where the socket is says ``local/ifl.json``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tunnel: Tunnel | None = None
        self._entrance: Entrance | None = None

    def handle_event(self, event_type: str, fl_ctx: Any) -> None:
        """Open with the job, and close with it."""
        from nvflare.apis.event_type import EventType

        if event_type == EventType.START_RUN:
            try:
                self._open(fl_ctx)
            except ConfigError as error:
                self.system_panic(str(error), fl_ctx)
        elif event_type == EventType.END_RUN:
            self._close()

    def execute(self, task_name: str, shareable: Any, fl_ctx: Any, abort_signal: Any) -> Any:
        """Do no task: there is none."""
        from nvflare.apis.fl_constant import ReturnCode
        from nvflare.apis.shareable import make_reply

        return make_reply(ReturnCode.TASK_UNSUPPORTED)

    def _open(self, fl_ctx: Any) -> None:
        engine = fl_ctx.get_engine()
        own = read_site(Path(engine.get_workspace().get_site_config_dir()))
        tunnel = Tunnel(sender(engine), say=self.logger.info)
        engine.register_aux_message_handler(TOPIC, handler(tunnel, lambda context: PEER))
        self._tunnel = tunnel
        self._entrance = Entrance(Path(own.socket), lambda called: tunnel.adopt(called, PEER))
        self.log_info(fl_ctx, f"Listening at {own.socket}")

    def _close(self) -> None:
        if self._entrance is not None:
            self._entrance.close()
        if self._tunnel is not None:
            self._tunnel.close()
        self._entrance = self._tunnel = None
