"""Statistics across hospitals from sums of integer vectors, equal to those of the pooled table. numpy and scipy only."""
