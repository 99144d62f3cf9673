"""The hall: the dull parts of running a loop. No loop in here; that one is in `train.py`, to be read."""
