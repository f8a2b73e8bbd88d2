"""Data sets, clips, features and caches.

Nothing is imported here, so that reading the settings of a study stays cheap. The modules:
`samples` (SampleSet), `prepare` (the built-in generated set), `clips` (one file → inputs), `features` (log-mel, MFCC),
`preprocessing` (geometry and scales), `store` (checked folders built once), `generated` (what the built-in set is made of).
"""
