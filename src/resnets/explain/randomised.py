"""The test by random networks: a map that stays when the weights go does not show what was learnt.

Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv:1810.03292: parts of the network are
drawn anew, in a cascade from the classifier to the stem, and each alone. Maps are compared by the
rank correlation of their cells (Spearman), and as pictures by SSIM (Wang et al. 2004).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from resnets.nn import ResNet
from resnets.nn.resnet import HEAD, STEM, TOP

HEADED = "classifier"
SEEDS = 3
"""Networks that are random throughout, which a map is compared with."""
LIMIT = 0.3
"""The greatest mean rank correlation with them of a map that depends on what was learnt."""
PICTURES = 16
"""Drawn pictures that the statistics of random norms are measured on."""
WINDOW = 7
"""Pixels of SSIM's window, and its two constants for pictures in 0…1."""
C1, C2 = 0.01**2, 0.03**2


def parts(net: ResNet) -> tuple[str, ...]:
    """Return the parts of a network from the classifier to the stem."""
    return (HEADED, *reversed(net.stages), "stem")


def cascade(net: ResNet) -> dict[str, tuple[str, ...]]:
    """Return what is random at each step of the cascade, by the part that is added there."""
    names = parts(net)
    return {name: names[: number + 1] for number, name in enumerate(names)}


def randomised(net: ResNet, random: Iterable[str], seed: int, size: int) -> ResNet:
    """Return a copy of a network of which the parts `random` are as at the start of a training.

    The statistics of its random norms are measured on drawn pictures of `size` pixels, as a network
    at the start of its training has those of its photos. They are the same whatever is explained.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = ResNet(net.spec)
    made = copy.deepcopy(net)
    norms: list[_BatchNorm] = []
    for name in _children(net, random):
        state = fresh.get_submodule(name).state_dict()
        made.get_submodule(name).load_state_dict(state)
        norms += [m for m in made.get_submodule(name).modules() if isinstance(m, _BatchNorm)]
    with torch.no_grad(), _measuring(norms):
        first = next(made.parameters())
        made(drawn_pictures(net.spec.in_channels, size, seed).to(first.device))
    return made


def _children(net: ResNet, names: Iterable[str]) -> Iterator[str]:
    groups = {HEADED: (*TOP, *HEAD), "stem": STEM}
    for name in names:
        yield from groups.get(name, (name,))


@contextmanager
def _measuring(norms: list[_BatchNorm]) -> Iterator[None]:
    """Let norms take the statistics of the next batch."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0
        norm.train()
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def drawn_pictures(channels: int, size: int, seed: int) -> Tensor:
    """Return ``16 channels size size`` of noise with the spectrum of photos, 1/f, of variance 1."""
    rng = np.random.default_rng(seed)
    noise = np.fft.fft2(rng.normal(size=(PICTURES, channels, size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    pictures = np.fft.ifft2(noise / np.maximum(frequency, 1 / size)).real
    pictures /= max(pictures.std(), 1e-9)
    return torch.from_numpy(pictures.astype(np.float32))


# -- how alike two maps are -----------------------------------------------------------------------


def rank_correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Spearman's of each pair of ``N h w``; 0 where one of them is the same everywhere."""
    x, y = (rankdata(m.reshape(len(m), -1), axis=1) for m in (a, b))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    norm = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    found: NDArray[np.float64] = np.divide(
        (x * y).sum(1), norm, out=np.zeros(len(x)), where=norm > 0
    )
    return found


def ssim(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean structural similarity of each pair of ``N H W`` in 0…1."""
    window = (0, min(WINDOW, a.shape[1]), min(WINDOW, a.shape[2]))
    x, y = a.astype(np.float64), b.astype(np.float64)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        smooth: NDArray[np.float64] = uniform_filter(values, window)
        return smooth

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    alike = (2 * mx * my + C1) * (2 * cov + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2))
    found: NDArray[np.float64] = alike.mean((1, 2))
    return found
