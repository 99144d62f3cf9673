"""What can be seen of a run, as numbers; `drawing/` and the doors show them."""
