"""Parts of `search_speed.py`: the task that all arms share, the arms, and the replays that give seeds."""
