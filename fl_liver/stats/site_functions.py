"""Importing this registers every site function of the package, so that a hospital can answer every kind of question."""

from __future__ import annotations

import importlib
import pkgutil

import fl_liver.stats

for _module in pkgutil.iter_modules(fl_liver.stats.__path__, "fl_liver.stats."):
    if _module.name != __name__:
        importlib.import_module(_module.name)
