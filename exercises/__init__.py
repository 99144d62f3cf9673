"""The exercises of the course: stubs in attempts/, what judges them in checks/, one answer each in solutions/."""
