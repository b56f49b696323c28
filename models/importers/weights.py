"""Weights of a network wherever a training script put them: nested, wrapped, averaged, beside an optimizer.

    found = find_weights(content, {"unet.out.weight"}, choice=None)
    found.weights["unet.out.weight"], found.averaged, found.where

A wrapper (DataParallel, torch.compile, Lightning, an EMA) puts a prefix in front of every name. The names that a
network is known by show what the prefix is, in any order and nesting, so that no list of prefixes is needed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from contract.errors import Refused, UsageError

MAX_DEPTH = 4
NOT_WEIGHTS = re.compile(r"opt(imizers?)?(_.*)?|scaler|.*schedulers?|callbacks|loops|.*rng_state.*|amp")
"""Keys under which tensors aren't a network's."""

AVERAGED = {"ema", "averaged"}
"""Parts of a name that mark averaged weights; `online_model` inside an EMA is what it averages."""

COUNTERS = ("num_batches_tracked",)
"""Integers that no frame depends on."""


@dataclass(frozen=True)
class Found:
    """The weights of one network in a file."""

    where: str
    """Keys and prefix that lead to them: `ema.ema_model.module`."""

    averaged: bool
    weights: Mapping[str, Tensor]
    """float16, bfloat16 or float32 by the network's own names, buffers of a noise schedule left out."""

    buffers: Mapping[str, Tensor]
    """What stands one level above the network, by name: `betas` and the like."""


def find_weights(content: object, known: Collection[str], choice: str | None) -> tuple[Found, list[Found]]:
    """The chosen weights of a network that has the names `known`, and all that there are.

    Averaged ones are taken where nothing is chosen. Refused where there are none, UsageError for a missing choice.
    """
    found = list(_candidates(content, known))
    found += [average for last in found if not last.averaged for average in _averages_of(last, content)]
    if not found:
        raise Refused(
            f"no weights in it that belong to such a network; expected names like {', '.join(sorted(known)[:3])}"
        )
    averaged = [candidate for candidate in found if candidate.averaged]
    plain = [candidate for candidate in found if not candidate.averaged]
    wanted = {"ema": averaged, "model": plain, None: averaged or plain}[choice]
    if not wanted:
        raise UsageError(f"--weights {choice}: the file has only {', '.join(c.where or 'a state dict' for c in found)}")
    return wanted[0], found


def _averages_of(last: Found, content: object) -> Iterator[Found]:
    """Averages that are stored by names without dots (Lightning's LitEma), or as a list (`shadow_params`)."""
    flat = {name.replace(".", ""): name for name in last.weights}
    first = next(iter(flat))
    for path, table in tables(content):
        for prefix in [name.removesuffix(first) for name in table if name.endswith("." + first)]:
            if flat.keys() <= {name.removeprefix(prefix) for name in table if name.startswith(prefix)}:
                weights = {name: _stored(table[prefix + short]) for short, name in flat.items()}
                yield Found(".".join([*path, prefix.rstrip(".")]), True, weights, last.buffers)
    for path, listed in _lists(content):
        if [tensor.shape for tensor in listed] == [weight.shape for weight in last.weights.values()]:
            weights = dict(zip(last.weights, map(_stored, listed), strict=True))
            yield Found(".".join(path), True, weights, last.buffers)


def _lists(content: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Tensor]]]:
    """Every list of tensors inside nested dicts whose key is that of averaged weights."""
    for key, value in content.items() if isinstance(content, Mapping) and len(path) <= MAX_DEPTH else ():
        if isinstance(value, Mapping):
            yield from _lists(value, (*path, str(key)))
        elif key == "shadow_params" and isinstance(value, list) and all(isinstance(item, Tensor) for item in value):
            yield (*path, str(key)), value


def tables(content: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every dict of tensors inside nested dicts, with the keys that lead to it."""
    if isinstance(content, Mapping) and len(path) <= MAX_DEPTH:
        table = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if table:
            yield path, table
        for key, value in content.items():
            if isinstance(key, str) and not NOT_WEIGHTS.fullmatch(key.lower()):
                yield from tables(value, (*path, key))


def _candidates(content: object, known: Collection[str]) -> Iterator[Found]:
    for path, table in tables(content):
        prefixes = {name.removesuffix(end) for name in table for end in known if _ends(name, end)}
        matches = {p: sum(p + name in table for name in known) for p in prefixes}
        best = max(matches.values(), default=0)
        for prefix in sorted(prefix for prefix, count in matches.items() if count == best):
            above = prefix[: prefix.rstrip(".").rfind(".") + 1]
            weights = {n.removeprefix(prefix): w for n, w in table.items() if n.startswith(prefix)}
            buffers = {
                n.removeprefix(p): w
                for p in dict.fromkeys(("", above, prefix))
                for n, w in table.items()
                if n.startswith(p) and "." not in n.removeprefix(p)
            }
            weights = {n: _stored(w) for n, w in weights.items() if n in known or not (prefix == "" and n in buffers)}
            weights = {name: weight for name, weight in weights.items() if not name.endswith(COUNTERS)}
            parts = re.split(r"[._]", ".".join([*path, prefix]).lower())
            averaged = bool(AVERAGED & set(parts)) and "online" not in parts
            where = ".".join([*path, prefix.rstrip(".")]).strip(".")
            yield Found(where, averaged or "n_averaged" in table, weights, buffers)


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith("." + end)


def _stored(weight: Tensor) -> Tensor:
    """Of float64 the float32; everything else as it is."""
    return weight.detach().float() if weight.dtype == torch.float64 else weight.detach()


def plain_settings(content: object) -> dict[str, Any]:
    """Numbers and texts from the hyper-parameters that training scripts store, by lower-case name."""
    settings: dict[str, Any] = {}

    def walk(value: object, depth: int) -> None:
        items = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
        for key, item in list(items.items())[:1000]:
            if type(item) in (int, float, str, bool):
                settings.setdefault(str(key).lower(), item)
            elif depth < MAX_DEPTH and not isinstance(item, Tensor):
                walk(item, depth + 1)

    if isinstance(content, Mapping):
        for key in ("hyper_parameters", "hparams", "config", "cfg", "args", "settings", "diffusion", "model_args"):
            walk(content.get(key), 0)
    return settings
