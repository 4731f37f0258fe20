"""Logs a run's evaluations where others look at them; what a run itself writes is in its folder."""
