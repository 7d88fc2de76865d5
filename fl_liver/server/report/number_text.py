"""How a number is printed on the page: no leading zero where it cannot exceed one, a true minus, p to three decimals.

The figures use the same functions, so that a label in a figure and a cell of a table never differ.
"""

from __future__ import annotations

import math

from fl_liver.server.report.pieces import Estimate

MINUS = "\N{MINUS SIGN}"


def fraction(x: float, digits: int = 3) -> str:
    """A number that is mostly within [−1, 1], without its leading zero.

    >>> fraction(0.8612), fraction(1.0), fraction(-0.05, 2)
    ('.861', '1.000', '−.05')
    """
    shown = f"{abs(x):.{digits}f}"
    sign = MINUS if x < 0 and float(shown) != 0 else ""
    return sign + shown.removeprefix("0") if abs(x) < 1 and float(shown) < 1 else sign + shown


def decimal(x: float, digits: int = 2) -> str:
    """A number with its leading zero and a true minus.

    >>> decimal(-1.234), decimal(0.5, 1)
    ('−1.23', '0.5')
    """
    shown = f"{abs(x):.{digits}f}"
    return MINUS + shown if x < 0 and float(shown) != 0 else shown


def with_interval(estimate: Estimate, digits: int = 3) -> str:
    """An estimate and its 95 % interval.

    >>> with_interval(Estimate(0.86, 0.81, 0.91), 2)
    '.86 [.81, .91]'
    """
    shown = fraction(estimate.value, digits)
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} [{fraction(estimate.low, digits)}, {fraction(estimate.high, digits)}]"


def p_value(p: float) -> str:
    """
    >>> p_value(0.0004), p_value(0.03214), p_value(1.0)
    ('< .001', '.032', '1.000')
    """
    return "< .001" if p < 0.001 else fraction(p)


def ratio(x: float) -> str:
    """An odds ratio: two decimals below 10, one below 100; beyond 0.01 and 1000 only that it is beyond.

    >>> ratio(2.345), ratio(18.41), ratio(393.1), ratio(4e8), ratio(0.002)
    ('2.35', '18.4', '393', '> 1000', '< 0.01')
    """
    if x > 1000:
        return "> 1000"
    if x < 0.01:
        return "< 0.01"
    return f"{x:.{2 if x < 10 else 1 if x < 100 else 0}f}"


def ratio_with_interval(estimate: Estimate) -> str:
    """
    >>> ratio_with_interval(Estimate(18.4, 6.2, 54.93))
    '18.4 [6.20, 54.9]'
    """
    if estimate.low is None or estimate.high is None:
        return ratio(estimate.value)
    return f"{ratio(estimate.value)} [{ratio(estimate.low)}, {ratio(estimate.high)}]"


def count(n: float) -> str:
    """
    >>> count(890.0)
    '890'
    """
    return f"{n:.0f}"


def duration(seconds: float) -> str:
    """
    >>> duration(7.26), duration(155.0), duration(7380.0)
    ('7.3 s', '2 min 35 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def listed(names: list[str], last: str = "and") -> str:
    """
    >>> listed(["H1"]), listed(["H1", "H2", "H3"])
    ('H1', 'H1, H2 and H3')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else ""


def odds_to_probability(logit: float) -> float:
    """1 / (1 + exp(−logit)), without overflow for any finite logit.

    >>> odds_to_probability(0.0), odds_to_probability(-1000.0)
    (0.5, 0.0)
    """
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else (e := math.exp(logit)) / (1 + e)
