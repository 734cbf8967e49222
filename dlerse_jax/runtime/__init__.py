"""The machine below: files, random streams, devices, processes, signals."""
