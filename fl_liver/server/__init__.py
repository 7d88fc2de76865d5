"""The coordinator's side: rounds, checkpoints, evaluation, report. It never imports torch."""
