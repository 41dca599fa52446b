"""What a job starts from, drawn as the engine draws it (`RandomStream`), so that another trainer can start from the same.

Two trainers with starts of their own end apart by chance, by half a percent and more of accuracy on small test sets; from
one start, and with the same order of examples, what is left is rounding and whatever one of them does wrong.
"""

import numpy as np
import torch

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def mix(values):
    """SplitMix64's hash."""
    z = np.atleast_1d(np.asarray(values, dtype=np.uint64))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Stream:
    """Random numbers by position: element i is a hash of the stream's key and i."""

    def __init__(self, seed=0, key=None):
        self.key = key if key is not None else int(mix((seed + GOLDEN) & MASK)[0])

    def sub(self, name):
        """An independent stream, by a number or a name (FNV-1a)."""
        if isinstance(name, int):
            value = (name + 0xD1B54A32D192ED03) & MASK
        else:
            value = 0xCBF29CE484222325
            for byte in name.encode():
                value = (value ^ byte) * 0x100000001B3 & MASK
        return Stream(key=int(mix(self.key ^ int(mix(value)[0]))[0]))

    def bits(self, positions):
        # Of one element or more: numpy warns where a single number overflows, as these are meant to.
        places = np.atleast_1d(np.asarray(positions, dtype=np.uint64))
        return mix(np.uint64(self.key) + (places + np.uint64(1)) * np.uint64(GOLDEN))

    def number(self, place):
        """One number, uniform between 0 and 1."""
        return int(self.bits(place)[0] >> np.uint64(11)) * 2.0**-53

    def permutation(self, count):
        order, bits = list(range(count)), self.bits(np.arange(count))
        for index in range(count - 1, 0, -1):
            other = int(bits[index]) * (index + 1) >> 64
            order[index], order[other] = order[other], order[index]
        return order

    def uniform(self, shape, bound):
        count = int(np.prod(shape))
        values = (self.bits(np.arange(count)) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return torch.from_numpy((np.float32(-bound) + np.float32(2 * bound) * values).reshape(shape))

    def normal(self, shape, deviation):
        """Box and Muller's transform; an element and its neighbour share a pair of uniform numbers."""
        places = np.arange(int(np.prod(shape)))
        radius, angle = (
            (self.bits(places // 2 * 2 + part) >> np.uint64(11)).astype(np.float64) * 2.0**-53 for part in (0, 1))
        turn = np.where(places % 2 == 0, np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle))
        return torch.from_numpy((np.sqrt(-2 * np.log(1 - radius)) * deviation * turn).astype(np.float32).reshape(shape))


def order(seed, epoch, count):
    """The examples of an epoch in the order in which a job of so many examples a step sees them."""
    return Stream(seed).sub("order").sub(epoch).permutation(count)


def start_as_job(model, seed, new_heads=()):
    """Gives a PEFT model the adapter a job of this seed starts with, and draws the heads that the base does not have."""
    for name, parameter in model.named_parameters():
        path = name.removeprefix("base_model.model.")
        if ".lora_A." in path:
            path = path.split(".lora_A.")[0]
            parameter.data = Stream(seed).sub(path).uniform(tuple(parameter.shape), parameter.shape[1] ** -0.5)
        head = path.replace(".modules_to_save.default", "")
        if head.split(".")[0] in new_heads and ".modules_to_save." in path:
            parameter.data = (torch.zeros_like(parameter) if head.endswith(".bias")
                              else Stream(seed).sub(head).normal(tuple(parameter.shape), 0.02))
