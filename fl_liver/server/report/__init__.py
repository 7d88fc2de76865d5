"""The page that a clinician reads after a run: `write_report` turns a run's summary into `report.html` and figures.

It draws and words what `summary.json` holds and computes no result of its own, so that a number on the page can be
found in the file. Reading starts at `page`; what a summary may hold, and how it may be missing, stands in `pieces`.
"""

from fl_liver.server.report.page import write_report

__all__ = ["write_report"]
