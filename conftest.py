"""Files that cannot be imported here, because an extra is not installed, are left out of the doctests."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("ray") else ["simulation/ray_engine.py"]
