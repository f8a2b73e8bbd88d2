"""Parts of `reliability.py`: the search that faults are caused in, and the faults of clusters."""
