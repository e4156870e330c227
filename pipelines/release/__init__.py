"""From a recipe to an immutable release: select, align, describe, write, publish.

Read `build.py` first. `align.py` and `statistics.py` are pure.
"""
