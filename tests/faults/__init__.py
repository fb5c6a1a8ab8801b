"""The 17 faults of ROBUSTNESS.md, injected for real; ``python -m tests.faults --rounds N`` kills N times."""
