"""An alarm when the share of likes falls: the Page-Hinkley test.

With mean m of the answers so far, it sums m - x - tolerance over the answers x (1 or 0)
and raises the alarm when the sum is more than `threshold` above its lowest value. A
fall of the share by d above the tolerance is found after about threshold / (d -
tolerance) answers. Without a fall the sum drifts down, and the chance that it ever
rises that far from a given answer on is about exp(-2 tolerance threshold / variance):
with the defaults and a share of 0.3, 7e-6.

Page, Continuous inspection schemes, Biometrika 41 (1954).
"""

import dataclasses


@dataclasses.dataclass(kw_only=True)
class PageHinkley:
    tolerance: float = 0.05  # a fall by less is no alarm
    threshold: float = 25.0
    count: int = 0
    mean: float = 0.0
    total: float = 0.0
    lowest: float = 0.0
    alarm: bool = False  # stays until `reset`

    def hear(self, liked: bool) -> None:
        self.count += 1
        self.mean += (liked - self.mean) / self.count
        self.total += self.mean - liked - self.tolerance
        self.lowest = min(self.lowest, self.total)
        self.alarm |= self.total - self.lowest > self.threshold

    def reset(self) -> None:
        """Starts anew, as with a new model."""
        self.count, self.mean, self.total, self.lowest = 0, 0.0, 0.0, 0.0
        self.alarm = False
