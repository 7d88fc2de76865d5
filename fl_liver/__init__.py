"""Hospitals train and test published liver-lesion models together; images, labels and scores never leave them.

Start reading at `messages` (what may cross a hospital's wall), then `client.egress`, `server.rounds`, one model,
`stats.roc`.
"""

__version__ = "0.1.0"
