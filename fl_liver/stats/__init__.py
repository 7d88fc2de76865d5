"""Statistics across hospitals from sums of integer vectors, equal to those of the pooled table. numpy and scipy."""

from fl_liver.stats.risk_score import hcc_risk_score

__all__ = ["hcc_risk_score"]
