"""Figures of several fits of the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from heads.evaluation.metrics.bootstrap import BootstrapEstimate, Interval


def average(fits: Sequence[Mapping[str, BootstrapEstimate]]) -> dict[str, BootstrapEstimate]:
    """Mean of each metric over fits that were measured on the same resamples; its interval is that of the mean.

    It tells how the mean would change with other test rows. How fits differ among themselves stands apart from it.
    """
    if len(fits) == 1:
        return dict(fits[0])
    found = {}
    for name in fits[0]:
        each = [fit[name] for fit in fits if name in fit]
        values = Interval(
            value=float(np.mean([one.value for one in each])),
            low=float(np.mean([one.interval.low for one in each])),
            high=float(np.mean([one.interval.high for one in each])),
        )
        draws = np.mean([one.draws for one in each], axis=0)
        if np.isfinite(draws).any() and np.nanmax(draws) > np.nanmin(draws):
            # Where draws do not differ, as of rows that are all right, the bootstrap knows no interval. Elsewhere the
            # intervals' shift and shape are kept, their width is that of the mean.
            low, high = np.nanquantile(draws - np.nanmean(draws), [0.025, 0.975])
            values = Interval(value=values.value, low=values.value + float(low), high=values.value + float(high))
        found[name] = BootstrapEstimate(value=values.value, draws=draws, interval=values)
    return found
