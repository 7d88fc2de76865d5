"""Sums of hospitals' integer vectors that the server adds without seeing one of them.

After Bonawitz et al., CCS 2017, with keys that are signed by identities pinned at every hospital and masks that are
bound to everything the server said. Two state machines without I/O: `site.SiteSum` and `server.ServerSum`. What each
message holds, what each party learns and what is not covered stands in docs/security.md.
"""
