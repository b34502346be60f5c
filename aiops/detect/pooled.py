"""Pooled curves: how large each statistic of the ensemble gets in series in general.

Measured on rows outside labelled anomalies of 88 public series of six kinds (cloud and service metrics, web KPIs,
server and application metrics; 1 minute to 1 hour apart), every kind with equal weight and every series of a kind too.
One set of curves for all; a series' own history takes over where it matters (:mod:`aiops.detect.calibrate`).
"""

from aiops.detect.calibrate import Curve

CURVES = {
    "forecast": Curve(0.5, (
        0.365, 0.584, 0.773, 0.973, 1.2, 1.44, 1.7, 2.02, 2.39, 2.86, 3.43, 4.23, 5.22, 6.57, 8.1, 9.8, 12.1, 14.2
    )),
    "onset": Curve(0.5, (
        0.412, 0.645, 0.837, 1.03, 1.25, 1.48, 1.74, 2.04, 2.37, 2.75, 3.29, 3.98, 4.91, 6.06, 7.56, 9.41, 12.2, 14.3
    )),
    "drift": Curve(0.5, (
        0.351, 0.567, 0.757, 0.963, 1.19, 1.45, 1.74, 2.1, 2.54, 3.1, 3.64, 4.32, 5.22, 6.44, 7.48, 8.78, 10.1, 12.0
    )),
    "level": Curve(0.5, (
        0.399, 0.652, 0.889, 1.11, 1.31, 1.51, 1.75, 2.08, 2.42, 2.84, 3.33, 3.9, 4.54, 5.54, 7.41, 9.14, 10.4, 13.2
    )),
    "extreme": Curve(5.5, (
        0.0075, 0.0362, 0.101, 0.235, 0.584, 1.33, 3.87, 6.25
    )),
    "turbulence": Curve(0.5, (
        0.493, 0.679, 0.837, 0.992, 1.16, 1.39, 1.65, 2.0, 2.44, 2.98, 3.71, 4.72, 5.6, 6.91, 8.02, 9.23, 10.5, 11.2
    )),
    "combined": Curve(0.5, (
        0.59, 0.916, 1.25, 1.59, 1.96, 2.32, 2.7, 3.1, 3.5, 3.9, 4.36, 4.82, 5.32, 5.94, 6.5, 7.12, 7.63, 8.43, 8.87,
        9.14, 10.0, 10.8
    )),
}  # fmt: skip
"""Statistic → its curve; ``combined`` is the weighted mean of surprises that the ensemble ranks last."""
