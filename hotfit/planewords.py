"""The focal plane in words: a short table of its detectors, and a sentence for each odd one."""

from collections.abc import Iterator, Mapping


def table_of(plane: Mapping) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a short table of the detectors: heads, one row each, and the medians."""
    yield "detector", "dark current", "error", "e-/adu", "read noise", "saturation", "masked", "notes"
    for name, own in plane["detectors"].items():
        yield (
            name,
            figure(own["median_rate"], own["unit"]),
            figure(own["median_rate_error"]),
            figure(own["gain"]),
            figure(own["read_noise"], own["read_noise_unit"]),
            _level(own["saturation"]),
            percent(own["masked_fraction"]),
            str(own["notes"]),
        )
    middle = {name: (found["value"], found["unit"] or "") for name, found in plane["medians"].items()}
    yield (
        "median",
        figure(*middle["median_rate"]),
        "",
        figure(middle["gain"][0]),
        figure(*middle["read_noise"]),
        _level(middle["saturation"][0]),
        percent(middle["masked"][0]),
        "",
    )


def odd_in_words(plane: Mapping) -> Iterator[str]:
    """Yield a sentence for each odd detector, or one that says that none is."""
    by_detector: dict[str, list[str]] = {}
    for one in plane["odd"]:
        by_detector.setdefault(one["detector"], []).append(_departure(one))
    for name, departures in by_detector.items():
        yield f"{name} is odd: {'; '.join(departures)}"
    fewest, limit = plane["rule"]["fewest_detectors"], plane["rule"]["limit_sigmas"]
    if len(plane["detectors"]) < fewest:
        yield f"{len(plane['detectors'])} detectors are too few to tell an odd one: that takes {fewest}"
    elif not by_detector:
        yield f"no detector is odd: none is more than {limit:g} robust sigmas from the median"


def _departure(one: Mapping) -> str:
    share = not one["unit"]
    value, median = (
        percent(one[key]) if share else figure(one[key], one["unit"]) for key in ("value", "median")
    )
    side = "above" if one["sigmas"] > 0 else "below"
    return f"{one['words']} {value}, {abs(one['sigmas']):.3g} sigmas {side} the median, {median}"


def percent(share: float | None) -> str:
    """A share of pixels in percent."""
    return "-" if share is None else f"{100 * share:.3g} %"


def figure(value: float | None, unit: str = "") -> str:
    """A figure in four digits, or a whole number if that takes more."""
    if value is None:
        return "-"
    spelled = f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{spelled} {unit}".strip()


def _level(value: float | None) -> str:
    return "none" if value is None else f"{value:.0f} adu"
