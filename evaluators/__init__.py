"""Data in, numbers out: accuracy, latency, cost, explanations and EPS."""
