"""What may vary: knobs, spaces, and one module per family."""
