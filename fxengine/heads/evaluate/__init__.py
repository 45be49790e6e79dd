"""How good a head is: scores, intervals, learning curves, calibration, transferability."""
