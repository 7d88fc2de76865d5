"""The page about an analysis plan: a section for each analysis, with what was asked, the numbers, and figures.

It shares figures, numbers and style with the report of a run. Reading starts at `page`; `beside` holds the questions
that the page asks together with the plan.
"""

from fl_liver.server.report.analysis.page import write_analysis_report

__all__ = ["write_analysis_report"]
