"""A person's session with a simulation: progress while it runs, then a table and where the report lies."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from fl_liver.errors import IncompleteError
from fl_liver.server.report import write_report
from fl_liver.server.run import load_checked
from simulation.deploy import sigterm_as_interrupt
from simulation.display import Display, class_table, result_table
from simulation.options import Options
from simulation.run import DEPLOYMENT, HOSPITALS, Simulation
from simulation.samples import sample_images


def run_session(options: Options, folder: Path) -> int:
    """Run a simulation to its report; returns the exit status (75 where hospitals are missing).

    Raises:
        IncompleteError: interrupted; the message says how to go on.
    """
    logging.basicConfig(filename=folder / "simulation.log", level=logging.WARNING, format="%(asctime)s %(message)s")
    display = Display()
    with display:
        try:
            with sigterm_as_interrupt():
                finished = Simulation(options, folder, display).begin()
        except KeyboardInterrupt as interrupt:
            raise IncompleteError(
                f"interrupted; whole rounds are kept, go on with: python -m simulation --resume {folder}"
            ) from interrupt
    summary = finished.summary
    study, _ = load_checked(folder / "study" / "study.toml")
    taking_part = [line["name"] for line in summary["sites"] if not line["out"]]
    folders = folder / (DEPLOYMENT if options.deploy else HOSPITALS)
    samples = sample_images(study, folders, taking_part) if options.data is None else None
    report = write_report(summary, folder, samples, finished.explained)
    display.console.print(result_table(summary))
    if (classes := class_table(summary)) is not None:
        display.console.print(classes)
    _say_where(display, summary, report)
    return IncompleteError.exit_code if summary["incomplete"] else 0


def _say_where(display: Display, summary: dict[str, Any], report: Path) -> None:
    if summary["incomplete"]:
        display.say(f"INCOMPLETE: {summary['incomplete']}")
    display.say(f"report   {report}")
    display.say(f"summary  {report.parent / 'summary.json'}")
    if page := summary.get("paper", {}).get("page"):
        display.say(f"paper    {report.parent / page}")
