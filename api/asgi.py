"""The application for an ASGI server of one's own: `uvicorn api.asgi:app`.

A composition root: the environment and the clock enter here.
"""

from __future__ import annotations

import os
import time

from api.app import create_app
from connectors.settings import Settings
from connectors.telemetry.logs import configure

_settings = Settings.from_environment(os.environ)
configure(_settings)
app = create_app(_settings, time.time_ns)
