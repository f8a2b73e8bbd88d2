"""Parts of eps_speed.py."""
