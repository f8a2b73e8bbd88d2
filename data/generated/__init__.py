"""The built-in set: drawn faces that speak with a synthesised voice, and manipulated copies of them. Nothing in it is recorded.

`settings` (knobs), `plan` (who says what in which clip), `voice`, `face` and `scene` (sound and picture of a clip),
`manipulations` and `vocoder` (what makes a fake), `encode` (H.264 and AAC), `build` (the files of a set), `sheet` (a picture).
"""
