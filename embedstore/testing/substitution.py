"""The LG model of amino-acid replacement, with gamma rates among sites: rate matrix, transition matrices, site rates.

Sources
-------
Le S. Q. and Gascuel O. (2008) An improved general amino acid replacement matrix. Mol. Biol. Evol. 25, 1307-1320:
the exchangeabilities and frequencies below, as printed in its table and as all phylogenetics programs carry them.
Yang Z. (1994) Maximum likelihood phylogenetic estimation from DNA sequences with variable rates over sites:
approximate methods. J. Mol. Evol. 39, 306-314: the discrete gamma distribution.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError

AMINO_ACIDS = b"ARNDCQEGHILKMFPSTWYV"
"""The order of the rows and columns of every matrix here: by three-letter name, as in the paper."""

N_RATE_CLASSES = 8
"""Rate classes of the discrete gamma distribution."""

_EXCHANGEABILITIES = """
0.425093
0.276818 0.751878
0.395144 0.123954 5.076149
2.489084 0.534551 0.528768 0.062556
0.969894 2.807908 1.695752 0.523386 0.084808
1.038545 0.363970 0.541712 5.243870 0.003499 4.128591
2.066040 0.390192 1.437645 0.844926 0.569265 0.267959 0.348847
0.358858 2.426601 4.509238 0.927114 0.640543 4.813505 0.423881 0.311484
0.149830 0.126991 0.191503 0.010690 0.320627 0.072854 0.044265 0.008705 0.108882
0.395337 0.301848 0.068427 0.015076 0.594007 0.582457 0.069673 0.044261 0.366317 4.145067
0.536518 6.326067 2.145078 0.282959 0.013266 3.234294 1.807177 0.296636 0.697264 0.159069 0.137500
1.124035 0.484133 0.371004 0.025548 0.893680 1.672569 0.173735 0.139538 0.442472 4.273607 6.312358 0.656604
0.253701 0.052722 0.089525 0.017416 1.105251 0.035855 0.018811 0.089586 0.682139 1.112727 2.592692 0.023918 1.798853
1.177651 0.332533 0.161787 0.394456 0.075382 0.624294 0.419409 0.196961 0.508851 0.078281 0.249060 0.390322 0.099849
0.094464
4.727182 0.858151 4.008358 1.240275 2.784478 1.223828 0.611973 1.739990 0.990012 0.064105 0.182287 0.748683 0.346960
0.361819 1.338132
2.139501 0.578987 2.000679 0.425860 1.143480 1.080136 0.604545 0.129836 0.584262 1.033739 0.302936 1.136863 2.020366
0.165001 0.571468 6.472279
0.180717 0.593607 0.045376 0.029890 0.670128 0.236199 0.077852 0.268491 0.597054 0.111660 0.619632 0.049906 0.696175
2.457121 0.095131 0.248862 0.140825
0.218959 0.314440 0.612025 0.135107 1.165532 0.257336 0.120037 0.054679 5.306834 0.232523 0.299648 0.131932 0.481306
7.803902 0.089613 0.400547 0.245841 3.151815
2.547870 0.170887 0.083688 0.037967 1.959291 0.210332 0.245034 0.076701 0.119013 10.649107 1.702745 0.185202 1.898718
0.654683 0.296501 0.098369 2.188158 0.189510 0.249313
"""

_FREQUENCIES = """
0.079066 0.055941 0.041977 0.053052 0.012937 0.040767 0.071586 0.057337 0.022355 0.062157
0.099081 0.064600 0.022951 0.042302 0.044040 0.061197 0.053287 0.012066 0.034155 0.069147
"""


@cache
def exchangeabilities() -> NDArray[np.float64]:
    """Symmetric exchangeabilities of LG, unscaled: (20, 20) float64, zero on the diagonal, read-only."""
    matrix = np.zeros((20, 20))
    matrix[np.tril_indices(20, -1)] = [float(word) for word in _EXCHANGEABILITIES.split()]
    return _read_only(matrix + matrix.T)


@cache
def frequencies() -> NDArray[np.float64]:
    """Equilibrium frequencies of LG: (20,) float64, read-only, scaled to sum to 1 (as printed they sum to 1.000001)."""
    printed = np.array([float(word) for word in _FREQUENCIES.split()])
    return _read_only(printed / printed.sum())


@cache
def rate_matrix() -> NDArray[np.float64]:
    """Q of LG: (20, 20) float64, read-only, rows sum to 0, one expected substitution a site and unit of time."""
    rates = exchangeabilities() * frequencies()
    rates /= frequencies() @ rates.sum(axis=1)
    return _read_only(rates - np.diag(rates.sum(axis=1)))


def transition_matrix(branch: float) -> NDArray[np.float64]:
    """P(t) = exp(Q t): (20, 20) float64, row = from, column = to.

    Parameters
    ----------
    branch
        Branch length t in expected substitutions a site.

    Notes
    -----
    Q is reversible, hence similar to a symmetric matrix whose eigenvectors are orthogonal. The simulator itself
    draws single substitutions and never needs P(t); it is here to check the simulator and for people who test on it.
    """
    if branch < 0:
        raise InputError(f"A branch length of {branch} is negative; expected substitutions a site, 0 or more.")
    root = np.sqrt(frequencies())
    values, vectors = np.linalg.eigh(rate_matrix() * root[:, None] / root[None, :])
    matrix: NDArray[np.float64] = (vectors * np.exp(values * branch)) @ vectors.T / root[:, None] * root[None, :]
    return matrix


@cache
def jump_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give what a simulation of single substitutions needs.

    Returns
    -------
    leave : (20,) float64
        Rate of leaving each amino acid.
    ladder : (400,) float64
        ``ladder[20 * i + j]`` = i + probability that a substitution of i goes to 0 … j, so that one sorted search for
        ``i + uniform`` finds the new amino acid.
    """
    rates = rate_matrix()
    leave = -np.diag(rates)
    ladder = np.cumsum(np.where(np.eye(20, dtype=bool), 0.0, rates) / leave[:, None], axis=1)
    # Rounding must not leave a gap below 1. Tryptophan and the like keep their zero-width self step: all ties move.
    ladder[ladder == ladder[:, -1:]] = 1.0
    return _read_only(leave), _read_only((ladder + np.arange(20)[:, None]).ravel())


@cache
def site_rates(alpha: float, n_classes: int = N_RATE_CLASSES) -> NDArray[np.float64]:
    """Rates of equally likely classes of sites: the means of the slices of a gamma distribution with mean 1.

    Parameters
    ----------
    alpha
        Shape of the gamma distribution: the smaller, the more the sites differ.
    n_classes
        Number of classes.

    Returns
    -------
    (n_classes,) float64, ascending, mean 1, read-only.

    Examples
    --------
    >>> [round(float(rate), 4) for rate in site_rates(0.5, 4)]  # the example of Yang (1994)
    [0.0334, 0.2519, 0.8203, 2.8944]
    """
    if alpha <= 0:
        raise InputError(f"A gamma shape of {alpha} was given; expected a number above 0, in proteins often 0.3 to 2.")
    cuts = [_gamma_quantile(alpha, k / n_classes) for k in range(1, n_classes)]
    # The mean over a slice of x times the density of gamma(alpha) is a difference of the CDF of gamma(alpha + 1).
    edges = [0.0, *(_gamma_cdf(alpha + 1, cut) for cut in cuts), 1.0]
    return _read_only(np.diff(edges) * n_classes)


def _gamma_cdf(shape: float, x: float) -> float:
    """Regularised lower incomplete gamma function by its power series, good for the moderate x needed here."""
    if x <= 0:
        return 0.0
    term = total = 1 / shape
    k = shape
    while term > total * 1e-17:
        k += 1
        term *= x / k
        total += term
    return min(1.0, total * math.exp(shape * math.log(x) - x - math.lgamma(shape)))


def _gamma_quantile(shape: float, probability: float) -> float:
    """Invert :func:`_gamma_cdf` by halving an interval until it cannot be halved."""
    low, high = 0.0, 1.0
    while _gamma_cdf(shape, high) < probability:
        high *= 2
    while low < (middle := (low + high) / 2) < high and high - low > 1e-15 * high:
        if _gamma_cdf(shape, middle) < probability:
            low = middle
        else:
            high = middle
    return high


def _read_only(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.setflags(write=False)
    return array
