"""Puts the frames of a tunnel into FLARE's messages."""

from collections.abc import Callable
from typing import Any

from ifl.engines.flare.frames import ANSWERS, GONE
from ifl.engines.flare.tunnel import Send, Tunnel
from ifl.errors import MessageError

TOPIC = "ifl.tunnel"
FRAME, ANSWER = "frame", "answer"
ANSWER_SECONDS = 10.0  # more than an end of a tunnel takes to answer
Handler = Callable[[str, Any, Any], Any]


def sender(engine: Any) -> Send:
    """Return what sends a frame to the same job at the server or a site, and waits for an answer.

    Args:
        engine: FLARE's, of this process.
    """
    from nvflare.apis.shareable import Shareable

    def send(peer: str, frame: bytes) -> bytes:
        with engine.new_context() as context:
            replies = engine.send_aux_request(
                targets=[peer],
                topic=TOPIC,
                request=Shareable({FRAME: frame}),
                timeout=ANSWER_SECONDS,
                fl_ctx=context,
                optional=True,
            )
        for reply in (replies or {}).values():
            if isinstance(reply, dict) and (answer := reply.get(ANSWER)) in ANSWERS:
                return bytes(answer)
        raise OSError(f"{peer} does not answer")

    return send


def handler(tunnel: Tunnel, peer_of: Callable[[Any], str]) -> Handler:
    """Return what answers a message with a frame.

    Args:
        peer_of: returns who sent it, from FLARE's context of the message.
    """
    from nvflare.apis.fl_constant import ReturnCode
    from nvflare.apis.shareable import make_reply

    def handle(topic: str, request: Any, fl_ctx: Any) -> Any:
        try:
            answer = tunnel.take(peer_of(fl_ctx), request.get(FRAME))
        except MessageError:
            answer = GONE
        reply = make_reply(ReturnCode.OK)
        reply[ANSWER] = answer
        return reply

    return handle
