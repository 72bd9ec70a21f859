"""``python -m responses_ws.testing``: the model on a port of this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from types import FrameType

from responses_ws.testing import Model, ScriptedServer

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM. Returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        server = ScriptedServer(model=Model(), port=options.port, tls=options.tls, record=False)
    except ValueError as error:
        parser.error(f"--{error}")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _announce(_started(server, options.port))
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.close()
    return 0


def _started(server: ScriptedServer, port: int) -> ScriptedServer:
    try:
        return server.start()
    except OSError as error:
        raise SystemExit(f"port {port} cannot be listened on: {error.strerror}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m responses_ws.testing", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="to listen on (default: a free one)")
    parser.add_argument("--tls", action="store_true", help="speak wss:// with a throw-away certificate")
    return parser


def _announce(server: ScriptedServer) -> None:
    print(f"serving on {server.url} until Ctrl-C; to use it:")
    print(f"export OPENAI_BASE_URL={server.url}")
    print("export OPENAI_API_KEY=any")
    if server.ca_file:
        print(f"export SSL_CERT_FILE={server.ca_file}")
    print(end="", flush=True)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
