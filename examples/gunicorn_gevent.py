"""gunicorn with greenlets, for either of the applications: ``gunicorn --config ../gunicorn_gevent.py ...``.

Everything is patched before anything else is imported. gunicorn itself patches in its workers, which is too
late for what ``--preload`` has imported in their parent by then.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

worker_class = "gevent"
