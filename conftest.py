"""Settings of all tests: files of absent extras are left out, and CI draws the same examples each time."""

from __future__ import annotations

import os
from importlib.util import find_spec

from hypothesis import settings

collect_ignore = [] if find_spec("ray") else ["simulation/ray_engine.py"]

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
