"""The meeting place of the four rooms: what a run is made of, put together."""
