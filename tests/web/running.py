"""The example applications in processes of their own, under a real web server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shell import until

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
APPLICATIONS = {"flask": ("flask_chat", "app:create_app()"), "django": ("django_chat", "project.wsgi")}
START_SECONDS = 60.0
END_SECONDS = 30.0


@dataclass(frozen=True)
class Site:
    """A running application.

    :ivar process: the master of its workers.
    :ivar log: what it writes.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def children(self) -> list[int]:
        """The process ids of the workers."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in Path(path).read_text(encoding="ascii").split()]


@contextlib.contextmanager
def site(framework: str, service: str, directory: Path, *options: str, **settings: str) -> Iterator[Site]:
    """The application under gunicorn.

    :param service: the address of the scripted model.
    :param options: of gunicorn.
    :param settings: further variables of its environment.
    """
    name, application = APPLICATIONS[framework]
    environment = _environment(service, directory, settings)
    if framework == "django":
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=EXAMPLES / name, env=environment, check=True, timeout=START_SECONDS)  # noqa: S603
    log = directory / "gunicorn.log"
    with contextlib.closing(_listener()) as listener, log.open("wb") as output:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", *options]
        process = subprocess.Popen(  # noqa: S603
            [*command, application],
            cwd=EXAMPLES / name,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
        )
    running = Site(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(running)
        yield running
    finally:
        _end(process)


def _environment(service: str, directory: Path, settings: dict[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(directory),  # where gunicorn puts its control socket
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "project.settings",  # another project's is here, if its tests are
        "OPENAI_API_KEY": "sk-of-the-tests",
        "OPENAI_BASE_URL": service,
        "CHAT_DATABASE": str(directory / "chat.sqlite3"),
        "CHAT_SECRET": "of-the-tests",
        **settings,
    }


def _listener() -> socket.socket:
    """A port that is ours before the server runs, so that nobody else can take it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def _wait(running: Site) -> None:
    """Until a worker has booted, or the server has given up."""

    def booted() -> bool:
        assert running.process.poll() is None, running.log.read_text(encoding="utf-8")
        return b"Booting worker" in running.log.read_bytes()

    until(booted)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


__all__: Sequence[str] = ["APPLICATIONS", "Site", "site"]
