"""Every error that fl_liver raises on purpose, and the exit status that each becomes.

FLLiverError              70   something went wrong that no leaf below names
├── ConfigError           78   a study, site file, plan or command line is wrong
├── DataError              2   a series, label or table cannot be used
│   ├── OneClassError      2   a hospital that trains has patients of one class only
│   └── OutOfRangeError    2   a hospital's own sum does not fit the announced scale
├── ProtocolError         76   the other side broke the agreement
│   ├── FalseTotalsError  76   the server showed totals that cannot be the sum of what hospitals answered
│   └── NotApprovedError  76   no person here approved this study with this version, roster and cohort
├── PrivacyError          77   answering would break the site's own limit
│   └── ConsentError      77   this hospital does not consent to the release of its own figures
├── TrainingError         71   the arithmetic failed: NaN loss, wrong device
│   └── NotFiniteError    71   a loss, an update or a running statistic is not finite, or out of range
├── IncompleteError       75   it finished with fewer hospitals than the study names, or was interrupted
│   └── LostRoundError    75   a round that may have been opened before an interruption; it is not asked again
├── FleetError            69   the coordinator's server did not do what a hospital's daemon asked of it
│   ├── UnreachableError  69   no answer: network, proxy, TLS, or a server that is down
│   ├── NodeRefusedError  69   the server does not let this hospital in: key, clock, or registered from before
│   └── RunOverError      69   the run of a message has ended; nobody waits for the answer
├── AuditError            74   the log of what left cannot be written, or was changed
├── ComputeLostError      71   the process that worked on a message is gone: out of memory, a crash, or stopped
├── UnsaidError           70   also FalseTotals-, OutOfRange- and NotFiniteError: a reason that stays in the hospital
└── FlowerCommandError    69   Flower's command line said no: the server is not up, or does not know what was asked for

0 is done; 1 is done with exclusions (`fl-liver site check`). Numbers from 64 on follow sysexits.h, so that a service
manager can tell "do not restart" (77, 78) from "try again" (75).

A message says which thing, what was found, what was wanted and what to do. One string argument each, so that an error
survives pickling between simulation workers.
"""

from __future__ import annotations


class FLLiverError(Exception):
    """Base of all errors raised on purpose; `str(error)` is one line for a person."""

    exit_code = 70


class UnsaidError(FLLiverError):
    """A reason not to answer that follows from a hospital's own numbers and from numbers that the server chose.

    Told to the server, as a refusal or by silence, it would be an answer about the patients of one hospital, as often
    as the server likes to ask. The hospital logs it, and answers with something that looks like every other answer.
    """


class ConfigError(FLLiverError):
    """A study, site file, plan or command line is wrong."""

    exit_code = 78


class DataError(FLLiverError):
    """A series, label or table cannot be used."""

    exit_code = 2


class OneClassError(DataError):
    """A hospital that trains has patients of one class only."""


class OutOfRangeError(UnsaidError, DataError):
    """A hospital's own sum is not finite, or too large for the scale that was announced."""


class ProtocolError(FLLiverError):
    """The other side broke the agreement: wrong hash, wrong length, unknown question."""

    exit_code = 76


class NotApprovedError(ProtocolError):
    """No person here approved this study with this version, roster and cohort."""


class FalseTotalsError(UnsaidError, ProtocolError):
    """The server showed totals that cannot be the sum of what the hospitals answered."""


class PrivacyError(FLLiverError):
    """Answering would break a floor or a consent."""

    exit_code = 77


class ConsentError(PrivacyError):
    """This hospital does not consent to the release of its own figures."""


class TrainingError(FLLiverError):
    """The arithmetic failed: a loss or an update that is not finite, a device that is not there."""

    exit_code = 71


class NotFiniteError(UnsaidError, TrainingError):
    """A loss, an update or a running statistic that is not finite, or out of range."""


class IncompleteError(FLLiverError):
    """It ended with fewer hospitals than the study names, or before the last round."""

    exit_code = 75


class LostRoundError(IncompleteError):
    """A round begun before an interruption, of which too few hospitals can swear that it was not opened."""


class FleetError(FLLiverError):
    """The coordinator's server did not do what a hospital's daemon asked of it."""

    exit_code = 69


class UnreachableError(FleetError):
    """No answer: network, proxy, TLS, or a server that is down. Tried again."""


class NodeRefusedError(FleetError):
    """The server does not let this hospital in: unknown key, clock, or still registered from before. Tried again."""


class RunOverError(FleetError):
    """The run of a message has ended; nobody waits for the answer."""


class AuditError(FLLiverError):
    """The log of what left cannot be written or was changed; nothing leaves until it is mended."""

    exit_code = 74


class ComputeLostError(FLLiverError):
    """The process that worked on a message is gone: out of memory, a crash, or stopped."""

    exit_code = 71


class FlowerCommandError(FLLiverError):
    """Flower's command line said no: the server is not up, or does not know what was asked for."""

    exit_code = 69
