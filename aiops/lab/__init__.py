"""Rehearsal: a simulated fleet with faults, served over real HTTP."""
