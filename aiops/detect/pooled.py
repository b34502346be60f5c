"""Pooled curves: how large each statistic of the ensemble gets in series in general.

Measured on rows outside labelled anomalies of 88 public series of six kinds (cloud and service metrics, web KPIs,
server and application metrics; 1 minute to 1 hour apart), every kind with equal weight and every series of a kind too.
One set of curves for all; a series' own history takes over where it matters (:mod:`aiops.detect.calibrate`).
"""

from aiops.detect.calibrate import Curve

CURVES = {
    "forecast": Curve(0.5, (
        0.351, 0.571, 0.76, 0.96, 1.18, 1.43, 1.7, 2.03, 2.42, 2.91, 3.54, 4.43, 5.58, 7.09, 8.51, 10.5, 12.9, 15.2,
        17.8
    )),
    "onset": Curve(0.5, (
        0.392, 0.624, 0.813, 1.01, 1.23, 1.47, 1.72, 2.02, 2.36, 2.76, 3.29, 3.95, 4.91, 6.21, 7.7, 9.36, 12.4, 14.3,
        17.4
    )),
    "drift": Curve(0.5, (
        0.338, 0.555, 0.751, 0.958, 1.19, 1.44, 1.75, 2.11, 2.55, 3.14, 3.79, 4.61, 5.65, 6.92, 8.12, 9.44, 11.5, 13.9,
        17.3
    )),
    "level": Curve(0.5, (
        0.381, 0.636, 0.876, 1.1, 1.32, 1.53, 1.74, 2.04, 2.38, 2.79, 3.27, 3.85, 4.56, 5.73, 7.62, 9.32, 12.4, 14.3,
        17.5
    )),
    "extreme": Curve(5.5, (
        0.00585, 0.0283, 0.0775, 0.195, 0.581, 1.2, 2.19, 5.26, 8.44
    )),
    "transition": Curve(0.5, (
        0.498, 0.804, 1.09, 1.48, 1.94, 2.45, 3.15, 4.02, 5.17, 6.2, 7.71, 9.08, 11.2, 12.4, 14.0, 16.4, 18.1, 19.8,
        21.0
    )),
    "turbulence": Curve(0.5, (
        0.49, 0.685, 0.845, 1.0, 1.17, 1.39, 1.66, 2.01, 2.52, 3.09, 3.98, 4.81, 5.64, 7.07, 8.43, 9.64, 10.9, 12.1,
        15.2
    )),
    "combined": Curve(0.5, (
        0.662, 0.97, 1.27, 1.58, 1.92, 2.27, 2.62, 2.98, 3.38, 3.76, 4.21, 4.68, 5.15, 5.65, 6.15, 6.71, 7.5, 8.01,
        8.17, 8.46, 8.91, 9.37
    )),
}  # fmt: skip
"""Statistic → its curve; ``combined`` is the weighted mean of surprises that the ensemble ranks last."""
