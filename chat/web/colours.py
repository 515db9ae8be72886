"""Derive an accent that is readable in both colour schemes from a company's colour.

Contrast as in WCAG 2.2: (lighter + 0.05) / (darker + 0.05) of relative luminance.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

# Least favourable backgrounds of the accent, and the minimum contrast against them.
LIGHT_BACKGROUND = "#eaeae6"
DARK_BACKGROUND = "#34363b"
MIN_CONTRAST = 4.6
LIGHTNESS_STEP = 0.01


@dataclass(frozen=True, kw_only=True)
class Accent:
    """Accent colours for the light and the dark scheme, each as `#rrggbb`."""

    light: str
    dark: str


def parse_channels(colour: str) -> tuple[float, float, float]:
    """Return the red, green and blue of `#rrggbb`, each from 0 to 1."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def compute_luminance(colour: str) -> float:
    """Return the relative luminance, 0 (black) to 1 (white)."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in parse_channels(colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def compute_contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21."""
    darker, lighter = sorted((compute_luminance(first), compute_luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def derive_accent(colour: str) -> Accent:
    """Return the accent nearest to `colour` that is readable in each scheme."""
    return Accent(
        light=_shift_lightness(colour, ground=LIGHT_BACKGROUND, step=-LIGHTNESS_STEP),
        dark=_shift_lightness(colour, ground=DARK_BACKGROUND, step=LIGHTNESS_STEP),
    )


def _shift_lightness(colour: str, *, ground: str, step: float) -> str:
    """Darken or lighten `colour` until its contrast with `ground` suffices; keep the hue."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*parse_channels(colour))
    found = colour.lower()
    while compute_contrast(found, ground) < MIN_CONTRAST and 0 <= lightness <= 1:
        lightness += step
        red, green, blue = colorsys.hls_to_rgb(hue, min(max(lightness, 0), 1), saturation)
        found = f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
    return found
