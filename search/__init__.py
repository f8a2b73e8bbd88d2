"""The study: configuration, searcher, trial, command line."""
