"""Why: ranks what deviated, matches it against known faults, and keeps the evidence. Pure."""
