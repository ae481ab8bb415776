"""Rounds, engines, the run folder and its ledger."""
